"""Messages, and how a frame's columns become a list of them.

No Python statement runs per record here while records are ordinary: columns are sliced out of the frame as whole
lists, and one ``map`` in C makes the tuples. Only frames that hold nulls or headers pay for them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from operator import lt
from typing import Any, Final, NamedTuple

from .protocol import lambda_pb2 as pb

Header = tuple[str, bytes | None]

NO_TIMESTAMP: Final = 0
"""A ``Message.timestamp_type``: the message has no timestamp."""
CREATE_TIME: Final = 1
"""A ``Message.timestamp_type``: the producer set the timestamp."""
LOG_APPEND_TIME: Final = 2
"""A ``Message.timestamp_type``: the broker set the timestamp."""


class Message(NamedTuple):
    """One message of a partition. Immutable."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None
    """Milliseconds since the Unix epoch. None: the message has none."""
    timestamp_type: int
    """`CREATE_TIME`, `LOG_APPEND_TIME` or `NO_TIMESTAMP`."""
    key: bytes | None
    """None: the message has no key, which is not the same as ``b""`` in Kafka."""
    value: bytes | None
    """None: the message is a tombstone."""
    headers: tuple[Header, ...]
    """In the producer's order, with duplicates. A name that is not UTF-8 is decoded with ``surrogateescape``."""


Handler = Callable[[Message], Any]


@dataclass(frozen=True, slots=True)
class MessageColumns:
    """Messages of a partition as columns, in offset order: what ``handle_columns`` takes.

    All columns that are not None are equally long.
    """

    topic: str
    partition: int
    offsets: Sequence[int]
    timestamps: Sequence[int | None] | None
    """As `Message.timestamp`. None: no message has one."""
    timestamp_type: int
    keys: Sequence[bytes | None] | None
    """None: no message has one."""
    values: Sequence[bytes | None]
    headers: Sequence[tuple[Header, ...]] | None
    """None: no message has any."""

    def __len__(self) -> int:
        """How many messages there are."""
        return len(self.values)

    @property
    def last_offset(self) -> int:
        """The offset of the last message: checkpoint it when all are processed."""
        return self.offsets[-1]


class FrameError(Exception):
    """A frame of the sidecar breaks the contract. The text names the field."""


def check_batch(batch: pb.Batch) -> tuple[int, int, int]:
    """Return the number of records and the first and last offset of a frame.

    Frames come over a socket. So each column is checked once against the number of records, and no code after this
    meets a column that is too short. Raises ``FrameError`` when the columns do not fit together.
    """
    count = len(batch.values)
    for name, length in (
        ("offsets", len(batch.offsets)),
        ("timestamps", len(batch.timestamps)),
        ("keys", len(batch.keys)),
        ("header_counts", len(batch.header_counts)),
    ):
        if length not in (0, count):
            raise FrameError(f"Batch.{name} has {length} entries for {count} records")
    _check_nulls("null_keys", batch.null_keys, len(batch.keys))
    _check_nulls("null_values", batch.null_values, count)
    headers = len(batch.header_names)
    if sum(batch.header_counts) != headers or len(batch.header_values) != headers:
        raise FrameError("Batch.header_counts, header_names and header_values do not fit together")
    _check_nulls("null_header_values", batch.null_header_values, headers)
    first = batch.first_offset
    last = first + count - 1
    if batch.offsets:
        offsets = batch.offsets[:]
        if offsets[0] != first or not all(map(lt, offsets, islice(offsets, 1, None))):
            raise FrameError("Batch.offsets do not ascend from first_offset")
        last = offsets[-1]
    if first < 0:
        raise FrameError(f"Batch.first_offset is {first}")
    return count, first, last


class Columns:
    """The columns of a frame that `check_batch` accepted, read as messages a slice at a time.

    The messages of a slice are handled and freed before the next ones are made, so they stay in the processor's
    cache. The messages of a frame of 4,000 records, made all at once, do not fit there, and each costs a third more.
    """

    __slots__ = ("_headers", "_keys", "_kind", "_offsets", "_partition", "_timestamps", "_topic", "_values", "count")

    def __init__(self, batch: pb.Batch, topic: str, partition: int) -> None:
        self.count = len(batch.values)
        self._topic = topic
        self._partition = partition
        # None: a column that is the same for all records, such as no keys, no timestamps, no headers.
        self._values: Sequence[bytes | None] = batch.values
        if batch.null_values:
            self._values = _with_nulls(batch.values, batch.null_values)
        self._keys: Sequence[bytes | None] | None = batch.keys or None
        if batch.null_keys:
            self._keys = _with_nulls(batch.keys, batch.null_keys)
        self._kind = batch.timestamp_type
        # A list: searching protobuf's own sequence is slow.
        stamps = batch.timestamps[:] if self._kind and batch.timestamps else None
        self._timestamps: Sequence[int | None] | None = stamps
        if stamps and -1 in stamps:
            self._timestamps = [None if stamp == -1 else stamp for stamp in stamps]
        self._offsets: Sequence[int] = batch.offsets or range(batch.first_offset, batch.first_offset + self.count)
        self._headers = _headers(batch) if batch.header_names else None

    def offset(self, index: int) -> int:
        """Return the offset of the record at ``index``."""
        return self._offsets[index]

    def first_headers(self, limit: int) -> Sequence[tuple[Header, ...]]:
        """Return the headers of each of the first ``limit`` records; nothing where no record of the frame has any."""
        return () if self._headers is None else self._headers[:limit]

    def columns(self, start: int, stop: int) -> MessageColumns:
        """Return the columns of the messages from index ``start`` up to ``stop``, which may be after the end."""
        return MessageColumns(
            self._topic,
            self._partition,
            self._offsets[start:stop],
            None if self._timestamps is None else self._timestamps[start:stop],
            self._kind,
            None if self._keys is None else self._keys[start:stop],
            self._values[start:stop],
            None if self._headers is None else self._headers[start:stop],
        )

    def messages(self, start: int, stop: int, kind: type[Message] = Message) -> list[Message]:
        """Make the messages from index ``start`` up to ``stop``, which may be after the end; in offset order.

        ``kind``: what they are made as.
        """
        keys: Iterable[bytes | None] = repeat(None) if self._keys is None else self._keys[start:stop]
        stamps: Iterable[int | None] = repeat(None) if self._timestamps is None else self._timestamps[start:stop]
        headers: Iterable[tuple[Header, ...]] = repeat(()) if self._headers is None else self._headers[start:stop]
        # zip stops at the shortest: the real columns are equally long, the others repeat for ever.
        rows = zip(
            repeat(self._topic),
            repeat(self._partition),
            self._offsets[start:stop],
            stamps,
            repeat(self._kind),
            keys,
            self._values[start:stop],
            headers,
        )
        return [*map(tuple.__new__, repeat(kind), rows)]


def batch_of(messages: Sequence[Message]) -> pb.Batch:
    """Make the frame of these messages, for `sdk_python.testing` and tests.

    They must be of one partition and one timestamp type, with ascending offsets.
    """
    names = [name.encode("utf-8", "surrogateescape") for message in messages for name, _ in message.headers]
    header_values = [value for message in messages for _, value in message.headers]
    keys = [message.key for message in messages]
    no_keys = keys.count(None) == len(keys)
    values = [message.value for message in messages]
    offsets = [message.offset for message in messages]
    consecutive = offsets[-1] - offsets[0] + 1 == len(offsets)
    return pb.Batch(
        first_offset=offsets[0],
        offsets=() if consecutive else offsets,
        timestamps=[-1 if message.timestamp is None else message.timestamp for message in messages],
        timestamp_type=pb.TimestampType.Name(messages[0].timestamp_type),
        keys=() if no_keys else [key or b"" for key in keys],
        null_keys=() if no_keys else _null_indexes(keys),
        values=[value or b"" for value in values],
        null_values=_null_indexes(values),
        header_counts=[len(message.headers) for message in messages] if names else (),
        header_names=names,
        header_values=[value or b"" for value in header_values],
        null_header_values=_null_indexes(header_values),
    )


def _check_nulls(name: str, nulls: Sequence[int], length: int) -> None:
    if nulls and max(nulls) >= length:
        raise FrameError(f"Batch.{name} names entry {max(nulls)} of {length}")


def _with_nulls(column: Sequence[bytes | None], nulls: Sequence[int]) -> list[bytes | None]:
    result = list(column)
    for index in nulls:
        result[index] = None
    return result


def _null_indexes(column: Sequence[bytes | None]) -> list[int]:
    return [index for index, entry in enumerate(column) if entry is None]


_MAX_NAMES: Final = 1_000
_MAX_NAME_BYTES: Final = 200


class _Names(dict[bytes, str]):
    """Header names as text. There are few, and each comes again and again.

    A producer that makes up a name for each message costs time here, but no memory.
    """

    def __missing__(self, name: bytes) -> str:
        text = name.decode("utf-8", "surrogateescape")
        if len(name) <= _MAX_NAME_BYTES:
            if len(self) >= _MAX_NAMES:
                self.clear()
            self[name] = text
        return text


def _headers(batch: pb.Batch) -> list[tuple[Header, ...]]:
    names = map(_NAMES.__getitem__, batch.header_names[:])
    values = _with_nulls(batch.header_values[:], batch.null_header_values)
    pairs = zip(names, values, strict=True)
    counts = batch.header_counts[:]
    same = counts[0]
    if same and counts.count(same) == len(counts):
        return [*zip(*repeat(pairs, same), strict=True)]
    return [tuple(islice(pairs, count)) for count in counts]


_NAMES = _Names()
