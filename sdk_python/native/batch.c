#include "batch.h"

#include <stdlib.h>

static const size_t NO_INDEX = SIZE_MAX;

/* Wire types. */
enum { VARINT, FIXED64, DELIMITED, FIXED32 = 5 };

enum { TAG_BATCH = 3 << 3 | DELIMITED }; /* in HostFrame */

/* --- protobuf's encoding ----------------------------------------------------------------------------------------- */

/* Read a number. Returns the address after it; NULL: there is none. */
static inline const uint8_t *number_read(const uint8_t *at, const uint8_t *end, uint64_t *number) {
    *number = 0;
    for (int shift = 0; at < end && shift < 64; shift += 7) {
        uint8_t byte = *at++;
        *number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return shift == 63 && byte > 1 ? NULL : at;
    }
    return NULL;
}

/* Read bytes with their length before them. Returns the address after them; NULL: there are none. */
static inline const uint8_t *bytes_read(const uint8_t *at, const uint8_t *end, view_t *view) {
    uint64_t len;
    at = number_read(at, end, &len);
    if (at == NULL || len > (uint64_t)(end - at))
        return NULL;
    *view = (view_t){at, (size_t)len};
    return at + len;
}

/* Skip a field of a newer contract. Groups are not plain. */
static const uint8_t *skip(const uint8_t *at, const uint8_t *end, unsigned type) {
    view_t view;
    uint64_t number;
    size_t fixed = type == FIXED64 ? 8 : 4;
    if (type == VARINT)
        return number_read(at, end, &number);
    if (type == DELIMITED)
        return bytes_read(at, end, &view);
    if (type != FIXED64 && type != FIXED32)
        return NULL;
    return (size_t)(end - at) < fixed ? NULL : at + fixed;
}

static int is_number(unsigned field) { return field == FIRST_OFFSET || field == TIMESTAMP_TYPE; }

static int is_bytes(unsigned field) {
    return field == KEYS || field == VALUES || field == HEADER_NAMES || field == HEADER_VALUES;
}

/* Read all entries of a list of bytes. They lie side by side; an entry that comes later is not plain. */
static const uint8_t *entries_read(const uint8_t *at, const uint8_t *end, uint8_t tag, column_t *column) {
    view_t view;
    column->at = at;
    for (; at < end && *at == tag; column->count++)
        if ((at = bytes_read(at + 1, end, &view)) == NULL)
            return NULL;
    column->end = at;
    return at;
}

/* Read a packed list of numbers. A uint32 with more bits is not plain: protobuf cuts it. */
static const uint8_t *numbers_read(const uint8_t *at, const uint8_t *end, uint64_t highest, column_t *column) {
    view_t view = {0};
    uint64_t number;
    if ((at = bytes_read(at + 1, end, &view)) == NULL)
        return NULL;
    *column = (column_t){view.data, at, 0};
    for (const uint8_t *next = view.data; next < at; column->count++)
        if ((next = number_read(next, at, &number)) == NULL || number > highest)
            return NULL;
    return at;
}

/* Read a field that is not a list: its column is the number. */
static const uint8_t *single_read(const uint8_t *at, const uint8_t *end, column_t *column) {
    uint64_t number;
    column->at = at + 1;
    column->count = 1;
    return column->end = number_read(at + 1, end, &number);
}

static const uint8_t *field_read(const uint8_t *at, const uint8_t *end, unsigned field, column_t *column) {
    uint8_t tag = (uint8_t)(field << 3 | (is_number(field) ? VARINT : DELIMITED));
    if (*at != tag)
        return NULL;
    if (is_number(field))
        return single_read(at, end, column);
    if (is_bytes(field))
        return entries_read(at, end, tag, column);
    return numbers_read(at, end, field == OFFSETS || field == TIMESTAMPS ? UINT64_MAX : UINT32_MAX, column);
}

/* Find the columns. Returns 0; -1: the message is not plain. */
static int columns_read(const uint8_t *at, const uint8_t *end, column_t columns[FIELDS]) {
    unsigned last = 0;
    while (at < end) {
        unsigned field = *at >> 3;
        uint64_t tag;
        if (*at < 0x80 && field > last && field < FIELDS) {
            at = field_read(at, end, field, &columns[field]);
            last = field;
        } else { /* of a newer contract: after it nothing that is known may come */
            at = number_read(at, end, &tag);
            if (at == NULL || tag > UINT32_MAX || tag >> 3 < FIELDS)
                return -1;
            at = skip(at, end, tag & 7);
            last = FIELDS;
        }
        if (at == NULL)
            return -1;
    }
    return 0;
}

/* --- entries ------------------------------------------------------------------------------------------------------ */

/* `columns_read` has read all of this, so nothing is checked again. */
uint64_t column_number(column_t *column) {
    uint64_t number;
    column->at = number_read(column->at, column->end, &number);
    return number;
}

view_t column_bytes(column_t *column) {
    view_t view = {0};
    column->at = bytes_read(column->at + 1, column->end, &view);
    return view;
}

static size_t next_null(column_t *nulls) {
    return nulls->at == nulls->end ? NO_INDEX : (size_t)column_number(nulls);
}

static nullable_t nullable_begin(const batch_t *batch, unsigned entries, unsigned nulls) {
    nullable_t list = {.entries = batch->columns[entries], .nulls = batch->columns[nulls]};
    list.next_null = next_null(&list.nulls);
    return list;
}

view_t nullable_next(nullable_t *list) {
    view_t view = column_bytes(&list->entries);
    if (list->index++ == list->next_null) {
        view = (view_t){0};
        list->next_null = next_null(&list->nulls);
    }
    return view;
}

/* --- a batch ------------------------------------------------------------------------------------------------------ */

/* Whether indexes ascend and are lower than `count`. */
static int nulls_fit(column_t nulls, size_t count) {
    size_t least = 0;
    while (nulls.at < nulls.end) {
        uint64_t index = column_number(&nulls);
        if (index < least || index >= count)
            return 0;
        least = (size_t)index + 1;
    }
    return 1;
}

static int headers_fit(const batch_t *batch) {
    column_t counts = batch->columns[HEADER_COUNTS];
    size_t names = batch->columns[HEADER_NAMES].count;
    uint64_t sum = 0;
    while (counts.at < counts.end)
        sum += column_number(&counts);
    return sum == names && batch->columns[HEADER_VALUES].count == names
           && nulls_fit(batch->columns[NULL_HEADER_VALUES], names);
}

/* Whether a list is empty or has an entry for each record. */
static int fits(const batch_t *batch, unsigned field) {
    return batch->columns[field].count == 0 || batch->columns[field].count == batch->count;
}

/* The same rules as `check_batch` in _message.py. */
static int batch_fits(const batch_t *batch) {
    return batch->count > 0 && fits(batch, OFFSETS) && fits(batch, TIMESTAMPS) && fits(batch, KEYS)
           && fits(batch, HEADER_COUNTS) && nulls_fit(batch->columns[NULL_KEYS], batch->columns[KEYS].count)
           && nulls_fit(batch->columns[NULL_VALUES], batch->count) && headers_fit(batch) && batch->first_offset >= 0
           && (uint64_t)batch->count <= (uint64_t)(INT64_MAX - batch->first_offset);
}

/* The offsets ascend from first_offset; they are kept as numbers, since any of them may be asked for. */
static int offsets_read(batch_t *batch) {
    column_t column = batch->columns[OFFSETS];
    int64_t *offsets = malloc(column.count * sizeof *offsets);
    if (offsets == NULL)
        return BATCH_NO_MEMORY;
    batch->offsets = offsets;
    for (size_t i = 0; i < column.count; i++) {
        offsets[i] = (int64_t)column_number(&column);
        if (i == 0 ? offsets[i] != batch->first_offset : offsets[i] <= offsets[i - 1]) {
            batch_release(batch);
            return BATCH_NOT_PLAIN;
        }
    }
    batch->last_offset = offsets[batch->count - 1];
    return BATCH_READ;
}

int batch_read(const uint8_t *data, size_t len, batch_t *batch) {
    const uint8_t *end = data + len;
    view_t body = {0};
    column_t number;
    *batch = (batch_t){0};
    if (len == 0 || *data != TAG_BATCH || bytes_read(data + 1, end, &body) != end)
        return BATCH_NOT_PLAIN;
    if (columns_read(body.data, end, batch->columns) < 0)
        return BATCH_NOT_PLAIN;
    batch->count = batch->columns[VALUES].count;
    if ((number = batch->columns[FIRST_OFFSET]).count > 0)
        batch->first_offset = (int64_t)column_number(&number);
    if ((number = batch->columns[TIMESTAMP_TYPE]).count > 0) {
        uint64_t type = column_number(&number);
        if (type > INT32_MAX)
            return BATCH_NOT_PLAIN;
        batch->timestamp_type = (int32_t)type;
    }
    if (!batch_fits(batch))
        return BATCH_NOT_PLAIN;
    batch->last_offset = batch->first_offset + (int64_t)batch->count - 1;
    return batch->columns[OFFSETS].count > 0 ? offsets_read(batch) : BATCH_READ;
}

void batch_release(batch_t *batch) {
    free(batch->offsets);
    batch->offsets = NULL;
}

/* --- a cursor ------------------------------------------------------------------------------------------------------ */

cursor_t cursor_begin(const batch_t *batch) {
    return (cursor_t){
        .keys = nullable_begin(batch, KEYS, NULL_KEYS),
        .values = nullable_begin(batch, VALUES, NULL_VALUES),
        .header_values = nullable_begin(batch, HEADER_VALUES, NULL_HEADER_VALUES),
        .timestamps = batch->columns[TIMESTAMPS],
        .header_counts = batch->columns[HEADER_COUNTS],
        .header_names = batch->columns[HEADER_NAMES],
    };
}

void cursor_skip(cursor_t *cursor, size_t count) {
    for (; count > 0; count--, cursor->index++) {
        nullable_next(&cursor->values);
        if (cursor->keys.entries.count > 0)
            nullable_next(&cursor->keys);
        if (cursor->timestamps.count > 0)
            column_number(&cursor->timestamps);
        if (cursor->header_counts.count == 0)
            continue;
        for (uint64_t headers = column_number(&cursor->header_counts); headers > 0; headers--) {
            column_bytes(&cursor->header_names);
            nullable_next(&cursor->header_values);
        }
    }
}
