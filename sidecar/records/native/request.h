/* A call Produce: its records, read from the message's bytes, and the answer when all of them are written.
 *
 * Only the plain form is read, as protobuf's own writers make it: fields in ascending order, numbers packed, nothing
 * twice. Another form is left to the caller, who brings it into the plain form. So is a request that is not well-formed:
 * the caller knows how to refuse it. This file does not use Python, threads or Kafka's client.
 */
#ifndef SIDECAR_REQUEST_H
#define SIDECAR_REQUEST_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *data; /* NULL: Kafka's null */
    size_t len;
} bytes_view_t;

/* What is known of a record. */
enum {
    RECORD_NOT_SENT,        /* nothing */
    RECORD_REFUSED,         /* it cannot be written; its `code` says why, as one of those below */
    RECORD_REFUSED_BY_KAFKA, /* Kafka's client has not taken it, with this code */
    RECORD_TAKEN,           /* Kafka's client has it */
    RECORD_REPORTED         /* Kafka's client has reported this code; 0: it is written */
};

enum { REFUSED_PARTITION = 1, REFUSED_HEADER_NUL, REFUSED_HEADER_UTF8 };

typedef struct {
    bytes_view_t key, value;
    int64_t offset;
    uint32_t index;     /* of this record in its request */
    uint32_t topic;     /* index into the topics */
    uint32_t header, header_count; /* index of its first header, and how many it has */
    int32_t partition;  /* where it is to be written, -1: by its key; when it is reported: where it was written */
    int32_t code;
    uint8_t state;
} record_t;

typedef struct {
    bytes_view_t name, value;
} request_header_t;

typedef struct request_s {
    struct request_s *next; /* in a list of finished requests */
    void *owner;            /* the caller's object for this request */
    bytes_view_t lease;
    bytes_view_t *topics;
    request_header_t *headers;
    size_t topic_count, header_count, count;
    size_t given;   /* records that were given to Kafka's client, or that are refused: the first ones */
    size_t taken;   /* records that Kafka's client has taken */
    size_t pending; /* reports that are to come, and 1 until all records are given */
    size_t written; /* records that are reported as written */
    record_t records[];
} request_t;

/* Read a request with at most so many records and topics. The bytes must stay as they are as long as the request.
 * Returns 0; -1: it is not plain, or not well-formed; -2: no memory. The request is to be freed with `free`. */
int request_read(const uint8_t *data, size_t len, size_t most_records, size_t most_topics, request_t **made);

/* The request of a record. */
request_t *request_of(record_t *record);

/* The bytes of the answer that says that all records are written. */
size_t request_answer_size(const request_t *request);

/* Write that answer into so many bytes. */
void request_answer_write(const request_t *request, uint8_t *to);

#endif
