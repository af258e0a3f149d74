/* Reads one consumer's records from its partitions' queues into rows, in the thread that owns the consumer.
 *
 * Records go to a queue of our own. Rebalances, commits and errors stay in the consumer's queue, for the binding. This
 * file does not use Python, so all of it runs without the interpreter's lock.
 */
#ifndef SIDECAR_SOURCE_H
#define SIDECAR_SOURCE_H

#include <pthread.h>

#include "lanes.h"
#include "rdkafka.h"
#include "rows.h"

typedef struct {
    rows_t rows;
    size_t added; /* records added by the last read */
    void *owner;  /* the caller's object for this lane; while it is NULL, nothing is read into it */
    size_t count, values, keys; /* records of the run that is being read, and their bytes */
} lane_t;

typedef struct slot_s {
    struct slot_s *next; /* in the chain of its partition number */
    char *topic;
    int32_t partition;
    lane_t lanes[]; /* as many as the source has */
} slot_t;

typedef struct {
    char *topic;
    int32_t partition;
    int64_t offset;
    uint8_t lane; /* by the record's key, if that is known, or else by its offset */
    int code; /* no error: it is a misrouted record */
    char *text;
} failure_t;

enum { SOURCE_CHAINS = 1024, SOURCE_COMPLAINTS = 64 };

typedef struct source_s {
    rd_kafka_t *client;
    rd_kafka_queue_t *records, *events;
    slot_t *chains[SOURCE_CHAINS];
    uint32_t lanes; /* of each partition */
    rd_kafka_message_t **batch;
    uint8_t *numbers; /* the lane of each record of the run that is being read */
    size_t most;
    lane_t **touched; /* lanes that got records in the last read, each once */
    size_t touched_count;
    failure_t *failures; /* of the last read */
    size_t failure_count;
    failure_t complaints[SOURCE_COMPLAINTS]; /* errors of the client itself, since the last read */
    size_t complaint_count;
    struct source_s *next_open;
    int refusal; /* librdkafka's code for why the last read was refused */
    pthread_mutex_t lock; /* protects `woken`, which other threads set */
    pthread_cond_t bell;
    int woken;
} source_t;

/* Open the consumer that the calling thread has just made with this library in its `plugin.library.paths`. A read takes
 * at most `most` records, and splits each partition into `lanes`, 1 to MOST_LANES. Returns 0; -1: no such consumer; -2: no memory; -3: the client is in no group. */
int source_open(source_t *source, size_t most, uint32_t lanes);
void source_close(source_t *source);

/* The slot of a partition, the same each time. NULL: no memory. */
slot_t *source_slot(source_t *source, const char *topic, int32_t partition);

/* Lead a partition's records to its slot. To be called before each assignment: otherwise some records go to the
 * consumer's queue, and the partition's queue may be a new one. Returns 0; -1: the client has no queue for it. */
int source_lead(source_t *source, const slot_t *slot);

/* Read the available records and errors without waiting. The failures include errors of the client itself, which have
 * no topic. After a read that found as many as it takes, the next wait ends at once.
 * Returns 0; -1: no memory, and the records read are lost; -2: librdkafka refuses. */
int source_read(source_t *source);

/* Wait until there may be something to read or to poll, or `source_wake` was called since the last wait. */
void source_wait(source_t *source, double seconds);
void source_wake(source_t *source);

#endif
