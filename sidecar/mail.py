"""The two mailboxes that join a lambda's consumer thread and the event loop, and what goes through them.

Nothing else is shared between the two. The thread owns its Consumer and its partitions' state; the loop owns
sockets and streams. Letters are immutable; a ``Reply`` is made on the loop and only ever settled on the loop.
"""

import asyncio
import queue
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from confluent_kafka import KafkaError

from sidecar.kafka.facts import TopicFacts
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


# --- how things are -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps a lambda from working."""

    kind: str
    """A stable word, a metric's label: `connection`, `group`, `commit:orders/3`."""
    text: str
    """What people read."""
    since: float
    """Seconds of the monotonic clock."""
    blocks: bool = True
    """Nothing can be consumed meanwhile: the sidecar is not ready."""


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One lambda process, as the consumer thread knows it."""

    process_id: str
    partitions: int
    spare: bool


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition; times are seconds of the monotonic clock, offsets None where unknown."""

    tp: TopicPartition
    state: State
    process_id: str
    delivered: int | None
    handled: int | None
    checkpoint: int | None
    committed: int | None
    end: int | None
    outstanding: int
    waiting: int
    attempt: int
    reason: str
    failing_offset: int | None
    blocked_since: float | None
    stalled_since: float | None
    resumes_at: float | None
    skipped: int = 0
    skipping: tuple[str, ...] = ()
    skipping_count: int = 0
    """Of the records that were passed without being handled: how many, of what now, and of how many things."""


@dataclass(frozen=True, slots=True)
class LambdaStatus:
    """One lambda; counts are since the start."""

    connected: bool
    joined: bool
    problems: list[Problem]
    records_sent: int
    records_fetched: int
    restarts: int
    dead_letters: int
    hand_overs: int
    reports: int
    processes: list[ProcessStatus]
    partitions: list[PartitionStatus]
    skipped: int = 0
    produced: int = 0
    produce_failures: int = 0
    """Records that the lambda produced: written, and not known to be. The loop adds both, the thread has neither."""
    process_exits: int = 0
    """How often a process that the sidecar keeps running ended by itself. The loop's too."""

    @property
    def problem(self) -> str:
        """All problems as one text; empty: there is none."""
        return "; ".join(problem.text for problem in self.problems)

    @property
    def ready(self) -> bool:
        """Nothing keeps it from consuming."""
        return not any(problem.blocks for problem in self.problems)


# --- the boxes ----------------------------------------------------------------------------------------------------


class GoneError(Exception):
    """The thread that was asked has ended."""


class Mailbox:
    """To one consumer thread. The loop puts and closes, the thread that writes dead letters puts; the owner takes."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Letter] = queue.SimpleQueue()
        self._front: Letter | None = None  # the owner's: met by `wait`, taken next
        self._closed = False
        self.bell: Callable[[], None] | None = None
        """Rung after each letter, in the thread that puts it. The owner's, which may wait for more than letters."""

    def put(self, letter: Letter) -> None:
        """Never blocks. Once the owner has ended, questions are answered with ``GoneError``."""
        if self._closed:
            _return_to_sender(letter)
            return
        self._queue.put(letter)
        bell = self.bell
        if bell is not None:
            bell()

    def close(self) -> None:
        """The owner has ended. Called on the loop, so that no letter can slip in between."""
        self._closed = True
        while (letter := self.take()) is not None:
            _return_to_sender(letter)

    def empty(self) -> bool:
        """Whether nothing is there now."""
        return self._front is None and self._queue.empty()

    def wait(self, timeout: float) -> None:
        """Until there is a letter, up to ``timeout`` seconds."""
        if self._front is None:
            self._front = self.take(timeout)

    def take(self, timeout: float = 0.0) -> Letter | None:
        """The next letter, waiting up to ``timeout`` seconds for one; None when there is none."""
        if self._front is not None:
            front, self._front = self._front, None
            return front
        try:
            return self._queue.get(timeout=timeout) if timeout > 0 else self._queue.get_nowait()
        except queue.Empty:
            return None


class Outbox:
    """From one consumer thread to the loop.

    The thread collects and flushes once a turn: one wake-up of the loop carries all that the turn had to say.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, deliver: Callable[[list[Delivery]], None]) -> None:
        """``deliver`` is called on ``loop`` with each flush."""
        self._loop = loop
        self._deliver = deliver
        self._items: list[Delivery] = []

    def post(self, item: Delivery) -> None:
        """Goes out with the next flush."""
        self._items.append(item)

    def flush(self) -> None:
        """Hand over what was collected."""
        if self._items:
            items, self._items = self._items, []
            self._loop.call_soon_threadsafe(self._deliver, items)


def _return_to_sender(letter: Letter) -> None:
    reply: Reply[Any] | None = getattr(letter, "reply", None)
    if reply is not None and not reply.future.done():
        reply.future.set_exception(GoneError("the lambda's consumer thread has ended; the sidecar is stopping"))


def settle(answer: Answer) -> None:
    """On the loop: give an answer to whoever awaits it (who may have gone)."""
    future = answer.reply.future
    if future.done():
        return
    if answer.error is not None:
        future.set_exception(answer.error)
    else:
        future.set_result(answer.value)
