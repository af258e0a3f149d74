"""Frames as a sidecar writes them, and what a wire, a newer contract or a bug can make of them."""

from __future__ import annotations

import random
from collections.abc import Callable

from sdk_python.protocol import lambda_pb2 as pb

NAMES = [b"h", b"", "ü".encode(), b"\xff\xfe", b"a\0", b"long" * 40]
UNKNOWN = [b"\x68\x96\x01", b"\x69" + bytes(8), b"\x6d" + bytes(4), b"\x6a\x02ab", b"\xa2\x06\x01a", b"\x6b\x6c"]
"""Fields of a newer contract, of each wire type; the last one is a group."""
MOST_RECORDS = 40
STAMPS = (pb.TIMESTAMP_TYPE_UNSPECIFIED, pb.TIMESTAMP_TYPE_CREATE_TIME, pb.TIMESTAMP_TYPE_LOG_APPEND_TIME)
NUMBERS = (2, 3, 7, 8, 9, 12)
"""The fields of Batch that are lists of numbers."""


def contents(chance: random.Random, count: int) -> tuple[list[bytes], list[int]]:
    """A column of bytes with some nulls."""
    entries = [chance.randbytes(chance.choice([0, 0, 1, 5, 130])) for _ in range(count)]
    return entries, [index for index, entry in enumerate(entries) if not entry and chance.random() < 0.5]


def batch(chance: random.Random) -> pb.Batch:
    """A batch that keeps the contract."""
    count = chance.choice([1, 1, 2, 5, MOST_RECORDS])
    made = pb.Batch(first_offset=chance.choice([0, 7, 2**40]))
    if chance.random() < 0.5:
        offsets = [made.first_offset]
        while len(offsets) < count:
            offsets.append(offsets[-1] + chance.choice([1, 2, 300]))
        made.offsets.extend(offsets)
    made.timestamp_type = chance.choice(STAMPS)
    if chance.random() < 0.8:
        made.timestamps.extend(chance.choice([-1, 0, 1_700_000_000_000, -2, 2**62]) for _ in range(count))
    values, nulls = contents(chance, count)
    made.values.extend(values)
    made.null_values.extend(nulls)
    if chance.random() < 0.7:
        keys, nulls = contents(chance, count)
        made.keys.extend(keys)
        made.null_keys.extend(nulls)
    if chance.random() < 0.5:
        counts = [chance.choice([0, 0, 1, 3, 12]) for _ in range(count)]
        if chance.random() < 0.3:
            counts = [2] * count
        made.header_counts.extend(counts)
        same = chance.random() < 0.5
        made.header_names.extend(NAMES[0] if same else chance.choice(NAMES) for _ in range(sum(counts)))
        entries, nulls = contents(chance, sum(counts))
        made.header_values.extend(entries)
        made.null_header_values.extend(nulls)
    return made


def changed(chance: random.Random, made: pb.Batch) -> pb.Batch:
    """The batch with one field changed, so that as a rule it breaks the contract."""
    field = chance.choice([one.name for one in pb.Batch.DESCRIPTOR.fields])
    if field in ("first_offset", "timestamp_type"):
        setattr(made, field, chance.choice([-1, 1, 9, 2**31 - 1]))
        return made
    column = getattr(made, field)
    change = chance.random()
    if column and change < 0.3:
        del column[chance.randrange(len(column))]
    elif column and change < 0.5:
        column.append(column[0])
    elif field in ("keys", "values", "header_names", "header_values"):
        column.append(b"x")
    else:
        column.append(chance.choice([0, 1, 2**31 - 1, 5]))
    return made


def framed(body: bytes) -> bytes:
    """The frame of a serialized batch, whatever it is."""
    length, size = bytearray(), len(body)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return b"\x1a" + bytes([*length, size]) + body


def fields(body: bytes) -> list[bytes]:
    """A serialized batch cut into its fields: each entry of a list of bytes is one."""
    found, start, at = [], 0, 0

    def number() -> int:
        nonlocal at
        result = shift = 0
        while True:
            at += 1
            result |= (body[at - 1] & 0x7F) << shift
            shift += 7
            if body[at - 1] < 0x80:
                return result

    while at < len(body):
        tag = number()
        length = number()
        if tag & 7 == 2:
            at += length
        found.append(body[start:at])
        start = at
    return found


def unpacked(body: bytes) -> bytes:
    """The batch with each number of a list in a field of its own, as a writer may do it."""
    made = bytearray()
    for field in fields(body):
        tag = field[0]
        if tag >> 3 not in NUMBERS:
            made += field
            continue
        at = 2 if field[1] < 0x80 else 3  # after the tag and the length
        while at < len(field):
            end = at
            while field[end] > 0x7F:
                end += 1
            made += bytes([tag & 0xF8]) + field[at : end + 1]
            at = end + 1
    return bytes(made)


def damaged(chance: random.Random, body: bytes) -> bytes:
    """The serialized batch in another form, or none any more."""
    at = chance.randrange(len(body) + 1)
    ways: list[Callable[[], bytes]] = [
        lambda: body[:at],
        lambda: body[:at] + chance.randbytes(1) + body[at + 1 :],
        lambda: body[:at] + chance.randbytes(chance.randint(1, 3)) + body[at:],
        lambda: body + chance.choice(UNKNOWN),
        lambda: between(chance, body, chance.choice(UNKNOWN)),
        lambda: between(chance, body, pb.Batch(null_values=[0], timestamps=[5]).SerializeToString()),
        lambda: b"".join(shuffled(chance, fields(body))),
        lambda: body + body,
        lambda: unpacked(body),
    ]
    return chance.choice(ways)()


def between(chance: random.Random, body: bytes, more: bytes) -> bytes:
    """The batch with something between two of its fields."""
    found = fields(body)
    at = chance.randrange(len(found) + 1)
    return b"".join(found[:at]) + more + b"".join(found[at:])


def shuffled(chance: random.Random, found: list[bytes]) -> list[bytes]:
    """The fields in another order."""
    return chance.sample(found, len(found))
