"""Records to write, what became of them, and the jobs of a transaction, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from sidecar.partitions.vocabulary import TopicPartition

Headers: TypeAlias = "Sequence[tuple[str, bytes | None]]"


class Outgoing(NamedTuple):
    """A record to write."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int
    """-1: chosen by the key."""
    headers: Headers
    refusal: str = ""
    """Why the record must not be written; empty: it may be."""


class Outcome(IntEnum):
    """The result of a record; the numbers are those of ``lambda.proto``."""

    WRITTEN = 1
    FAILED = 2
    TOO_LARGE = 5


@dataclass(slots=True)
class Written:
    """The result of a batch: entry i of each list belongs to record i."""

    outcomes: list[int]
    partitions: list[int]
    offsets: list[int]
    errors: list[str]
    """Empty: the record was written."""


@dataclass(eq=False, slots=True)
class Job:
    """What is written in one transaction of one partition: records, and the place that is committed with them.

    The consumer thread makes it and gives it to the transactions thread. It is one of several in a transaction.
    """

    tp: TopicPartition
    offset: int
    """The offset to commit."""
    metadata: str
    """The commit's metadata."""
    records: Sequence[Outgoing]
    group: object
    """The consumer's group metadata when the job was made: the broker refuses the transaction of a member that the
    group does not have any more (KIP-447)."""
    dead_letters: int = 0
    """So many of the records, the last ones, are dead letters."""
    withdrawn: bool = field(default=False, init=False)
    """The partition was taken away before the job was begun. The consumer thread sets it, and the transactions thread
    looks at it once, when it takes the round. If that look came first, the broker decides by ``group``."""


@dataclass(frozen=True, slots=True)
class RefusedLetter:
    """Why Kafka does not take a dead letter: not now, and not if it is tried again as things are."""

    text: str
    is_gone: bool = False
    """There is no such topic, or no such partition in it: the topic may be made anew."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a transaction was aborted."""

    text: str
    culprits: frozenset[int] = frozenset()
    """The jobs, by their index in the transaction, of which a record was refused, but for the ``letters``."""
    letters: Mapping[int, Mapping[int, RefusedLetter]] = field(default_factory=dict)
    """The dead letters that were refused, each for itself: by the index of the job, and of the record in it."""
    is_forbidden: bool = False
    """A right is missing."""
    is_stale_member: bool = False
    """The group has gone on since the jobs were made: with its present generation they may be tried again."""
