"""What is known of one partition while this sidecar owns it."""

from dataclasses import dataclass, field
from enum import Enum, auto

from sidecar.partitions.vocabulary import (
    CheckpointOutcome,
    Lease,
    Limits,
    Progress,
    State,
    StreamId,
    TopicPartition,
)
from sidecar.partitions.window import Window


class AfterDrain(Enum):
    """What becomes of a partition when its drain is over."""

    RELEASE = auto()  # Kafka gives it to somebody else, or the sidecar stops
    HALT = auto()  # the record that comes next cannot be delivered


@dataclass(slots=True)
class Partition:
    """One partition. Only the table that owns it changes its state; what concerns the place is decided here.

    Invariants:

    - There is a lease exactly in STARTING, RUNNING and DRAINING, and then there is a stream.
    - ``resume_at`` never moves back under one owner, except by an operator's or a lost offset's ``place``.
    - A checkpoint moves ``resume_at`` only under the living lease, only upward, never above what was delivered.
    """

    tp: TopicPartition
    limits: Limits
    state: State = State.RESOLVING
    resume_at: int = -1
    """The next offset to process, and so what is to be committed. -1 while RESOLVING."""
    committed: int | None = None
    """What Kafka is known to have: the next offset to process."""
    touched: bool = False
    """``resume_at`` says more than Kafka knows: it came from a checkpoint or from a resolved place."""

    lease: Lease | None = None
    stream: StreamId | None = None
    process_id: str = ""
    window: Window = field(init=False)
    in_flight: int = 0
    refetch: bool = False
    """Records from ``resume_at`` on were fetched, and are here no more: until Kafka's client is back at
    ``resume_at``, its position says nothing about what is done."""
    checkpoint: int | None = None
    handled: int | None = None

    attempt: int = 1
    failures: int = 0
    due: float | None = None
    """When the present state has lasted too long, or BACKING_OFF is over."""
    after_drain: AfterDrain = AfterDrain.RELEASE
    reason: str = ""
    failing_offset: int | None = None
    skip: set[int] = field(default_factory=set)
    """Offsets that an operator left out: dropped when they come."""
    blocked_since: float | None = None
    blocked_reported: bool = False

    def __post_init__(self) -> None:
        self.window = Window(self.limits, self.resume_at)

    def place(self, offset: int, *, committed: bool) -> None:
        """Where to go on from is known anew: ``committed`` when Kafka said so, else it is to be committed.

        What was known of the old place means nothing here.
        """
        self.resume_at = offset
        self.checkpoint = None
        self.failing_offset = None
        self.skip.clear()
        self.reason = ""
        self.attempt = 1
        self.failures = 0
        self.refetch = False
        self.touched = not committed
        self.committed = offset if committed else None
        self.window = Window(self.limits, offset)

    def begin(self, lease: Lease, stream: StreamId, process_id: str, due: float) -> None:
        """A stream takes it: STARTING."""
        self.state = State.STARTING
        self.lease, self.stream, self.process_id = lease, stream, process_id
        self.due = due
        self.in_flight = 0
        self.handled = None
        self.window = Window(self.limits, self.resume_at)

    def end_lease(self) -> int | None:
        """The lease is dead. Returns the offset to fetch again from, or None when nothing was outstanding."""
        if self.window.records > 0:
            self.refetch = True
        self.lease = self.stream = self.due = None
        self.process_id = ""
        self.in_flight = 0
        self.blocked_since = None
        self.blocked_reported = False
        self.window = Window(self.limits, self.resume_at)
        return self.resume_at if self.refetch else None

    def progress(self, progress: Progress) -> CheckpointOutcome:
        """A checkpoint came under the living lease."""
        if progress.handled is not None:
            self.handled = progress.handled
        offset, window = progress.offset, self.window
        accepted = CheckpointOutcome.ACCEPTED_DRAINING if self.state is State.DRAINING else CheckpointOutcome.ACCEPTED
        if offset is None or offset == self.checkpoint or offset + 1 == self.resume_at:
            window.completed(progress.completed_beyond, progress.completed_beyond_bytes)
            self._unblock()
            return accepted
        if offset < self.resume_at:
            return CheckpointOutcome.IGNORED_LOWER
        if window.delivered is None or offset > window.delivered:
            return CheckpointOutcome.BEYOND_DELIVERED
        window.checkpoint(offset)
        window.completed(progress.completed_beyond, progress.completed_beyond_bytes)
        self._unblock()
        self.resume_at = offset + 1
        self.checkpoint = offset
        self.touched = True
        self.attempt = 1
        self.failures = 0
        if self.skip:
            self.skip = {skipped for skipped in self.skip if skipped > offset}
        return accepted

    def block(self, now: float) -> bool:
        """Records wait: note since when the window is full. Returns True once when that is worth a report."""
        self._unblock()
        if self.window.room() > 0:
            return False
        if self.blocked_since is None:
            self.blocked_since = now
        elif not self.blocked_reported and now - self.blocked_since > self.limits.blocked_report_after:
            self.blocked_reported = True
            return True
        return False

    def _unblock(self) -> None:
        if self.window.room() > 0:
            self.blocked_since = None
            self.blocked_reported = False

    @property
    def caught_up(self) -> bool:
        """Everything that was ever fetched of it and sent is done, and nothing is to be fetched again."""
        return (
            self.state in (State.RUNNING, State.WAITING, State.DRAINING)
            and self.window.records == 0
            and not self.refetch
            and self.failing_offset is None
        )

    def settle(self, position: int) -> None:
        """It is caught up, nothing waits, and Kafka's client stands at ``position``: go on from there.

        At a transaction's end this lies above checkpoint + 1, since the marker has an offset of its own; without
        it the lag would never reach 0.
        """
        if position > self.resume_at and self.caught_up:
            self.resume_at = position
            self.touched = True
            if self.skip:
                self.skip = {skipped for skipped in self.skip if skipped >= position}

    def to_commit(self) -> int | None:
        """The offset that Kafka does not know yet, or None."""
        return self.resume_at if self.touched and self.resume_at != self.committed else None
