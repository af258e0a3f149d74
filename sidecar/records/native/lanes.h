/* Which lane of a partition has a record. docs/protocol.md has the definition and test vectors: it is part of the
 * contract, and sidecar/records/key_lane.py is the same in Python. */
#ifndef SIDECAR_LANES_H
#define SIDECAR_LANES_H

#include <stddef.h>
#include <stdint.h>

enum { MOST_LANES = 128 };

/* FNV-1a with 64 bits, then the last mix of MurmurHash3: the first alone leaves the high bits of short keys alike. */
static inline uint64_t key_hash(const uint8_t *key, size_t len) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ key[i]) * 0x100000001b3u;
    hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccdu;
    hash = (hash ^ hash >> 33) * 0xc4ceb9fe1a85ec53u;
    return hash ^ hash >> 33;
}

/* `key` NULL: the record has none. */
static inline uint8_t lane_of(const void *key, size_t len, int64_t offset, uint32_t lanes) {
    if (lanes == 1 || (key == NULL && offset < 0))
        return 0;
    if (key == NULL)
        return (uint8_t)((uint64_t)offset % lanes);
    return (uint8_t)((key_hash(key, len) >> 32) * lanes >> 32);
}

#endif
