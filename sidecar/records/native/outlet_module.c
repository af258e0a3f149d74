/* `Outlet` and `Request` for Python. Both belong to one thread, the event loop's or that of a lambda's transactions; only
 * `Outlet.close` may run in another one, as the outlet's last call.
 *
 * A request whose records Kafka's client has refers to itself: librdkafka has only addresses of its records. It is freed
 * when its last report was served, at the earliest. The interpreter's lock is released where the work grows with the
 * number of records; for a few of them, getting it back may take longer than the work.
 */
#include "outlet_module.h"

#include <stdlib.h>
#include <string.h>

enum { UNLOCKED_RECORDS = 64, TEXT_SIZE = 512 };

static PyTypeObject *request_type;

/* --- Request ----------------------------------------------------------------------------------------------------- */

static PyObject *request_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {"data", "records", "topics", NULL};
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *data;
    Py_ssize_t records, topics, size;
    char *bytes;
    RequestObject *self;
    int result;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "Snn:Request", names, &data, &records, &topics)
        || PyBytes_AsStringAndSize(data, &bytes, &size) < 0)
        return NULL;
    self = (RequestObject *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    self->data = Py_NewRef(data);
    self->size = size;
    result = request_read((const uint8_t *)bytes, (size_t)size, (size_t)records, (size_t)topics, &self->request);
    if (result == 0) {
        self->request->owner = self;
        return (PyObject *)self;
    }
    if (result == -2)
        PyErr_NoMemory();
    else
        PyErr_SetString(PyExc_ValueError, "the request is not plain, or not well-formed");
    Py_DECREF(self);
    return NULL;
}

static void request_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    free(((RequestObject *)self)->request);
    Py_XDECREF(((RequestObject *)self)->data);
    free_object(self);
    Py_DECREF(type);
}

static PyObject *text_of(bytes_view_t view) {
    return PyUnicode_DecodeUTF8((const char *)view.data, (Py_ssize_t)view.len, "strict");
}

static PyObject *request_lease(PyObject *self, void *closure) {
    (void)closure;
    return text_of(((RequestObject *)self)->request->lease);
}

static PyObject *request_topics(PyObject *self, void *closure) {
    const request_t *request = ((RequestObject *)self)->request;
    PyObject *topics = PyList_New((Py_ssize_t)request->topic_count);
    (void)closure;
    for (size_t i = 0; topics != NULL && i < request->topic_count; i++) {
        PyObject *topic = text_of(request->topics[i]);
        if (topic == NULL || PyList_SetItem(topics, (Py_ssize_t)i, topic) < 0)
            Py_CLEAR(topics);
    }
    return topics;
}

static PyObject *request_size(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromSsize_t(((RequestObject *)self)->size);
}

static PyObject *request_written(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromSize_t(((RequestObject *)self)->request->written);
}

static Py_ssize_t request_len(PyObject *self) { return (Py_ssize_t)((RequestObject *)self)->request->count; }

RequestObject *as_request(PyObject *object) {
    if (PyObject_TypeCheck(object, request_type))
        return (RequestObject *)object;
    PyErr_SetString(PyExc_TypeError, "no request");
    return NULL;
}

void hold(RequestObject *self) {
    if (!self->is_held)
        Py_INCREF((PyObject *)self);
    self->is_held = 1;
}

static void let_go(RequestObject *self) {
    int was_held = self->is_held;
    self->is_held = 0;
    if (was_held)
        Py_DECREF((PyObject *)self);
}

static PyObject *request_end(PyObject *self, PyObject *unused) {
    RequestObject *one = (RequestObject *)self;
    int is_finished;
    (void)unused;
    if (one->has_ended) {
        PyErr_SetString(PyExc_RuntimeError, "the request has ended already");
        return NULL;
    }
    one->has_ended = 1;
    is_finished = --one->request->pending == 0;
    if (is_finished)
        let_go(one);
    return PyBool_FromLong(is_finished);
}

static PyObject *request_answer(PyObject *self, PyObject *unused) {
    const request_t *request = ((RequestObject *)self)->request;
    PyObject *answer;
    (void)unused;
    if (request->written < request->count) {
        PyErr_SetString(PyExc_RuntimeError, "some records are not written");
        return NULL;
    }
    answer = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)request_answer_size(request));
    if (answer != NULL)
        request_answer_write(request, (uint8_t *)PyBytes_AsString(answer));
    return answer;
}

static PyObject *request_results(PyObject *self, PyObject *unused) {
    const request_t *request = ((RequestObject *)self)->request;
    PyObject *results = PyList_New((Py_ssize_t)request->count);
    (void)unused;
    for (size_t i = 0; results != NULL && i < request->count; i++) {
        const record_t *record = &request->records[i];
        PyObject *result = Py_BuildValue("iiIiLn", (int)record->state, (int)record->code, (unsigned)record->topic,
                                         (int)record->partition, (long long)record->offset,
                                         (Py_ssize_t)(record->key.len + record->value.len));
        if (result == NULL || PyList_SetItem(results, (Py_ssize_t)i, result) < 0)
            Py_CLEAR(results);
    }
    return results;
}

static PyMethodDef request_methods[] = {
    {"end", request_end, METH_NOARGS, NULL},
    {"answer", request_answer, METH_NOARGS, NULL},
    {"of", request_of_records, METH_O | METH_CLASS, NULL},
    {"places", request_places, METH_NOARGS, NULL},
    {"results", request_results, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef request_attributes[] = {
    {"lease", request_lease, NULL, NULL, NULL},     {"topics", request_topics, NULL, NULL, NULL},
    {"size", request_size, NULL, NULL, NULL},       {"written", request_written, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot request_slots[] = {
    {Py_tp_new, request_new},
    {Py_tp_dealloc, request_dealloc},
    {Py_tp_methods, request_methods},
    {Py_tp_getset, request_attributes},
    {Py_sq_length, request_len},
    {0, NULL},
};

static PyType_Spec request_spec = {
    .name = "sidecar.records._native.Request",
    .basicsize = sizeof(RequestObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = request_slots,
};

/* --- Outlet ------------------------------------------------------------------------------------------------------ */

/* Make the producer with properties from a dict of texts. Returns 0; -1: with an exception. */
static int open_outlet(OutletObject *self, PyObject *properties, int fd) {
    Py_ssize_t count = PyDict_Size(properties), at = 0;
    const char **texts = calloc((size_t)count * 2 + 1, sizeof *texts);
    char text[TEXT_SIZE];
    PyObject *name, *value;
    if (texts == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; PyDict_Next(properties, &at, &name, &value); i++) {
        texts[i] = PyUnicode_AsUTF8AndSize(name, NULL);
        texts[count + i] = texts[i] == NULL ? NULL : PyUnicode_AsUTF8AndSize(value, NULL);
        if (texts[count + i] == NULL) {
            free(texts);
            return -1;
        }
    }
    self->is_open = outlet_open(&self->outlet, texts, texts + count, (size_t)count, fd, text, sizeof text) == 0;
    free(texts);
    if (!self->is_open)
        PyErr_SetString(PyExc_ValueError, text);
    return self->is_open ? 0 : -1;
}

static PyObject *outlet_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {"properties", "fd", NULL};
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *properties;
    OutletObject *self;
    int fd;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O!i:Outlet", names, &PyDict_Type, &properties, &fd))
        return NULL;
    self = (OutletObject *)allocate(type, 0);
    if (self != NULL && open_outlet(self, properties, fd) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* The finished requests, with the references that they had to themselves. */
static PyObject *take_finished(outlet_t *outlet) {
    PyObject *finished = PyList_New(0);
    for (request_t *one = outlet->finished, *next; one != NULL; one = next) {
        next = one->next; /* `one` may be freed below */
        if (finished != NULL && PyList_Append(finished, one->owner) < 0)
            Py_CLEAR(finished);
        let_go(one->owner);
    }
    outlet->finished = NULL;
    outlet->finished_end = &outlet->finished;
    return finished;
}

/* Returns how many records are left without a report; -1: with an exception. */
static int close_outlet(OutletObject *self) {
    int left;
    if (!self->is_open)
        return 0;
    if (self->in_use) {
        PyErr_SetString(PyExc_RuntimeError, "the outlet is in use");
        return -1;
    }
    self->is_open = 0;
    Py_BEGIN_ALLOW_THREADS
    left = outlet_close(&self->outlet);
    Py_END_ALLOW_THREADS
    outlet_clear(&self->outlet);
    Py_XDECREF(take_finished(&self->outlet));
    return left;
}

static void outlet_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    freefunc free_object = (freefunc)PyType_GetSlot(type, Py_tp_free);
    close_outlet((OutletObject *)self);
    free_object(self);
    Py_DECREF(type);
}

OutletObject *open_one(PyObject *self) {
    if (((OutletObject *)self)->is_open && !((OutletObject *)self)->in_use)
        return (OutletObject *)self;
    PyErr_SetString(PyExc_RuntimeError, "the outlet is closed, or in use");
    return NULL;
}

static PyObject *outlet_produce_method(PyObject *self, PyObject *arguments) {
    OutletObject *one = open_one(self);
    RequestObject *object;
    request_t *request;
    Py_ssize_t most;
    int result;
    if (one == NULL || !PyArg_ParseTuple(arguments, "O!n:produce", request_type, &object, &most))
        return NULL;
    request = object->request;
    if (most < 1 || object->has_ended) {
        PyErr_SetString(PyExc_ValueError, "at least one record, of a request that has not ended");
        return NULL;
    }
    if (request->count - request->given < UNLOCKED_RECORDS) {
        result = outlet_produce(&one->outlet, request, (size_t)most);
    } else {
        one->in_use = 1;
        Py_BEGIN_ALLOW_THREADS
        result = outlet_produce(&one->outlet, request, (size_t)most);
        Py_END_ALLOW_THREADS
        one->in_use = 0;
    }
    if (request->pending > 1)
        hold(object);
    return result < 0 ? PyErr_NoMemory() : PyLong_FromLong(result);
}

static PyObject *lines_of(outlet_t *outlet) {
    PyObject *lines = PyList_New((Py_ssize_t)outlet->line_count);
    for (size_t i = 0; lines != NULL && i < outlet->line_count; i++) {
        const log_line_t *line = &outlet->lines[i];
        PyObject *text = PyUnicode_DecodeUTF8(line->text, (Py_ssize_t)strlen(line->text), "replace");
        PyObject *made = text == NULL ? NULL : Py_BuildValue("isN", line->level, line->facility, text);
        if (made == NULL || PyList_SetItem(lines, (Py_ssize_t)i, made) < 0)
            Py_CLEAR(lines);
    }
    outlet_clear(outlet);
    return lines;
}

/* The code and the text of the error with which the client has failed for good; None: it has not, or this was said. */
static PyObject *failure_of(outlet_t *outlet) {
    char text[TEXT_SIZE] = "";
    int code = outlet_failed(outlet) ? rdkafka.fatal_error(outlet->client, text, sizeof text) : RD_KAFKA_RESP_ERR_NO_ERROR;
    PyObject *reason;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return new_none();
    reason = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
    return reason == NULL ? NULL : Py_BuildValue("iN", code, reason);
}

static PyObject *outlet_serve_method(PyObject *self, PyObject *arguments) {
    OutletObject *one = open_one(self);
    PyObject *finished, *lines, *failure;
    int again, ms = 0;
    if (one == NULL || !PyArg_ParseTuple(arguments, "|i:serve", &ms))
        return NULL;
    if (ms == 0 && rdkafka.outq_len(one->outlet.client) < UNLOCKED_RECORDS) {
        again = outlet_serve(&one->outlet, ms);
    } else {
        one->in_use = 1;
        Py_BEGIN_ALLOW_THREADS
        again = outlet_serve(&one->outlet, ms);
        Py_END_ALLOW_THREADS
        one->in_use = 0;
    }
    finished = take_finished(&one->outlet);
    lines = lines_of(&one->outlet);
    failure = failure_of(&one->outlet);
    if (finished == NULL || lines == NULL || failure == NULL) {
        Py_XDECREF(finished);
        Py_XDECREF(lines);
        Py_XDECREF(failure);
        return NULL;
    }
    return Py_BuildValue("NNNN", finished, lines, failure, PyBool_FromLong(again));
}

static PyObject *outlet_purge(PyObject *self, PyObject *unused) {
    OutletObject *one = open_one(self);
    (void)unused;
    if (one == NULL)
        return NULL;
    one->in_use = 1;
    Py_BEGIN_ALLOW_THREADS
    rdkafka.purge(one->outlet.client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    Py_END_ALLOW_THREADS
    one->in_use = 0;
    return new_none();
}

static PyObject *outlet_close_method(PyObject *self, PyObject *unused) {
    int left = close_outlet((OutletObject *)self);
    (void)unused;
    return left < 0 ? NULL : PyLong_FromLong(left);
}

static PyObject *outlet_name(PyObject *self, void *closure) {
    OutletObject *one = open_one(self);
    (void)closure;
    return one == NULL ? NULL : PyUnicode_FromString(rdkafka.name(one->outlet.client));
}

static PyMethodDef outlet_methods[] = {
    {"produce", outlet_produce_method, METH_VARARGS, NULL},
    {"serve", outlet_serve_method, METH_VARARGS, NULL},
    {"purge", outlet_purge, METH_NOARGS, NULL},
    {"close", outlet_close_method, METH_NOARGS, NULL},
    {"transact", outlet_transact_method, METH_O, NULL},
    {"flush", outlet_flush_method, METH_O, NULL},
    {"init_transactions", outlet_init_transactions, METH_O, NULL},
    {"begin_transaction", outlet_begin_transaction, METH_NOARGS, NULL},
    {"send_offsets", outlet_send_offsets, METH_VARARGS, NULL},
    {"commit_transaction", outlet_commit_transaction, METH_O, NULL},
    {"abort_transaction", outlet_abort_transaction, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef outlet_attributes[] = {
    {"name", outlet_name, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot outlet_slots[] = {
    {Py_tp_new, outlet_new},
    {Py_tp_dealloc, outlet_dealloc},
    {Py_tp_methods, outlet_methods},
    {Py_tp_getset, outlet_attributes},
    {0, NULL},
};

static PyType_Spec outlet_spec = {
    .name = "sidecar.records._native.Outlet",
    .basicsize = sizeof(OutletObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = outlet_slots,
};

/* --- the module -------------------------------------------------------------------------------------------------- */

int add_outlet(PyObject *module) {
    PyObject *outlet_object;
    request_type = (PyTypeObject *)PyType_FromSpec(&request_spec);
    outlet_object = PyType_FromSpec(&outlet_spec);
    if (request_type == NULL || outlet_object == NULL
        || PyModule_AddObjectRef(module, "Request", (PyObject *)request_type) < 0
        || PyModule_AddObjectRef(module, "Outlet", outlet_object) < 0) {
        Py_XDECREF(outlet_object);
        return -1;
    }
    Py_DECREF(outlet_object);
    return 0;
}
