/* Reading one consumer's records: from its partitions' queues into rows, on the thread that owns the consumer.
 *
 * Records go to a queue of our own and not to the consumer's, which keeps rebalances, commits and errors for the
 * binding. Knows nothing of Python, so that all of it runs without the interpreter's lock.
 */
#ifndef SIDECAR_SOURCE_H
#define SIDECAR_SOURCE_H

#include <pthread.h>

#include "rdkafka.h"
#include "rows.h"

typedef struct slot_s {
    struct slot_s *next; /* in the chain of its number */
    char *topic;
    int32_t partition;
    rows_t rows;
    size_t added; /* by the read under way */
    void *owner;  /* whose slot it is, to the caller; NULL at first, and nothing is read into it then */
} slot_t;

typedef struct {
    char *topic;
    int32_t partition;
    int64_t offset;
    int code; /* of a stray: no error */
    char *text;
} failure_t;

enum { SOURCE_CHAINS = 1024, SOURCE_COMPLAINTS = 64 };

typedef struct source_s {
    rd_kafka_t *client;
    rd_kafka_queue_t *records, *events;
    slot_t *chains[SOURCE_CHAINS];
    rd_kafka_message_t **batch;
    size_t most;
    slot_t **touched; /* by the last read: partitions that got records, each once */
    size_t touched_count;
    failure_t *failures; /* of the last read */
    size_t failure_count;
    failure_t complaints[SOURCE_COMPLAINTS]; /* of the client, since the last read */
    size_t complaint_count;
    struct source_s *next_open;
    int refusal; /* why the last read was refused: librdkafka's code */
    pthread_mutex_t lock; /* of `woken`, which other threads set */
    pthread_cond_t bell;
    int woken;
} source_t;

/* To be called in the thread that has just made a consumer with this library among its `plugin.library.paths`.
 * Returns 0; -1: no such consumer; -2: no memory; -3: the client is in no group. Reads take at most `most` records. */
int source_open(source_t *source, size_t most);
void source_close(source_t *source);

/* The slot of a partition, the same each time. NULL: without memory. */
slot_t *source_slot(source_t *source, const char *topic, int32_t partition);

/* Lead a partition's records to its slot. Before it is assigned, else some go the other way. Again and again, since its
 * queue may be another. Returns 0, or -1 where the client has no queue for it. */
int source_lead(source_t *source, const slot_t *slot);

/* Take what is there, waiting for nothing. Among the failures is what the client itself has complained of: those have no
 * topic. Returns 0; -1 without memory: what was taken is lost then; -2 when librdkafka
 * refuses. */
int source_read(source_t *source);

/* Wait until something may be there to read or to poll, or `source_wake` was called since the last wait. */
void source_wait(source_t *source, double seconds);
void source_wake(source_t *source);

#endif
