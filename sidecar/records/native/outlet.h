/* Writes requests to Kafka with a producer of its own, in the thread that owns it; only `outlet_close` may be called in
 * another one, as the last call.
 *
 * The binding keeps a Python object for each record that is under way, and calls Python for each report. Here librdkafka
 * calls C, which notes the report in the record's request. This file does not use Python, so all of it runs without the
 * interpreter's lock.
 */
#ifndef SIDECAR_OUTLET_H
#define SIDECAR_OUTLET_H

#include "rdkafka.h"
#include "request.h"

enum {
    OUTLET_LINES = 64,     /* log lines of one serve */
    OUTLET_REPORTS = 4000, /* about as many reports are served at once: that takes a millisecond */
    OUTLET_CLOSING_MS = 5000
};

typedef struct {
    int level; /* of syslog */
    char *facility, *text;
} log_line_t;

typedef struct {
    rd_kafka_t *client;
    rd_kafka_queue_t *events;
    request_t *finished, **finished_end; /* requests whose last report was served: the caller takes them */
    log_line_t lines[OUTLET_LINES];      /* of the last serve */
    size_t line_count;
    size_t reports; /* served by the last serve */
    int failed;     /* the client has failed for good, and the caller has not been told */
} outlet_t;

/* Make a producer. When there is something to serve, librdkafka writes a byte to `fd`; -1: nobody wants to know. Returns
 * 0; -1: it cannot be made, for the reason in `text`. */
int outlet_open(outlet_t *outlet, const char *const *names, const char *const *values, size_t count, int fd,
                char *text, size_t text_size);

enum { OUTLET_ALL, OUTLET_MORE, OUTLET_FAILED, OUTLET_FULL, OUTLET_REFUSED };

/* Give the next records of a request to the producer, at most `most` of them, in their order. It copies them. Returns
 * OUTLET_ALL: none is left; OUTLET_MORE: some are; OUTLET_FAILED: the producer has failed for good at the last of the
 * given ones; -1: no memory. */
int outlet_produce(outlet_t *outlet, request_t *request, size_t most);

/* Give the next records of a request to the producer in a transaction, which is aborted if one of them is not written.
 * Returns OUTLET_ALL; OUTLET_FULL: the next record does not fit into the producer's queue yet, go on when some are
 * reported; OUTLET_REFUSED: the last of the given ones was refused, with the code in it; OUTLET_FAILED, -1: as above. */
int outlet_transact(outlet_t *outlet, request_t *request);

/* Serve reports, errors and log lines; wait at most `ms` milliseconds for the first. Returns whether there may be more. */
int outlet_serve(outlet_t *outlet, int ms);

/* Send what waits at once, and serve reports until all have come, at most `ms` milliseconds. Returns how many are to
 * come then, and other things to serve. */
int outlet_flush(outlet_t *outlet, int ms);

/* Whether the client has failed for good since the last call. */
int outlet_failed(outlet_t *outlet);

/* Forget the log lines of the last serve. */
void outlet_clear(outlet_t *outlet);

/* End the producer. What it has not written is reported as purged first. Returns how many records have no report even
 * so. */
int outlet_close(outlet_t *outlet);

#endif
