#include "rdkafka.h"

#include <dlfcn.h>
#include <string.h>

#define RDKAFKA_DEFINE(result, name, arguments) result(*name) arguments;
RDKAFKA_FUNCTIONS(RDKAFKA_DEFINE)

static const char *find(void *library, const char *name, void *where) {
    void *found = dlsym(library, name); /* searches what the library depends on too */
    if (found == NULL)
        return name;
    memcpy(where, &found, sizeof found); /* ISO C has no cast from an object's pointer to a function's */
    return NULL;
}

const char *rdkafka_load(const char *path) {
    /* Loaded already; the handle is kept for as long as the process lives, as the binding's own is. */
    void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    const char *missing = NULL;
    if (library == NULL)
        return path;
#define RDKAFKA_FIND(result, name, arguments)                                                                        \
    if (missing == NULL)                                                                                             \
        missing = find(library, #name, &name);
    RDKAFKA_FUNCTIONS(RDKAFKA_FIND)
    return missing;
}
