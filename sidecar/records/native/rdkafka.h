/* The part of librdkafka's public C interface that is used here.
 *
 * The binding's wheel contains librdkafka and no header, so the declarations are repeated: types and numbers are those
 * of rdkafka.h, which promises to keep them. Nothing is linked: each function is looked up in the library that makes
 * the binding's clients, since two copies of the library could not share a client.
 *
 * This extension defines no name of librdkafka: if that library is in the process's global scope, a variable of ours
 * with the name of one of its functions would be that function.
 */
#ifndef SIDECAR_RDKAFKA_H
#define SIDECAR_RDKAFKA_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct rd_kafka_s rd_kafka_t;
typedef struct rd_kafka_conf_s rd_kafka_conf_t;
typedef struct rd_kafka_topic_s rd_kafka_topic_t;
typedef struct rd_kafka_queue_s rd_kafka_queue_t;
typedef struct rd_kafka_headers_s rd_kafka_headers_t;
typedef struct rd_kafka_error_s rd_kafka_error_t;
typedef struct rd_kafka_consumer_group_metadata_s rd_kafka_consumer_group_metadata_t;
typedef struct rd_kafka_topic_partition_list_s rd_kafka_topic_partition_list_t;
typedef int rd_kafka_resp_err_t;

typedef struct {
    rd_kafka_resp_err_t err;
    rd_kafka_topic_t *rkt;
    int32_t partition;
    void *payload; /* the value of a record; the text of an error */
    size_t len;
    void *key;
    size_t key_len;
    int64_t offset;
    void *_private;
} rd_kafka_message_t;

typedef struct {
    char *topic;
    int32_t partition;
    int64_t offset;
    void *metadata; /* freed with the list */
    size_t metadata_size;
    void *opaque;
    rd_kafka_resp_err_t err;
    void *_private;
} rd_kafka_topic_partition_t;

enum {
    RD_KAFKA_RESP_ERR_NO_ERROR = 0,
    RD_KAFKA_RESP_ERR__FATAL = -150,
    RD_KAFKA_RESP_ERR__QUEUE_FULL = -184,
    RD_KAFKA_RESP_ERR__INVALID_ARG = -186,
    RD_KAFKA_RESP_ERR__NOENT = -156,
    RD_KAFKA_RESP_ERR__FAIL = -196,
    RD_KAFKA_RESP_ERR__BAD_MSG = -199
};

/* Types of timestamps: none, the producer's, the broker's. This project's protocol has the same numbers. */
enum { RD_KAFKA_TIMESTAMP_NOT_AVAILABLE = 0, RD_KAFKA_TIMESTAMP_CREATE_TIME = 1, RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME = 2 };

typedef enum { RD_KAFKA_PRODUCER, RD_KAFKA_CONSUMER } rd_kafka_type_t;
typedef enum { RD_KAFKA_CONF_UNKNOWN = -2, RD_KAFKA_CONF_INVALID = -1, RD_KAFKA_CONF_OK = 0 } rd_kafka_conf_res_t;

/* What follows in the arguments of `producev`. */
enum {
    RD_KAFKA_VTYPE_END,
    RD_KAFKA_VTYPE_TOPIC,
    RD_KAFKA_VTYPE_RKT,
    RD_KAFKA_VTYPE_PARTITION,
    RD_KAFKA_VTYPE_VALUE,
    RD_KAFKA_VTYPE_KEY,
    RD_KAFKA_VTYPE_OPAQUE,
    RD_KAFKA_VTYPE_MSGFLAGS,
    RD_KAFKA_VTYPE_TIMESTAMP,
    RD_KAFKA_VTYPE_HEADER,
    RD_KAFKA_VTYPE_HEADERS
};

enum { RD_KAFKA_MSG_F_COPY = 2 };
enum { RD_KAFKA_PURGE_F_QUEUE = 1, RD_KAFKA_PURGE_F_INFLIGHT = 2 };

typedef rd_kafka_resp_err_t rd_kafka_interceptor_f_on_new_t(
    rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque, char *errstr, size_t errstr_size);
typedef rd_kafka_resp_err_t rd_kafka_interceptor_f_on_destroy_t(rd_kafka_t *rk, void *opaque);

typedef void rd_kafka_error_f_t(rd_kafka_t *rk, int err, const char *reason, void *opaque);
typedef void rd_kafka_log_f_t(const rd_kafka_t *rk, int level, const char *facility, const char *text);
typedef void rd_kafka_dr_msg_f_t(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque);

/* The functions, each without its prefix `rd_kafka_`. */
#define RDKAFKA_FUNCTIONS(F)                                                                                         \
    F(rd_kafka_resp_err_t, conf_interceptor_add_on_new,                                                              \
      (rd_kafka_conf_t *, const char *, rd_kafka_interceptor_f_on_new_t *, void *))                                  \
    F(rd_kafka_resp_err_t, interceptor_add_on_destroy,                                                               \
      (rd_kafka_t *, const char *, rd_kafka_interceptor_f_on_destroy_t *, void *))                                   \
    F(void, conf_set_error_cb, (rd_kafka_conf_t *, rd_kafka_error_f_t *))                                            \
    F(rd_kafka_resp_err_t, last_error, (void))                                                                       \
    F(rd_kafka_queue_t *, queue_new, (rd_kafka_t *))                                                                 \
    F(rd_kafka_queue_t *, queue_get_consumer, (rd_kafka_t *))                                                        \
    F(rd_kafka_queue_t *, queue_get_partition, (rd_kafka_t *, const char *, int32_t))                                \
    F(void, queue_forward, (rd_kafka_queue_t *, rd_kafka_queue_t *))                                                 \
    F(void, queue_cb_event_enable, (rd_kafka_queue_t *, void (*)(rd_kafka_t *, void *), void *))                     \
    F(void, queue_destroy, (rd_kafka_queue_t *))                                                                     \
    F(ssize_t, consume_batch_queue, (rd_kafka_queue_t *, int, rd_kafka_message_t **, size_t))                        \
    F(void, message_destroy, (rd_kafka_message_t *))                                                                 \
    F(int64_t, message_timestamp, (const rd_kafka_message_t *, int *))                                               \
    F(rd_kafka_resp_err_t, message_headers, (const rd_kafka_message_t *, rd_kafka_headers_t **))                     \
    F(rd_kafka_resp_err_t, header_get_all,                                                                           \
      (const rd_kafka_headers_t *, size_t, const char **, const void **, size_t *))                                  \
    F(const char *, topic_name, (const rd_kafka_topic_t *))                                                          \
    F(const char *, err2str, (rd_kafka_resp_err_t))                                                                  \
    F(rd_kafka_conf_t *, conf_new, (void))                                                                           \
    F(void, conf_destroy, (rd_kafka_conf_t *))                                                                       \
    F(rd_kafka_conf_res_t, conf_set, (rd_kafka_conf_t *, const char *, const char *, char *, size_t))                \
    F(void, conf_set_opaque, (rd_kafka_conf_t *, void *))                                                            \
    F(void, conf_set_dr_msg_cb, (rd_kafka_conf_t *, rd_kafka_dr_msg_f_t *))                                          \
    F(void, conf_set_log_cb, (rd_kafka_conf_t *, rd_kafka_log_f_t *))                                                \
    F(rd_kafka_t *, new, (rd_kafka_type_t, rd_kafka_conf_t *, char *, size_t))                                       \
    F(void, destroy, (rd_kafka_t *))                                                                                 \
    F(const char *, name, (const rd_kafka_t *))                                                                      \
    F(void *, opaque, (const rd_kafka_t *))                                                                          \
    F(rd_kafka_resp_err_t, set_log_queue, (rd_kafka_t *, rd_kafka_queue_t *))                                        \
    F(rd_kafka_queue_t *, queue_get_main, (rd_kafka_t *))                                                            \
    F(void, queue_io_event_enable, (rd_kafka_queue_t *, int, const void *, size_t))                                  \
    F(int, poll, (rd_kafka_t *, int))                                                                                \
    F(void, yield, (rd_kafka_t *))                                                                                   \
    F(rd_kafka_resp_err_t, flush, (rd_kafka_t *, int))                                                               \
    F(int, outq_len, (rd_kafka_t *))                                                                                 \
    F(rd_kafka_resp_err_t, purge, (rd_kafka_t *, int))                                                               \
    F(rd_kafka_resp_err_t, fatal_error, (rd_kafka_t *, char *, size_t))                                              \
    F(rd_kafka_topic_t *, topic_new, (rd_kafka_t *, const char *, void *))                                           \
    F(void, topic_destroy, (rd_kafka_topic_t *))                                                                     \
    F(rd_kafka_headers_t *, headers_new, (size_t))                                                                   \
    F(void, headers_destroy, (rd_kafka_headers_t *))                                                                 \
    F(rd_kafka_resp_err_t, header_add, (rd_kafka_headers_t *, const char *, ssize_t, const void *, ssize_t))         \
    F(rd_kafka_resp_err_t, producev, (rd_kafka_t *, ...))                                                            \
    F(rd_kafka_error_t *, init_transactions, (rd_kafka_t *, int))                                                    \
    F(rd_kafka_error_t *, begin_transaction, (rd_kafka_t *))                                                         \
    F(rd_kafka_error_t *, send_offsets_to_transaction,                                                               \
      (rd_kafka_t *, const rd_kafka_topic_partition_list_t *, const rd_kafka_consumer_group_metadata_t *, int))      \
    F(rd_kafka_error_t *, commit_transaction, (rd_kafka_t *, int))                                                   \
    F(rd_kafka_error_t *, abort_transaction, (rd_kafka_t *, int))                                                    \
    F(rd_kafka_topic_partition_list_t *, topic_partition_list_new, (int))                                            \
    F(rd_kafka_topic_partition_t *, topic_partition_list_add,                                                        \
      (rd_kafka_topic_partition_list_t *, const char *, int32_t))                                                    \
    F(void, topic_partition_list_destroy, (rd_kafka_topic_partition_list_t *))                                       \
    F(rd_kafka_error_t *, consumer_group_metadata_read,                                                              \
      (rd_kafka_consumer_group_metadata_t **, const void *, size_t))                                                 \
    F(void, consumer_group_metadata_destroy, (rd_kafka_consumer_group_metadata_t *))                                 \
    F(rd_kafka_resp_err_t, error_code, (const rd_kafka_error_t *))                                                   \
    F(const char *, error_string, (const rd_kafka_error_t *))                                                        \
    F(int, error_is_fatal, (const rd_kafka_error_t *))                                                               \
    F(int, error_is_retriable, (const rd_kafka_error_t *))                                                           \
    F(int, error_txn_requires_abort, (const rd_kafka_error_t *))                                                     \
    F(void, error_destroy, (rd_kafka_error_t *))

#define RDKAFKA_POINTER(result, name, arguments) result(*name) arguments;
typedef struct {
    RDKAFKA_FUNCTIONS(RDKAFKA_POINTER)
} rdkafka_t;
#undef RDKAFKA_POINTER

/* Filled by rdkafka_load. */
extern rdkafka_t rdkafka;

/* Look the functions up in the library that contains `address`. Returns NULL, or a text that says what is wrong (valid
 * until the process ends). After the first success any other library is refused. May be called from any thread. */
const char *rdkafka_load(const void *address);

/* The length of a header's name. `header_get_all` gives only its beginning, and a name may contain NULs. Returns -1 if
 * this version of the library has another memory layout of headers. */
ssize_t rdkafka_header_name(const char *name, const void *value, size_t value_len);

#endif
