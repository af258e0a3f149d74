/* A plugin of librdkafka (`plugin.library.paths`) that writes down when each request was sent and each answer arrived.
 *
 * It writes to the file that the environment variable STALLS_REQUESTS names: an array of `event_t`, in the order in
 * which they began to be written; an entry whose time is 0 is not written. librdkafka calls it in its brokers' threads.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef struct rd_kafka_s rd_kafka_t;
typedef struct rd_kafka_conf_s rd_kafka_conf_t;

typedef struct {
    int64_t at;     /* nanoseconds of the wall clock, as in the values of the records */
    int64_t client; /* the address of the client */
    int64_t size;   /* bytes */
    int32_t number; /* the request's correlation id, which its answer has too */
    int16_t kind;   /* Kafka's number of the API; 1: Fetch */
    int16_t answer; /* 0: a request, 1: its answer */
} event_t;

enum { MOST = 1 << 21 };

static event_t *events;
static size_t count;

static void write_event(rd_kafka_t *rk, int16_t kind, int32_t number, size_t size, int16_t answer) {
    struct timespec now;
    size_t place = __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED);
    if (place >= MOST)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    events[place] = (event_t){(int64_t)now.tv_sec * 1000000000 + now.tv_nsec, (int64_t)(intptr_t)rk, (int64_t)size,
                              number, kind, answer};
}

static int on_request_sent(rd_kafka_t *rk, int socket, const char *broker, int32_t id, int16_t kind, int16_t version,
                           int32_t number, size_t size, void *opaque) {
    (void)socket, (void)broker, (void)id, (void)version, (void)opaque;
    write_event(rk, kind, number, size, 0);
    return 0;
}

static int on_response_received(rd_kafka_t *rk, int socket, const char *broker, int32_t id, int16_t kind,
                                int16_t version, int32_t number, size_t size, int64_t took, int error, void *opaque) {
    (void)socket, (void)broker, (void)id, (void)version, (void)took, (void)error, (void)opaque;
    write_event(rk, kind, number, size, 1);
    return 0;
}

typedef int (*add_sent_t)(rd_kafka_t *, const char *, __typeof__(on_request_sent) *, void *);
typedef int (*add_received_t)(rd_kafka_t *, const char *, __typeof__(on_response_received) *, void *);
typedef int (*on_new_t)(rd_kafka_t *, const rd_kafka_conf_t *, void *, char *, size_t);
typedef int (*add_new_t)(rd_kafka_conf_t *, const char *, on_new_t, void *);

static add_sent_t add_sent;
static add_received_t add_received;

static int on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque, char *text, size_t room) {
    (void)conf, (void)opaque, (void)text, (void)room;
    add_sent(rk, "stalls", on_request_sent, NULL);
    add_received(rk, "stalls", on_response_received, NULL);
    return 0;
}

static void open_events(void) {
    const char *path = getenv("STALLS_REQUESTS");
    int file = path == NULL ? -1 : open(path, O_RDWR | O_CREAT, 0600);
    if (file < 0 || ftruncate(file, MOST * sizeof *events) < 0)
        return;
    void *memory = mmap(NULL, MOST * sizeof *events, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory != MAP_FAILED)
        events = memory;
}

/* librdkafka calls this for each client's configuration. Its functions are those of the library that calls. */
__attribute__((visibility("default"))) int conf_init(rd_kafka_conf_t *conf, void **opaque, char *text, size_t room) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    add_new_t add_new;
    Dl_info caller;
    void *library = NULL;
    (void)opaque;
    pthread_once(&once, open_events);
    if (dladdr(__builtin_return_address(0), &caller) != 0)
        library = dlopen(caller.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    if (events == NULL || library == NULL) {
        strncpy(text, "the trace of requests cannot be written", room);
        return -1;
    }
    *(void **)&add_new = dlsym(library, "rd_kafka_conf_interceptor_add_on_new");
    *(void **)&add_sent = dlsym(library, "rd_kafka_interceptor_add_on_request_sent");
    *(void **)&add_received = dlsym(library, "rd_kafka_interceptor_add_on_response_received");
    if (add_new == NULL || add_sent == NULL || add_received == NULL) {
        strncpy(text, "librdkafka has no interceptors of requests", room);
        return -1;
    }
    return add_new(conf, "stalls", on_new, NULL);
}
