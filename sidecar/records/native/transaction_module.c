/* The methods of `Outlet` for a producer with a `transactional.id`. They belong to its thread, wait for the broker without
 * the interpreter's lock, and serve reports meanwhile, which needs no Python.
 *
 * A step of a transaction returns None, or what librdkafka's error says: its code and text, and whether it is fatal, the
 * step is to be repeated, the transaction is to be aborted.
 */
#include "outlet_module.h"

#include <stdlib.h>
#include <string.h>

/* Seconds as librdkafka's milliseconds; below 0: without a limit, -1. Returns -2 with an exception. */
static int milliseconds(PyObject *seconds) {
    double number = PyFloat_AsDouble(seconds);
    if (number == -1.0 && PyErr_Occurred())
        return -2;
    return number < 0 ? -1 : number > INT32_MAX / 1000 ? INT32_MAX : (int)(number * 1000);
}

/* What the error says; it is destroyed. NULL: with an exception. */
static PyObject *said(rd_kafka_error_t *error) {
    const char *text;
    PyObject *decoded, *made;
    if (error == NULL)
        return new_none();
    text = rdkafka.error_string(error);
    decoded = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
    made = decoded == NULL ? NULL
                           : Py_BuildValue("iNNNN", (int)rdkafka.error_code(error), decoded,
                                           PyBool_FromLong(rdkafka.error_is_fatal(error)),
                                           PyBool_FromLong(rdkafka.error_is_retriable(error)),
                                           PyBool_FromLong(rdkafka.error_txn_requires_abort(error)));
    rdkafka.error_destroy(error);
    return made;
}

typedef rd_kafka_error_t *step_t(rd_kafka_t *, int);

/* Take a step that may wait. */
static PyObject *take(PyObject *self, PyObject *seconds, step_t *step) {
    OutletObject *one = open_one(self);
    int ms = one == NULL ? -2 : milliseconds(seconds);
    rd_kafka_error_t *error;
    if (ms == -2)
        return NULL;
    one->in_use = 1;
    Py_BEGIN_ALLOW_THREADS
    error = step(one->outlet.client, ms);
    Py_END_ALLOW_THREADS
    one->in_use = 0;
    return said(error);
}

PyObject *outlet_init_transactions(PyObject *self, PyObject *seconds) {
    return take(self, seconds, rdkafka.init_transactions);
}

PyObject *outlet_commit_transaction(PyObject *self, PyObject *seconds) {
    return take(self, seconds, rdkafka.commit_transaction);
}

PyObject *outlet_abort_transaction(PyObject *self, PyObject *seconds) {
    return take(self, seconds, rdkafka.abort_transaction);
}

PyObject *outlet_begin_transaction(PyObject *self, PyObject *unused) {
    OutletObject *one = open_one(self);
    rd_kafka_error_t *error;
    (void)unused;
    if (one == NULL)
        return NULL;
    one->in_use = 1;
    Py_BEGIN_ALLOW_THREADS
    error = rdkafka.begin_transaction(one->outlet.client);
    Py_END_ALLOW_THREADS
    one->in_use = 0;
    return said(error);
}

/* --- places ------------------------------------------------------------------------------------------------------ */

/* Add the place of one partition. Returns 0; -1: with an exception. */
static int add(rd_kafka_topic_partition_list_t *list, PyObject *place) {
    const char *topic, *metadata;
    int partition;
    long long offset;
    rd_kafka_topic_partition_t *added;
    if (!PyArg_ParseTuple(place, "siLs", &topic, &partition, &offset, &metadata))
        return -1;
    added = rdkafka.topic_partition_list_add(list, topic, partition);
    added->offset = offset;
    added->metadata = strdup(metadata); /* the list frees it */
    if (added->metadata == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    added->metadata_size = strlen(metadata) + 1; /* librdkafka copies so many bytes, and then looks for the NUL */
    return 0;
}

/* Returns NULL with an exception. */
static rd_kafka_topic_partition_list_t *listed(PyObject *places) {
    Py_ssize_t count = PyList_Size(places);
    rd_kafka_topic_partition_list_t *list = count < 0 ? NULL : rdkafka.topic_partition_list_new((int)count);
    for (Py_ssize_t i = 0; list != NULL && i < count; i++)
        if (add(list, PyList_GetItem(places, i)) < 0) {
            rdkafka.topic_partition_list_destroy(list);
            list = NULL;
        }
    return list;
}

PyObject *outlet_send_offsets(PyObject *self, PyObject *arguments) {
    OutletObject *one = open_one(self);
    PyObject *places, *seconds, *group_bytes;
    char *member;
    Py_ssize_t size;
    int ms;
    rd_kafka_topic_partition_list_t *list;
    rd_kafka_consumer_group_metadata_t *group = NULL;
    rd_kafka_error_t *error;
    /* No format with a '#': what it means depends on the headers and on the interpreter, which may be of two versions. */
    if (one == NULL
        || !PyArg_ParseTuple(arguments, "O!O!O:send_offsets", &PyList_Type, &places, &PyBytes_Type, &group_bytes, &seconds)
        || PyBytes_AsStringAndSize(group_bytes, &member, &size) < 0 || (ms = milliseconds(seconds)) == -2
        || (list = listed(places)) == NULL)
        return NULL;
    one->in_use = 1;
    Py_BEGIN_ALLOW_THREADS
    error = rdkafka.consumer_group_metadata_read(&group, member, (size_t)size);
    if (error == NULL) {
        error = rdkafka.send_offsets_to_transaction(one->outlet.client, list, group, ms);
        rdkafka.consumer_group_metadata_destroy(group);
    }
    rdkafka.topic_partition_list_destroy(list);
    Py_END_ALLOW_THREADS
    one->in_use = 0;
    return said(error);
}

/* --- records ----------------------------------------------------------------------------------------------------- */

PyObject *outlet_transact_method(PyObject *self, PyObject *request) {
    OutletObject *one = open_one(self);
    RequestObject *object = as_request(request);
    int result;
    if (one == NULL || object == NULL)
        return NULL;
    if (object->has_ended) {
        PyErr_SetString(PyExc_ValueError, "the request has ended");
        return NULL;
    }
    one->in_use = 1;
    Py_BEGIN_ALLOW_THREADS
    result = outlet_transact(&one->outlet, object->request);
    Py_END_ALLOW_THREADS
    one->in_use = 0;
    if (object->request->pending > 1)
        hold(object);
    return result < 0 ? PyErr_NoMemory() : PyLong_FromLong(result);
}

PyObject *outlet_flush_method(PyObject *self, PyObject *seconds) {
    OutletObject *one = open_one(self);
    int ms = one == NULL ? -2 : milliseconds(seconds), left;
    if (ms == -2)
        return NULL;
    one->in_use = 1;
    Py_BEGIN_ALLOW_THREADS
    left = outlet_flush(&one->outlet, ms);
    Py_END_ALLOW_THREADS
    one->in_use = 0;
    return PyLong_FromLong(left);
}
