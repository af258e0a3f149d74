#include "rdkafka.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

rdkafka_t rdkafka;

/* --- functions ------------------------------------------------------------------------------------------------- */

static int find(void *library, const char *name, void *where) {
    void *found = dlsym(library, name);
    memcpy(where, &found, sizeof found); /* ISO C has no cast from an object's pointer to a function's */
    return found != NULL;
}

static const char *load(const char *path) {
    rdkafka_t found;
    const char *missing = NULL;
    /* The library is loaded already. The handle is kept until the process ends, like the binding's own. */
    void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    if (library == NULL)
        return "the library that makes Kafka's clients cannot be opened";
#define RDKAFKA_FIND(result, name, arguments)                                                                        \
    if (!find(library, "rd_kafka_" #name, &found.name))                                                              \
        missing = "librdkafka has no function rd_kafka_" #name;
    RDKAFKA_FUNCTIONS(RDKAFKA_FIND)
    if (missing == NULL)
        rdkafka = found;
    return missing;
}

const char *rdkafka_load(const void *address) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static const void *base; /* the base address of the library that has the functions */
    const char *wrong = NULL;
    Dl_info of;
    if (dladdr(address, &of) == 0 || of.dli_fname == NULL)
        return "the library that makes Kafka's clients cannot be found";
    pthread_mutex_lock(&lock);
    if (base == NULL) {
        wrong = load(of.dli_fname);
        if (wrong == NULL)
            base = of.dli_fbase;
    } else if (base != of.dli_fbase) {
        wrong = "two copies of librdkafka make clients in this process";
    }
    pthread_mutex_unlock(&lock);
    return wrong;
}

/* --- headers --------------------------------------------------------------------------------------------------- */

/* The memory before a header's name; the value follows the name. It is not part of the public interface, but it is the
 * same in every version that has headers. So each header is checked, and the proof reads one record with headers. */
typedef struct {
    size_t serialized; /* bytes that the header takes in Kafka's form */
    size_t value_len;
    size_t name_len;
    const char *value;
} header_t;

/* The size of a length in Kafka's form, a varint whose lowest bit is the sign. */
static size_t length_size(size_t length) {
    size_t size = 1;
    for (length <<= 1; length > 0x7f; length >>= 7)
        size++;
    return size;
}

ssize_t rdkafka_header_name(const char *name, const void *value, size_t value_len) {
    header_t header;
    size_t len;
    memcpy(&header, name - sizeof header, sizeof header);
    len = header.name_len;
    if (header.value != value || header.value_len != value_len || len > INT32_MAX
        || header.serialized != length_size(len) + len + length_size(value_len) + value_len)
        return -1;
    if (value != NULL && value != name + len + 1)
        return -1;
    return name[len] == 0 ? (ssize_t)len : -1;
}
