/* A librdkafka that a test plays, for what the real one never does: to refuse a read, to have no queue, to give records of
 * a partition that nobody has led, to keep headers in another way. And the rows, where Python can call them.
 *
 * The functions have their real names, so that sidecar/records/native finds them as it finds the real ones.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rdkafka.h"
#include "rows.h"
#include "source.h"

/* --- memory ---------------------------------------------------------------------------------------------------- */

long played_memory = -1; /* allocations until one fails; below 0: none does */

static int runs_out(void) {
    if (played_memory == 0)
        return 1;
    if (played_memory > 0)
        played_memory--;
    return 0;
}

void *failing_malloc(size_t size) { return runs_out() ? NULL : malloc(size); }
void *failing_calloc(size_t count, size_t size) { return runs_out() ? NULL : calloc(count, size); }
char *failing_strdup(const char *text) { return runs_out() ? NULL : strdup(text); }
char *failing_strndup(const char *text, size_t size) { return runs_out() ? NULL : strndup(text, size); }

/* --- clients and queues ---------------------------------------------------------------------------------------- */

int played_no_events, played_no_partition, played_refusal, played_no_destroy; /* what the library does not do */
int played_queues;                                                            /* references that are held */

static rd_kafka_interceptor_f_on_new_t *on_new;
static rd_kafka_interceptor_f_on_destroy_t *on_destroy;
static rd_kafka_error_f_t *on_error;

rd_kafka_resp_err_t conf_init(rd_kafka_conf_t *conf, void **opaque, char *errstr, size_t errstr_size);

rd_kafka_resp_err_t rd_kafka_conf_interceptor_add_on_new(rd_kafka_conf_t *conf, const char *name,
                                                         rd_kafka_interceptor_f_on_new_t *called, void *opaque) {
    (void)conf, (void)name, (void)opaque;
    on_new = called;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

void played_keep_error_cb(rd_kafka_error_f_t *called); /* of played_producer.c */

void rd_kafka_conf_set_error_cb(rd_kafka_conf_t *conf, rd_kafka_error_f_t *called) {
    (void)conf;
    on_error = called;
    played_keep_error_cb(called);
}

rd_kafka_resp_err_t rd_kafka_interceptor_add_on_destroy(rd_kafka_t *rk, const char *name,
                                                        rd_kafka_interceptor_f_on_destroy_t *called, void *opaque) {
    (void)rk, (void)name, (void)opaque;
    on_destroy = called;
    return played_no_destroy ? RD_KAFKA_RESP_ERR__FAIL : RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* Make a client, as the binding does. */
int played_make(void *client) {
    char text[512];
    void *opaque;
    volatile int result = conf_init(NULL, &opaque, text, sizeof text);
    rd_kafka_conf_set_error_cb(NULL, NULL); /* it does so always, after all that it was given */
    if (result == RD_KAFKA_RESP_ERR_NO_ERROR)
        on_new(client, NULL, NULL, text, sizeof text);
    return result;
}

void played_complain(void *client, int code, const char *reason) { on_error(client, code, reason, NULL); }

void played_destroy(void *client) { on_destroy(client, NULL); }

static rd_kafka_queue_t *queue(void) {
    played_queues++;
    return malloc(1);
}

rd_kafka_queue_t *rd_kafka_queue_new(rd_kafka_t *rk) { return (void)rk, queue(); }
rd_kafka_queue_t *rd_kafka_queue_get_consumer(rd_kafka_t *rk) { return (void)rk, played_no_events ? NULL : queue(); }
rd_kafka_queue_t *rd_kafka_queue_get_partition(rd_kafka_t *rk, const char *topic, int32_t partition) {
    (void)rk, (void)topic, (void)partition;
    return played_no_partition ? NULL : queue();
}
void rd_kafka_queue_forward(rd_kafka_queue_t *from, rd_kafka_queue_t *to) { (void)from, (void)to; }
void rd_kafka_queue_cb_event_enable(rd_kafka_queue_t *at, void (*called)(rd_kafka_t *, void *), void *opaque) {
    (void)at, (void)called, (void)opaque;
}
void rd_kafka_queue_destroy(rd_kafka_queue_t *at) {
    played_queues--;
    free(at);
}

/* --- messages -------------------------------------------------------------------------------------------------- */

enum { MOST = 64 };

typedef struct {
    size_t serialized, value_len, name_len;
    char *value;
    char name[];
} header_t; /* as librdkafka has it */

typedef struct {
    rd_kafka_message_t message; /* first: it stands for all */
    int headers_code;
    size_t count;
    header_t *headers[MOST];
} played_t;

int played_messages; /* that are not destroyed */
int played_layout;   /* by which a header is kept otherwise than by the real library */

static rd_kafka_message_t *waiting[MOST];
static size_t waiting_count;

static void *copy(const void *data, size_t len) {
    void *made = data == NULL ? NULL : malloc(len + 1);
    return made == NULL ? NULL : memcpy(made, data, len);
}

/* The topic's text must stay. `headers_code`: what the question for its headers is answered with. */
void played_message(const char *topic, int32_t partition, int64_t offset, int err, const void *value, size_t value_len,
                    const void *key, size_t key_len, int headers_code) {
    played_t *made = calloc(1, sizeof *made);
    made->message = (rd_kafka_message_t){.err = err, .rkt = (rd_kafka_topic_t *)(size_t)topic, .partition = partition,
                                         .payload = copy(value, value_len), .len = value == NULL ? 0 : value_len,
                                         .key = copy(key, key_len), .key_len = key == NULL ? 0 : key_len,
                                         .offset = offset};
    made->headers_code = headers_code;
    waiting[waiting_count++] = &made->message;
    played_messages++;
}

static size_t length_size(size_t length) {
    size_t size = 1;
    for (length *= 2; length > 127; length /= 128)
        size++;
    return size;
}

/* Of the last message. */
void played_header(const char *name, size_t name_len, const void *value, size_t value_len) {
    played_t *message = (played_t *)waiting[waiting_count - 1];
    header_t *made = malloc(sizeof *made + name_len + 1 + value_len + 1 + (size_t)played_layout);
    if (value == NULL)
        value_len = 0;
    made->name_len = name_len;
    made->value_len = value_len;
    made->serialized = length_size(name_len) + name_len + length_size(value_len) + value_len;
    if (value == NULL) /* which lies nowhere */
        made->serialized += (size_t)played_layout;
    memcpy(made->name, name, name_len);
    made->name[name_len] = 0;
    made->value = value == NULL ? NULL : made->name + name_len + 1 + played_layout;
    if (value != NULL)
        memcpy(made->value, value, value_len);
    message->headers[message->count++] = made;
}

ssize_t rd_kafka_consume_batch_queue(rd_kafka_queue_t *from, int timeout, rd_kafka_message_t **to, size_t most) {
    size_t count = waiting_count < most ? waiting_count : most;
    (void)from, (void)timeout;
    if (played_refusal)
        return -1;
    memcpy(to, waiting, count * sizeof *to);
    memmove(waiting, waiting + count, (waiting_count - count) * sizeof *to);
    waiting_count -= count;
    return (ssize_t)count;
}

rd_kafka_resp_err_t rd_kafka_last_error(void) { return played_refusal; }

void rd_kafka_message_destroy(rd_kafka_message_t *message) {
    played_t *played = (played_t *)message;
    for (size_t i = 0; i < played->count; i++)
        free(played->headers[i]);
    free(message->payload);
    free(message->key);
    free(played);
    played_messages--;
}

int64_t rd_kafka_message_timestamp(const rd_kafka_message_t *message, int *stamp) {
    *stamp = RD_KAFKA_TIMESTAMP_CREATE_TIME;
    return message->offset;
}

rd_kafka_resp_err_t rd_kafka_message_headers(const rd_kafka_message_t *message, rd_kafka_headers_t **headers) {
    *headers = (rd_kafka_headers_t *)(size_t)message;
    return ((const played_t *)message)->headers_code;
}

rd_kafka_resp_err_t rd_kafka_header_get_all(const rd_kafka_headers_t *headers, size_t index, const char **name,
                                            const void **value, size_t *len) {
    const played_t *message = (const played_t *)headers;
    if (index >= message->count)
        return RD_KAFKA_RESP_ERR__NOENT;
    *name = message->headers[index]->name;
    *value = message->headers[index]->value;
    *len = message->headers[index]->value_len;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

const char *rd_kafka_topic_name(const rd_kafka_topic_t *topic) { return (const char *)topic; }
const char *rd_kafka_err2str(rd_kafka_resp_err_t code) { return code ? "played" : "Success"; }

/* --- for Python ------------------------------------------------------------------------------------------------ */

size_t played_sizeof_source(void) { return sizeof(source_t); }
size_t played_sizeof_rows(void) { return sizeof(rows_t); }
size_t played_count(const rows_t *rows) { return rows_count(rows); }
int64_t played_offset(const rows_t *rows, size_t index) { return rows_at(rows, index)->offset; }
rows_t *played_rows(slot_t *slot) { return &slot->lanes[0].rows; }
rows_t *played_lane(slot_t *slot, uint32_t number) { return &slot->lanes[number].rows; }
size_t played_added(const slot_t *slot) { return slot->lanes[0].added; }
void played_own(slot_t *slot, void *owner) { slot->lanes[0].owner = owner; }
uint8_t played_lane_of(const void *key, size_t len, int64_t offset, uint32_t lanes) {
    return lane_of(key, len, offset, lanes);
}
size_t played_touched(const source_t *source) { return source->touched_count; }
size_t played_failures(const source_t *source) { return source->failure_count; }
const failure_t *played_failure(const source_t *source, size_t index) { return &source->failures[index]; }
int played_refused(const source_t *source) { return source->refusal; }

/* A frame in memory of exactly its size, so that a sanitizer sees one byte too many. To be freed. */
uint8_t *played_frame(const rows_t *rows, size_t most, size_t limit, size_t *size, size_t *count, int *gaps) {
    frame_t frame;
    uint8_t *data;
    frame_plan(rows, most, limit, &frame);
    data = malloc(frame.size);
    frame_write(rows, &frame, data);
    *size = frame.size;
    *count = frame.count;
    *gaps = frame.gaps;
    return data;
}

void played_free(void *data) { free(data); }
