"""From Kafka's message objects to the serialized frames of ``lambda.proto``.

Nothing here runs a Python statement per record while records are ordinary: columns come from unbound methods mapped
over the list at C speed, and the checks for the rare cases (nulls, headers, gaps, changing timestamp types) are each
one C-level pass. Only a frame that holds something rare pays for it.
"""

from dataclasses import dataclass
from itertools import accumulate, chain
from operator import itemgetter
from typing import cast

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, Message

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.kafka.joined import joined
from sidecar.kafka.records import Frame, Undeliverable, too_large

Header = tuple[str, bytes | None]
Headers = list[list[Header] | None]
Column = list[bytes | None]

_TIMESTAMP_TYPES = {
    TIMESTAMP_CREATE_TIME: pb.TIMESTAMP_TYPE_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME: pb.TIMESTAMP_TYPE_LOG_APPEND_TIME,
}

RECORD_OVERHEAD = 48
FRAME_OVERHEAD = 64
"""Bytes on the wire that one record takes beside its key, value and headers, and a frame beside its records: tags,
lengths, offsets, timestamps, indexes of nulls. More than they ever are, so that what fits by these fits."""

LARGE = 512
"""Bytes of a value on average from which a frame is `joined`. With 400 the whole path takes a sixth more CPU so, with
600 a sixth less, with 1,000 two fifths less."""

SAMPLE = 16
"""One in so many values is asked for its size."""


def encode(records: list[Message], soft_limit: int, hard_limit: int) -> tuple[Frame | None, Undeliverable | None]:
    """One frame of as many of ``records`` as fit, from the first on; and the first that is undeliverable, if any.

    ``records`` are of one topic-partition, in offset order, at least one, without errors. A frame ends before it
    grows over ``soft_limit`` bytes (one larger record goes alone), where the timestamp type changes, and before a
    record that is undeliverable: one that the Kafka client cannot read, or larger than ``hard_limit`` bytes. There
    is no frame when that is the first. A record that cannot be read must not be given to this function again.
    """
    headers, bad = headers_of(records)
    if bad is not None:
        if bad.index == 0:
            return None, bad
        records = records[: bad.index]
    values = cast("Column", [*map(Message.value, records)])
    keys = cast("Column", [*map(Message.key, records)])
    stamps = [*map(Message.timestamp, records)]
    columns = _Columns(records, values, keys, stamps, headers)
    count = _same_type(stamps)
    if count < len(records):
        columns = columns.first(count)
    frame = columns.frame()
    limit = min(soft_limit, hard_limit)
    if len(frame.data) > limit and count > 1:
        # Known only now, because asking for the size of each record first would cost every frame what this costs few.
        frame = columns.first(_fitting(values, keys, headers, limit)).frame()
    if len(frame.data) <= hard_limit:
        return frame, bad
    return None, too_large(frame.first, len(frame.data), hard_limit, behind=bad)


def headers_of(records: list[Message]) -> tuple[Headers, Undeliverable | None]:
    """The headers of each record; on one that cannot be read: those before it, and which it is.

    A name that is not UTF-8 makes the first ``headers()`` raise SystemError; a second call on the same message would
    return a tuple that crashes the process when touched, and so would a first one that the interpreter has
    specialised: it must go through ``map``. ``extend`` keeps what came before the raise, and its length names the
    culprit.
    """
    headers: Headers = []
    try:
        headers.extend(map(Message.headers, records))  # type: ignore[arg-type]
    except (SystemError, UnicodeError):
        index = len(headers)
        reason = "a header name is not UTF-8, which the Kafka client cannot read"
        return headers, Undeliverable(index, _offset(records[index]), reason)
    return headers, None


def _same_type(stamps: list[tuple[int, int]]) -> int:
    """How many from the first on have the first's timestamp type."""
    first = stamps[0][0]
    if len(dict(stamps)) == 1:
        return len(stamps)
    return next(index for index, (kind, _) in enumerate(stamps) if kind != first)


def _fitting(values: Column, keys: Column, headers: Headers, limit: int) -> int:
    """How many from the first on fit into ``limit`` bytes; at least one."""
    sizes = [
        len(value or b"")
        + len(key or b"")
        + RECORD_OVERHEAD
        + sum(len(name) + len(header or b"") + RECORD_OVERHEAD for name, header in headers_ or ())
        for value, key, headers_ in zip(values, keys, headers, strict=True)
    ]
    return max(1, sum(1 for total in accumulate(sizes, initial=FRAME_OVERHEAD) if total <= limit) - 1)


@dataclass(frozen=True, slots=True)
class _Columns:
    """What was read from the records, column by column, all equally long."""

    records: list[Message]
    values: Column
    keys: Column
    stamps: list[tuple[int, int]]
    headers: Headers

    def first(self, count: int) -> "_Columns":
        return _Columns(
            self.records[:count],
            self.values[:count],
            self.keys[:count],
            self.stamps[:count],
            self.headers[:count],
        )

    def frame(self) -> Frame:
        count = len(self.records)
        first, last = _offset(self.records[0]), _offset(self.records[-1])
        offsets: list[int] | None = None
        if last - first + 1 != count:  # offsets only grow, so this is the whole check
            offsets = [_offset(record) for record in self.records]
        kind = self.stamps[0][0]
        columns: dict[str, object] = {
            "first_offset": first,
            "timestamp_type": _TIMESTAMP_TYPES.get(kind, pb.TIMESTAMP_TYPE_UNSPECIFIED),
            "timestamps": [stamp for _, stamp in self.stamps] if kind in _TIMESTAMP_TYPES else [-1] * count,
        }
        if offsets is not None:
            columns["offsets"] = offsets
        if self.keys[0] is not None or self.keys.count(None) != count:
            columns["keys"] = self.keys
        without = self.headers.count(None)
        if without != count:
            columns.update(_header_columns(self.headers, without))
        serialize = joined if _large(self.values) else _serialized
        try:
            data = serialize(columns, cast("list[bytes]", self.values))
        except TypeError:
            # A null is among the keys, values or headers' values: each entry is looked at anyway, so we need not look
            # before.
            values, columns["null_values"] = _nullable(self.values)
            for name in ("keys", "header_values"):
                if name in columns:
                    columns[name], columns[f"null_{name}"] = _nullable(cast("Column", columns[name]))
            data = serialize(columns, values)
        return Frame(data, first, last, count, offsets)


def _large(values: Column) -> bool:
    sample = values[::SAMPLE]
    return sum(map(len, filter(None, sample))) >= LARGE * len(sample)


def _serialized(columns: dict[str, object], values: list[bytes]) -> bytes:
    return pb.HostFrame(batch={**columns, "values": values}).SerializeToString()


def _offset(record: Message) -> int:
    offset = record.offset()
    assert offset is not None, "a consumed record has an offset"
    return offset


def _nullable(column: Column) -> tuple[list[bytes], list[int]]:
    """The column with empty entries for nulls, and the indexes of those."""
    return [entry or b"" for entry in column], [index for index, entry in enumerate(column) if entry is None]


def _header_columns(headers: Headers, without: int) -> dict[str, object]:
    """``without`` is how many of the records have none."""
    every = cast("list[list[Header]]", [header or [] for header in headers] if without else headers)
    flat = [*chain.from_iterable(every)]
    return {
        "header_counts": [*map(len, every)],
        "header_names": [*map(str.encode, map(itemgetter(0), flat))],
        "header_values": [*map(itemgetter(1), flat)],
    }
