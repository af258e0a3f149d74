/* The objects of outlet_module.c, for the other files with their methods. */
#ifndef SIDECAR_OUTLET_MODULE_H
#define SIDECAR_OUTLET_MODULE_H

#include "module.h"
#include "outlet.h"

typedef struct {
    PyObject_HEAD
    request_t *request;
    PyObject *data; /* where the records' bytes are: the bytes that the request was read from, or a tuple of records */
    Py_ssize_t size;
    int is_held;    /* it refers to itself: Kafka's client has records of it */
    int has_ended;  /* no more records are given */
} RequestObject;

typedef struct {
    PyObject_HEAD
    outlet_t outlet;
    int is_open;
    int in_use; /* a call of another thread is in it, without the interpreter's lock */
} OutletObject;

/* The outlet, if it may be used now; NULL: with an exception. */
OutletObject *open_one(PyObject *self);

/* The request, if it is one; NULL: with an exception. */
RequestObject *as_request(PyObject *object);

/* Kafka's client has records of the request from now on, until its last report was served. */
void hold(RequestObject *self);

/* The methods in held_module.c and transaction_module.c, each as Python calls it. */
PyObject *request_of_records(PyObject *type, PyObject *records);
PyObject *request_places(PyObject *self, PyObject *unused);
PyObject *outlet_transact_method(PyObject *self, PyObject *request);
PyObject *outlet_flush_method(PyObject *self, PyObject *seconds);
PyObject *outlet_init_transactions(PyObject *self, PyObject *seconds);
PyObject *outlet_begin_transaction(PyObject *self, PyObject *unused);
PyObject *outlet_send_offsets(PyObject *self, PyObject *arguments);
PyObject *outlet_commit_transaction(PyObject *self, PyObject *seconds);
PyObject *outlet_abort_transaction(PyObject *self, PyObject *seconds);

#endif
