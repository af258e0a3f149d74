"""Which lane of a partition has a record, as `docs/protocol.md` defines it. `native/lanes.h` is the same in C."""

_MASK = (1 << 64) - 1


def key_hash(key: bytes) -> int:
    """64 bits: FNV-1a, and then the last mix of MurmurHash3.

    Kafka's producers choose the partition by murmur2 of the key. This hash is another one, so the keys of one
    partition are spread over all of its lanes.
    """
    value = 0xCBF29CE484222325
    for byte in key:
        value = (value ^ byte) * 0x100000001B3 & _MASK
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD & _MASK
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 & _MASK
    return value ^ value >> 33


def lane_of(key: bytes | str | None, offset: int, lanes: int) -> int:
    """The number of the lane, from 0 to ``lanes`` - 1. ``key``: None, if the record has none; a text is UTF-8."""
    if lanes == 1:
        return 0
    if key is None:
        return offset % lanes
    return (key_hash(key.encode() if isinstance(key, str) else key) >> 32) * lanes >> 32
