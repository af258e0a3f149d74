#include "source.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- the consumer's handle ------------------------------------------------------------------------------------- */

static _Thread_local rd_kafka_t *made; /* by this thread, and not yet taken */

static rd_kafka_resp_err_t on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque, char *errstr,
                                  size_t errstr_size) {
    (void)conf, (void)opaque, (void)errstr, (void)errstr_size;
    made = rk;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* What librdkafka calls in each of `plugin.library.paths`: the one way to a client that somebody else makes. */
rd_kafka_resp_err_t conf_init(rd_kafka_conf_t *conf, void **opaque, char *errstr, size_t errstr_size) {
    (void)opaque, (void)errstr, (void)errstr_size;
    if (rd_kafka_conf_interceptor_add_on_new == NULL)
        return RD_KAFKA_RESP_ERR__FAIL; /* loaded by somebody else's program */
    return rd_kafka_conf_interceptor_add_on_new(conf, "kafka-sidecar", on_new, NULL);
}

/* --- waiting --------------------------------------------------------------------------------------------------- */

static void on_event(rd_kafka_t *rk, void *source) {
    /* In a thread of librdkafka's, which holds the queue's lock: no call back into it from here. */
    (void)rk;
    source_wake(source);
}

void source_wake(source_t *source) {
    pthread_mutex_lock(&source->lock);
    source->woken = 1;
    pthread_cond_signal(&source->bell);
    pthread_mutex_unlock(&source->lock);
}

static int bell_open(source_t *source) {
    pthread_condattr_t attributes;
    if (pthread_mutex_init(&source->lock, NULL) != 0)
        return -1;
    pthread_condattr_init(&attributes);
#ifndef __APPLE__
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
#endif
    if (pthread_cond_init(&source->bell, &attributes) != 0) {
        pthread_mutex_destroy(&source->lock);
        return -1;
    }
    pthread_condattr_destroy(&attributes);
    return 0;
}

static int bell_wait(source_t *source, const struct timespec *span, const struct timespec *until) {
#ifdef __APPLE__
    (void)until;
    return pthread_cond_timedwait_relative_np(&source->bell, &source->lock, span);
#else
    (void)span;
    return pthread_cond_timedwait(&source->bell, &source->lock, until);
#endif
}

void source_wait(source_t *source, double seconds) {
    struct timespec span = {.tv_sec = (time_t)seconds, .tv_nsec = (long)(fmod(seconds, 1.0) * 1e9)}, until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += span.tv_sec + (until.tv_nsec + span.tv_nsec) / 1000000000;
    until.tv_nsec = (until.tv_nsec + span.tv_nsec) % 1000000000;
    pthread_mutex_lock(&source->lock);
    while (!source->woken && seconds > 0 && bell_wait(source, &span, &until) != ETIMEDOUT)
        ;
    source->woken = 0;
    pthread_mutex_unlock(&source->lock);
}

/* --- opening and closing --------------------------------------------------------------------------------------- */

static void buffers_free(source_t *source) {
    free(source->batch);
    free(source->touched);
    free(source->failures);
}

int source_open(source_t *source, size_t most) {
    rd_kafka_t *rk = made;
    *source = (source_t){.client = rk, .most = most};
    if (rk == NULL)
        return -1;
    made = NULL;
    source->batch = malloc(most * sizeof *source->batch);
    source->touched = malloc(most * sizeof *source->touched);
    source->failures = malloc(most * sizeof *source->failures);
    if (source->batch == NULL || source->touched == NULL || source->failures == NULL || bell_open(source) < 0) {
        buffers_free(source);
        return -2;
    }
    source->records = rd_kafka_queue_new(rk);
    source->events = rd_kafka_queue_get_consumer(rk);
    rd_kafka_queue_cb_event_enable(source->records, on_event, source);
    rd_kafka_queue_cb_event_enable(source->events, on_event, source);
    return 0;
}

static void failures_clear(source_t *source) {
    for (size_t i = 0; i < source->failure_count; i++) {
        free(source->failures[i].topic);
        free(source->failures[i].text);
    }
    source->failure_count = 0;
}

void source_close(source_t *source) {
    /* Disabled under each queue's lock, under which the callback runs too: afterwards none runs, and none will. */
    rd_kafka_queue_cb_event_enable(source->records, NULL, NULL);
    rd_kafka_queue_cb_event_enable(source->events, NULL, NULL);
    rd_kafka_queue_destroy(source->events);
    rd_kafka_queue_destroy(source->records);
    for (size_t i = 0; i < SOURCE_CHAINS; i++) {
        slot_t *slot = source->chains[i];
        while (slot != NULL) {
            slot_t *next = slot->next;
            rows_free(&slot->rows);
            free(slot->topic);
            free(slot);
            slot = next;
        }
    }
    failures_clear(source);
    buffers_free(source);
    pthread_cond_destroy(&source->bell);
    pthread_mutex_destroy(&source->lock);
}

/* --- partitions ------------------------------------------------------------------------------------------------ */

static slot_t **chain(source_t *source, int32_t partition) {
    return &source->chains[(uint32_t)partition % SOURCE_CHAINS];
}

static slot_t *find(source_t *source, const char *topic, int32_t partition) {
    slot_t *slot = *chain(source, partition);
    while (slot != NULL && (slot->partition != partition || strcmp(slot->topic, topic) != 0))
        slot = slot->next;
    return slot;
}

static slot_t *make(source_t *source, const char *topic, int32_t partition) {
    slot_t **head = chain(source, partition), *slot = calloc(1, sizeof *slot);
    if (slot == NULL)
        return NULL;
    slot->topic = strdup(topic);
    if (slot->topic == NULL) {
        free(slot);
        return NULL;
    }
    slot->partition = partition;
    slot->next = *head;
    *head = slot;
    return slot;
}

slot_t *source_lead(source_t *source, const char *topic, int32_t partition) {
    rd_kafka_queue_t *queue = rd_kafka_queue_get_partition(source->client, topic, partition);
    slot_t *slot = find(source, topic, partition);
    if (queue == NULL)
        return NULL;
    if (slot == NULL)
        slot = make(source, topic, partition);
    if (slot != NULL)
        rd_kafka_queue_forward(queue, source->records);
    rd_kafka_queue_destroy(queue);
    return slot;
}

/* --- reading --------------------------------------------------------------------------------------------------- */

static int note_failure(source_t *source, const rd_kafka_message_t *message, int code) {
    const char *topic = message->rkt == NULL ? "" : rd_kafka_topic_name(message->rkt);
    failure_t *failure = &source->failures[source->failure_count];
    *failure = (failure_t){.partition = message->partition, .offset = message->offset, .code = code};
    failure->topic = strdup(topic);
    failure->text = message->err && message->payload != NULL ? strndup(message->payload, message->len)
                                                             : strdup(rd_kafka_err2str(code));
    source->failure_count++;
    return failure->topic == NULL || failure->text == NULL ? -1 : 0;
}

/* Append a message, whose headers were found (or NULL), to rows that have room for all but those. */
static int read_message(rows_t *rows, const rd_kafka_message_t *message, const rd_kafka_headers_t *headers) {
    const char *name;
    const void *value;
    size_t len;
    int stamp;
    int64_t timestamp = rd_kafka_message_timestamp(message, &stamp);
    if (stamp == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE)
        timestamp = -1;
    rows_append(rows, message->offset, stamp, timestamp, message->payload, message->len, message->key,
                message->key_len);
    if (headers == NULL)
        return 0;
    for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &len) == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
        if (rows_header(rows, name, value, len) < 0)
            return -1;
    return 0;
}

/* Messages of one partition that follow one another. */
static int read_run(source_t *source, rd_kafka_message_t **run, size_t count) {
    slot_t *slot = find(source, rd_kafka_topic_name(run[0]->rkt), run[0]->partition);
    size_t values = 0, keys = 0;
    int memory = 0;
    if (slot == NULL) { /* not led here by us: told, since it must not be lost in silence */
        return note_failure(source, run[0], RD_KAFKA_RESP_ERR__FAIL);
    }
    for (size_t i = 0; i < count; i++) {
        values += run[i]->len;
        keys += run[i]->key_len;
    }
    if (rows_reserve(&slot->rows, count, values, keys) < 0)
        return -1;
    for (size_t i = 0; i < count && memory == 0; i++) {
        rd_kafka_headers_t *headers = NULL;
        int code = rd_kafka_message_headers(run[i], &headers);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR && code != RD_KAFKA_RESP_ERR__NOENT) {
            /* Whatever the code is, what is wrong is this record: it must not be taken for a passing trouble. */
            memory = note_failure(source, run[i], RD_KAFKA_RESP_ERR__BAD_MSG);
            continue;
        }
        if (slot->added++ == 0)
            source->touched[source->touched_count++] = slot;
        memory = read_message(&slot->rows, run[i], code == RD_KAFKA_RESP_ERR__NOENT ? NULL : headers);
    }
    return memory;
}

int source_read(source_t *source) {
    ssize_t count = rd_kafka_consume_batch_queue(source->records, 0, source->batch, source->most);
    rd_kafka_message_t **batch = source->batch;
    int result = 0;
    failures_clear(source);
    for (size_t i = 0; i < source->touched_count; i++)
        source->touched[i]->added = 0;
    source->touched_count = 0;
    for (ssize_t first = 0, end; first < count; first = end) {
        for (end = first + 1; end < count && !batch[first]->err && !batch[end]->err; end++)
            if (batch[end]->partition != batch[first]->partition || batch[end]->rkt != batch[first]->rkt)
                break;
        if (result == 0)
            result = batch[first]->err ? note_failure(source, batch[first], batch[first]->err)
                                       : read_run(source, batch + first, (size_t)(end - first));
        for (ssize_t i = first; i < end; i++)
            rd_kafka_message_destroy(batch[i]);
    }
    return result;
}
