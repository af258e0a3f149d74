/* The Python module `sdk_python._decoder`; its types are in _decoder.pyi.
 *
 * References are taken and given back by functions of the Python that runs, `Py_IncRef` and `Py_DecRef`, never by the
 * macros. The macros belong to the Python whose headers compiled this, and the two may differ in which objects are
 * immortal: with the headers of 3.12, Py_RETURN_NONE takes no reference, and on 3.11 None is freed at some time.
 *
 * The interpreter's lock is held throughout, and guards every Batch. An interpreter without it has no limited API, so
 * this is not built for it. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <string.h>

#include "batch.h"

enum { MESSAGE_FIELDS = 8, KEPT_NAMES = 8 };

/* The name of a header, which as a rule is the same in all records. */
typedef struct {
    view_t name;
    PyObject *text; /* NULL: not read yet */
} name_t;

typedef struct {
    PyObject_HEAD
    PyObject *frame; /* bytes, to which `batch` refers */
    batch_t batch;
    cursor_t cursor;          /* where the last slice ended, since slices are read in order */
    name_t names[KEPT_NAMES]; /* of the n-th header of the last record that had so many */
    int64_t timestamp;        /* of the last record; the next ones often have the same */
    PyObject *timestamp_made; /* as Python's number; NULL: none yet */
} BatchObject;

static PyTypeObject *batch_type;

static PyObject *new_reference(PyObject *object) {
    Py_IncRef(object);
    return object;
}

/* --- the next of each column ------------------------------------------------------------------------------------- */

/* Each returns a new reference; NULL: with an exception. The column must have an entry. */
typedef PyObject *(*next_t)(BatchObject *self, cursor_t *cursor);

static PyObject *nullable(nullable_t *list) {
    view_t view = nullable_next(list);
    if (view.data == NULL)
        return new_reference(Py_None);
    return PyBytes_FromStringAndSize((const char *)view.data, (Py_ssize_t)view.len);
}

static PyObject *next_key(BatchObject *self, cursor_t *cursor) {
    (void)self;
    return nullable(&cursor->keys);
}

static PyObject *next_value(BatchObject *self, cursor_t *cursor) {
    (void)self;
    return nullable(&cursor->values);
}

static PyObject *next_timestamp(BatchObject *self, cursor_t *cursor) {
    int64_t timestamp = (int64_t)column_number(&cursor->timestamps);
    if (timestamp == -1)
        return new_reference(Py_None);
    if (self->timestamp_made == NULL || timestamp != self->timestamp) {
        PyObject *made = PyLong_FromLongLong(timestamp);
        if (made == NULL)
            return NULL;
        Py_DecRef(self->timestamp_made);
        self->timestamp_made = made;
        self->timestamp = timestamp;
    }
    return new_reference(self->timestamp_made);
}

/* The text of a name; `index`: which header of its record it is. */
static PyObject *name_text(BatchObject *self, view_t name, uint64_t index) {
    name_t *kept = index < KEPT_NAMES ? &self->names[index] : NULL;
    PyObject *text;
    if (kept != NULL && kept->text != NULL && kept->name.len == name.len
        && memcmp(kept->name.data, name.data, name.len) == 0)
        return new_reference(kept->text);
    text = PyUnicode_DecodeUTF8((const char *)name.data, (Py_ssize_t)name.len, "surrogateescape");
    if (text != NULL && kept != NULL) {
        Py_DecRef(kept->text);
        *kept = (name_t){name, new_reference(text)};
    }
    return text;
}

static PyObject *next_headers(BatchObject *self, cursor_t *cursor) {
    uint64_t count = column_number(&cursor->header_counts);
    PyObject *headers = PyTuple_New((Py_ssize_t)count);
    for (uint64_t i = 0; headers != NULL && i < count; i++) {
        PyObject *name = name_text(self, column_bytes(&cursor->header_names), i);
        PyObject *value = nullable(&cursor->header_values);
        PyObject *header = name == NULL || value == NULL ? NULL : PyTuple_Pack(2, name, value);
        Py_DecRef(name);
        Py_DecRef(value);
        if (header == NULL || PyTuple_SetItem(headers, (Py_ssize_t)i, header) < 0) {
            Py_DecRef(headers);
            headers = NULL;
        }
    }
    return headers;
}

/* What reads a column; NULL: it is the same for all records, and Python has None for it. */
static next_t keys_of(const BatchObject *self) { return self->batch.columns[KEYS].count > 0 ? next_key : NULL; }

static next_t timestamps_of(const BatchObject *self) {
    return self->batch.timestamp_type != 0 && self->batch.columns[TIMESTAMPS].count > 0 ? next_timestamp : NULL;
}

static next_t headers_of(const BatchObject *self) {
    return self->batch.columns[HEADER_NAMES].count > 0 ? next_headers : NULL;
}

/* --- slices -------------------------------------------------------------------------------------------------------- */

typedef struct {
    size_t start, stop; /* indexes of records */
    cursor_t cursor;    /* before the first of them */
} slice_t;

/* `stop` may be after the end. Returns -1, with an exception, if they are no indexes. */
static int slice_begin(const BatchObject *self, Py_ssize_t start, Py_ssize_t stop, slice_t *slice) {
    Py_ssize_t count = (Py_ssize_t)self->batch.count;
    if (start < 0 || stop < start) {
        PyErr_Format(PyExc_IndexError, "records %zd to %zd of %zd", start, stop, count);
        return -1;
    }
    slice->start = (size_t)(start < count ? start : count);
    slice->stop = (size_t)(stop < count ? stop : count);
    slice->cursor = self->cursor.index <= slice->start ? self->cursor : cursor_begin(&self->batch);
    cursor_skip(&slice->cursor, slice->start - slice->cursor.index);
    return 0;
}

static void slice_end(BatchObject *self, slice_t *slice) {
    slice->cursor.index = slice->stop;
    self->cursor = slice->cursor;
}

/* Put `item` into a tuple or list; takes its reference. Returns -1 with an exception, also if `item` is NULL. */
static int put(int (*set)(PyObject *, Py_ssize_t, PyObject *), PyObject *to, Py_ssize_t index, PyObject *item) {
    return item == NULL ? -1 : set(to, index, item);
}

/* A column of the slice as a list; `next` NULL: None. */
static PyObject *column_list(BatchObject *self, slice_t *slice, next_t next) {
    Py_ssize_t count = (Py_ssize_t)(slice->stop - slice->start);
    PyObject *list;
    if (next == NULL)
        return new_reference(Py_None);
    list = PyList_New(count);
    for (Py_ssize_t i = 0; list != NULL && i < count; i++)
        if (put(PyList_SetItem, list, i, next(self, &slice->cursor)) < 0) {
            Py_DecRef(list);
            return NULL;
        }
    return list;
}

/* The offsets of the slice: a range where they are consecutive, else a list. */
static PyObject *offsets_list(const BatchObject *self, const slice_t *slice) {
    Py_ssize_t count = (Py_ssize_t)(slice->stop - slice->start);
    long long first = self->batch.first_offset;
    PyObject *list;
    if (self->batch.offsets == NULL)
        return PyObject_CallFunction((PyObject *)&PyRange_Type, "LL", first + (long long)slice->start,
                                     first + (long long)slice->stop);
    list = PyList_New(count);
    for (Py_ssize_t i = 0; list != NULL && i < count; i++)
        if (put(PyList_SetItem, list, i, PyLong_FromLongLong(batch_offset(&self->batch, slice->start + (size_t)i)))
            < 0) {
            Py_DecRef(list);
            return NULL;
        }
    return list;
}

static PyObject *batch_columns(PyObject *object, PyObject *arguments) {
    BatchObject *self = (BatchObject *)object;
    Py_ssize_t start, stop;
    slice_t slice;
    PyObject *made;
    if (!PyArg_ParseTuple(arguments, "nn", &start, &stop) || slice_begin(self, start, stop, &slice) < 0)
        return NULL;
    made = PyTuple_New(6);
    if (made == NULL || put(PyTuple_SetItem, made, 0, offsets_list(self, &slice)) < 0
        || put(PyTuple_SetItem, made, 1, column_list(self, &slice, timestamps_of(self))) < 0
        || put(PyTuple_SetItem, made, 2, PyLong_FromLong(self->batch.timestamp_type)) < 0
        || put(PyTuple_SetItem, made, 3, column_list(self, &slice, keys_of(self))) < 0
        || put(PyTuple_SetItem, made, 4, column_list(self, &slice, next_value)) < 0
        || put(PyTuple_SetItem, made, 5, column_list(self, &slice, headers_of(self))) < 0) {
        Py_DecRef(made);
        return NULL;
    }
    slice_end(self, &slice);
    return made;
}

static PyObject *batch_first_headers(PyObject *object, PyObject *limit) {
    BatchObject *self = (BatchObject *)object;
    Py_ssize_t stop = PyLong_AsSsize_t(limit);
    slice_t slice = {.cursor = cursor_begin(&self->batch)};
    if (PyErr_Occurred())
        return NULL;
    if (headers_of(self) == NULL || stop <= 0)
        return PyList_New(0);
    slice.stop = (size_t)stop < self->batch.count ? (size_t)stop : self->batch.count;
    return column_list(self, &slice, next_headers);
}

/* --- messages ------------------------------------------------------------------------------------------------------ */

/* What all messages of a slice have in common. */
typedef struct {
    PyTypeObject *type; /* a named tuple with MESSAGE_FIELDS fields */
    allocfunc alloc;
    PyObject *topic, *partition, *kind, *no_headers;
} common_t;

static PyObject *own_or(BatchObject *self, cursor_t *cursor, next_t next, PyObject *same) {
    return next == NULL ? new_reference(same) : next(self, cursor);
}

static PyObject *message(BatchObject *self, slice_t *slice, const common_t *common, size_t index) {
    cursor_t *cursor = &slice->cursor;
    /* Not by `tuple.__new__`, which would copy a tuple. Nobody else has this one yet, so its items may be set. */
    PyObject *made = common->alloc(common->type, MESSAGE_FIELDS);
    if (made == NULL || put(PyTuple_SetItem, made, 0, new_reference(common->topic)) < 0
        || put(PyTuple_SetItem, made, 1, new_reference(common->partition)) < 0
        || put(PyTuple_SetItem, made, 2, PyLong_FromLongLong(batch_offset(&self->batch, index))) < 0
        || put(PyTuple_SetItem, made, 3, own_or(self, cursor, timestamps_of(self), Py_None)) < 0
        || put(PyTuple_SetItem, made, 4, new_reference(common->kind)) < 0
        || put(PyTuple_SetItem, made, 5, own_or(self, cursor, keys_of(self), Py_None)) < 0
        || put(PyTuple_SetItem, made, 6, next_value(self, cursor)) < 0
        || put(PyTuple_SetItem, made, 7, own_or(self, cursor, headers_of(self), common->no_headers)) < 0) {
        Py_DecRef(made);
        return NULL;
    }
    return made;
}

static PyObject *message_list(BatchObject *self, slice_t *slice, const common_t *common) {
    Py_ssize_t count = (Py_ssize_t)(slice->stop - slice->start);
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list != NULL && i < count; i++)
        if (put(PyList_SetItem, list, i, message(self, slice, common, slice->start + (size_t)i)) < 0) {
            Py_DecRef(list);
            return NULL;
        }
    return list;
}

static PyObject *batch_messages(PyObject *object, PyObject *arguments) {
    BatchObject *self = (BatchObject *)object;
    common_t common;
    Py_ssize_t start, stop;
    slice_t slice;
    PyObject *made = NULL;
    if (!PyArg_ParseTuple(arguments, "O!OOnn", &PyType_Type, &common.type, &common.topic, &common.partition, &start,
                          &stop))
        return NULL;
    if (!PyType_IsSubtype(common.type, &PyTuple_Type)) {
        PyErr_SetString(PyExc_TypeError, "messages are made of a named tuple");
        return NULL;
    }
    if (slice_begin(self, start, stop, &slice) < 0)
        return NULL;
    common.alloc = (allocfunc)PyType_GetSlot(common.type, Py_tp_alloc);
    common.kind = PyLong_FromLong(self->batch.timestamp_type);
    common.no_headers = PyTuple_New(0);
    if (common.kind != NULL && common.no_headers != NULL)
        made = message_list(self, &slice, &common);
    Py_DecRef(common.kind);
    Py_DecRef(common.no_headers);
    if (made != NULL)
        slice_end(self, &slice);
    return made;
}

/* --- Batch ---------------------------------------------------------------------------------------------------------- */

static PyObject *batch_count(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromSize_t(((BatchObject *)self)->batch.count);
}

static PyObject *batch_size(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromSsize_t(PyBytes_Size(((BatchObject *)self)->frame));
}

static PyObject *batch_first_offset(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromLongLong(((BatchObject *)self)->batch.first_offset);
}

static PyObject *batch_last_offset(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromLongLong(((BatchObject *)self)->batch.last_offset);
}

static PyObject *batch_offset_method(PyObject *self, PyObject *argument) {
    const batch_t *batch = &((BatchObject *)self)->batch;
    Py_ssize_t index = PyLong_AsSsize_t(argument);
    if (PyErr_Occurred())
        return NULL;
    if (index < 0 || (size_t)index >= batch->count)
        return PyErr_Format(PyExc_IndexError, "record %zd of %zu", index, batch->count);
    return PyLong_FromLongLong(batch_offset(batch, (size_t)index));
}

static void batch_dealloc(PyObject *object) {
    BatchObject *self = (BatchObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    for (size_t i = 0; i < KEPT_NAMES; i++)
        Py_DecRef(self->names[i].text);
    Py_DecRef(self->timestamp_made);
    batch_release(&self->batch);
    Py_DecRef(self->frame);
    free_object(object);
    Py_DecRef((PyObject *)type);
}

static PyMethodDef batch_methods[] = {
    {"offset", batch_offset_method, METH_O, NULL},
    {"first_headers", batch_first_headers, METH_O, NULL},
    {"columns", batch_columns, METH_VARARGS, NULL},
    {"messages", batch_messages, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef batch_attributes[] = {
    {"count", batch_count, NULL, NULL, NULL},
    {"size", batch_size, NULL, NULL, NULL},
    {"first_offset", batch_first_offset, NULL, NULL, NULL},
    {"last_offset", batch_last_offset, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot batch_slots[] = {
    {Py_tp_dealloc, batch_dealloc},
    {Py_tp_methods, batch_methods},
    {Py_tp_getset, batch_attributes},
    {0, NULL},
};

static PyType_Spec batch_spec = {
    .name = "sdk_python._decoder.Batch",
    .basicsize = sizeof(BatchObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = batch_slots,
};

/* --- the module ----------------------------------------------------------------------------------------------------- */

static PyObject *decode(PyObject *module, PyObject *frame) {
    allocfunc alloc = (allocfunc)PyType_GetSlot(batch_type, Py_tp_alloc);
    BatchObject *made;
    batch_t batch;
    char *data;
    Py_ssize_t len;
    (void)module;
    if (PyBytes_AsStringAndSize(frame, &data, &len) < 0)
        return NULL;
    switch (batch_read((const uint8_t *)data, (size_t)len, &batch)) {
    case BATCH_NOT_PLAIN:
        return new_reference(Py_None);
    case BATCH_NO_MEMORY:
        return PyErr_NoMemory();
    default:
        break;
    }
    made = (BatchObject *)alloc(batch_type, 0);
    if (made == NULL) {
        batch_release(&batch);
        return NULL;
    }
    made->frame = new_reference(frame);
    made->batch = batch;
    made->cursor = cursor_begin(&made->batch);
    return (PyObject *)made;
}

static PyMethodDef functions[] = {
    {"decode", decode, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_decoder",
    .m_doc = "A frame's records without protobuf's objects.",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__decoder(void) {
    PyObject *module = PyModule_Create(&definition);
    batch_type = (PyTypeObject *)PyType_FromSpec(&batch_spec);
    if (module == NULL || batch_type == NULL || PyModule_AddObjectRef(module, "Batch", (PyObject *)batch_type) < 0) {
        Py_DecRef(module);
        return NULL;
    }
    return module;
}
