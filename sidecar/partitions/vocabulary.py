"""The types of the partition core: its arguments, its results and its commands.

Nothing in this package knows Kafka, gRPC, threads or clocks. Times are seconds of a monotonic clock and are passed
in as arguments. The enums have the numbers of ``proto/``, so the server needs no translation; a test compares the
two.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Literal, NamedTuple

StreamId = int
"""One `Serve` call of a lambda. The server gives it; it is unique in the sidecar process."""

Lease = str
"""Names one assignment of one partition to one stream; random and unguessable."""


Level = Literal["debug", "info", "warning", "error"]
"""The log level of a report."""

RefusalKind = Literal["argument", "unknown", "state", "range", "kafka"]
"""Why an order is refused: it makes no sense, the partition is not assigned to us, its state does not allow the
order, the log does not have the offset, Kafka does not answer."""


class TopicPartition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Lane(NamedTuple):
    """What a lambda holds at a time: the records of some of a partition's keys, or the whole partition.

    It is the key by which buffers, frames, windows and leases are found. One is made for each assignment, and only
    `sidecar/partitions/` and the places that docs/design.md lists look inside.
    """

    partition: TopicPartition
    number: int = 0
    of: int = 1
    """How many lanes the partition has; 1: this lane is the whole partition."""

    def __str__(self) -> str:
        """As operators read it: `orders/7.3` is lane 3 of partition 7."""
        return str(self.partition) if self.of == 1 else f"{self.partition}.{self.number}"


def fields_of(lane: Lane) -> dict[str, object]:
    """The lane for a log line."""
    fields: dict[str, object] = {"topic": lane.partition.topic, "partition": lane.partition.partition}
    return fields if lane.of == 1 else {**fields, "lane": lane.number}


class Place(NamedTuple):
    """Where a lane goes on: what is committed of it, and what the next lambda gets."""

    offset: int
    """The next offset to process."""
    state: bytes = b""
    """The bytes that the lambda gave with its last checkpoint that had any; they belong to ``offset``."""


def short(tps: Iterable[TopicPartition]) -> str:
    """Partitions for a log line: `topic/0-7,9`."""
    by_topic: dict[str, list[int]] = {}
    for tp in sorted(tps):
        by_topic.setdefault(tp.topic, []).append(tp.partition)
    return " ".join(f"{topic}/{_ranges(numbers)}" for topic, numbers in by_topic.items())


def _ranges(numbers: list[int]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


class State(IntEnum):
    """The state of a partition (numbers of ``PartitionState`` in ``admin.proto``)."""

    WAITING = 1
    STARTING = 2
    RUNNING = 3
    DRAINING = 4
    BACKING_OFF = 5
    HALTED = 6
    RESOLVING = 7
    PAUSED = 8


class FailureKind(IntEnum):
    """What kind of failure (numbers of ``admin.proto``)."""

    FAILED = 1
    CRITICAL = 2
    CREATE = 3
    BROKE = 4
    LATE = 5
    CLOSED = 6
    UNDELIVERABLE = 7
    DEAD_LETTER = 8
    OFFSET_LOST = 9
    DEADLINE = 10
    ABORTED = 11


class WaitsFor(IntEnum):
    """What the next step of a partition waits for (numbers of ``admin.proto``, which explains them)."""

    RECORDS = 1
    FETCH = 2
    PROCESS = 3
    READY = 4
    LAMBDA = 5
    CHECKPOINT = 6
    RETRY = 7
    RESUME = 8
    PAUSE = 9
    DRAIN = 10
    OFFSET = 11
    LEADER = 12
    DEAD_LETTER = 13
    TRANSACTION = 14


class RebalanceKind(IntEnum):
    """What a rebalance did with partitions of ours, or that we asked for one (numbers of ``admin.proto``)."""

    ASSIGNED = 1
    REVOKED = 2
    LOST = 3
    LEFT = 4
    ASKED = 5


class Policy(StrEnum):
    """What the sidecar does after a critical error."""

    HALT = "halt"
    DEAD_LETTER = "dead-letter"
    EXIT = "exit"


class RevokeReason(IntEnum):
    """Why a partition is revoked from its lambda (numbers of ``lambda.proto``)."""

    REBALANCE = 1
    SHUTDOWN = 2
    LOST = 3
    HALTED = 4
    HAND_OVER = 5
    SEEK = 6
    PAUSED = 7
    DEADLINE = 8
    ABORTED = 9


class ClosedReason(IntEnum):
    """Why a lambda closed (numbers of ``lambda.proto``); an unknown number counts as UNSPECIFIED."""

    UNSPECIFIED = 0
    REVOKED = 1
    DECLINED = 2
    STOPPED = 3
    ERROR = 4

    @classmethod
    def _missing_(cls, value: object) -> "ClosedReason":  # noqa: ARG003 - the enum protocol's signature
        return cls.UNSPECIFIED


class CheckpointOutcome(IntEnum):
    """The result of a checkpoint (numbers of ``lambda.proto``)."""

    ACCEPTED = 1
    ACCEPTED_DRAINING = 2
    IGNORED_LOWER = 3
    STALE_LEASE = 4
    BEYOND_DELIVERED = 5
    STATE_TOO_LARGE = 6


class ErrorAction(IntEnum):
    """The action that a lambda asks for when it reports an error (numbers of ``lambda.proto``)."""

    RESTART = 1
    CRITICAL = 2
    REPORT = 3


class ErrorOutcome(IntEnum):
    """The result of a reported error (numbers of ``lambda.proto``)."""

    RESTARTING = 1
    HALTED = 2
    REPORTED = 3
    STALE_LEASE = 4
    DEAD_LETTERED = 5
    EXITING = 6


class EndReason(IntEnum):
    """Why the sidecar ends a stream."""

    TOO_LATE = 1
    PROTOCOL = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a partition. Counts are records, sizes bytes, times seconds."""

    window_messages: int = 10_000
    window_bytes: int = 16 * 1024 * 1024
    window_span: int = 1_000_000
    """Offsets between the checkpoint and the last record sent. It bounds how many records are delivered again after a
    crash, also when ``completed_beyond`` keeps the window open. With lanes, it is counted from the lowest place of
    all lanes of the partition."""
    frames_in_flight: int = 2
    ready_timeout: float = 60.0
    close_timeout: float = 10.0
    """How long a fenced stream may take to send Closed before the sidecar ends it."""
    backoff_first: float = 0.5
    backoff_most: float = 30.0
    leave_group_after: float = 60.0
    blocked_report_after: float = 30.0
    stall_after: float = 300.0
    """How long records may be outstanding without progress before the partition counts as stalled."""
    deadline: float | None = None
    """How long records may be outstanding without progress before the lambda is ended; None: for ever."""
    policy: Policy = Policy.HALT
    max_restarts: int | None = None
    """After this many restarts without a new checkpoint the next failure is critical; None: the number of restarts
    never makes a failure critical."""
    max_state_bytes: int = 2_048
    """How long the state of a checkpoint may be."""
    exactly_once: bool = False
    """Checkpoints are committed in transactions, so one that was accepted may be taken back. Failures are forgotten
    only when there is progress that is committed."""
    hand_over_drain: float = 10.0
    minimum_stay: float = 5.0
    """How long a partition must have been with its process, and the new process must have existed, before a
    hand-over."""
    lanes: int = 1
    """How many lanes each partition has."""
    hand_over_backoff_first: float = 10.0
    hand_over_backoff_most: float = 600.0
    """Wait after a failed hand-over: the first one, and the longest."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A checkpoint as received (``CheckpointEntry`` without its lease)."""

    offset: int | None = None
    completed_beyond: int = 0
    completed_beyond_bytes: int = 0
    handled: int | None = None
    skipped: int = 0
    skipping: tuple[str, ...] = ()
    skipping_count: int = 0
    state: bytes | None = None
    """None: the state of the checkpoint before it holds."""


@dataclass(frozen=True, slots=True)
class Pausing:
    """A lambda's request for a pause (``Pause`` on the wire); times are seconds."""

    number: int
    offset: int | None = None
    reason: str = ""
    retry_after: float | None = None
    """None: the pause does not end by itself."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as received, or made by the sidecar itself."""

    action: ErrorAction
    offset: int | None = None
    code: str = ""
    message: str = ""
    type: str = ""
    stack: str = ""
    version: str = ""
    """The version of the lambda's code, as its process offered it."""

    def admits(self, last: Progress) -> bool:
        """Whether the last checkpoint that came with it counts: it must not cover the record that failed."""
        return self.offset is None or last.offset is None or last.offset < self.offset

    def fields(self) -> dict[str, object]:
        """The fields that are set, for a log line."""
        found = {
            "offset": self.offset,
            "code": self.code,
            "error": self.message,
            "error_type": self.type,
            "stack": self.stack,
        }
        return {name: value for name, value in found.items() if value not in (None, "")}


@dataclass(frozen=True, slots=True)
class LastFailure:
    """The last failure of a partition, for operators."""

    kind: FailureKind
    text: str
    offset: int | None
    """Of the record, if the failure named one."""
    at: float
    """Seconds of the monotonic clock."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Why a record is skipped and written to the dead-letter topic. Times are seconds of the monotonic clock."""

    failure: Failure
    attempts: int
    """How often the partition was started from this resume offset, this time included."""
    first_failed_at: float
    last_failed_at: float
    refused: str = ""
    """Why Kafka has refused it, in a transaction that was aborted (exactly-once). It is not tried again before an
    operator resumes: when its record is reached, the lane halts."""


# --- commands of the core ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assign:
    """Tell the stream that it has this lane now."""

    stream: StreamId
    lease: Lease
    lane: Lane
    start_offset: int
    attempt: int
    state: bytes = b""


@dataclass(frozen=True, slots=True)
class Revoke:
    """Tell the stream to give its partition back within ``seconds``."""

    stream: StreamId
    reason: RevokeReason
    seconds: float


@dataclass(frozen=True, slots=True)
class EndStream:
    """End the stream, because its lambda broke the contract."""

    stream: StreamId
    reason: EndReason
    text: str


@dataclass(frozen=True, slots=True)
class Rewind:
    """Drop the buffered records of this lane, and fetch the lane's records again from ``offset`` on."""

    lane: Lane
    offset: int


@dataclass(frozen=True, slots=True)
class Report:
    """A log line for operators."""

    level: Level
    event: str
    lane: Lane | None
    lease: Lease | None
    fields: dict[str, object]


@dataclass(frozen=True, slots=True)
class Resumed:
    """Tell the stream that pause ``number`` is over; records follow from ``from_offset``."""

    stream: StreamId
    number: int
    from_offset: int


@dataclass(frozen=True, slots=True)
class Committed:
    """Tell the stream that its checkpoints are in Kafka, up to and including ``offset``."""

    stream: StreamId
    offset: int


@dataclass(frozen=True, slots=True)
class Hung:
    """A lambda missed its deadline and did not close in its drain either: its process may be stuck."""

    stream: StreamId


@dataclass(frozen=True, slots=True)
class Exit:
    """End the sidecar with an error, as the policy says."""

    reason: str


Command = Assign | Revoke | EndStream | Rewind | Report | Resumed | Committed | Hung | Exit


class OrderRefused(Exception):  # noqa: N818 - a refusal, named as the operator reads it
    """An operator's order cannot be carried out; the text says why, and what the operator can do."""

    def __init__(self, text: str, kind: RefusalKind = "state") -> None:
        super().__init__(text)
        self.kind: RefusalKind = kind
