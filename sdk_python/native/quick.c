/* The Python module `sdk_python._quick`: what a record that a lambda produces costs as a rule. Its types are in
 * _quick.pyi, and _plain.py is the same in Python.
 *
 * Each type is the first part of a class of the SDK: its fields, and the methods that are called for each record. A
 * method here does only what is usual. Where anything has to be looked at, it calls a method of the class, in Python.
 *
 * References: see module.c. The interpreter's lock guards everything; the event loop owns all objects. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <structmember.h>

#include <stddef.h>

enum { OVERHEAD_BYTES = 32 }; /* as in _record.py */

/* The first part of `Outcomes`. */
typedef struct {
    PyObject_HEAD
    long long put, under_way;
} CountedObject;

/* The first part of `Source`. All but the first two are columns of a batch, or about them. */
typedef struct {
    PyObject_HEAD
    char settled;
    PyObject *called; /* list of the outcomes that have a callback */
    PyObject *topic, *values, *keys, *outcomes, *sources; /* lists, but for the topic; sources: or None */
    PyObject *owner, *counting; /* where the records count; counting: None or the list of where each does */
    long long size;
    char keyed, is_wide;
} SourceObject;

/* The first part of `Outcome`. */
typedef struct {
    PyObject_HEAD
    PyObject *source, *kept;          /* kept: a future or None */
    PyObject *call, *context, *more; /* a callback and its context, and further ones; or None */
    Py_ssize_t index;
} OutcomeObject;

/* The first part of `Producing`. */
typedef struct {
    PyObject_HEAD
    PyObject *open, *counting, *kind; /* open: a Source or None; kind: the class of outcomes */
    long long bytes, records, usual_bytes, usual_records;
} QueueObject;

static PyTypeObject *counted_type, *source_type, *outcome_type, *queue_type;
static PyObject *copy_context; /* the function of contextvars */

static PyObject *new_reference(PyObject *object) {
    Py_IncRef(object);
    return object;
}

static int is_a(PyObject *object, PyTypeObject *type) {
    return object != NULL && PyType_IsSubtype(Py_TYPE(object), type);
}

static void drop(PyObject **field) {
    PyObject *object = *field;
    *field = NULL;
    Py_DecRef(object);
}

/* --- memory --------------------------------------------------------------------------------------------------------- */

/* The end of an object; `clear` drops its references. */
static void end(PyObject *self, inquiry clear) {
    PyTypeObject *type = Py_TYPE(self);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    if (clear != NULL) {
        PyObject_GC_UnTrack(self);
        (void)clear(self);
    }
    free_object(self);
    Py_DecRef((PyObject *)type);
}

static void counted_dealloc(PyObject *self) { end(self, NULL); }

static int source_traverse(PyObject *object, visitproc visit, void *arg) {
    SourceObject *self = (SourceObject *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->called);
    Py_VISIT(self->topic);
    Py_VISIT(self->values);
    Py_VISIT(self->keys);
    Py_VISIT(self->outcomes);
    Py_VISIT(self->sources);
    Py_VISIT(self->owner);
    Py_VISIT(self->counting);
    return 0;
}

static int source_clear(PyObject *object) {
    SourceObject *self = (SourceObject *)object;
    drop(&self->called);
    drop(&self->topic);
    drop(&self->values);
    drop(&self->keys);
    drop(&self->outcomes);
    drop(&self->sources);
    drop(&self->owner);
    drop(&self->counting);
    return 0;
}

static void source_dealloc(PyObject *self) { end(self, source_clear); }

static int outcome_traverse(PyObject *object, visitproc visit, void *arg) {
    OutcomeObject *self = (OutcomeObject *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->source);
    Py_VISIT(self->kept);
    Py_VISIT(self->call);
    Py_VISIT(self->context);
    Py_VISIT(self->more);
    return 0;
}

static int outcome_clear(PyObject *object) {
    OutcomeObject *self = (OutcomeObject *)object;
    drop(&self->source);
    drop(&self->kept);
    drop(&self->call);
    drop(&self->context);
    drop(&self->more);
    return 0;
}

static void outcome_dealloc(PyObject *self) { end(self, outcome_clear); }

static int queue_traverse(PyObject *object, visitproc visit, void *arg) {
    QueueObject *self = (QueueObject *)object;
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->open);
    Py_VISIT(self->counting);
    Py_VISIT(self->kind);
    return 0;
}

static int queue_clear(PyObject *object) {
    QueueObject *self = (QueueObject *)object;
    drop(&self->open);
    drop(&self->counting);
    drop(&self->kind);
    return 0;
}

static void queue_dealloc(PyObject *self) { end(self, queue_clear); }

/* Call the method with arguments as they came: what it does is not usual. */
static PyObject *forward(PyObject *self, const char *method, PyObject *const *args, Py_ssize_t count, PyObject *names) {
    PyObject *callable = PyObject_GetAttrString(self, method), *made = NULL, *named = NULL;
    PyObject *positional = PyTuple_New(count);
    Py_ssize_t named_count = names == NULL ? 0 : PyTuple_Size(names);
    int failed = callable == NULL || positional == NULL;
    for (Py_ssize_t i = 0; !failed && i < count; i++)
        failed = PyTuple_SetItem(positional, i, new_reference(args[i])) < 0;
    if (!failed && named_count > 0)
        failed = (named = PyDict_New()) == NULL;
    for (Py_ssize_t i = 0; !failed && i < named_count; i++)
        failed = PyDict_SetItem(named, PyTuple_GetItem(names, i), args[count + i]) < 0;
    if (!failed)
        made = PyObject_Call(callable, positional, named);
    Py_DecRef(callable);
    Py_DecRef(positional);
    Py_DecRef(named);
    return made;
}

/* --- Outcome -------------------------------------------------------------------------------------------------------- */

/* Whether nobody has looked yet, so that the source knows all: 1 its outcomes are known, 0 not yet, -1 ask `kept`. */
static int seen_from_the_source(const OutcomeObject *self) {
    if (self->kept != Py_None || !is_a(self->source, source_type))
        return -1;
    return ((SourceObject *)self->source)->settled != 0;
}

static PyObject *outcome_done(PyObject *self, PyObject *nothing) {
    int settled = seen_from_the_source((OutcomeObject *)self);
    (void)nothing;
    return settled < 0 ? PyObject_CallMethod(self, "_is_done", NULL) : PyBool_FromLong(settled);
}

static PyObject *outcome_cancelled(PyObject *self, PyObject *nothing) {
    (void)nothing;
    return seen_from_the_source((OutcomeObject *)self) < 0 ? PyObject_CallMethod(self, "_is_cancelled", NULL)
                                                           : PyBool_FromLong(0);
}

static PyObject *outcome_exception(PyObject *self, PyObject *nothing) {
    (void)nothing;
    return seen_from_the_source((OutcomeObject *)self) == 1 ? new_reference(Py_None)
                                                            : PyObject_CallMethod(self, "_receive", NULL);
}

/* add_done_callback(call, *, context=None) */
static PyObject *outcome_add(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names) {
    OutcomeObject *self = (OutcomeObject *)object;
    PyObject *context;
    if (count != 1 || names != NULL || seen_from_the_source(self) != 0 || self->call != Py_None
        || ((SourceObject *)self->source)->called == NULL)
        return forward(object, "_add_done_callback", args, count, names);
    if (PyList_Append(((SourceObject *)self->source)->called, object) < 0
        || (context = PyObject_CallNoArgs(copy_context)) == NULL)
        return NULL;
    drop(&self->call);
    drop(&self->context);
    self->call = new_reference(args[0]);
    self->context = context;
    return new_reference(Py_None);
}

/* --- put ------------------------------------------------------------------------------------------------------------ */

enum { TOPIC, VALUE, KEY, HEADERS, PARTITION, SOURCE, ARGUMENTS };

static const char *const argument_names[ARGUMENTS] = {"topic", "value", "key", "headers", "partition", "source"};

/* Sorts the arguments by name; what is not given is NULL. Returns 0 if a call with them must fail. */
static int arguments(PyObject *const *args, Py_ssize_t count, PyObject *names, PyObject **sorted) {
    Py_ssize_t named_count = names == NULL ? 0 : PyTuple_Size(names);
    if (count > ARGUMENTS)
        return 0;
    for (Py_ssize_t i = 0; i < ARGUMENTS; i++)
        sorted[i] = i < count ? args[i] : NULL;
    for (Py_ssize_t i = 0; i < named_count; i++) {
        int at = 0;
        while (at < ARGUMENTS
               && PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, i), argument_names[at]) != 0)
            at++;
        if (at == ARGUMENTS || sorted[at] != NULL)
            return 0;
        sorted[at] = args[count + i];
    }
    return sorted[TOPIC] != NULL && sorted[VALUE] != NULL;
}

static int is_not_given(PyObject *argument) { return argument == NULL || argument == Py_None; }

/* A new reference to a value or key as bytes, or to None. NULL, without an exception: it is neither nor a text. */
static PyObject *as_bytes(PyObject *given) {
    PyObject *made = NULL;
    if (is_not_given(given))
        return new_reference(Py_None);
    if (PyBytes_CheckExact(given))
        return new_reference(given);
    if (PyUnicode_CheckExact(given) && (made = PyUnicode_AsUTF8String(given)) == NULL)
        PyErr_Clear();
    return made;
}

static Py_ssize_t length(PyObject *bytes) { return bytes == Py_None ? 0 : PyBytes_Size(bytes); }

static int is_same_text(PyObject *one, PyObject *other) {
    return one == other
           || (PyUnicode_CheckExact(one) && PyUnicode_CheckExact(other) && PyUnicode_Compare(one, other) == 0);
}

/* Whether it is None, or the offset of a message. */
static int is_source(PyObject *given) {
    long long offset;
    if (is_not_given(given))
        return 1;
    if (!PyLong_CheckExact(given))
        return 0;
    offset = PyLong_AsLongLong(given);
    if (offset == -1)
        PyErr_Clear();
    return offset >= 0;
}

/* Whether a record with these arguments goes into the open batch without a look at anything but its size. */
static int is_usual(const QueueObject *self, PyObject *const *sorted) {
    const SourceObject *batch = (const SourceObject *)self->open;
    PyObject *headers = sorted[HEADERS];
    return is_a(self->open, source_type) && is_a(self->counting, counted_type) && !batch->is_wide
           && batch->topic != NULL && batch->outcomes != NULL && PyList_CheckExact(batch->outcomes)
           && batch->values != NULL && batch->keys != NULL && is_same_text(sorted[TOPIC], batch->topic)
           && (headers == NULL || (PyTuple_CheckExact(headers) && PyTuple_Size(headers) == 0))
           && is_not_given(sorted[PARTITION]) && is_source(sorted[SOURCE]) && self->records < self->usual_records
           && self->kind != NULL && PyType_Check(self->kind)
           && PyType_IsSubtype((PyTypeObject *)self->kind, outcome_type);
}

/* Add the record to the columns of the batch. Returns its outcome. */
static PyObject *append(QueueObject *self, SourceObject *batch, PyObject *value, PyObject *key, PyObject *source) {
    PyTypeObject *kind = (PyTypeObject *)self->kind;
    OutcomeObject *outcome = (OutcomeObject *)((allocfunc)PyType_GetSlot(kind, Py_tp_alloc))(kind, 0);
    int failed;
    if (outcome == NULL)
        return NULL;
    outcome->source = new_reference((PyObject *)batch);
    outcome->kept = new_reference(Py_None);
    outcome->call = new_reference(Py_None);
    outcome->context = new_reference(Py_None);
    outcome->more = new_reference(Py_None);
    outcome->index = PyList_Size(batch->outcomes);
    failed = PyList_Append(batch->values, value) < 0 || PyList_Append(batch->keys, key) < 0
             || PyList_Append(batch->outcomes, (PyObject *)outcome) < 0;
    if (!failed && batch->sources != NULL && batch->sources != Py_None) {
        PyObject *made_from = is_not_given(source) ? PyLong_FromLong(-1) : new_reference(source);
        failed = made_from == NULL || PyList_Append(batch->sources, made_from) < 0;
        Py_DecRef(made_from);
    }
    if (failed)
        drop((PyObject **)&outcome);
    return (PyObject *)outcome;
}

/* Count a record of this size, which was just appended. Returns -1 with an exception. */
static int count_one(QueueObject *self, SourceObject *batch, Py_ssize_t size) {
    CountedObject *counting = (CountedObject *)self->counting;
    PyObject *counted;
    self->bytes += size;
    self->records++;
    batch->size += size;
    counting->put++;
    counting->under_way++;
    if (batch->counting == Py_None && self->counting == batch->owner)
        return 0;
    counted = PyObject_CallMethod((PyObject *)batch, "count_in", "O", self->counting);
    Py_DecRef(counted);
    return counted == NULL ? -1 : 0;
}

/* put(topic, value, key=None, headers=(), partition=None, source=None) */
static PyObject *queue_put(PyObject *object, PyObject *const *args, Py_ssize_t count, PyObject *names) {
    QueueObject *self = (QueueObject *)object;
    PyObject *sorted[ARGUMENTS], *value, *key, *outcome = NULL;
    Py_ssize_t size;
    int taken = 0;
    if (!arguments(args, count, names, sorted) || !is_usual(self, sorted))
        return forward(object, "produce", args, count, names);
    value = as_bytes(sorted[VALUE]);
    key = as_bytes(sorted[KEY]);
    if (value != NULL && key != NULL) {
        size = OVERHEAD_BYTES + length(value) + length(key);
        taken = self->bytes + size <= self->usual_bytes;
        if (taken) {
            SourceObject *batch = (SourceObject *)new_reference(self->open);
            outcome = append(self, batch, value, key, sorted[SOURCE]);
            if (outcome != NULL) {
                batch->keyed |= key != Py_None;
                if (count_one(self, batch, size) < 0)
                    drop(&outcome);
            }
            Py_DecRef((PyObject *)batch);
        }
    }
    Py_DecRef(value);
    Py_DecRef(key);
    return taken ? outcome : forward(object, "produce", args, count, names);
}

/* --- the module ----------------------------------------------------------------------------------------------------- */

static PyMemberDef counted_members[] = {
    {"put", T_LONGLONG, offsetof(CountedObject, put), 0, NULL},
    {"under_way", T_LONGLONG, offsetof(CountedObject, under_way), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMemberDef source_members[] = {
    {"settled", T_BOOL, offsetof(SourceObject, settled), 0, NULL},
    {"called", T_OBJECT_EX, offsetof(SourceObject, called), 0, NULL},
    {"topic", T_OBJECT_EX, offsetof(SourceObject, topic), 0, NULL},
    {"values", T_OBJECT_EX, offsetof(SourceObject, values), 0, NULL},
    {"keys", T_OBJECT_EX, offsetof(SourceObject, keys), 0, NULL},
    {"outcomes", T_OBJECT_EX, offsetof(SourceObject, outcomes), 0, NULL},
    {"sources", T_OBJECT_EX, offsetof(SourceObject, sources), 0, NULL},
    {"owner", T_OBJECT_EX, offsetof(SourceObject, owner), 0, NULL},
    {"counting", T_OBJECT_EX, offsetof(SourceObject, counting), 0, NULL},
    {"size", T_LONGLONG, offsetof(SourceObject, size), 0, NULL},
    {"keyed", T_BOOL, offsetof(SourceObject, keyed), 0, NULL},
    {"is_wide", T_BOOL, offsetof(SourceObject, is_wide), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMemberDef outcome_members[] = {
    {"source", T_OBJECT_EX, offsetof(OutcomeObject, source), 0, NULL},
    {"kept", T_OBJECT_EX, offsetof(OutcomeObject, kept), 0, NULL},
    {"call", T_OBJECT_EX, offsetof(OutcomeObject, call), 0, NULL},
    {"context", T_OBJECT_EX, offsetof(OutcomeObject, context), 0, NULL},
    {"more", T_OBJECT_EX, offsetof(OutcomeObject, more), 0, NULL},
    {"index", T_PYSSIZET, offsetof(OutcomeObject, index), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMemberDef queue_members[] = {
    {"_open", T_OBJECT_EX, offsetof(QueueObject, open), 0, NULL},
    {"counting", T_OBJECT_EX, offsetof(QueueObject, counting), 0, NULL},
    {"_kind", T_OBJECT_EX, offsetof(QueueObject, kind), 0, NULL},
    {"_bytes", T_LONGLONG, offsetof(QueueObject, bytes), 0, NULL},
    {"_records", T_LONGLONG, offsetof(QueueObject, records), 0, NULL},
    {"_usual_bytes", T_LONGLONG, offsetof(QueueObject, usual_bytes), 0, NULL},
    {"_usual_records", T_LONGLONG, offsetof(QueueObject, usual_records), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

/* A method with METH_FASTCALL | METH_KEYWORDS, as the table of methods has it. */
#define QUICK(function) ((PyCFunction)(void (*)(void))(function)), METH_FASTCALL | METH_KEYWORDS

static PyMethodDef outcome_methods[] = {
    {"done", outcome_done, METH_NOARGS, "done($self, /)\n--\n\nWhether the outcome is known."},
    {"cancelled", outcome_cancelled, METH_NOARGS, "cancelled($self, /)\n--\n\nWhether the await was cancelled."},
    {"exception", outcome_exception, METH_NOARGS, "exception($self, /)\n--\n\nThe failure, or None."},
    {"add_done_callback", QUICK(outcome_add),
     "add_done_callback($self, call, /, *, context=None)\n--\n\nCall this soon after the outcome is known."},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef queue_methods[] = {
    {"put", QUICK(queue_put),
     "put($self, /, topic, value, key=None, headers=(), partition=None, source=None)\n--\n\n"
     "Write a record to Kafka, as `IContext.produce` describes."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot counted_slots[] = {
    {Py_tp_dealloc, counted_dealloc},
    {Py_tp_members, counted_members},
    {0, NULL},
};

static PyType_Slot source_slots[] = {
    {Py_tp_dealloc, source_dealloc}, {Py_tp_traverse, source_traverse}, {Py_tp_clear, source_clear},
    {Py_tp_members, source_members}, {0, NULL},
};

static PyType_Slot outcome_slots[] = {
    {Py_tp_dealloc, outcome_dealloc}, {Py_tp_traverse, outcome_traverse}, {Py_tp_clear, outcome_clear},
    {Py_tp_members, outcome_members}, {Py_tp_methods, outcome_methods},   {0, NULL},
};

static PyType_Slot queue_slots[] = {
    {Py_tp_dealloc, queue_dealloc}, {Py_tp_traverse, queue_traverse}, {Py_tp_clear, queue_clear},
    {Py_tp_members, queue_members}, {Py_tp_methods, queue_methods},   {0, NULL},
};

enum { OPEN = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, COLLECTED = OPEN | Py_TPFLAGS_HAVE_GC };

static PyType_Spec counted_spec = {"sdk_python._quick.Counted", sizeof(CountedObject), 0, OPEN, counted_slots};
static PyType_Spec source_spec = {"sdk_python._quick.Source", sizeof(SourceObject), 0, COLLECTED, source_slots};
static PyType_Spec outcome_spec = {"sdk_python._quick.Outcome", sizeof(OutcomeObject), 0, COLLECTED, outcome_slots};
static PyType_Spec queue_spec = {"sdk_python._quick.Queue", sizeof(QueueObject), 0, COLLECTED, queue_slots};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_quick",
    .m_doc = "What a record that a lambda produces costs as a rule.",
    .m_size = -1,
};

/* Makes a type and adds it to the module. NULL: with an exception. */
static PyTypeObject *add_type(PyObject *module, const char *name, PyType_Spec *spec) {
    PyObject *type = PyType_FromSpec(spec);
    if (type != NULL && PyModule_AddObjectRef(module, name, type) < 0)
        drop(&type);
    return (PyTypeObject *)type;
}

PyMODINIT_FUNC PyInit__quick(void) {
    PyObject *module = PyModule_Create(&definition);
    PyObject *contextvars = PyImport_ImportModule("contextvars");
    if (module != NULL && contextvars != NULL
        && (copy_context = PyObject_GetAttrString(contextvars, "copy_context")) != NULL
        && (counted_type = add_type(module, "Counted", &counted_spec)) != NULL
        && (source_type = add_type(module, "Source", &source_spec)) != NULL
        && (outcome_type = add_type(module, "Outcome", &outcome_spec)) != NULL
        && (queue_type = add_type(module, "Queue", &queue_spec)) != NULL) {
        Py_DecRef(contextvars);
        return module;
    }
    Py_DecRef(contextvars);
    Py_DecRef(module);
    return NULL;
}
