/* The producer of the played librdkafka. It keeps what it is given until the test reports it, and refuses what the test
 * says.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "outlet.h"
#include "rdkafka.h"
#include "request.h"

enum { PLAYED_MOST = 20000 };

int played_topics, played_header_lists, played_confs; /* that are not destroyed */
int played_room = -1;                                 /* records until the queue is full; below 0: it never is */
int played_code;                                      /* with which every record is refused */
int played_no_topic, played_no_client, played_bad_property;
int played_yields;
int played_waiting; /* records without a report */

static rd_kafka_dr_msg_f_t *on_report;
static rd_kafka_error_f_t *on_error;
static rd_kafka_log_f_t *on_log;
static void *the_opaque;

/* --- opening ------------------------------------------------------------------------------------------------------- */

rd_kafka_conf_t *rd_kafka_conf_new(void) {
    played_confs++;
    return malloc(1);
}

void rd_kafka_conf_destroy(rd_kafka_conf_t *conf) {
    played_confs--;
    free(conf);
}

rd_kafka_conf_res_t rd_kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value, char *text,
                                      size_t size) {
    (void)conf;
    if (!played_bad_property)
        return RD_KAFKA_CONF_OK;
    snprintf(text, size, "%s=%s is refused", name, value);
    return RD_KAFKA_CONF_INVALID;
}

void rd_kafka_conf_set_opaque(rd_kafka_conf_t *conf, void *opaque) { (void)conf, the_opaque = opaque; }
void rd_kafka_conf_set_dr_msg_cb(rd_kafka_conf_t *conf, rd_kafka_dr_msg_f_t *called) { (void)conf, on_report = called; }
void rd_kafka_conf_set_log_cb(rd_kafka_conf_t *conf, rd_kafka_log_f_t *called) { (void)conf, on_log = called; }
void *rd_kafka_opaque(const rd_kafka_t *rk) { return (void)rk, the_opaque; }
const char *rd_kafka_name(const rd_kafka_t *rk) { return (void)rk, "played"; }

void played_keep_error_cb(rd_kafka_error_f_t *called) { on_error = called; }

rd_kafka_t *rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *text, size_t size) {
    (void)type;
    if (played_no_client) {
        snprintf(text, size, "no client");
        return NULL;
    }
    rd_kafka_conf_destroy(conf);
    return malloc(1);
}

rd_kafka_resp_err_t rd_kafka_set_log_queue(rd_kafka_t *rk, rd_kafka_queue_t *queue) { return (void)rk, (void)queue, 0; }
rd_kafka_queue_t *rd_kafka_queue_new(rd_kafka_t *rk);
rd_kafka_queue_t *rd_kafka_queue_get_main(rd_kafka_t *rk) { return rd_kafka_queue_new(rk); }
void rd_kafka_queue_io_event_enable(rd_kafka_queue_t *queue, int fd, const void *data, size_t size) {
    (void)queue, (void)fd, (void)data, (void)size;
}

/* --- producing ----------------------------------------------------------------------------------------------------- */

static struct {
    record_t *record;
    char text[128]; /* topic, partition, key, value and headers */
} given[PLAYED_MOST];
static size_t given_count;

rd_kafka_topic_t *rd_kafka_topic_new(rd_kafka_t *rk, const char *name, void *conf) {
    (void)rk, (void)conf;
    if (played_no_topic)
        return NULL;
    played_topics++;
    return (rd_kafka_topic_t *)(void *)strdup(name);
}

void rd_kafka_topic_destroy(rd_kafka_topic_t *topic) {
    played_topics--;
    free(topic);
}

typedef struct {
    char text[64];
} headers_t;

rd_kafka_headers_t *rd_kafka_headers_new(size_t count) {
    (void)count;
    played_header_lists++;
    return calloc(1, sizeof(headers_t));
}

void rd_kafka_headers_destroy(rd_kafka_headers_t *headers) {
    played_header_lists--;
    free(headers);
}

rd_kafka_resp_err_t rd_kafka_header_add(rd_kafka_headers_t *headers, const char *name, ssize_t name_len,
                                        const void *value, ssize_t value_len) {
    char *to = ((headers_t *)(void *)headers)->text;
    size_t used = strlen(to);
    snprintf(to + used, sizeof(headers_t) - used, " %.*s=%.*s", (int)name_len, name, (int)value_len,
             value == NULL ? "" : (const char *)value);
    return 0;
}

rd_kafka_resp_err_t rd_kafka_producev(rd_kafka_t *rk, ...) {
    const char *topic = "", *value = NULL, *key = NULL;
    int value_len = 0, key_len = 0, partition = 0, kind, flags = 0;
    rd_kafka_headers_t *headers = NULL;
    record_t *record = NULL;
    va_list all;
    va_start(all, rk);
    while ((kind = va_arg(all, int)) != RD_KAFKA_VTYPE_END) {
        if (kind == RD_KAFKA_VTYPE_RKT)
            topic = va_arg(all, const char *);
        else if (kind == RD_KAFKA_VTYPE_PARTITION)
            partition = va_arg(all, int32_t);
        else if (kind == RD_KAFKA_VTYPE_MSGFLAGS)
            flags = va_arg(all, int);
        else if (kind == RD_KAFKA_VTYPE_VALUE)
            value = va_arg(all, const char *), value_len = (int)va_arg(all, size_t);
        else if (kind == RD_KAFKA_VTYPE_KEY)
            key = va_arg(all, const char *), key_len = (int)va_arg(all, size_t);
        else if (kind == RD_KAFKA_VTYPE_HEADERS)
            headers = va_arg(all, rd_kafka_headers_t *);
        else if (kind == RD_KAFKA_VTYPE_OPAQUE)
            record = va_arg(all, record_t *);
        else
            abort();
    }
    va_end(all);
    if (flags != RD_KAFKA_MSG_F_COPY)
        abort();
    if (played_code != 0)
        return played_code;
    if (played_room == 0)
        return RD_KAFKA_RESP_ERR__QUEUE_FULL;
    played_room -= played_room > 0;
    given[given_count].record = record;
    snprintf(given[given_count].text, sizeof given->text, "%s/%d %.*s:%.*s%s", topic, partition, key_len,
             key == NULL ? "" : key, value_len, value == NULL ? "" : value,
             headers == NULL ? "" : ((headers_t *)(void *)headers)->text);
    given_count++;
    played_waiting++;
    if (headers != NULL)
        rd_kafka_headers_destroy(headers);
    return 0;
}

/* --- reports ------------------------------------------------------------------------------------------------------- */

static struct {
    record_t *record;
    int code;
    int32_t partition;
    int64_t offset;
} reports[PLAYED_MOST];
static size_t report_count, reports_served;
static int stopped;
static int error_code;
static const char *log_facility, *log_text;

/* The next poll serves the report of the record that was given as number `index`. */
void played_report(size_t index, int code, int32_t partition, int64_t offset) {
    reports[report_count].record = given[index].record;
    reports[report_count].code = code;
    reports[report_count].partition = partition;
    reports[report_count++].offset = offset;
}

/* It calls the error callback, or the log callback as often as that lets it. */
void played_error(int code) { error_code = code; }
void played_log(const char *facility, const char *text) { log_facility = facility, log_text = text; }

void rd_kafka_yield(rd_kafka_t *rk) {
    (void)rk;
    played_yields++;
    stopped = 1;
}

int rd_kafka_poll(rd_kafka_t *rk, int timeout) {
    (void)timeout;
    stopped = 0;
    if (error_code)
        on_error(rk, error_code, "why", the_opaque);
    error_code = 0;
    while (log_text != NULL && !stopped)
        on_log(rk, 7, log_facility, log_text);
    for (; reports_served < report_count && !stopped; reports_served++) {
        rd_kafka_message_t message = {.err = reports[reports_served].code,
                                      .partition = reports[reports_served].partition,
                                      .offset = reports[reports_served].offset,
                                      ._private = reports[reports_served].record};
        played_waiting--;
        on_report(rk, &message, the_opaque);
    }
    return 0;
}

rd_kafka_resp_err_t rd_kafka_flush(rd_kafka_t *rk, int timeout) { return rd_kafka_poll(rk, timeout), 0; }

int rd_kafka_outq_len(rd_kafka_t *rk) { return (void)rk, played_waiting; }

rd_kafka_resp_err_t rd_kafka_purge(rd_kafka_t *rk, int flags) {
    enum { PURGED = -152 };
    (void)rk;
    if (flags != (RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT))
        abort();
    for (size_t i = 0; i < given_count; i++)
        if (given[i].record->state == RECORD_TAKEN)
            played_report(i, PURGED, -1, -1001);
    return 0;
}

rd_kafka_resp_err_t rd_kafka_fatal_error(rd_kafka_t *rk, char *text, size_t size) {
    (void)rk;
    snprintf(text, size, "fatal");
    return 45;
}

void rd_kafka_destroy(rd_kafka_t *rk) {
    free(rk);
    given_count = report_count = reports_served = 0;
    log_text = NULL;
    played_waiting = 0;
}

/* --- transactions -------------------------------------------------------------------------------------------------- */

/* Their functions must be there. Who calls them needs Python, and is tried with the real librdkafka. */
void rd_kafka_init_transactions(void) { abort(); }
void rd_kafka_begin_transaction(void) { abort(); }
void rd_kafka_commit_transaction(void) { abort(); }
void rd_kafka_abort_transaction(void) { abort(); }
void rd_kafka_send_offsets_to_transaction(void) { abort(); }
void rd_kafka_topic_partition_list_new(void) { abort(); }
void rd_kafka_topic_partition_list_add(void) { abort(); }
void rd_kafka_topic_partition_list_destroy(void) { abort(); }
void rd_kafka_consumer_group_metadata_read(void) { abort(); }
void rd_kafka_consumer_group_metadata_destroy(void) { abort(); }
void rd_kafka_error_code(void) { abort(); }
void rd_kafka_error_string(void) { abort(); }
void rd_kafka_error_is_fatal(void) { abort(); }
void rd_kafka_error_is_retriable(void) { abort(); }
void rd_kafka_error_txn_requires_abort(void) { abort(); }
void rd_kafka_error_destroy(void) { abort(); }

/* --- for Python ---------------------------------------------------------------------------------------------------- */

size_t played_sizeof_outlet(void) { return sizeof(outlet_t); }
size_t played_sizeof_record(void) { return sizeof(record_t); }
size_t played_sizeof_request(void) { return sizeof(request_t); }
record_t *played_record(request_t *request, size_t index) { return &request->records[index]; }
request_t *played_finished(const outlet_t *outlet) { return outlet->finished; }
size_t played_lines(const outlet_t *outlet) { return outlet->line_count; }
const char *played_given(size_t index) { return index < given_count ? given[index].text : NULL; }
