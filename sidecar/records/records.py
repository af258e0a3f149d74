"""The interface to buffered records: count them, cut them, encode them into frames.

There are two kinds. `RowRecords` are rows in native memory, which the extension of `sidecar/records/native` fills and
encodes without a Python object for each. `ListedRecords` (`fallback/`) are Python objects, for where that
extension could not be built. Nothing else knows which of the two it has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from confluent_kafka import KafkaError

from sidecar.partitions.vocabulary import TopicPartition


@dataclass(frozen=True, slots=True)
class Frame:
    """One serialized ``HostFrame`` with a ``Batch``, and what the window has to know of it."""

    data: bytes
    first: int
    last: int
    count: int
    offsets: Sequence[int] | None
    """None: consecutive."""


@dataclass(frozen=True, slots=True)
class Undeliverable:
    """A record that can never be sent to this lambda: its offset, and why."""

    offset: int
    reason: str
    readable: bool = False
    """It is only too large for the lambda process."""


def too_large(offset: int, size: int, hard_limit: int) -> Undeliverable:
    """The first record, whose frame of ``size`` bytes no process takes that accepts ``hard_limit``."""
    reason = (
        f"the record takes {size} bytes on the wire, more than the lambda process accepts ({hard_limit}): "
        "raise the process's message limit, or resume with --skip"
    )
    return Undeliverable(offset, reason, readable=True)


class Record(NamedTuple):
    """One record whole, as a dead letter needs it."""

    offset: int
    value: bytes | None
    key: bytes | None
    headers: list[tuple[bytes, bytes | None]]
    timestamp_type: int
    """The binding's `TIMESTAMP_...`; without a timestamp `TIMESTAMP_NOT_AVAILABLE`."""
    timestamp: int
    """Milliseconds since the Unix epoch."""


class Records(Protocol):
    """The records of one partition that wait, in offset order. Owned by the consumer thread."""

    def __len__(self) -> int:
        """How many."""

    @property
    def size(self) -> int:
        """Bytes of memory that they take."""

    @property
    def next_offset(self) -> int:
        """The offset after the last one; there must be one."""

    def offset(self, index: int) -> int:
        """Of one of them. Raises ``IndexError``."""

    def before(self, offset: int) -> int:
        """How many come before ``offset``."""

    def first(self) -> Record:
        """The first, which stays."""

    def drop(self, count: int) -> None:
        """Remove the first ``count``."""

    def truncate(self, count: int) -> None:
        """Remove all but the first ``count``."""

    def remove(self, index: int) -> None:
        """Remove one."""

    def frame(self, most: int, soft_limit: int, hard_limit: int) -> Frame | Undeliverable:
        """One frame of as many as fit, at most ``most``, from the first on; or the first, where it cannot be sent.

        There must be one, and they stay. A frame ends before it grows over ``soft_limit`` bytes (one larger record
        goes alone), where the timestamp type changes, and before a record that is larger than ``hard_limit`` bytes.
        """


class Run(NamedTuple):
    """Records that came for one partition."""

    partition: TopicPartition
    records: Records
    """All that wait for it now."""
    added: int
    """How many of them, the last ones, have just come."""


class Failure(NamedTuple):
    """An error that came in the place of a record."""

    topic: str | None
    partition: int | None
    offset: int | None
    error: KafkaError
