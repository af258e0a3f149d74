"""What goes between a lambda's consumer thread and the event loop.

Letters are immutable; a ``Reply`` is made on the loop and only ever settled on the loop.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from confluent_kafka import KafkaError

from sidecar.mail.facts import TopicFacts
from sidecar.partitions.vocabulary import (
    Assign,
    CheckpointOutcome,
    ClosedReason,
    DeadLetter,
    EndStream,
    ErrorOutcome,
    Failure,
    Lease,
    Pausing,
    Progress,
    Resumed,
    Revoke,
    State,
    StreamId,
    TopicPartition,
)
from sidecar.status import LambdaStatus

T = TypeVar("T")


class Reply(Generic[T]):
    """Where the thread's answer to a letter goes. Made and awaited on the loop."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()


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


@dataclass(frozen=True, slots=True)
class Closed:
    """The lambda closed in order."""

    stream: StreamId
    reason: ClosedReason
    last: Progress | None


@dataclass(frozen=True, slots=True)
class StreamLost:
    """The stream ended without Closed."""

    stream: StreamId


@dataclass(frozen=True, slots=True)
class Written:
    """A frame left for the stream: there may be another."""

    stream: StreamId


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """How far lambdas have got; answered entry by entry, with what was delivered where that was too little."""

    entries: list[tuple[Lease, Progress]]
    reply: Reply[list[tuple[CheckpointOutcome, int | None]]]


@dataclass(frozen=True, slots=True)
class Failed:
    """A lambda reported an error; answered with the outcome and the seconds of back-off."""

    lease: Lease
    failure: Failure
    last: Progress | None
    reply: Reply[tuple[ErrorOutcome, float]]


@dataclass(frozen=True, slots=True)
class PauseLease:
    """A lambda wants no records for now."""

    stream: StreamId
    pausing: Pausing


@dataclass(frozen=True, slots=True)
class ResumeLease:
    """A lambda wants records again."""

    stream: StreamId


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """The dead-letter topic has the record, or why it could not be written. From the thread that writes them."""

    partition: TopicPartition
    offset: int
    letter: DeadLetter
    """The very one that was given to the writer: what was moved meanwhile knows another, or none."""
    error: str
    """Empty: it is written."""


@dataclass(frozen=True, slots=True)
class Topics:
    """What Kafka says of the lambda's topics now. From the thread that looks at them."""

    facts: Mapping[str, TopicFacts]


@dataclass(frozen=True, slots=True)
class TopicsUnknown:
    """Kafka was asked about the topics, and did not answer. From the thread that looks at them."""

    error: KafkaError


@dataclass(frozen=True, slots=True)
class Told:
    """Kafka answered a question of the consumer thread, which is to call ``then``. From the thread of the client."""

    then: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Resume:
    """An operator lets a halted or paused partition go on; answered with where, and the offset left out."""

    partition: TopicPartition
    skip: bool
    reply: Reply[tuple[int, int | None]]


@dataclass(frozen=True, slots=True)
class Pause:
    """An operator pauses a partition; answered, when it stands still, with where it will go on."""

    partition: TopicPartition
    reason: str
    reply: Reply[int]


@dataclass(frozen=True, slots=True)
class SeekTo:
    """Where an operator wants a partition to be: ``value`` is an offset, or milliseconds since the Unix epoch."""

    kind: Literal["offset", "timestamp", "earliest", "latest"]
    value: int = 0


@dataclass(frozen=True, slots=True)
class Seek:
    """An operator moves a partition; answered with the new place, the old one, and its state."""

    partition: TopicPartition
    to: SeekTo
    reply: Reply[tuple[int, int, State]]


@dataclass(frozen=True, slots=True)
class Inspect:
    """Somebody asks how things are."""

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
    | Failed
    | PauseLease
    | ResumeLease
    | DeadLettered
    | Topics
    | TopicsUnknown
    | Told
    | Resume
    | Pause
    | Seek
    | Inspect
    | Stop
)  # what the loop says to a thread


# --- to the loop --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """A finished frame for the stream."""

    stream: StreamId
    data: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a letter, or why there is none."""

    reply: Reply[Any]
    value: object = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether nothing keeps the lambda from consuming; told when it changes."""

    lambda_name: str
    is_ready: bool


@dataclass(frozen=True, slots=True)
class Exit:
    """End the sidecar with an error, as the lambda's config asks for after a critical error."""

    lambda_name: str
    reason: str


Delivery = Send | Readiness | Assign | Revoke | Resumed | EndStream | Answer | Exit  # what a thread says to the loop
