/* The Python module, with `Source` and `Records`; `Outlet` and `Request` are in outlet_module.c. Their types are in
 * _native.pyi.
 *
 * Both belong to the thread that owns the consumer; only `Source.wake` may be called from any thread. The interpreter's
 * lock is released where the work grows with the number of records. `Source.wake` relies on that lock; an interpreter
 * without it has no limited API, so this is not built for it.
 */
#include "module.h"

#include <string.h>

#include "source.h"

enum { UNLOCKED_FROM = 8 * 1024 }; /* bytes; a smaller frame takes less time than getting the lock back */

typedef struct {
    PyObject_HEAD
    source_t source;
    int is_open;
    PyObject *all; /* all Records of this source, which live as long as it */
} SourceObject;

typedef struct {
    PyObject_HEAD
    lane_t *lane; /* of a slot of its source; NULL after that is closed */
    PyObject *partition;
    uint32_t number; /* of the lane */
} RecordsObject;

static PyTypeObject *records_type;

/* --- Records ----------------------------------------------------------------------------------------------------- */

static rows_t none; /* the rows after the source is closed */

static rows_t *rows_of(PyObject *self) {
    lane_t *lane = ((RecordsObject *)self)->lane;
    return lane == NULL ? &none : &lane->rows;
}

static int checked(const rows_t *rows, Py_ssize_t index, size_t end) {
    if (index >= 0 && (size_t)index < end)
        return 0;
    PyErr_Format(PyExc_IndexError, "index %zd of %zu", index, rows_count(rows));
    return -1;
}

static void records_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    Py_XDECREF(((RecordsObject *)self)->partition);
    free_object(self);
    Py_DECREF(type);
}

static Py_ssize_t records_len(PyObject *self) {
    rows_t *rows = rows_of(self);
    return (Py_ssize_t)rows_count(rows);
}

static PyObject *records_size(PyObject *self, void *closure) {
    rows_t *rows = rows_of(self);
    (void)closure;
    return PyLong_FromSize_t(rows_bytes(rows));
}

static PyObject *records_next_offset(PyObject *self, void *closure) {
    rows_t *rows = rows_of(self);
    (void)closure;
    if (checked(rows, 0, rows_count(rows)) < 0)
        return NULL;
    return PyLong_FromLongLong(rows_at(rows, rows_count(rows) - 1)->offset + 1);
}

static PyObject *records_offset(PyObject *self, PyObject *argument) {
    rows_t *rows = rows_of(self);
    Py_ssize_t index = PyLong_AsSsize_t(argument);
    if (PyErr_Occurred() || checked(rows, index, rows_count(rows)) < 0)
        return NULL;
    return PyLong_FromLongLong(rows_at(rows, (size_t)index)->offset);
}

static PyObject *records_before(PyObject *self, PyObject *argument) {
    rows_t *rows = rows_of(self);
    int64_t offset = PyLong_AsLongLong(argument);
    if (PyErr_Occurred())
        return NULL;
    return PyLong_FromSize_t(rows_before(rows, offset));
}

/* Call `how` with a number that is not higher than the number of rows. */
static PyObject *change(PyObject *self, PyObject *argument, void (*how)(rows_t *, size_t)) {
    rows_t *rows = rows_of(self);
    Py_ssize_t number = PyLong_AsSsize_t(argument);
    if (PyErr_Occurred() || checked(rows, number, rows_count(rows) + 1) < 0)
        return NULL;
    how(rows, (size_t)number);
    return new_none();
}

static PyObject *records_drop(PyObject *self, PyObject *count) { return change(self, count, rows_drop); }

static PyObject *records_truncate(PyObject *self, PyObject *count) { return change(self, count, rows_truncate); }

static PyObject *records_remove(PyObject *self, PyObject *arguments) {
    rows_t *rows = rows_of(self);
    Py_ssize_t index, count = 1;
    if (!PyArg_ParseTuple(arguments, "n|n:remove", &index, &count) || checked(rows, index, rows_count(rows)) < 0)
        return NULL;
    if (count < 1 || checked(rows, count, rows_count(rows) - (size_t)index + 1) < 0) {
        PyErr_Format(PyExc_IndexError, "%zd of the %zu records from index %zd on", count,
                     rows_count(rows) - (size_t)index, index);
        return NULL;
    }
    rows_remove(rows, (size_t)index, (size_t)count);
    return new_none();
}

static PyObject *offsets_of(const rows_t *rows, const frame_t *frame) {
    PyObject *offsets;
    if (!frame->gaps)
        return new_none();
    offsets = PyList_New((Py_ssize_t)frame->count);
    for (size_t i = 0; offsets != NULL && i < frame->count; i++) {
        PyObject *offset = PyLong_FromLongLong(rows_at(rows, i)->offset);
        if (offset == NULL || PyList_SetItem(offsets, (Py_ssize_t)i, offset) < 0)
            Py_CLEAR(offsets);
    }
    return offsets;
}

/* Plan a frame of at most `most` records. Returns -1 with an exception when there are none. */
static int plan(const rows_t *rows, Py_ssize_t most, Py_ssize_t limit, frame_t *frame) {
    if (most < 1 || limit < 0 || rows_count(rows) == 0) {
        PyErr_SetString(PyExc_ValueError, "a frame has at least one record");
        return -1;
    }
    if ((size_t)most > rows_count(rows))
        most = (Py_ssize_t)rows_count(rows);
    Py_BEGIN_ALLOW_THREADS
    frame_plan(rows, (size_t)most, (size_t)limit, frame);
    Py_END_ALLOW_THREADS
    return 0;
}

/* Nobody else writes to `to`, or uses these rows, meanwhile. */
static void write_unlocked(const rows_t *rows, const frame_t *frame, uint8_t *to) {
    if (frame->size < UNLOCKED_FROM) {
        frame_write(rows, frame, to);
        return;
    }
    Py_BEGIN_ALLOW_THREADS
    frame_write(rows, frame, to);
    Py_END_ALLOW_THREADS
}

/* What `frame` returns; takes the reference of `data`. */
static PyObject *framed(const rows_t *rows, const frame_t *frame, PyObject *data) {
    PyObject *offsets = data == NULL ? NULL : offsets_of(rows, frame);
    if (offsets == NULL) {
        Py_XDECREF(data);
        return NULL;
    }
    return Py_BuildValue("NLLnN", data, (long long)rows_at(rows, 0)->offset,
                         (long long)rows_at(rows, frame->count - 1)->offset, (Py_ssize_t)frame->count, offsets);
}

static PyObject *records_frame(PyObject *self, PyObject *arguments) {
    rows_t *rows = rows_of(self);
    Py_ssize_t most, limit;
    frame_t frame;
    PyObject *data;
    if (!PyArg_ParseTuple(arguments, "nn:frame", &most, &limit) || plan(rows, most, limit, &frame) < 0)
        return NULL;
    data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)frame.size);
    if (data != NULL)
        write_unlocked(rows, &frame, (uint8_t *)PyBytes_AsString(data));
    return framed(rows, &frame, data);
}

static PyObject *records_frame_size(PyObject *self, PyObject *arguments) {
    Py_ssize_t most, limit;
    frame_t frame;
    if (!PyArg_ParseTuple(arguments, "nn:frame_size", &most, &limit) || plan(rows_of(self), most, limit, &frame) < 0)
        return NULL;
    return PyLong_FromSize_t(frame.size);
}

static PyObject *records_frame_into(PyObject *self, PyObject *arguments) {
    rows_t *rows = rows_of(self);
    Py_ssize_t most, limit, at;
    PyObject *object;
    Py_buffer memory;
    frame_t frame;
    int has_room;
    if (!PyArg_ParseTuple(arguments, "nnOn:frame_into", &most, &limit, &object, &at)
        || plan(rows, most, limit, &frame) < 0 || PyObject_GetBuffer(object, &memory, PyBUF_WRITABLE) < 0)
        return NULL;
    has_room = at >= 0 && at <= memory.len && frame.size <= (size_t)(memory.len - at);
    if (has_room)
        write_unlocked(rows, &frame, (uint8_t *)memory.buf + at);
    PyBuffer_Release(&memory);
    if (!has_room)
        return PyErr_Format(PyExc_ValueError, "%zu bytes do not fit at %zd", frame.size, at);
    return framed(rows, &frame, PyLong_FromSize_t(frame.size));
}

static PyObject *entry(const uint8_t **at, int is_null) {
    const uint8_t *data;
    size_t len;
    *at = entry_read(*at, &data, &len);
    if (is_null)
        return new_none();
    return PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)len);
}

static PyObject *headers_of(const row_t *row, const uint8_t *at) {
    PyObject *headers = PyList_New(row->header_count);
    for (uint32_t i = 0; headers != NULL && i < row->header_count; i++) {
        PyObject *name = entry(&at, 0), *value = entry(&at, entry_is_null(at));
        PyObject *header = name == NULL || value == NULL ? NULL : PyTuple_Pack(2, name, value);
        Py_XDECREF(name);
        Py_XDECREF(value);
        if (header == NULL || PyList_SetItem(headers, i, header) < 0)
            Py_CLEAR(headers);
    }
    return headers;
}

static PyObject *records_first(PyObject *self, PyObject *unused) {
    rows_t *rows = rows_of(self);
    const uint8_t *key_at, *value_at;
    const row_t *row;
    PyObject *key, *value, *headers;
    (void)unused;
    if (checked(rows, 0, rows_count(rows)) < 0)
        return NULL;
    row = rows_at(rows, 0);
    key_at = rows->keys.data + rows->keys.first;
    value_at = rows->values.data + rows->values.first;
    key = entry(&key_at, row->null_key);
    value = entry(&value_at, row->null_value);
    headers = headers_of(row, row->header_count ? rows->headers.data + rows->headers.first : NULL);
    if (key == NULL || value == NULL || headers == NULL) {
        Py_XDECREF(key);
        Py_XDECREF(value);
        Py_XDECREF(headers);
        return NULL;
    }
    return Py_BuildValue("LNNNiL", (long long)row->offset, value, key, headers, (int)row->stamp,
                         (long long)row->timestamp);
}

static PyMethodDef records_methods[] = {
    {"offset", records_offset, METH_O, NULL},
    {"before", records_before, METH_O, NULL},
    {"drop", records_drop, METH_O, NULL},
    {"truncate", records_truncate, METH_O, NULL},
    {"remove", records_remove, METH_VARARGS, NULL},
    {"frame", records_frame, METH_VARARGS, NULL},
    {"frame_size", records_frame_size, METH_VARARGS, NULL},
    {"frame_into", records_frame_into, METH_VARARGS, NULL},
    {"first", records_first, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef records_attributes[] = {
    {"size", records_size, NULL, NULL, NULL},
    {"next_offset", records_next_offset, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot records_slots[] = {
    {Py_tp_dealloc, records_dealloc},   {Py_tp_methods, records_methods}, {Py_tp_getset, records_attributes},
    {Py_sq_length, records_len},        {0, NULL},
};

static PyType_Spec records_spec = {
    .name = "sidecar.records._native.Records",
    .basicsize = sizeof(RecordsObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = records_slots,
};

/* --- Source ------------------------------------------------------------------------------------------------------ */

static const char *why_not_opened(int code) {
    return code == -1 ? "this thread has made no consumer with this library as its plugin"
                      : "the consumer is in no group, and so has no queue of events";
}

static PyObject *source_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {"most", "lanes", NULL};
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    SourceObject *self;
    Py_ssize_t most, lanes = 1;
    int opened;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "n|n:Source", names, &most, &lanes))
        return NULL;
    if (lanes < 1 || lanes > MOST_LANES) {
        PyErr_Format(PyExc_ValueError, "a partition has 1 to %d lanes", MOST_LANES);
        return NULL;
    }
    if (most < 1) {
        PyErr_SetString(PyExc_ValueError, "a read takes at least one record");
        return NULL;
    }
    self = (SourceObject *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    self->all = PyList_New(0);
    opened = self->all == NULL ? -2 : source_open(&self->source, (size_t)most, (uint32_t)lanes);
    self->is_open = opened == 0;
    if (self->is_open)
        return (PyObject *)self;
    if (opened == -2)
        PyErr_NoMemory();
    else
        PyErr_SetString(PyExc_RuntimeError, why_not_opened(opened));
    Py_DECREF(self);
    return NULL;
}

static void close_source(SourceObject *self) {
    if (!self->is_open)
        return;
    self->is_open = 0;
    for (Py_ssize_t i = 0; i < PyList_Size(self->all); i++)
        ((RecordsObject *)PyList_GetItem(self->all, i))->lane = NULL;
    Py_BEGIN_ALLOW_THREADS
    source_close(&self->source);
    Py_END_ALLOW_THREADS
}

static void source_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    close_source((SourceObject *)self);
    Py_XDECREF(((SourceObject *)self)->all);
    free_object(self);
    Py_DECREF(type);
}

static source_t *open_source(PyObject *self) {
    if (((SourceObject *)self)->is_open)
        return &((SourceObject *)self)->source;
    PyErr_SetString(PyExc_RuntimeError, "the source is closed");
    return NULL;
}

/* The Records of one lane. */
static PyObject *records_of(SourceObject *self, lane_t *lane, PyObject *partition, uint32_t number) {
    RecordsObject *records = lane->owner;
    if (records != NULL)
        return (PyObject *)records;
    records = (RecordsObject *)PyType_GenericAlloc(records_type, 0);
    if (records == NULL)
        return NULL;
    records->partition = Py_NewRef(partition);
    records->number = number;
    if (PyList_Append(self->all, (PyObject *)records) < 0) { /* the list has a reference from now on */
        Py_DECREF(records);
        return NULL;
    }
    Py_DECREF(records);
    records->lane = lane;
    lane->owner = records;
    return (PyObject *)records;
}

/* The Records of all lanes of a slot, made when it is first used: before anything is led to it, since `read` needs
 * them. The first lane's are made last: its owner tells that there are all. */
static PyObject *records_of_all(SourceObject *self, slot_t *slot, PyObject *partition) {
    PyObject *all = PyTuple_New((Py_ssize_t)self->source.lanes);
    for (uint32_t number = self->source.lanes; all != NULL && number-- > 0;) {
        PyObject *records = records_of(self, &slot->lanes[number], partition, number);
        if (records == NULL || PyTuple_SetItem(all, (Py_ssize_t)number, Py_NewRef(records)) < 0)
            Py_CLEAR(all);
    }
    return all;
}

static PyObject *source_lead_method(PyObject *self, PyObject *partition) {
    source_t *source = open_source(self);
    const char *topic;
    int number;
    slot_t *slot;
    PyObject *records;
    if (source == NULL || !PyArg_ParseTuple(partition, "si:lead", &topic, &number))
        return NULL;
    slot = source_slot(source, topic, number);
    if (slot == NULL)
        return PyErr_NoMemory();
    records = records_of_all((SourceObject *)self, slot, partition);
    if (records == NULL)
        return NULL;
    if (source_lead(source, slot) < 0) {
        Py_DECREF(records);
        PyErr_Format(PyExc_RuntimeError, "Kafka's client has no queue for partition %d of %s", number, topic);
        return NULL;
    }
    return records;
}

static PyObject *touched_of(const source_t *source) {
    PyObject *touched = PyList_New((Py_ssize_t)source->touched_count);
    for (size_t i = 0; touched != NULL && i < source->touched_count; i++) {
        const lane_t *lane = source->touched[i];
        const RecordsObject *records = lane->owner;
        PyObject *one = Py_BuildValue("OIn", records->partition, (unsigned int)records->number, (Py_ssize_t)lane->added);
        if (one == NULL || PyList_SetItem(touched, (Py_ssize_t)i, one) < 0)
            Py_CLEAR(touched);
    }
    return touched;
}

static PyObject *failure_of(const failure_t *one) {
    PyObject *text;
    if (one->code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return Py_BuildValue("siL", one->topic, (int)one->partition, (long long)one->offset);
    text = PyUnicode_DecodeUTF8(one->text, (Py_ssize_t)strlen(one->text), "replace");
    if (text == NULL)
        return NULL;
    return Py_BuildValue("siLiNI", one->topic, (int)one->partition, (long long)one->offset, one->code, text,
                         (unsigned int)one->lane);
}

/* The failures of the last read, or (`misrouted`) its misrouted records. */
static PyObject *failures_of(const source_t *source, int misrouted) {
    PyObject *failures = PyList_New(0);
    for (size_t i = 0; failures != NULL && i < source->failure_count; i++) {
        PyObject *failure;
        if ((source->failures[i].code == RD_KAFKA_RESP_ERR_NO_ERROR) != misrouted)
            continue;
        failure = failure_of(&source->failures[i]);
        if (failure == NULL || PyList_Append(failures, failure) < 0)
            Py_CLEAR(failures);
        Py_XDECREF(failure);
    }
    return failures;
}

static PyObject *source_read_method(PyObject *self, PyObject *unused) {
    source_t *source = open_source(self);
    PyObject *touched, *failures, *misrouted;
    int result;
    (void)unused;
    if (source == NULL)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    result = source_read(source);
    Py_END_ALLOW_THREADS
    if (result == -1)
        return PyErr_NoMemory();
    if (result < 0) {
        PyErr_Format(PyExc_RuntimeError, "Kafka's client refuses to read its queue: %s",
                     rdkafka.err2str(source->refusal));
        return NULL;
    }
    touched = touched_of(source);
    failures = touched == NULL ? NULL : failures_of(source, 0);
    misrouted = failures == NULL ? NULL : failures_of(source, 1);
    if (misrouted == NULL) {
        Py_XDECREF(touched);
        Py_XDECREF(failures);
        return NULL;
    }
    return Py_BuildValue("NNN", touched, failures, misrouted);
}

static PyObject *source_wait_method(PyObject *self, PyObject *argument) {
    source_t *source = open_source(self);
    double seconds = PyFloat_AsDouble(argument);
    if (source == NULL || PyErr_Occurred())
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    source_wait(source, seconds);
    Py_END_ALLOW_THREADS
    return new_none();
}

static PyObject *source_wake_method(PyObject *self, PyObject *unused) {
    (void)unused;
    if (((SourceObject *)self)->is_open) /* `close` needs the interpreter's lock, which this thread has */
        source_wake(&((SourceObject *)self)->source);
    return new_none();
}

static PyObject *source_close_method(PyObject *self, PyObject *unused) {
    (void)unused;
    close_source((SourceObject *)self);
    return new_none();
}

static PyMethodDef source_methods[] = {
    {"lead", source_lead_method, METH_O, NULL},
    {"read", source_read_method, METH_NOARGS, NULL},
    {"wait", source_wait_method, METH_O, NULL},
    {"wake", source_wake_method, METH_NOARGS, NULL},
    {"close", source_close_method, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot source_slots[] = {
    {Py_tp_new, source_new},
    {Py_tp_dealloc, source_dealloc},
    {Py_tp_methods, source_methods},
    {0, NULL},
};

static PyType_Spec source_spec = {
    .name = "sidecar.records._native.Source",
    .basicsize = sizeof(SourceObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = source_slots,
};

/* --- the module -------------------------------------------------------------------------------------------------- */

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_native",
    .m_doc = "Kafka's records without a Python object for each.",
    .m_size = -1,
};

PyMODINIT_FUNC PyInit__native(void) {
    PyObject *module, *source_type;
    module = PyModule_Create(&definition);
    records_type = (PyTypeObject *)PyType_FromSpec(&records_spec);
    source_type = PyType_FromSpec(&source_spec);
    if (module == NULL || records_type == NULL || source_type == NULL
        || PyModule_AddObjectRef(module, "Records", (PyObject *)records_type) < 0
        || PyModule_AddObjectRef(module, "Source", source_type) < 0 || add_outlet(module) < 0) {
        Py_XDECREF(module);
        Py_XDECREF(source_type);
        return NULL;
    }
    Py_DECREF(source_type);
    return module;
}
