#include "request.h"

#include <stdlib.h>
#include <string.h>

#include "varint.h"

/* The fields of ProduceRequest in proto/lambda.proto. */
enum {
    LEASE = 1,
    TOPICS,
    TOPIC_INDEXES,
    KEYS,
    VALUES,
    NULL_KEYS,
    NULL_VALUES,
    PARTITIONS,
    HEADER_COUNTS,
    HEADER_NAMES,
    HEADER_VALUES,
    NULL_HEADER_VALUES,
    FIELDS, /* one more than the last that is read here */
    COMMIT = FIELDS,
    SOURCES
};

/* Wire types. */
enum { VARINT, FIXED64, DELIMITED, FIXED32 = 5 };

/* Fields of ProduceResponse, as tags. */
enum { TAG_OUTCOMES = 1 << 3 | DELIMITED, TAG_PARTITIONS = 2 << 3 | DELIMITED, TAG_OFFSETS = 3 << 3 | DELIMITED };

enum { OUTCOME_WRITTEN = 1 };

/* All entries of one field: of a list of texts or bytes with their tags, of a list of numbers packed. */
typedef struct {
    const uint8_t *at, *end;
    size_t count;
} column_t;

/* --- protobuf's encoding ----------------------------------------------------------------------------------------- */

/* Read a number. Returns the address after it; NULL: there is none. */
static const uint8_t *number_read(const uint8_t *at, const uint8_t *end, uint64_t *number) {
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
static const uint8_t *bytes_read(const uint8_t *at, const uint8_t *end, bytes_view_t *view) {
    uint64_t len;
    at = number_read(at, end, &len);
    if (at == NULL || len > (uint64_t)(end - at))
        return NULL;
    *view = (bytes_view_t){at, (size_t)len};
    return at + len;
}

/* Skip a field of a newer protocol. Groups are not plain. */
static const uint8_t *skip(const uint8_t *at, const uint8_t *end, unsigned type) {
    bytes_view_t view;
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

static int is_packed(unsigned field) {
    return field == TOPIC_INDEXES || field == NULL_KEYS || field == NULL_VALUES || field == PARTITIONS
           || field == HEADER_COUNTS || field == NULL_HEADER_VALUES;
}

/* Count the numbers of a packed list. Returns -1 if one is none, or is not of the field's type: protobuf cuts those. */
static int count_numbers(column_t *column, int is_signed) {
    uint64_t number;
    for (const uint8_t *at = column->at; at < column->end; column->count++) {
        at = number_read(at, column->end, &number);
        if (at == NULL || (number > UINT32_MAX && !is_signed))
            return -1;
        if (is_signed && ((int64_t)number > INT32_MAX || (int64_t)number < INT32_MIN))
            return -1;
    }
    return 0;
}

/* Find the columns. The entries of a list lie side by side. Returns 0; -1: the message is not plain, or none. */
static int columns_read(const uint8_t *at, const uint8_t *end, column_t columns[FIELDS]) {
    unsigned last = 0;
    while (at < end) {
        const uint8_t *tag_at = at;
        bytes_view_t view;
        uint64_t tag;
        unsigned field;
        column_t *column;
        at = number_read(at, end, &tag);
        if (at == NULL || tag >> 3 == 0 || tag > UINT32_MAX)
            return -1;
        field = (unsigned)(tag >> 3);
        if (field == COMMIT || field == SOURCES)
            return -1; /* it is held until a checkpoint, or refused */
        if (field >= FIELDS) {
            /* It is the last one, like those after it: between two entries of a list it would be taken for an entry. */
            if ((at = skip(at, end, tag & 7)) == NULL)
                return -1;
            last = FIELDS;
            continue;
        }
        if ((tag & 7) != DELIMITED || at != tag_at + 1 || field < last)
            return -1;
        if (field == last && (field == LEASE || is_packed(field)))
            return -1;
        if ((at = bytes_read(at, end, &view)) == NULL)
            return -1;
        column = &columns[field];
        if (field != last) /* a list of numbers begins after its length; other lists are read with their tags */
            column->at = is_packed(field) ? view.data : tag_at;
        column->end = at;
        if (is_packed(field) && count_numbers(column, field == PARTITIONS) < 0)
            return -1;
        column->count += !is_packed(field);
        last = field;
    }
    return 0;
}

/* The next entry of a list of texts or bytes, which `columns_read` has read: so nothing is checked. */
static bytes_view_t next_bytes(column_t *column) {
    bytes_view_t view = {0};
    column->at = bytes_read(column->at + 1, column->end, &view);
    return view;
}

static uint64_t next_number(column_t *column) {
    uint64_t number;
    column->at = number_read(column->at, column->end, &number);
    return number;
}

/* --- what a header's name may be ---------------------------------------------------------------------------------- */

/* The bytes of the character at `at`; 0: it is not UTF-8. */
static size_t character(const uint8_t *at, size_t left) {
    uint8_t first = at[0], low = 0x80, high = 0xbf;
    size_t size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (size == 1)
        return 1;
    if (first < 0xc2 || first > 0xf4 || size > left)
        return 0;
    if (first == 0xe0 || first == 0xf0) /* a shorter form exists */
        low = first == 0xe0 ? 0xa0 : 0x90;
    else if (first == 0xed || first == 0xf4) /* half of a pair; beyond Unicode */
        high = first == 0xed ? 0x9f : 0x8f;
    if (at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < size; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return size;
}

/* Why a record with a header of this name cannot be written; 0: it can. As `writable` in header_names.py. */
static int name_refusal(bytes_view_t name) {
    if (memchr(name.data, 0, name.len) != NULL)
        return REFUSED_HEADER_NUL;
    for (size_t i = 0, size; i < name.len; i += size)
        if ((size = character(name.data + i, name.len - i)) == 0)
            return REFUSED_HEADER_UTF8;
    return 0;
}

/* --- records ------------------------------------------------------------------------------------------------------ */

enum { NO_INDEX = UINT32_MAX };

/* The next index of a list of nulls, after `last` (NO_INDEX: there is none). Returns 0; -1: they are not ascending, or one
 * is too high. */
static int next_null(column_t *nulls, uint64_t *last, size_t count) {
    uint64_t next;
    if (nulls->at == nulls->end) {
        *last = NO_INDEX;
        return 0;
    }
    next = next_number(nulls);
    if (next >= count || (*last != NO_INDEX && next <= *last))
        return -1;
    *last = next;
    return 0;
}

/* Read a list with nulls; entry i goes to `to` + i strides. Returns 0; -1: the list is not well-formed. */
static int read_nullable(column_t column, column_t nulls, bytes_view_t *to, size_t stride) {
    uint64_t null = NO_INDEX;
    if (next_null(&nulls, &null, column.count) < 0)
        return -1;
    for (size_t i = 0; i < column.count; i++, to = (bytes_view_t *)((char *)to + stride)) {
        *to = next_bytes(&column);
        if (i != null)
            continue;
        if (to->len > 0 || next_null(&nulls, &null, column.count) < 0)
            return -1;
        to->data = NULL;
    }
    return 0;
}

static int read_headers(request_t *request, column_t columns[FIELDS]) {
    column_t names = columns[HEADER_NAMES], counts = columns[HEADER_COUNTS];
    uint64_t first = 0;
    if (names.count != columns[HEADER_VALUES].count || (counts.count == 0 && names.count > 0))
        return -1;
    if (read_nullable(columns[HEADER_VALUES], columns[NULL_HEADER_VALUES], &request->headers->value,
                      sizeof *request->headers) < 0)
        return -1;
    for (size_t i = 0; i < names.count; i++)
        request->headers[i].name = next_bytes(&names);
    for (size_t i = 0; i < counts.count; i++) {
        record_t *record = &request->records[i];
        uint64_t count = next_number(&counts);
        if (count > request->header_count - first)
            return -1;
        record->header = (uint32_t)first;
        record->header_count = (uint32_t)count;
        for (uint64_t end = first + count; first < end; first++) {
            int refusal = name_refusal(request->headers[first].name);
            if (refusal && (record->state != RECORD_REFUSED || record->code == REFUSED_PARTITION)) {
                record->state = RECORD_REFUSED;
                record->code = refusal;
            }
        }
    }
    return first == request->header_count ? 0 : -1;
}

static int read_records(request_t *request, column_t columns[FIELDS]) {
    column_t topics = columns[TOPICS], indexes = columns[TOPIC_INDEXES], partitions = columns[PARTITIONS];
    for (size_t i = 0; i < request->topic_count; i++)
        request->topics[i] = next_bytes(&topics);
    for (size_t i = 0; i < request->count; i++) {
        record_t *record = &request->records[i];
        record->index = (uint32_t)i;
        record->offset = -1;
        record->topic = indexes.count > 0 ? (uint32_t)next_number(&indexes) : 0;
        record->partition = partitions.count > 0 ? (int32_t)next_number(&partitions) : -1;
        if (record->topic >= request->topic_count)
            return -1;
        if (record->partition < -1) {
            record->state = RECORD_REFUSED;
            record->code = REFUSED_PARTITION;
        }
    }
    if (read_nullable(columns[VALUES], columns[NULL_VALUES], &request->records->value, sizeof *request->records) < 0
        || read_nullable(columns[KEYS], columns[NULL_KEYS], &request->records->key, sizeof *request->records) < 0)
        return -1;
    return read_headers(request, columns);
}

/* Whether a column is empty or has an entry for each record. */
static int fits(const column_t *column, size_t count) { return column->count == 0 || column->count == count; }

int request_read(const uint8_t *data, size_t len, size_t most_records, size_t most_topics, request_t **made) {
    column_t columns[FIELDS] = {{0}};
    request_t *request;
    size_t count, topics, headers;
    if (columns_read(data, data + len, columns) < 0)
        return -1;
    count = columns[VALUES].count, topics = columns[TOPICS].count, headers = columns[HEADER_NAMES].count;
    if (columns[LEASE].count == 0 || count == 0 || count > most_records || topics == 0 || topics > most_topics)
        return -1;
    if (!fits(&columns[TOPIC_INDEXES], count) || !fits(&columns[KEYS], count) || !fits(&columns[PARTITIONS], count)
        || !fits(&columns[HEADER_COUNTS], count))
        return -1;
    request = calloc(1, sizeof *request + count * sizeof *request->records + headers * sizeof *request->headers
                            + topics * sizeof *request->topics);
    if (request == NULL)
        return -2;
    *request = (request_t){.topic_count = topics, .header_count = headers, .count = count, .pending = 1};
    request->headers = (request_header_t *)(void *)(request->records + count);
    request->topics = (bytes_view_t *)(void *)(request->headers + headers);
    request->lease = next_bytes(&columns[LEASE]);
    if (request->lease.len == 0 || read_records(request, columns) < 0) {
        free(request);
        return -1;
    }
    *made = request;
    return 0;
}

request_t *request_of(record_t *record) {
    return (request_t *)(void *)((char *)(record - record->index) - offsetof(request_t, records));
}

/* --- the answer ---------------------------------------------------------------------------------------------------- */

static size_t packed_size(size_t size) { return 1 + varint_size(size) + size; }

static void packed_sizes(const request_t *request, size_t *partitions, size_t *offsets) {
    *partitions = *offsets = 0;
    for (size_t i = 0; i < request->count; i++) {
        *partitions += varint_size((uint64_t)request->records[i].partition);
        *offsets += varint_size((uint64_t)request->records[i].offset);
    }
}

size_t request_answer_size(const request_t *request) {
    size_t partitions, offsets;
    packed_sizes(request, &partitions, &offsets);
    return packed_size(request->count) + packed_size(partitions) + packed_size(offsets);
}

static uint8_t *packed(uint8_t *to, uint8_t tag, size_t size) {
    *to++ = tag;
    return varint_write(to, size);
}

void request_answer_write(const request_t *request, uint8_t *to) {
    size_t partitions, offsets;
    packed_sizes(request, &partitions, &offsets);
    to = packed(to, TAG_OUTCOMES, request->count);
    memset(to, OUTCOME_WRITTEN, request->count);
    to = packed(to + request->count, TAG_PARTITIONS, partitions);
    for (size_t i = 0; i < request->count; i++)
        to = varint_write(to, (uint64_t)request->records[i].partition);
    to = packed(to, TAG_OFFSETS, offsets);
    for (size_t i = 0; i < request->count; i++)
        to = varint_write(to, (uint64_t)request->records[i].offset);
}
