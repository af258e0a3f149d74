/* A frame with a Batch of proto/lambda.proto, read where it lies. Nothing here knows of Python. */
#ifndef KAFKA_SIDECAR_SDK_BATCH_H
#define KAFKA_SIDECAR_SDK_BATCH_H

#include <stddef.h>
#include <stdint.h>

/* The fields of Batch. */
enum {
    FIRST_OFFSET = 1,
    OFFSETS,
    TIMESTAMPS,
    TIMESTAMP_TYPE,
    KEYS,
    VALUES,
    NULL_KEYS,
    NULL_VALUES,
    HEADER_COUNTS,
    HEADER_NAMES,
    HEADER_VALUES,
    NULL_HEADER_VALUES,
    FIELDS /* one more than the last */
};

/* What is left of one field: of a list of bytes, its entries with their tags; of a list of numbers, the packed numbers. */
typedef struct {
    const uint8_t *at, *end;
    size_t count;
} column_t;

typedef struct {
    column_t columns[FIELDS];
    size_t count;
    int64_t first_offset, last_offset;
    int64_t *offsets; /* NULL: consecutive from first_offset */
    int32_t timestamp_type;
} batch_t;

/* Bytes of the frame; `data` is NULL for Kafka's null. */
typedef struct {
    const uint8_t *data;
    size_t len;
} view_t;

/* A list of bytes with the list of its null entries. */
typedef struct {
    column_t entries, nulls;
    size_t index;     /* of the next entry */
    size_t next_null; /* the index of the next null entry; SIZE_MAX: there is none */
} nullable_t;

/* The records of a batch in order. Records are read once each: to go back, begin again. */
typedef struct {
    size_t index; /* of the next record */
    nullable_t keys, values, header_values;
    column_t timestamps, header_counts, header_names;
} cursor_t;

enum { BATCH_READ, BATCH_NOT_PLAIN, BATCH_NO_MEMORY };

/* Read a HostFrame. BATCH_NOT_PLAIN: it is no Batch, it breaks the contract, or it is not in the form in which protobuf
 * libraries write it: each field once, in the order of the numbers, lists of numbers packed, fields of a newer
 * contract after those that are known. What is not plain is for protobuf's own parser, which accepts more. After
 * BATCH_READ every column fits the number of records, so that nothing has to be checked when records are read.
 * The batch refers to `data`. */
int batch_read(const uint8_t *data, size_t len, batch_t *batch);

void batch_release(batch_t *batch);

static inline int64_t batch_offset(const batch_t *batch, size_t index) {
    return batch->offsets == NULL ? batch->first_offset + (int64_t)index : batch->offsets[index];
}

/* Before the first record. */
cursor_t cursor_begin(const batch_t *batch);

/* Pass `count` records, of which there must be so many. */
void cursor_skip(cursor_t *cursor, size_t count);

/* The next entry of a column, which must have one. A cursor reads each of its columns once for each record. */
uint64_t column_number(column_t *column);
view_t column_bytes(column_t *column);
view_t nullable_next(nullable_t *list);

#endif
