"""The interface to buffered records: count them, cut them, encode them into frames.

There are two kinds. `RowRecords` are rows in native memory, which the extension of `sidecar/records/native` fills and
encodes without a Python object for each record. `ListedRecords` (`fallback/`) are Python objects, used where the
extension could not be built. Callers do not know which of the two they have.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from confluent_kafka import KafkaError

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.partitions.vocabulary import TopicPartition
from sidecar.shared_memory.memory import SharedMemory


@dataclass(frozen=True, slots=True)
class Frame:
    """One ``HostFrame`` with a ``Batch``, and the offsets of its records."""

    data: bytes
    """What goes on the stream: the frame, or where in shared memory it is."""
    first: int
    last: int
    count: int
    offsets: Sequence[int] | None
    """None: consecutive."""
    size: int
    """Bytes of the frame, wherever it is."""


@dataclass(frozen=True, slots=True)
class Undeliverable:
    """A record that cannot be sent to this lambda: its offset, and the reason."""

    offset: int
    reason: str
    readable: bool = False
    """The record can be read; it is only too large for the lambda process."""


def shared_frame(position: int, size: int) -> bytes:
    """What goes on the stream for a frame of ``size`` bytes at this position of the stream's shared memory."""
    return pb.HostFrame(shared=pb.SharedFrame(position=position, length=size)).SerializeToString()


def too_large(offset: int, size: int, hard_limit: int) -> Undeliverable:
    """The record at ``offset``, whose frame of ``size`` bytes exceeds the ``hard_limit`` that the process accepts."""
    reason = (
        f"the record takes {size} bytes on the wire, more than the lambda process accepts ({hard_limit}): "
        "raise the process's message limit, or resume with --skip"
    )
    return Undeliverable(offset, reason, readable=True)


class Record(NamedTuple):
    """One complete record, for a dead letter."""

    offset: int
    value: bytes | None
    key: bytes | None
    headers: list[tuple[bytes, bytes | None]]
    timestamp_type: int
    """One of the binding's `TIMESTAMP_...`; `TIMESTAMP_NOT_AVAILABLE`: it has no timestamp."""
    timestamp: int
    """Milliseconds since the Unix epoch."""


class Records(Protocol):
    """The buffered records of one lane of a partition, in offset order. Owned by the consumer thread."""

    def __len__(self) -> int:
        """How many records there are."""

    @property
    def size(self) -> int:
        """Bytes of memory that the records take."""

    @property
    def next_offset(self) -> int:
        """The offset after the last record; there must be one."""

    def offset(self, index: int) -> int:
        """The offset of one record. Raises ``IndexError`` when there is no such record."""

    def before(self, offset: int) -> int:
        """How many records have offsets lower than ``offset``."""

    def first(self) -> Record:
        """The first record, which stays; there must be one."""

    def drop(self, count: int) -> None:
        """Remove the first ``count`` records."""

    def truncate(self, count: int) -> None:
        """Remove all but the first ``count`` records."""

    def remove(self, index: int, count: int = 1, /) -> None:
        """Remove ``count`` records from ``index`` on."""

    def frame(
        self, most: int, soft_limit: int, hard_limit: int, memory: SharedMemory | None = None, /
    ) -> Frame | Undeliverable:
        """Encode the first records, at most ``most``, into one frame; or the first record, if it cannot be sent.

        With ``memory`` the frame is written there, if it is large and there is room.

        There must be one record; the records stay. A frame ends before it exceeds ``soft_limit`` bytes (one larger
        record is sent alone), where the timestamp type changes, and before a record larger than ``hard_limit`` bytes.
        """


class Run(NamedTuple):
    """Records of one lane of a partition that have just been read."""

    partition: TopicPartition
    records: Records
    """All buffered records of the lane."""
    added: int
    """How many of them, the last ones, have just been read."""
    number: int = 0
    """Of the lane."""


class Failure(NamedTuple):
    """An error that came in place of a record."""

    topic: str | None
    partition: int | None
    offset: int | None
    error: KafkaError
    number: int = 0
    """Of the lane that the record is in, by its key; where that cannot be read, by its offset."""
