"""The letters between a lambda's consumer thread and the event loop.

Letters are immutable; a ``Reply`` is made on the loop, and only the loop settles it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from confluent_kafka import KafkaError

from sidecar.mail import outgoing
from sidecar.mail.facts import TopicFacts
from sidecar.mail.outgoing import Job, Outgoing, Refused
from sidecar.partitions.vocabulary import (
    Assign,
    CheckpointOutcome,
    ClosedReason,
    Committed,
    DeadLetter,
    EndStream,
    ErrorOutcome,
    Failure,
    Hung,
    Lane,
    Lease,
    Pausing,
    Progress,
    Resumed,
    Revoke,
    State,
    StreamId,
    TopicPartition,
)
from sidecar.shared_memory.memory import SharedMemory
from sidecar.status import LambdaStatus

T = TypeVar("T")


class Reply(Generic[T]):
    """Receives the thread's answer to a letter. Made and awaited on the loop."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()


@dataclass(frozen=True, slots=True)
class UnitAnswer:
    """What became of a `Unit`."""

    outcome: CheckpointOutcome
    """Of its checkpoint. STALE_LEASE also if the transaction was aborted."""
    delivered: int | None = None
    """With BEYOND_DELIVERED: the last delivered offset."""
    written: outgoing.Written | None = None
    """What became of its records; None: there was no transaction, and they wait on."""


@dataclass(frozen=True, slots=True)
class Unit:
    """With exactly-once: the records that are written in one transaction with a checkpoint of this lease."""

    lease: Lease
    records: Sequence[Outgoing]
    reply: Reply[UnitAnswer]


# --- to the thread ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Available:
    """A stream can take a partition."""

    stream: StreamId
    process_id: str
    max_message_bytes: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The lambda of the stream's partition exists."""

    stream: StreamId
    lease: Lease
    memory: SharedMemory | None = None
    """What its process shares, for large frames. The thread owns it from now on."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The lambda closed, and says why."""

    stream: StreamId
    reason: ClosedReason
    last: Progress | None
    unit: Unit | None = None
    """With exactly-once: what goes with ``last``."""


@dataclass(frozen=True, slots=True)
class StreamLost:
    """The stream ended without Closed."""

    stream: StreamId


@dataclass(frozen=True, slots=True)
class Written:
    """A frame was written to the stream, so another one may be sent."""

    stream: StreamId


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Checkpoints of lambdas. The answer has for each entry its outcome and, with BEYOND_DELIVERED, the last
    delivered offset."""

    entries: list[tuple[Lease, Progress]]
    reply: Reply[list[tuple[CheckpointOutcome, int | None]]]
    units: Mapping[int, Unit] = field(default_factory=dict)
    """With exactly-once: what goes with a checkpoint, by its index in ``entries``: a lease may have several."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A checkpoint of a lambda, and the records that become visible together with it (exactly-once)."""

    progress: Progress
    unit: Unit

    @property
    def reply(self) -> Reply[UnitAnswer]:
        """Of the unit: it is answered when the transaction has ended."""
        return self.unit.reply


@dataclass(frozen=True, slots=True)
class Transacted:
    """A transaction has ended. From the transactions thread."""

    jobs: Sequence[Job]
    written: Sequence[outgoing.Written]
    """What became of the records of each job."""
    refused: Refused | None
    """Why it was aborted; None: it is committed."""
    began_at: float
    """Seconds of the monotonic clock."""


@dataclass(frozen=True, slots=True)
class NoTransactions:
    """Kafka does not let the producer begin, and why; None: it does now. From the transactions thread."""

    transactional_id: str
    error: KafkaError | None


@dataclass(frozen=True, slots=True)
class Failed:
    """A lambda reported an error. The answer is the outcome and the seconds of back-off."""

    lease: Lease
    failure: Failure
    last: Progress | None
    reply: Reply[tuple[ErrorOutcome, float]]
    unit: Unit | None = None
    """With exactly-once: what goes with ``last``."""


@dataclass(frozen=True, slots=True)
class PauseLease:
    """A lambda asks for a pause."""

    stream: StreamId
    pausing: Pausing


@dataclass(frozen=True, slots=True)
class ResumeLease:
    """A lambda ends its pause."""

    stream: StreamId


@dataclass(frozen=True, slots=True)
class LeaseProgress:
    """A lambda says that it makes progress."""

    stream: StreamId
    text: str
    """Its own words; may be empty."""


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """A record was written to the dead-letter topic, or could not be. From the dead-letter thread."""

    lane: Lane
    offset: int
    letter: DeadLetter
    """The object that was given to the dead-letter thread. A lane whose partition was moved since has another, or
    none."""
    error: str
    """Empty: the record was written."""
    record: Outgoing | None = None
    """With exactly-once nothing is written: this is to be, with the place after the record."""


@dataclass(frozen=True, slots=True)
class Topics:
    """Kafka's descriptions of the lambda's topics. From the topic watch."""

    facts: Mapping[str, TopicFacts]


@dataclass(frozen=True, slots=True)
class TopicsUnknown:
    """Kafka did not answer a question about the topics. From the topic watch."""

    error: KafkaError


@dataclass(frozen=True, slots=True)
class Told:
    """Kafka answered a question of the consumer thread, which calls ``then``. From a client's thread."""

    then: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Resume:
    """An operator resumes a halted or paused partition. The answer is the resume offset and the skipped offset."""

    partition: TopicPartition
    skip: bool
    reply: Reply[tuple[int, int | None]]
    lane: int | None = None
    """None: all lanes. So in the next two letters."""


@dataclass(frozen=True, slots=True)
class Pause:
    """An operator pauses a partition. The answer, given when it is paused, is the resume offset."""

    partition: TopicPartition
    reason: str
    reply: Reply[int]
    lane: int | None = None


@dataclass(frozen=True, slots=True)
class SeekTo:
    """The target of an operator's seek; ``value`` is an offset, or milliseconds since the Unix epoch."""

    kind: Literal["offset", "timestamp", "earliest", "latest"]
    value: int = 0


@dataclass(frozen=True, slots=True)
class Seek:
    """An operator moves a partition. The answer is the new resume offset, the old one, and the state."""

    partition: TopicPartition
    to: SeekTo
    reply: Reply[tuple[int, int, State]]
    lane: int | None = None


@dataclass(frozen=True, slots=True)
class Inspect:
    """A request for the lambda's status."""

    reply: Reply["LambdaStatus"]


@dataclass(frozen=True, slots=True)
class Stop:
    """Drain, commit, leave the group, end."""


Letter = (
    Available
    | Ready
    | Closed
    | StreamLost
    | Written
    | Checkpoints
    | Commit
    | Transacted
    | NoTransactions
    | Failed
    | PauseLease
    | ResumeLease
    | LeaseProgress
    | DeadLettered
    | Topics
    | TopicsUnknown
    | Told
    | Resume
    | Pause
    | Seek
    | Inspect
    | Stop
)
"""A letter to the consumer thread."""


# --- to the loop --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """A finished frame for the stream."""

    stream: StreamId
    data: bytes
    rings: bool = True
    """Whether the thread waits for it to be written (`Written`), since it has more to send or much is in flight.
    Otherwise that letter need not wake the thread, which has often nothing else to do: a turn costs more than to
    write a record that came alone."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a letter, or the error instead of it."""

    reply: Reply[Any]
    value: object = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """The lambda's readiness has changed: whether no problem keeps it from consuming."""

    lambda_name: str
    is_ready: bool


@dataclass(frozen=True, slots=True)
class Exit:
    """End the sidecar with an error, as the lambda's config says for a critical error."""

    lambda_name: str
    reason: str


Delivery = Send | Readiness | Assign | Revoke | Resumed | Committed | Hung | EndStream | Answer | Exit
"""A message from the consumer thread to the loop."""
