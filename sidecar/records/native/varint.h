/* Protobuf's numbers. */
#ifndef SIDECAR_VARINT_H
#define SIDECAR_VARINT_H

#include <stddef.h>
#include <stdint.h>

static inline size_t varint_size(uint64_t number) {
    size_t size = 1;
    while (number > 0x7f) {
        number >>= 7;
        size++;
    }
    return size;
}

static inline uint8_t *varint_write(uint8_t *to, uint64_t number) {
    while (number > 0x7f) {
        *to++ = (uint8_t)(number | 0x80);
        number >>= 7;
    }
    *to++ = (uint8_t)number;
    return to;
}

#endif
