/* What the files with Python types share. */
#ifndef SIDECAR_MODULE_H
#define SIDECAR_MODULE_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

/* None, with a reference for the caller. Not Py_RETURN_NONE: with the headers of Python 3.12 and 3.13.0 it takes no
 * reference, since None is immortal there, also when the code is compiled for the stable ABI and then runs on Python
 * 3.11. There each call loses one reference, and after some thousand calls None is freed and the process ends. */
static inline PyObject *new_none(void) {
    Py_IncRef(Py_None);
    return Py_None;
}

/* Add the types of outlet_module.c. Returns 0; -1: with an exception. */
int add_outlet(PyObject *module);

#endif
