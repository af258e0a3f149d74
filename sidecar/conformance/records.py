"""Records that the kit sends: the columns of a Batch, and the line by which a lambda describes one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sdk_python.protocol import lambda_pb2 as pb

TIME_MS = 1_700_000_000_000
_TYPES = {
    pb.TIMESTAMP_TYPE_UNSPECIFIED: "none",
    pb.TIMESTAMP_TYPE_CREATE_TIME: "create",
    pb.TIMESTAMP_TYPE_LOG_APPEND_TIME: "append",
}
Header = tuple[bytes, bytes | None]


class Rec(NamedTuple):
    """A record to deliver."""

    offset: int
    key: bytes | None = b"k"
    value: bytes | None = b"v"
    headers: tuple[Header, ...] = ()
    timestamp: int = TIME_MS


def batch_of(
    records: Sequence[Rec],
    timestamp_type: pb.TimestampType = pb.TIMESTAMP_TYPE_CREATE_TIME,
    *,
    explicit_offsets: bool = False,
) -> pb.Batch:
    """The frame of these records, with the columns that the sidecar sends.

    ``explicit_offsets``: with the column `offsets` also where they are consecutive.
    """
    keys = [record.key for record in records]
    offsets = [record.offset for record in records]
    headers = [header for record in records for header in record.headers]
    some_key = any(key is not None for key in keys)
    gaps = explicit_offsets or offsets != [*range(offsets[0], offsets[0] + len(offsets))]
    return pb.Batch(
        first_offset=offsets[0],
        offsets=offsets if gaps else (),
        timestamps=[record.timestamp for record in records],
        timestamp_type=timestamp_type,
        keys=[key or b"" for key in keys] if some_key else (),
        null_keys=_nulls(keys) if some_key else (),
        values=[record.value or b"" for record in records],
        null_values=_nulls([record.value for record in records]),
        header_counts=[len(record.headers) for record in records] if headers else (),
        header_names=[name for name, _ in headers],
        header_values=[value or b"" for _, value in headers],
        null_header_values=_nulls([value for _, value in headers]),
    )


def _nulls(column: Sequence[bytes | None]) -> list[int]:
    return [index for index, entry in enumerate(column) if entry is None]


def line(
    topic: str, partition: int, record: Rec, timestamp_type: pb.TimestampType = pb.TIMESTAMP_TYPE_CREATE_TIME
) -> str:
    """The line of `describe` for a record, as docs/conformance.md has it."""
    headers = ",".join(f"{name.hex()}:{_shown(value)}" for name, value in record.headers) or "none"
    stamp = record.timestamp if timestamp_type else -1
    fields = (f"{topic}/{partition}", record.offset, stamp, _TYPES[timestamp_type])
    return " ".join([*map(str, fields), _shown(record.key), _shown(record.value), headers])


def _shown(value: bytes | None) -> str:
    if value is None:
        return "-"
    return value.hex() or "''"


def produced(request: pb.ProduceRequest) -> list[Rec]:
    """The records of a request that is well-formed, with their indexes as offsets and header names as bytes."""
    found = []
    first = 0
    for index, value in enumerate(request.values):
        count = request.header_counts[index] if request.header_counts else 0
        headers = tuple(
            (request.header_names[h], None if h in request.null_header_values else request.header_values[h])
            for h in range(first, first + count)
        )
        first += count
        key = request.keys[index] if request.keys and index not in request.null_keys else None
        found.append(Rec(index, key, None if index in request.null_values else value, headers))
    return found


def topics_of(request: pb.ProduceRequest) -> list[str]:
    """The topic of each record of a request."""
    indexes = request.topic_indexes or [0] * len(request.values)
    return [request.topics[index] for index in indexes]
