#include "source.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- errors of the client itself -------------------------------------------------------------------------------- */

static source_t *open_sources;
static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;

static void note_complaint(source_t *source, int code, const char *reason) {
    failure_t complaint = {.partition = -1, .offset = -1, .code = code}, *at;
    if (source->complaint_count == SOURCE_COMPLAINTS) {
        if (code != RD_KAFKA_RESP_ERR__FATAL) /* others repeat, up to twenty times a second; this one does not */
            return;
        at = &source->complaints[SOURCE_COMPLAINTS - 1];
        free(at->topic);
        free(at->text);
        source->complaint_count--;
    }
    complaint.topic = strdup("");
    complaint.text = strdup(reason == NULL ? rdkafka.err2str(code) : reason);
    if (complaint.topic == NULL || complaint.text == NULL) {
        free(complaint.topic);
        free(complaint.text);
        return;
    }
    source->complaints[source->complaint_count++] = complaint;
}

/* librdkafka's error callback, in the thread that polls or reads. It replaces the binding's own, which crashes the
 * process when it is called outside of the binding's calls: if a topic is gone, `source_read` calls it. */
static void on_error(rd_kafka_t *rk, int code, const char *reason, void *opaque) {
    source_t *source;
    (void)opaque;
    pthread_mutex_lock(&open_lock);
    for (source = open_sources; source != NULL && source->client != rk; source = source->next_open)
        ;
    if (source != NULL) /* otherwise the client is being closed, and the error is ignored */
        note_complaint(source, code, reason);
    pthread_mutex_unlock(&open_lock);
}

static void complaints_open(source_t *source) {
    pthread_mutex_lock(&open_lock);
    source->next_open = open_sources;
    open_sources = source;
    pthread_mutex_unlock(&open_lock);
}

static void complaints_close(source_t *source) {
    source_t **at;
    pthread_mutex_lock(&open_lock);
    for (at = &open_sources; *at != source; at = &(*at)->next_open)
        ;
    *at = source->next_open;
    pthread_mutex_unlock(&open_lock);
    for (size_t i = 0; i < source->complaint_count; i++) {
        free(source->complaints[i].topic);
        free(source->complaints[i].text);
    }
}

/* Move the complaints after the failures of a read; there is room for them. */
static void take_complaints(source_t *source) {
    pthread_mutex_lock(&open_lock);
    memcpy(source->failures + source->failure_count, source->complaints,
           source->complaint_count * sizeof *source->complaints);
    source->failure_count += source->complaint_count;
    source->complaint_count = 0;
    pthread_mutex_unlock(&open_lock);
}

/* --- the consumer's handle ------------------------------------------------------------------------------------- */

/* A client that no source has taken yet. */
typedef struct made_s {
    struct made_s *next;
    rd_kafka_t *client;
    pthread_t by;
} made_t;

static made_t *made; /* the newest first */
static pthread_mutex_t made_lock = PTHREAD_MUTEX_INITIALIZER;

/* Remove `client` from the list; NULL: the newest client that this thread has made. Returns it; NULL: there is none. */
static rd_kafka_t *take_made(rd_kafka_t *client) {
    made_t **at, *found;
    pthread_mutex_lock(&made_lock);
    for (at = &made; *at != NULL; at = &(*at)->next)
        if (client != NULL ? (*at)->client == client : pthread_equal((*at)->by, pthread_self()))
            break;
    found = *at;
    if (found != NULL)
        *at = found->next;
    pthread_mutex_unlock(&made_lock);
    client = found == NULL ? NULL : found->client;
    free(found);
    return client;
}

static rd_kafka_resp_err_t on_destroy(rd_kafka_t *rk, void *opaque) {
    /* librdkafka calls this also if making the client failed after on_new, and from any thread. */
    (void)opaque;
    take_made(rk);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque, char *errstr,
                                  size_t errstr_size) {
    made_t *one = malloc(sizeof *one);
    rd_kafka_resp_err_t error;
    (void)opaque, (void)errstr, (void)errstr_size;
    if (one == NULL)
        return RD_KAFKA_RESP_ERR__FAIL;
    error = rdkafka.interceptor_add_on_destroy(rk, "kafka-sidecar", on_destroy, NULL);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) { /* otherwise the list could keep a client that is destroyed */
        free(one);
        return error;
    }
    pthread_mutex_lock(&made_lock);
    *one = (made_t){.next = made, .client = rk, .by = pthread_self()};
    made = one;
    pthread_mutex_unlock(&made_lock);
    /* `conf` is the client's own configuration, and the client has no thread yet. conf_init would be too early: the
     * binding sets its callback after that, even if the user has set none. */
    rdkafka.conf_set_error_cb((rd_kafka_conf_t *)(uintptr_t)conf, on_error);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* --- the plugin ------------------------------------------------------------------------------------------------- */

/* librdkafka calls this in each library of `plugin.library.paths`. It is the only way to get a client that the binding
 * makes.
 *
 * The caller's code belongs to the library that makes this client. That may differ from the library that the binding
 * depends on: if another copy is in the process's global scope (LD_PRELOAD), the binding uses that one's functions. */
__attribute__((visibility("default"))) rd_kafka_resp_err_t conf_init(rd_kafka_conf_t *conf, void **opaque, char *errstr,
                                                                     size_t errstr_size) {
    const char *wrong = rdkafka_load(__builtin_return_address(0));
    (void)opaque;
    if (wrong != NULL) {
        snprintf(errstr, errstr_size, "%s", wrong);
        return RD_KAFKA_RESP_ERR__FAIL;
    }
    return rdkafka.conf_interceptor_add_on_new(conf, "kafka-sidecar", on_new, NULL);
}

/* --- waiting --------------------------------------------------------------------------------------------------- */

static void on_event(rd_kafka_t *rk, void *source) {
    /* This runs in a thread of librdkafka that holds the queue's lock, so it must not call librdkafka. */
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
    free(source->numbers);
    free(source->touched);
    free(source->failures);
}

int source_open(source_t *source, size_t most, uint32_t lanes) {
    rd_kafka_t *rk = take_made(NULL);
    *source = (source_t){.client = rk, .most = most, .lanes = lanes};
    if (rk == NULL)
        return -1;
    source->events = rdkafka.queue_get_consumer(rk);
    if (source->events == NULL)
        return -3;
    source->batch = malloc(most * sizeof *source->batch);
    source->numbers = malloc(most * sizeof *source->numbers);
    source->touched = malloc(most * sizeof *source->touched);
    source->failures = malloc((most + SOURCE_COMPLAINTS) * sizeof *source->failures);
    if (source->batch == NULL || source->numbers == NULL || source->touched == NULL || source->failures == NULL
        || bell_open(source) < 0) {
        rdkafka.queue_destroy(source->events);
        buffers_free(source);
        return -2;
    }
    source->records = rdkafka.queue_new(rk);
    rdkafka.queue_cb_event_enable(source->records, on_event, source);
    rdkafka.queue_cb_event_enable(source->events, on_event, source);
    complaints_open(source);
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
    /* librdkafka disables a callback under the queue's lock and runs it under the same lock. So after these calls no
     * callback is running, and none will run. */
    rdkafka.queue_cb_event_enable(source->records, NULL, NULL);
    rdkafka.queue_cb_event_enable(source->events, NULL, NULL);
    rdkafka.queue_destroy(source->events);
    rdkafka.queue_destroy(source->records);
    complaints_close(source);
    for (size_t i = 0; i < SOURCE_CHAINS; i++) {
        slot_t *slot = source->chains[i];
        while (slot != NULL) {
            slot_t *next = slot->next;
            for (uint32_t lane = 0; lane < source->lanes; lane++)
                rows_free(&slot->lanes[lane].rows);
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
    slot_t **head = chain(source, partition), *slot = calloc(1, sizeof *slot + source->lanes * sizeof *slot->lanes);
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

slot_t *source_slot(source_t *source, const char *topic, int32_t partition) {
    slot_t *slot = find(source, topic, partition);
    return slot == NULL ? make(source, topic, partition) : slot;
}

int source_lead(source_t *source, const slot_t *slot) {
    rd_kafka_queue_t *queue = rdkafka.queue_get_partition(source->client, slot->topic, slot->partition);
    if (queue == NULL)
        return -1;
    rdkafka.queue_forward(queue, source->records);
    rdkafka.queue_destroy(queue);
    return 0;
}

/* --- reading --------------------------------------------------------------------------------------------------- */

/* Note an error that came in place of a record, or that concerns a record; or, with the code of no error, a misrouted
 * record, which is not read. */
static int note_failure(source_t *source, const rd_kafka_message_t *message, int code) {
    const char *topic = message->rkt == NULL ? "" : rdkafka.topic_name(message->rkt);
    failure_t *failure = &source->failures[source->failure_count];
    *failure = (failure_t){.partition = message->partition, .offset = message->offset, .code = code};
    failure->lane = lane_of(message->err ? NULL : message->key, message->key_len, message->offset, source->lanes);
    failure->topic = strdup(topic);
    failure->text = message->err && message->payload != NULL ? strndup(message->payload, message->len)
                                                             : strdup(rdkafka.err2str(code));
    source->failure_count++;
    return failure->topic == NULL || failure->text == NULL ? -1 : 0;
}

/* Append a message to rows, which have room for all but its `headers` (NULL: it has none). Returns 0; otherwise nothing
 * is appended: -1: no memory; 1: a header cannot be read. */
static int read_message(rows_t *rows, const rd_kafka_message_t *message, const rd_kafka_headers_t *headers) {
    const char *name;
    const void *value;
    size_t len;
    int stamp;
    int64_t timestamp = rdkafka.message_timestamp(message, &stamp);
    if (stamp == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE)
        timestamp = -1;
    rows_append(rows, message->offset, stamp, timestamp, message->payload, message->len, message->key,
                message->key_len);
    if (headers == NULL)
        return 0;
    for (size_t i = 0; rdkafka.header_get_all(headers, i, &name, &value, &len) == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
        ssize_t name_len = rdkafka_header_name(name, value, len);
        if (name_len < 0 || rows_header(rows, name, (size_t)name_len, value, len) < 0) {
            rows_retract(rows);
            return name_len < 0 ? 1 : -1;
        }
    }
    return 0;
}

/* Find the lane of each message, and make room there. Returns 0; -1: no memory. */
static int split_run(source_t *source, slot_t *slot, rd_kafka_message_t **run, size_t count) {
    int result = 0;
    for (size_t i = 0; i < count; i++) {
        uint8_t number = lane_of(run[i]->key, run[i]->key_len, run[i]->offset, source->lanes);
        lane_t *lane = &slot->lanes[number];
        source->numbers[i] = number;
        lane->count++;
        lane->values += run[i]->len;
        lane->keys += run[i]->key_len;
    }
    for (uint32_t number = 0; number < source->lanes; number++) {
        lane_t *lane = &slot->lanes[number];
        if (lane->count > 0 && rows_reserve(&lane->rows, lane->count, lane->values, lane->keys) < 0)
            result = -1;
        lane->count = lane->values = lane->keys = 0;
    }
    return result;
}

/* Read consecutive messages of one partition. */
static int read_run(source_t *source, rd_kafka_message_t **run, size_t count) {
    slot_t *slot = find(source, rdkafka.topic_name(run[0]->rkt), run[0]->partition);
    if (slot == NULL || slot->lanes[0].owner == NULL) /* the partition is not led: its records are fetched again */
        return note_failure(source, run[0], RD_KAFKA_RESP_ERR_NO_ERROR);
    if (split_run(source, slot, run, count) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        lane_t *lane = &slot->lanes[source->numbers[i]];
        rd_kafka_headers_t *headers = NULL;
        int code = rdkafka.message_headers(run[i], &headers), result = 1;
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR__NOENT)
            result = read_message(&lane->rows, run[i], code == RD_KAFKA_RESP_ERR__NOENT ? NULL : headers);
        /* Whatever the code is, the error concerns this record: it must not count as a temporary error. */
        if (result < 0 || (result > 0 && note_failure(source, run[i], RD_KAFKA_RESP_ERR__BAD_MSG) < 0))
            return -1;
        if (result == 0 && lane->added++ == 0)
            source->touched[source->touched_count++] = lane;
    }
    return 0;
}

int source_read(source_t *source) {
    ssize_t count = rdkafka.consume_batch_queue(source->records, 0, source->batch, source->most);
    rd_kafka_message_t **batch = source->batch;
    int result = 0;
    failures_clear(source);
    for (size_t i = 0; i < source->touched_count; i++)
        source->touched[i]->added = 0;
    source->touched_count = 0;
    if (count < 0) {
        source->refusal = rdkafka.last_error();
        return -2;
    }
    for (ssize_t first = 0, end; first < count; first = end) {
        for (end = first + 1; end < count && !batch[first]->err && !batch[end]->err; end++)
            if (batch[end]->partition != batch[first]->partition || batch[end]->rkt != batch[first]->rkt)
                break;
        if (result == 0)
            result = batch[first]->err ? note_failure(source, batch[first], batch[first]->err)
                                       : read_run(source, batch + first, (size_t)(end - first));
        for (ssize_t i = first; i < end; i++)
            rdkafka.message_destroy(batch[i]);
    }
    take_complaints(source);
    if ((size_t)count == source->most) /* there may be more, of which the queue tells nothing: it was never empty */
        source_wake(source);
    return result;
}
