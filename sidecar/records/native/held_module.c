/* A `Request` from records that are Python's already: those of a transaction wait as such for their checkpoint. They are
 * given to Kafka's client, and reported, like those of a request that was read from bytes.
 */
#include "outlet_module.h"

#include <stdlib.h>
#include <string.h>

/* The fields of `Outgoing` in sidecar/mail/outgoing.py. */
enum { TOPIC, KEY, VALUE, PARTITION, HEADERS, REFUSAL, FIELDS };

/* The bytes of an object that lives as long as the request. Returns 0; -1: with an exception. */
static int view_of(PyObject *object, bytes_view_t *view) {
    char *data;
    Py_ssize_t len;
    *view = (bytes_view_t){NULL, 0};
    if (Py_IsNone(object))
        return 0;
    if (PyBytes_AsStringAndSize(object, &data, &len) < 0)
        return -1;
    *view = (bytes_view_t){(const uint8_t *)data, (size_t)len};
    return 0;
}

static int text_view_of(PyObject *object, bytes_view_t *view) {
    Py_ssize_t len;
    const char *data = PyUnicode_AsUTF8AndSize(object, &len);
    if (data == NULL)
        return -1;
    *view = (bytes_view_t){(const uint8_t *)data, (size_t)len};
    return 0;
}

/* An entry of a list or a tuple, which keeps it: a borrowed reference. NULL: with an exception. */
static PyObject *entry(PyObject *sequence, Py_ssize_t index) {
    return PyList_Check(sequence) ? PyList_GetItem(sequence, index) : PyTuple_GetItem(sequence, index);
}

/* Count the records before the first one that must not be written, and their headers. Returns 0; -1: with an exception. */
static int count(PyObject *records, size_t *record_count, size_t *header_count) {
    Py_ssize_t most = PyTuple_Size(records);
    *record_count = *header_count = 0;
    for (Py_ssize_t i = 0; i < most; i++) {
        PyObject *record = PyTuple_GetItem(records, i);
        Py_ssize_t headers, refusal;
        if (!PyTuple_Check(record) || PyTuple_Size(record) != FIELDS) {
            PyErr_SetString(PyExc_TypeError, "a record is a tuple of six fields");
            return -1;
        }
        headers = PySequence_Size(PyTuple_GetItem(record, HEADERS));
        refusal = PyObject_Size(PyTuple_GetItem(record, REFUSAL));
        if (headers < 0 || refusal < 0)
            return -1;
        if (refusal > 0)
            return 0;
        *header_count += (size_t)headers;
        ++*record_count;
    }
    return 0;
}

/* The index of a topic, which is most often that of the record before. */
static uint32_t topic_index(request_t *request, bytes_view_t name, uint32_t last) {
    size_t index = last;
    if (index < request->topic_count && request->topics[index].data == name.data)
        return last;
    for (index = 0; index < request->topic_count; index++)
        if (request->topics[index].len == name.len && memcmp(request->topics[index].data, name.data, name.len) == 0)
            return (uint32_t)index;
    request->topics[request->topic_count] = name;
    return (uint32_t)request->topic_count++;
}

/* Read the headers of a record. Returns 0; -1: with an exception. */
static int read_headers(request_t *request, record_t *record, PyObject *headers) {
    Py_ssize_t size = PySequence_Size(headers);
    record->header = (uint32_t)request->header_count;
    record->header_count = (uint32_t)size;
    for (Py_ssize_t i = 0; i < size; i++) {
        request_header_t *header = &request->headers[request->header_count++];
        PyObject *pair = entry(headers, i);
        if (pair == NULL)
            return -1;
        if (!PyTuple_Check(pair) || PyTuple_Size(pair) != 2) {
            PyErr_SetString(PyExc_TypeError, "a header is a pair");
            return -1;
        }
        if (text_view_of(PyTuple_GetItem(pair, 0), &header->name) < 0
            || view_of(PyTuple_GetItem(pair, 1), &header->value) < 0)
            return -1;
    }
    return 0;
}

static int read_record(request_t *request, size_t index, PyObject *fields, Py_ssize_t *bytes) {
    record_t *record = &request->records[index];
    long partition = PyLong_AsLong(PyTuple_GetItem(fields, PARTITION));
    bytes_view_t topic;
    if ((partition == -1 && PyErr_Occurred()) || text_view_of(PyTuple_GetItem(fields, TOPIC), &topic) < 0
        || view_of(PyTuple_GetItem(fields, KEY), &record->key) < 0
        || view_of(PyTuple_GetItem(fields, VALUE), &record->value) < 0)
        return -1;
    if (partition < -1 || partition > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "a partition is -1 or above");
        return -1;
    }
    record->index = (uint32_t)index;
    record->offset = -1;
    record->partition = (int32_t)partition;
    record->topic = topic_index(request, topic, index > 0 ? record[-1].topic : 0);
    *bytes += (Py_ssize_t)(record->key.len + record->value.len);
    return read_headers(request, record, PyTuple_GetItem(fields, HEADERS));
}

/* Returns NULL with an exception. */
static request_t *read_all(PyObject *records, Py_ssize_t *bytes) {
    size_t record_count, header_count;
    request_t *request;
    if (count(records, &record_count, &header_count) < 0)
        return NULL;
    /* Each record may have a topic of its own. */
    request = calloc(1, sizeof *request + record_count * (sizeof *request->records + sizeof *request->topics)
                            + header_count * sizeof *request->headers);
    if (request == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    *request = (request_t){.count = record_count, .pending = 1};
    request->headers = (request_header_t *)(void *)(request->records + record_count);
    request->topics = (bytes_view_t *)(void *)(request->headers + header_count);
    for (size_t i = 0; i < record_count; i++)
        if (read_record(request, i, PyTuple_GetItem(records, (Py_ssize_t)i), bytes) < 0) {
            free(request);
            return NULL;
        }
    return request;
}

PyObject *request_of_records(PyObject *type, PyObject *records) {
    allocfunc allocate = (allocfunc)PyType_GetSlot((PyTypeObject *)type, Py_tp_alloc);
    RequestObject *self = (RequestObject *)allocate((PyTypeObject *)type, 0);
    if (self == NULL)
        return NULL;
    self->data = PySequence_Tuple(records); /* nobody can take a record out of it */
    self->request = self->data == NULL ? NULL : read_all(self->data, &self->size);
    if (self->request == NULL) {
        Py_DECREF((PyObject *)self);
        return NULL;
    }
    self->request->owner = self;
    return (PyObject *)self;
}

PyObject *request_places(PyObject *self, PyObject *unused) {
    const request_t *request = ((RequestObject *)self)->request;
    PyObject *partitions = PyList_New((Py_ssize_t)request->count), *offsets = PyList_New((Py_ssize_t)request->count);
    int is_good = partitions != NULL && offsets != NULL;
    (void)unused;
    for (size_t i = 0; is_good && i < request->count; i++) {
        PyObject *partition = PyLong_FromLong(request->records[i].partition);
        PyObject *offset = PyLong_FromLongLong(request->records[i].offset);
        is_good = partition != NULL && offset != NULL;
        PyList_SetItem(partitions, (Py_ssize_t)i, partition);
        PyList_SetItem(offsets, (Py_ssize_t)i, offset);
    }
    if (!is_good) {
        Py_XDECREF(partitions);
        Py_XDECREF(offsets);
        return NULL;
    }
    return Py_BuildValue("NN", partitions, offsets);
}
