/* The buffered records of one lane of a partition, in the form in which they are sent.
 *
 * Each record is copied once, when it is read: its value, key and headers are appended to three stretches of memory,
 * with protobuf's tags and lengths. A frame of consecutive records then takes a few copies of parts of these stretches.
 * This file does not use Python, threads or Kafka's client.
 */
#ifndef SIDECAR_ROWS_H
#define SIDECAR_ROWS_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int64_t offset;
    int64_t timestamp;
    uint32_t value, key, headers; /* bytes in their stretches, tags and lengths included */
    uint32_t header_count;
    uint8_t stamp; /* the type of the timestamp */
    uint8_t null_key, null_value, null_headers; /* null_headers: the value of at least one header is null */
} row_t;

typedef struct {
    uint8_t *data;
    size_t first, end, capacity; /* the bytes from first to end are in use */
} bytes_t;

typedef struct {
    row_t *rows;
    size_t first, end, capacity;
    bytes_t values, keys, headers;
} rows_t;

typedef struct {
    size_t count;    /* records of the frame */
    size_t size;     /* all bytes of the frame */
    size_t body;     /* its bytes after its own tag and length */
    int gaps, any_key, any_header;
    size_t packed[6]; /* bytes of each packed column, in the order in which they are written */
} frame_t;

static inline size_t rows_count(const rows_t *rows) { return rows->end - rows->first; }
static inline row_t *rows_at(const rows_t *rows, size_t index) { return rows->rows + rows->first + index; }

/* Bytes of memory in use. */
size_t rows_bytes(const rows_t *rows);

/* Make room for `count` records with so many bytes of values and keys. Returns 0; -1: no memory. */
int rows_reserve(rows_t *rows, size_t count, size_t values, size_t keys);

/* Append a record; there must be room for it. A NULL key or value is Kafka's null. */
row_t *rows_append(rows_t *rows, int64_t offset, int stamp, int64_t timestamp, const void *value, size_t value_len,
                   const void *key, size_t key_len);

/* Append a header to the last record. Returns 0; -1: no memory. */
int rows_header(rows_t *rows, const char *name, size_t name_len, const void *value, size_t value_len);

/* Remove the last record, and keep the room that was made for it and for others. */
void rows_retract(rows_t *rows);

void rows_drop(rows_t *rows, size_t count);     /* remove the first `count` records */
void rows_truncate(rows_t *rows, size_t count); /* remove all but the first `count` records */
void rows_remove(rows_t *rows, size_t index, size_t count); /* remove so many records from `index` on */
void rows_free(rows_t *rows);

/* How many records have offsets lower than `offset`. */
size_t rows_before(const rows_t *rows, int64_t offset);

/* Lay out a frame: as many of the first `most` records (at least one) as fit into `limit` bytes, but never fewer than
 * one. It ends where the type of timestamp changes. */
void frame_plan(const rows_t *rows, size_t most, size_t limit, frame_t *frame);

/* Write the frame, a serialized HostFrame with a Batch, into frame->size bytes. */
void frame_write(const rows_t *rows, const frame_t *frame, uint8_t *to);

int entry_is_null(const uint8_t *at);

/* Read one length-delimited entry. Returns the address of the next one. */
const uint8_t *entry_read(const uint8_t *at, const uint8_t **data, size_t *len);

#endif
