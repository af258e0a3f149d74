#include "rows.h"

#include <stdlib.h>
#include <string.h>

#include "varint.h"

/* Field numbers and wire types of proto/lambda.proto, as tags. */
enum {
    TAG_BATCH = 3 << 3 | 2, /* a field of HostFrame; the others are fields of Batch */
    TAG_FIRST_OFFSET = 1 << 3,
    TAG_OFFSETS = 2 << 3 | 2,
    TAG_TIMESTAMPS = 3 << 3 | 2,
    TAG_TIMESTAMP_TYPE = 4 << 3,
    TAG_KEY = 5 << 3 | 2,
    TAG_VALUE = 6 << 3 | 2,
    TAG_NULL_KEYS = 7 << 3 | 2,
    TAG_NULL_VALUES = 8 << 3 | 2,
    TAG_HEADER_COUNTS = 9 << 3 | 2,
    TAG_HEADER_NAME = 10 << 3 | 2,
    TAG_HEADER_VALUE = 11 << 3 | 2,
    TAG_NULL_HEADER_VALUES = 12 << 3 | 2,
};

enum { OFFSETS, TIMESTAMPS, NULL_KEYS, NULL_VALUES, HEADER_COUNTS, NULL_HEADER_VALUES };

/* Upper bounds for the bytes of a frame beside its records, and of a record beside its key, value and headers. */
enum { FRAME_OVERHEAD = 64, RECORD_OVERHEAD = 40, HEADER_OVERHEAD = 5 };

enum { ENTRY_OVERHEAD = 6, KEPT_WHEN_EMPTY = 16 * 1024, FITS = 4 };

/* --- varints and entries ------------------------------------------------------------------------------------- */

static const uint8_t *varint_read(const uint8_t *at, uint64_t *number) {
    int shift = 0;
    *number = 0;
    do {
        *number |= (uint64_t)(*at & 0x7f) << shift;
        shift += 7;
    } while (*at++ & 0x80);
    return at;
}

static uint8_t *entry_write(uint8_t *to, uint8_t tag, const void *data, size_t len) {
    *to++ = tag;
    to = varint_write(to, len);
    if (len > 0)
        memcpy(to, data, len);
    return to + len;
}

/* A header's null value. When the frame is made it must differ from an empty value, so its length of 0 takes two bytes;
 * for a reader both are the same. */
static uint8_t *null_write(uint8_t *to, uint8_t tag) {
    *to++ = tag;
    *to++ = 0x80;
    *to++ = 0;
    return to;
}

int entry_is_null(const uint8_t *at) { return at[1] == 0x80 && at[2] == 0; }

const uint8_t *entry_read(const uint8_t *at, const uint8_t **data, size_t *len) {
    uint64_t size;
    at = varint_read(at + 1, &size);
    *data = at;
    *len = (size_t)size;
    return at + size;
}

/* --- stretches of bytes ---------------------------------------------------------------------------------------- */

/* The new capacity for `wanted` bytes or rows. It is a quarter more than wanted, so that growing is rare: twice as much
 * held 15 MB more for 64 partitions without progress, and was no faster. It stays the same if there is enough room
 * after the free part at the beginning is closed up, and shrinks if most of it would be unused. */
static size_t capacity_for(size_t capacity, size_t wanted) {
    size_t roomy = wanted + wanted / 4;
    if (roomy <= capacity && wanted >= capacity / 8)
        return capacity;
    return roomy;
}

static int bytes_reserve(bytes_t *bytes, size_t more) {
    size_t used = bytes->end - bytes->first, capacity;
    if (bytes->end + more <= bytes->capacity)
        return 0;
    capacity = capacity_for(bytes->capacity, used + more);
    if (capacity != bytes->capacity) {
        uint8_t *data = malloc(capacity);
        if (data == NULL)
            return -1;
        if (used > 0)
            memcpy(data, bytes->data + bytes->first, used);
        free(bytes->data);
        bytes->data = data;
        bytes->capacity = capacity;
    } else {
        memmove(bytes->data, bytes->data + bytes->first, used);
    }
    bytes->first = 0;
    bytes->end = used;
    return 0;
}

/* Move what is in use into a block of its own, if most of the present one is not in use. It stays if there is no memory
 * for that. */
static void bytes_fit(bytes_t *bytes) {
    size_t used = bytes->end - bytes->first;
    uint8_t *data;
    if (used == 0 || used >= bytes->capacity / FITS || (data = malloc(used)) == NULL)
        return;
    memcpy(data, bytes->data + bytes->first, used);
    free(bytes->data);
    *bytes = (bytes_t){.data = data, .end = used, .capacity = used};
}

static void bytes_release(bytes_t *bytes) {
    free(bytes->data);
    *bytes = (bytes_t){0};
}

static void bytes_emptied(bytes_t *bytes) {
    if (bytes->capacity > KEPT_WHEN_EMPTY)
        bytes_release(bytes);
    else
        bytes->first = bytes->end = 0;
}

/* --- rows ------------------------------------------------------------------------------------------------------ */

size_t rows_bytes(const rows_t *rows) {
    return rows_count(rows) * sizeof(row_t) + (rows->values.end - rows->values.first)
           + (rows->keys.end - rows->keys.first) + (rows->headers.end - rows->headers.first);
}

int rows_reserve(rows_t *rows, size_t count, size_t values, size_t keys) {
    size_t used = rows_count(rows);
    if (rows->end + count > rows->capacity) {
        size_t capacity = capacity_for(rows->capacity, used + count);
        if (capacity != rows->capacity) {
            row_t *grown = malloc(capacity * sizeof(row_t));
            if (grown == NULL)
                return -1;
            if (used > 0)
                memcpy(grown, rows->rows + rows->first, used * sizeof(row_t));
            free(rows->rows);
            rows->rows = grown;
            rows->capacity = capacity;
        } else {
            memmove(rows->rows, rows->rows + rows->first, used * sizeof(row_t));
        }
        rows->first = 0;
        rows->end = used;
    }
    if (bytes_reserve(&rows->values, values + count * ENTRY_OVERHEAD) < 0)
        return -1;
    return bytes_reserve(&rows->keys, keys + count * ENTRY_OVERHEAD);
}

static uint32_t append(bytes_t *bytes, uint8_t tag, const void *data, size_t len) {
    uint8_t *at = bytes->data + bytes->end;
    uint32_t size = (uint32_t)(entry_write(at, tag, data, len) - at);
    bytes->end += size;
    return size;
}

row_t *rows_append(rows_t *rows, int64_t offset, int stamp, int64_t timestamp, const void *value, size_t value_len,
                   const void *key, size_t key_len) {
    row_t *row = rows->rows + rows->end++;
    *row = (row_t){.offset = offset, .timestamp = timestamp, .stamp = (uint8_t)stamp};
    row->null_value = value == NULL;
    row->null_key = key == NULL;
    row->value = append(&rows->values, TAG_VALUE, value, value == NULL ? 0 : value_len);
    row->key = append(&rows->keys, TAG_KEY, key, key == NULL ? 0 : key_len);
    return row;
}

int rows_header(rows_t *rows, const char *name, size_t name_len, const void *value, size_t value_len) {
    row_t *row = rows->rows + rows->end - 1;
    bytes_t *headers = &rows->headers;
    uint8_t *start, *at;
    if (bytes_reserve(headers, name_len + (value == NULL ? 0 : value_len) + 2 * ENTRY_OVERHEAD) < 0)
        return -1;
    start = headers->data + headers->end;
    at = entry_write(start, TAG_HEADER_NAME, name, name_len);
    at = value == NULL ? null_write(at, TAG_HEADER_VALUE) : entry_write(at, TAG_HEADER_VALUE, value, value_len);
    row->headers += (uint32_t)(at - start);
    row->null_headers |= value == NULL;
    row->header_count++;
    headers->end += (size_t)(at - start);
    return 0;
}

static void rows_emptied(rows_t *rows) {
    rows->first = rows->end = 0;
    if (rows->capacity * sizeof(row_t) > KEPT_WHEN_EMPTY) {
        free(rows->rows);
        rows->rows = NULL;
        rows->capacity = 0;
    }
    bytes_emptied(&rows->values);
    bytes_emptied(&rows->keys);
    bytes_emptied(&rows->headers);
}

void rows_drop(rows_t *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const row_t *row = rows_at(rows, i);
        rows->values.first += row->value;
        rows->keys.first += row->key;
        rows->headers.first += row->headers;
    }
    rows->first += count;
    if (rows->first == rows->end)
        rows_emptied(rows);
}

void rows_retract(rows_t *rows) {
    const row_t *row = rows->rows + --rows->end;
    rows->values.end -= row->value;
    rows->keys.end -= row->key;
    rows->headers.end -= row->headers;
}

/* The same as `bytes_fit`, for rows and stretches. */
static void rows_fit(rows_t *rows) {
    size_t used = rows_count(rows);
    row_t *fitting = used < rows->capacity / FITS ? malloc(used * sizeof(row_t)) : NULL;
    if (fitting != NULL) {
        memcpy(fitting, rows->rows + rows->first, used * sizeof(row_t));
        free(rows->rows);
        rows->rows = fitting;
        rows->first = 0;
        rows->end = rows->capacity = used;
    }
    bytes_fit(&rows->values);
    bytes_fit(&rows->keys);
    bytes_fit(&rows->headers);
}

void rows_truncate(rows_t *rows, size_t count) {
    while (rows_count(rows) > count)
        rows_retract(rows);
    if (rows->first == rows->end)
        rows_emptied(rows);
    else
        rows_fit(rows);
}

static void bytes_remove(bytes_t *bytes, size_t before, size_t size) {
    uint8_t *at = bytes->data + bytes->first + before;
    if (size > 0)
        memmove(at, at + size, bytes->end - bytes->first - before - size);
    bytes->end -= size;
}

/* The bytes of consecutive rows in the stretches. */
typedef struct {
    size_t values, keys, headers;
} sizes_t;

static sizes_t sizes_of(const rows_t *rows, size_t first, size_t count) {
    sizes_t sizes = {0, 0, 0};
    for (size_t i = first; i < first + count; i++) {
        sizes.values += rows_at(rows, i)->value;
        sizes.keys += rows_at(rows, i)->key;
        sizes.headers += rows_at(rows, i)->headers;
    }
    return sizes;
}

void rows_remove(rows_t *rows, size_t index, size_t count) {
    const sizes_t before = sizes_of(rows, 0, index), gone = sizes_of(rows, index, count);
    bytes_remove(&rows->values, before.values, gone.values);
    bytes_remove(&rows->keys, before.keys, gone.keys);
    bytes_remove(&rows->headers, before.headers, gone.headers);
    memmove(rows_at(rows, index), rows_at(rows, index) + count,
            (rows_count(rows) - index - count) * sizeof(row_t));
    rows->end -= count;
    if (rows->first == rows->end)
        rows_emptied(rows);
}

void rows_free(rows_t *rows) {
    free(rows->rows);
    bytes_release(&rows->values);
    bytes_release(&rows->keys);
    bytes_release(&rows->headers);
    *rows = (rows_t){0};
}

size_t rows_before(const rows_t *rows, int64_t offset) {
    size_t low = 0, high = rows_count(rows);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (rows_at(rows, middle)->offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* --- frames ---------------------------------------------------------------------------------------------------- */

static size_t packed_size(uint8_t tag, size_t size) { return size == 0 ? 0 : varint_size(tag) + varint_size(size) + size; }

static size_t fitting(const rows_t *rows, size_t most, size_t limit) {
    size_t bound = FRAME_OVERHEAD, count = 0;
    uint8_t stamp = rows_at(rows, 0)->stamp;
    for (; count < most; count++) {
        const row_t *row = rows_at(rows, count);
        bound += (size_t)row->value + row->key + row->headers + RECORD_OVERHEAD
                 + (size_t)row->header_count * HEADER_OVERHEAD;
        if (count > 0 && (bound > limit || row->stamp != stamp))
            break;
    }
    return count;
}

/* The indexes in header_values of the null values of one record: writes them to `to`, or (NULL) adds up their sizes. */
static uint8_t *null_headers(const row_t *row, const uint8_t *at, uint32_t index, uint8_t *to, size_t *size) {
    for (uint32_t i = 0; i < row->header_count; i++, index++) {
        const uint8_t *data;
        size_t len;
        int is_null;
        at = entry_read(at, &data, &len);
        is_null = entry_is_null(at);
        at = entry_read(at, &data, &len);
        if (is_null && to != NULL)
            to = varint_write(to, index);
        else if (is_null)
            *size += varint_size(index);
    }
    return to;
}

void frame_plan(const rows_t *rows, size_t most, size_t limit, frame_t *frame) {
    size_t values = 0, keys = 0, headers = 0;
    uint32_t header_index = 0;
    const uint8_t *header_at = rows->headers.data + rows->headers.first;
    const row_t *first = rows_at(rows, 0), *row;
    *frame = (frame_t){.count = fitting(rows, most, limit)};
    frame->gaps = rows_at(rows, frame->count - 1)->offset - first->offset + 1 != (int64_t)frame->count;
    for (size_t i = 0; i < frame->count; i++) {
        row = rows_at(rows, i);
        values += row->value;
        keys += row->key;
        headers += row->headers;
        frame->any_key |= !row->null_key;
        frame->packed[TIMESTAMPS] += varint_size((uint64_t)row->timestamp);
        if (frame->gaps)
            frame->packed[OFFSETS] += varint_size((uint64_t)row->offset);
        if (row->null_key)
            frame->packed[NULL_KEYS] += varint_size(i);
        if (row->null_value)
            frame->packed[NULL_VALUES] += varint_size(i);
        frame->packed[HEADER_COUNTS] += varint_size(row->header_count);
        if (row->null_headers)
            null_headers(row, header_at, header_index, NULL, &frame->packed[NULL_HEADER_VALUES]);
        header_at += row->headers;
        header_index += row->header_count;
    }
    frame->any_header = header_index > 0;
    if (!frame->any_key)
        keys = frame->packed[NULL_KEYS] = 0;
    if (!frame->any_header)
        frame->packed[HEADER_COUNTS] = 0;
    frame->body = 1 + varint_size((uint64_t)first->offset) + (first->stamp ? 2 : 0) + values + keys + headers;
    for (size_t i = 0; i <= NULL_HEADER_VALUES; i++)
        frame->body += packed_size(1, frame->packed[i]);
    frame->size = 1 + varint_size(frame->body) + frame->body;
}

static uint8_t *stretch(uint8_t *to, const bytes_t *bytes, size_t size) {
    if (size > 0)
        memcpy(to, bytes->data + bytes->first, size);
    return to + size;
}

static uint8_t *packed(uint8_t *to, uint8_t tag, size_t size) {
    *to++ = tag;
    return varint_write(to, size);
}

void frame_write(const rows_t *rows, const frame_t *frame, uint8_t *to) {
    const size_t *sizes = frame->packed;
    const row_t *first = rows_at(rows, 0), *end = first + frame->count, *row;
    size_t values = 0, keys = 0, headers = 0;
    for (row = first; row < end; row++) {
        values += row->value;
        keys += row->key;
        headers += row->headers;
    }
    *to++ = TAG_BATCH;
    to = varint_write(to, frame->body);
    *to++ = TAG_FIRST_OFFSET;
    to = varint_write(to, (uint64_t)first->offset);
    if (sizes[OFFSETS]) {
        to = packed(to, TAG_OFFSETS, sizes[OFFSETS]);
        for (row = first; row < end; row++)
            to = varint_write(to, (uint64_t)row->offset);
    }
    to = packed(to, TAG_TIMESTAMPS, sizes[TIMESTAMPS]);
    for (row = first; row < end; row++)
        to = varint_write(to, (uint64_t)row->timestamp);
    if (first->stamp) {
        *to++ = TAG_TIMESTAMP_TYPE;
        *to++ = first->stamp;
    }
    if (frame->any_key)
        to = stretch(to, &rows->keys, keys);
    to = stretch(to, &rows->values, values);
    if (sizes[NULL_KEYS]) {
        to = packed(to, TAG_NULL_KEYS, sizes[NULL_KEYS]);
        for (row = first; row < end; row++)
            if (row->null_key)
                to = varint_write(to, (uint64_t)(row - first));
    }
    if (sizes[NULL_VALUES]) {
        to = packed(to, TAG_NULL_VALUES, sizes[NULL_VALUES]);
        for (row = first; row < end; row++)
            if (row->null_value)
                to = varint_write(to, (uint64_t)(row - first));
    }
    if (!frame->any_header)
        return;
    to = packed(to, TAG_HEADER_COUNTS, sizes[HEADER_COUNTS]);
    for (row = first; row < end; row++)
        to = varint_write(to, row->header_count);
    to = stretch(to, &rows->headers, headers);
    if (sizes[NULL_HEADER_VALUES]) {
        const uint8_t *at = rows->headers.data + rows->headers.first;
        uint32_t index = 0;
        to = packed(to, TAG_NULL_HEADER_VALUES, sizes[NULL_HEADER_VALUES]);
        for (row = first; row < end; row++) {
            if (row->null_headers)
                to = null_headers(row, at, index, to, NULL);
            at += row->headers;
            index += row->header_count;
        }
    }
}
