#include "outlet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- what librdkafka calls, inside `poll` -------------------------------------------------------------------------- */

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
    outlet_t *outlet = opaque;
    record_t *record = message->_private;
    request_t *request = request_of(record);
    record->state = RECORD_REPORTED;
    record->code = message->err;
    record->partition = message->partition;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) { /* without acknowledgements there is no offset */
        record->offset = message->offset < 0 ? 0 : message->offset;
        request->written++;
    }
    if (--request->pending == 0) {
        request->next = NULL;
        *outlet->finished_end = request;
        outlet->finished_end = &request->next;
    }
    if (++outlet->reports >= OUTLET_REPORTS)
        rdkafka.yield(rk);
}

static void on_error(rd_kafka_t *rk, int code, const char *reason, void *opaque) {
    (void)rk, (void)reason; /* an error that is not fatal is repeated in the log */
    if (code == RD_KAFKA_RESP_ERR__FATAL)
        ((outlet_t *)opaque)->failed = 1;
}

static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text) {
    outlet_t *outlet = rdkafka.opaque(rk);
    log_line_t line = {.level = level};
    if (outlet->line_count == OUTLET_LINES)
        return;
    line.facility = strdup(facility);
    line.text = strdup(text);
    if (line.facility == NULL || line.text == NULL) {
        free(line.facility);
        free(line.text);
        return;
    }
    outlet->lines[outlet->line_count++] = line;
    if (outlet->line_count == OUTLET_LINES)
        rdkafka.yield((rd_kafka_t *)(uintptr_t)rk);
}

/* --- opening ------------------------------------------------------------------------------------------------------- */

static rd_kafka_conf_t *configured(outlet_t *outlet, const char *const *names, const char *const *values, size_t count,
                                   char *text, size_t text_size) {
    rd_kafka_conf_t *conf = rdkafka.conf_new();
    for (size_t i = 0; i <= count; i++) { /* the last one: log lines are served like reports */
        const char *name = i < count ? names[i] : "log.queue", *value = i < count ? values[i] : "true";
        if (rdkafka.conf_set(conf, name, value, text, text_size) != RD_KAFKA_CONF_OK) {
            rdkafka.conf_destroy(conf);
            return NULL;
        }
    }
    rdkafka.conf_set_opaque(conf, outlet);
    rdkafka.conf_set_dr_msg_cb(conf, on_report);
    rdkafka.conf_set_error_cb(conf, on_error);
    rdkafka.conf_set_log_cb(conf, on_log);
    return conf;
}

int outlet_open(outlet_t *outlet, const char *const *names, const char *const *values, size_t count, int fd,
                char *text, size_t text_size) {
    rd_kafka_conf_t *conf;
    *outlet = (outlet_t){.client = NULL};
    outlet->finished_end = &outlet->finished;
    if (rdkafka.new == NULL) {
        snprintf(text, text_size, "librdkafka was not found yet: no client was made with this library as its plugin");
        return -1;
    }
    conf = configured(outlet, names, values, count, text, text_size);
    if (conf == NULL)
        return -1;
    outlet->client = rdkafka.new(RD_KAFKA_PRODUCER, conf, text, text_size);
    if (outlet->client == NULL) {
        rdkafka.conf_destroy(conf);
        return -1;
    }
    rdkafka.set_log_queue(outlet->client, NULL);
    outlet->events = rdkafka.queue_get_main(outlet->client);
    if (fd >= 0)
        rdkafka.queue_io_event_enable(outlet->events, fd, "1", 1);
    return 0;
}

/* --- producing ----------------------------------------------------------------------------------------------------- */

static rd_kafka_topic_t *topic_of(outlet_t *outlet, bytes_view_t name) {
    char *text = memchr(name.data, 0, name.len) != NULL ? NULL : strndup((const char *)name.data, name.len);
    rd_kafka_topic_t *topic = text == NULL ? NULL : rdkafka.topic_new(outlet->client, text, NULL);
    free(text);
    return topic;
}

static rd_kafka_headers_t *headers_of(const request_t *request, const record_t *record) {
    rd_kafka_headers_t *headers = rdkafka.headers_new(record->header_count);
    for (uint32_t i = 0; i < record->header_count; i++) {
        const request_header_t *one = &request->headers[record->header + i];
        rdkafka.header_add(headers, (const char *)one->name.data, (ssize_t)one->name.len, one->value.data,
                           (ssize_t)one->value.len);
    }
    return headers;
}

static int give(outlet_t *outlet, request_t *request, record_t *record, rd_kafka_topic_t *topic) {
    rd_kafka_headers_t *headers = record->header_count > 0 ? headers_of(request, record) : NULL;
    int code = rdkafka.producev(
        outlet->client, RD_KAFKA_VTYPE_RKT, topic, RD_KAFKA_VTYPE_MSGFLAGS, (int)RD_KAFKA_MSG_F_COPY,
        RD_KAFKA_VTYPE_PARTITION, record->partition, RD_KAFKA_VTYPE_VALUE, record->value.data, record->value.len,
        RD_KAFKA_VTYPE_KEY, record->key.data, record->key.len, RD_KAFKA_VTYPE_HEADERS, headers,
        RD_KAFKA_VTYPE_OPAQUE, (void *)record, RD_KAFKA_VTYPE_END);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR && headers != NULL) /* otherwise they belong to librdkafka */
        rdkafka.headers_destroy(headers);
    return code;
}

/* Give one record; its topic's handle is made when it is first needed. Returns the code of the refusal, or 0. */
static int give_one(outlet_t *outlet, request_t *request, record_t *record, rd_kafka_topic_t **topics) {
    rd_kafka_topic_t **topic = &topics[record->topic];
    if (*topic == NULL)
        *topic = topic_of(outlet, request->topics[record->topic]);
    return *topic == NULL ? RD_KAFKA_RESP_ERR__INVALID_ARG : give(outlet, request, record, *topic);
}

/* See `outlet_produce`.
 *
 * A full queue would take a later record after it has refused an earlier one, as soon as there is room. So it ends the
 * request: all later records are refused too. The caller keeps the queue from filling up. */
static int give_next(outlet_t *outlet, request_t *request, size_t most, rd_kafka_topic_t **topics) {
    int code = RD_KAFKA_RESP_ERR_NO_ERROR;
    for (size_t done = 0; request->given < request->count; done++) {
        record_t *record = &request->records[request->given];
        if (done >= most && code != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            return OUTLET_MORE;
        request->given++;
        if (record->state == RECORD_REFUSED)
            continue;
        if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            code = give_one(outlet, request, record, topics);
        record->code = code;
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            record->state = RECORD_TAKEN;
            request->taken++;
            request->pending++;
            continue;
        }
        record->state = RECORD_REFUSED_BY_KAFKA;
        if (code == RD_KAFKA_RESP_ERR__FATAL)
            return OUTLET_FAILED;
    }
    return OUTLET_ALL;
}

/* See `outlet_transact`. */
static int give_all(outlet_t *outlet, request_t *request, size_t most, rd_kafka_topic_t **topics) {
    (void)most;
    while (request->given < request->count) {
        record_t *record = &request->records[request->given];
        int code = give_one(outlet, request, record, topics);
        if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL)
            return OUTLET_FULL;
        request->given++;
        record->code = code;
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
            record->state = RECORD_REFUSED_BY_KAFKA;
            return code == RD_KAFKA_RESP_ERR__FATAL ? OUTLET_FAILED : OUTLET_REFUSED;
        }
        record->state = RECORD_TAKEN;
        request->taken++;
        request->pending++;
    }
    return OUTLET_ALL;
}

typedef int give_t(outlet_t *, request_t *, size_t, rd_kafka_topic_t **);

static int with_topics(outlet_t *outlet, request_t *request, size_t most, give_t *next) {
    /* A handle is kept for this call only: while the application has one, librdkafka remembers that a topic does not
     * exist, and would refuse records for it minutes after it was made. */
    rd_kafka_topic_t **topics = calloc(request->topic_count, sizeof *topics);
    int result;
    if (topics == NULL)
        return -1;
    result = next(outlet, request, most, topics);
    for (size_t i = 0; i < request->topic_count; i++)
        if (topics[i] != NULL)
            rdkafka.topic_destroy(topics[i]);
    free(topics);
    return result;
}

int outlet_produce(outlet_t *outlet, request_t *request, size_t most) {
    return with_topics(outlet, request, most, give_next);
}

int outlet_transact(outlet_t *outlet, request_t *request) {
    return with_topics(outlet, request, request->count, give_all);
}

/* --- serving and closing ------------------------------------------------------------------------------------------- */

int outlet_serve(outlet_t *outlet, int ms) {
    outlet->reports = 0;
    rdkafka.poll(outlet->client, ms);
    return outlet->reports >= OUTLET_REPORTS || outlet->line_count == OUTLET_LINES;
}

int outlet_flush(outlet_t *outlet, int ms) {
    outlet->reports = 0;
    rdkafka.flush(outlet->client, ms);
    return rdkafka.outq_len(outlet->client);
}

int outlet_failed(outlet_t *outlet) {
    int failed = outlet->failed;
    outlet->failed = 0;
    return failed;
}

void outlet_clear(outlet_t *outlet) {
    for (size_t i = 0; i < outlet->line_count; i++) {
        free(outlet->lines[i].facility);
        free(outlet->lines[i].text);
    }
    outlet->line_count = 0;
}

int outlet_close(outlet_t *outlet) {
    enum { POLL_MS = 100 };
    int left;
    /* Reports that nobody serves would be lost with the producer, and their requests would never end. */
    rdkafka.purge(outlet->client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    for (int waited = 0; rdkafka.outq_len(outlet->client) > 0 && waited < OUTLET_CLOSING_MS; waited += POLL_MS) {
        outlet->reports = 0;
        rdkafka.poll(outlet->client, POLL_MS);
        outlet_clear(outlet);
    }
    left = rdkafka.outq_len(outlet->client);
    rdkafka.queue_io_event_enable(outlet->events, -1, NULL, 0);
    rdkafka.queue_destroy(outlet->events);
    rdkafka.destroy(outlet->client);
    return left;
}
