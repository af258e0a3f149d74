"""Encodes records into frames of ``lambda.proto`` with protobuf's Python library."""

from collections.abc import Sequence
from itertools import accumulate, takewhile

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.records.records import Frame, Record, Undeliverable, too_large

_TIMESTAMP_TYPES = {
    TIMESTAMP_CREATE_TIME: pb.TIMESTAMP_TYPE_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME: pb.TIMESTAMP_TYPE_LOG_APPEND_TIME,
}

RECORD_OVERHEAD_BYTES = 48
FRAME_OVERHEAD_BYTES = 64
"""Upper bounds for the bytes on the wire that a record or a header takes beside its content, and a frame beside its
records: tags, lengths, offsets, timestamps, indexes of nulls."""


def encode(records: Sequence[Record], soft_limit: int, hard_limit: int) -> Frame | Undeliverable:
    """Encode as many of ``records`` as fit into one frame, from the first on; or the first, if it is too large.

    ``records`` are of one partition, in offset order, at least one. A frame ends before it exceeds ``soft_limit``
    bytes (one larger record is sent alone) and where the timestamp type changes.
    """
    kind = records[0].timestamp_type
    alike = [*takewhile(lambda record: record.timestamp_type == kind, records)]
    frame = _frame(alike)
    limit = min(soft_limit, hard_limit)
    if len(frame.data) > limit and frame.count > 1:
        totals = accumulate(
            (size_of(record) + RECORD_OVERHEAD_BYTES for record in alike), initial=FRAME_OVERHEAD_BYTES
        )
        fitting = sum(1 for total in totals if total <= limit) - 1
        frame = _frame(alike[: max(1, fitting)])
    if len(frame.data) > hard_limit:
        return too_large(frame.first, len(frame.data), hard_limit)
    return frame


def size_of(record: Record) -> int:
    """Bytes of the key, the value and the headers; each may be null."""
    headers = sum(len(name) + len(value or b"") + RECORD_OVERHEAD_BYTES for name, value in record.headers)
    return len(record.value or b"") + len(record.key or b"") + headers


def _frame(records: Sequence[Record]) -> Frame:
    first, last, count = records[0].offset, records[-1].offset, len(records)
    consecutive = last - first + 1 == count  # offsets always increase, so this is sufficient
    offsets = None if consecutive else [record.offset for record in records]
    batch = pb.Batch(
        first_offset=first,
        offsets=offsets or (),
        timestamp_type=_TIMESTAMP_TYPES.get(records[0].timestamp_type, pb.TIMESTAMP_TYPE_UNSPECIFIED),
        timestamps=[record.timestamp if record.timestamp_type in _TIMESTAMP_TYPES else -1 for record in records],
    )
    batch.values[:], batch.null_values[:] = _nullable([record.value for record in records])
    if any(record.key is not None for record in records):
        batch.keys[:], batch.null_keys[:] = _nullable([record.key for record in records])
    headers = [header for record in records for header in record.headers]
    if headers:
        batch.header_counts[:] = [len(record.headers) for record in records]
        batch.header_names[:] = [name for name, _ in headers]
        batch.header_values[:], batch.null_header_values[:] = _nullable([value for _, value in headers])
    data = pb.HostFrame(batch=batch).SerializeToString()
    return Frame(data, first, last, count, offsets, len(data))


def _nullable(column: Sequence[bytes | None]) -> tuple[list[bytes], list[int]]:
    """The column with empty entries instead of nulls, and the indexes of the nulls."""
    return [entry or b"" for entry in column], [index for index, entry in enumerate(column) if entry is None]
