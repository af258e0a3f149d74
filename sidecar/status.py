"""One snapshot of the sidecar: what the commands, the page, the metrics and the health checks show.

Each lambda's consumer thread makes its part (`sidecar/consuming/status.py`), and the event loop adds what only it
knows (`sidecar/server/snapshots.py`). Times are seconds of the monotonic clock, unless said otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sidecar.causes import Cause
from sidecar.measured import DELAY_BOUNDS_S, Histogram, LoopMeasured, ThreadMeasured, Times
from sidecar.partitions.vocabulary import FailureKind, LastFailure, RebalanceKind, State, TopicPartition, WaitsFor


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps a lambda from working."""

    kind: str
    """A stable word, used as a label of metrics: `connection`, `group`, `commit:orders/3`."""
    text: str
    """For people: the thing, the cause and the remedy."""
    since: float
    """Seconds of the monotonic clock."""
    blocks: bool = True
    """Nothing can be consumed meanwhile: the sidecar is not ready."""
    cause: Cause = Cause.OTHER
    """Tells apart what one kind may come from: a `connection` fails since Kafka is away, or for a wrong password."""


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One lambda process. The consumer thread knows the first three; the loop adds the others."""

    process_id: str
    partitions: int
    spare: bool
    instance: str = ""
    pid: int = 0
    """0: unknown."""
    client: str = ""
    lambda_version: str = ""
    peer: str = ""
    connected_since: float | None = None
    last_seen: float | None = None
    identity: str = ""
    """What the config calls it; empty: the config asks for no proof."""


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """One end of a process that the sidecar runs."""

    at: float
    how: str
    ran: float
    """Seconds."""
    last_line: str
    """The last line that it wrote to stderr, without secrets; empty: none."""


@dataclass(frozen=True, slots=True)
class SupervisedStatus:
    """One process that the sidecar runs (`command` in the config)."""

    instance: int
    program: str
    pid: int
    """Of its guard; 0: it does not run."""
    since: float
    """It runs, or waits to be started again, since then."""
    exits: int
    failures: int
    """Ends in a row, each soon after its start."""
    next_start: float | None
    last_exits: tuple[ExitStatus, ...]
    """The newest last."""


@dataclass(frozen=True, slots=True)
class RebalanceStatus:
    """The group gave partitions to this sidecar, or took them."""

    kind: RebalanceKind
    partitions: int
    at: float
    reason: str
    """Empty: unknown."""


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One lane of a partition, or a partition without lanes; offsets are None where unknown."""

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
    """``skipped``: records that the lambda skipped without handling them, since the partition was assigned to us.
    ``skipping``: names of the documents whose records it skips now, and ``skipping_count``: how many there are."""
    state_since: float = 0.0
    lease_since: float | None = None
    oldest_outstanding: float | None = None
    """When the oldest outstanding record was sent to the lambda."""
    outstanding_bytes: int = 0
    waiting_bytes: int = 0
    sent_per_second: float = 0.0
    done_per_second: float = 0.0
    last_failure: LastFailure | None = None
    waits_for: WaitsFor = WaitsFor.RECORDS
    handled_at: float | None = None
    """When ``handled`` last moved."""
    progress_at: float | None = None
    """The last progress that its lambda reported; before any: when it got its first record."""
    next_retry: float | None = None
    """Backing off: when it is tried again."""
    progress: str = ""
    """What the lambda last said of its progress."""
    overdue_at: float | None = None
    """When its lambda is ended, unless there is progress."""
    state_bytes: int = 0
    """Of the state that belongs to its checkpoint."""
    lane: int = 0
    lanes: int = 1
    """How many the partition has; 1: it is not split."""

    @property
    def name(self) -> str:
        """`orders/7`, or `orders/7.3` for its lane 3."""
        return str(self.tp) if self.lanes == 1 else f"{self.tp}.{self.lane}"


def whole_partition(lanes: Sequence[PartitionStatus]) -> PartitionStatus:
    """The lanes of a partition as one, for what is told by partition."""
    first = lanes[0]
    if len(lanes) == 1:
        return first
    places = [one.committed for one in lanes if one.committed is not None]
    oldest = [one.oldest_outstanding for one in lanes if one.oldest_outstanding is not None]
    stopped = [one for one in lanes if one.state in (State.HALTED, State.PAUSED)]
    blocked = [one.blocked_since for one in lanes if one.blocked_since is not None]
    stalled = [one.stalled_since for one in lanes if one.stalled_since is not None]
    committed = min(places) if len(places) == len(lanes) else None
    return replace(
        first,
        state=min((one.state for one in stopped), default=first.state),
        committed=committed,
        checkpoint=None if committed is None else committed - 1,
        outstanding=sum(one.outstanding for one in lanes),
        waiting=sum(one.waiting for one in lanes),
        oldest_outstanding=min(oldest, default=None),
        blocked_since=min(blocked, default=None),
        stalled_since=min(stalled, default=None),
        lane=0,
        lanes=1,
    )


@dataclass(frozen=True, slots=True)
class LambdaStatus:
    """One lambda; counts are since the start."""

    connected: bool
    joined: bool
    problems: list[Problem]
    records_sent: int
    records_fetched: int
    restarts: Mapping[FailureKind, int]
    dead_letters: int
    hand_overs: int
    reports: int
    processes: list[ProcessStatus]
    partitions: list[PartitionStatus]
    skipped: int = 0
    produced: int = 0
    produce_failures: Mapping[str, int] = field(default_factory=dict)
    """Records that the lambda produced: written, and not known to be written, by the kind of the failure. The loop
    sets both, not the thread."""
    process_exits: int = 0
    """How often a process that the sidecar runs ended by itself. The loop sets it, not the thread."""
    group: str = ""
    topics: tuple[str, ...] = ()
    bytes_sent: int = 0
    bytes_shared: int = 0
    """Of these, in shared memory."""
    last_rebalance: RebalanceStatus | None = None
    rebalances: Mapping[RebalanceKind, int] = field(default_factory=dict)
    supervised: tuple[SupervisedStatus, ...] = ()
    """The loop sets it, not the thread."""
    topic_sizes: tuple[tuple[str, int], ...] = ()
    """The lambda's topics that exist, and how many partitions each has, whoever owns them."""
    exactly_once: bool = False
    transactions_committed: int = 0
    transactions_aborted: int = 0
    delays: Times = field(default_factory=lambda: Histogram(DELAY_BOUNDS_S).now)
    """From sending a record to the checkpoint that passes it."""
    lanes: int = 1
    """Of each partition."""
    thread: ThreadMeasured = field(default_factory=ThreadMeasured)
    loop: LoopMeasured = field(default_factory=LoopMeasured)
    """What the thread and the loop have counted for the metrics."""

    @property
    def whole_partitions(self) -> list[PartitionStatus]:
        """One for each partition, whatever the number of its lanes."""
        lanes: dict[TopicPartition, list[PartitionStatus]] = {}
        for one in self.partitions:
            lanes.setdefault(one.tp, []).append(one)
        return [whole_partition(of_one) for of_one in lanes.values()]

    @property
    def problem(self) -> str:
        """All problems as one text; empty: there is none."""
        return "; ".join(problem.text for problem in self.problems)

    @property
    def ready(self) -> bool:
        """Whether no problem keeps the lambda from consuming."""
        return not any(problem.blocks for problem in self.problems)


@dataclass(frozen=True, slots=True)
class SidecarStatus:
    """The whole sidecar at one time."""

    version: str
    host: str
    pid: int
    bootstrap_servers: str
    config_hash: str
    """Equal for equal settings; secrets are left out."""
    started_at: float
    taken_at: float
    wall_clock: float
    """Add it to a time of the monotonic clock, to get seconds since the Unix epoch."""
    memory_bytes: int
    """Resident; 0: unknown."""
    draining: bool
    lambdas: Mapping[str, LambdaStatus]
