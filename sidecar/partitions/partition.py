"""What is known of one partition while this sidecar owns it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from sidecar.partitions.vocabulary import (
    CheckpointOutcome,
    DeadLetter,
    Lease,
    Limits,
    Pausing,
    Progress,
    State,
    StreamId,
    TopicPartition,
)
from sidecar.partitions.window import Window

WELL_AFTER = 30.0
"""Seconds for which a lambda without anything to do must have run to count as well."""


class AfterDrain(Enum):
    """What becomes of a partition when its drain is over."""

    RELEASE = auto()  # Kafka gives it to somebody else, or the sidecar stops
    HALT = auto()  # the record that comes next cannot be delivered, or not be kept as a dead letter
    PAUSE = auto()  # an operator wants it to stand still
    WAIT = auto()  # another process of this sidecar gets it


@dataclass(frozen=True, slots=True)
class Ordered:
    """What an operator ordered of a partition, or is asked to: it outlives a rebalance that gives it back to us."""

    resume_at: int
    is_paused: bool
    is_halted: bool
    reason: str
    failing_offset: int | None
    skip: frozenset[int]

    @classmethod
    def of(cls, partition: "Partition") -> "Ordered | None":
        """None: nothing that would have to be kept."""
        if partition.state is State.RESOLVING:
            return partition.ordered
        halted = partition.state is State.HALTED
        if not (partition.stands_still or halted or partition.skip):
            return None
        return cls(
            partition.resume_at,
            partition.stands_still,
            halted,
            partition.reason,
            partition.failing_offset,
            frozenset(partition.skip),
        )


@dataclass(slots=True)
class Partition:
    """One partition. Only the table that owns it changes its state; what concerns the place is decided here.

    Invariants:

    - There is a lease, and with it a stream, in STARTING, RUNNING, DRAINING, and in PAUSED while ``pausing`` says
      that the lambda asked for it; in DRAINING it may be gone already.
    - ``resume_at`` never moves back under one owner, except by an operator's or a lost offset's ``place``.
    - A checkpoint moves ``resume_at`` only under the living lease, only upward, never above what was delivered.
    - A record in ``dead`` is never delivered, and nothing beyond it is before it is written as a dead letter; then it
      is in ``skip``. So no checkpoint can pass a record that is neither processed nor kept.
    """

    tp: TopicPartition
    limits: Limits
    state: State = State.RESOLVING
    ordered: Ordered | None = None
    """While RESOLVING: what held of it before the rebalance."""
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
    rewind_pending: bool = False
    """Records from ``resume_at`` on were fetched, and are here no more: until Kafka's client is back at
    ``resume_at``, its position says nothing about what is done."""
    checkpoint: int | None = None
    handled: int | None = None

    attempt: int = 1
    failures: int = 0
    first_failed_at: float | None = None
    """The first failure since the last progress."""
    running_since: float | None = None
    """When the present lease said Ready."""
    handed_over: bool = False
    """The present lease, or the next one, comes from a hand-over."""
    handover_target: str = ""
    """The process that is to get it, while it is being handed over."""
    due: float | None = None
    """When the present state has lasted too long, or BACKING_OFF or a lambda's pause is over."""
    after_drain: AfterDrain = AfterDrain.RELEASE
    reason: str = ""
    failing_offset: int | None = None
    pausing: Pausing | None = None
    """What the lambda that holds it in PAUSED asked for."""
    skip: set[int] = field(default_factory=set)
    """Offsets that are left out, by an operator or because they are dead letters by now: dropped when they come."""
    dead: dict[int, DeadLetter] = field(default_factory=dict)
    """Offsets whose records are to become dead letters when they come."""
    skipped: int = 0
    """Records that its lambdas passed without handling them, since it is ours."""
    lease_skipped: int = 0
    """Those of the present lease."""
    skipping: tuple[str, ...] = ()
    """Names of what the present lambda skips; ``skipping_count`` may be more."""
    skipping_count: int = 0
    blocked_since: float | None = None
    blocked_reported: bool = False
    last_progress_at: float = 0.0
    """When something became outstanding while nothing was, or the last progress after that."""
    stalled: bool = False

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
        self.dead.clear()
        self.reason = ""
        self.recovered()
        self.rewind_pending = False
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
        self.running_since = None
        self.window = Window(self.limits, self.resume_at)

    def end_lease(self) -> int | None:
        """The lease is dead. Returns the offset to fetch again from, or None when nothing was outstanding."""
        if self.window.records > 0:
            self.rewind_pending = True
        self.lease = self.stream = self.due = self.pausing = None
        self.running_since = None
        self.process_id = ""
        self.stalled = False
        self.in_flight = 0
        self.blocked_since = None
        self.blocked_reported = False
        self.lease_skipped = self.skipping_count = 0
        self.skipping = ()  # another lambda begins with all of it again
        self.window = Window(self.limits, self.resume_at)
        return self.resume_at if self.rewind_pending else None

    def sent(self, first: int, last: int, count: int, size: int, offsets: Sequence[int] | None, now: float) -> None:
        """A frame was handed to the stream."""
        if self.window.outstanding == 0:
            self.last_progress_at = now
        self.window.sent(first, last, count, size, offsets)
        self.in_flight += 1

    def deliver_again(self, offset: int) -> int | None:
        """Under the same lease, from ``offset`` on, as near to it as place and delivery allow.

        Returns where to fetch again from, or None when nothing of it was delivered.
        """
        window = self.window
        offset = max(offset, self.resume_at)
        if window.delivered is None or offset > window.delivered:
            return None
        window.rewind(offset)
        self.rewind_pending = True
        return offset

    @property
    def leaves(self) -> bool:
        """It is being taken back for good: somebody else's soon."""
        return self.state is State.DRAINING and self.after_drain is AfterDrain.RELEASE

    @property
    def stands_still(self) -> bool:
        """Paused by an operator, or just being taken back for that."""
        if self.state is State.DRAINING:
            return self.after_drain is AfterDrain.PAUSE
        return self.state is State.PAUSED and self.lease is None

    @property
    def next_offset(self) -> int:
        """The next record that is sent under the present lease has this offset or a higher one."""
        delivered = self.window.delivered
        return self.resume_at if delivered is None else max(self.resume_at, delivered + 1)

    def progress(self, progress: Progress, now: float) -> CheckpointOutcome:
        """A checkpoint came under the living lease."""
        outstanding = self.window.outstanding
        outcome = self._progress(progress)
        if self.window.outstanding < outstanding:
            self.last_progress_at = now
        return outcome

    def _progress(self, progress: Progress) -> CheckpointOutcome:
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
        self.recovered()
        self._passed(self.resume_at)
        return accepted

    def skips(self, progress: Progress) -> tuple[int, tuple[str, ...]]:
        """What the lambda says that it skips. Returns how many records that are new, and the names that are new.

        What comes from the wire is not trusted: no more records than offsets were passed under the lease.
        """
        count = min(progress.skipped, self.resume_at - self.window.start)
        more = max(0, count - self.lease_skipped)
        self.lease_skipped += more
        self.skipped += more
        names = tuple(name for name in progress.skipping if name not in self.skipping)
        self.skipping, self.skipping_count = progress.skipping, progress.skipping_count
        return more, names

    def is_well(self, now: float) -> bool:
        """Its lambda has run for a while and owes nothing: what failed before says nothing of what fails now.

        Without this a partition to which nothing is written would count its failures for ever.
        """
        ran = self.running_since is not None and now - self.running_since >= WELL_AFTER
        return ran and self.window.records == 0

    def recovered(self) -> None:
        """There was progress: attempts are counted anew."""
        self.attempt = 1
        self.failures = 0
        self.first_failed_at = None

    def _passed(self, place: int) -> None:
        if self.skip:
            self.skip = {offset for offset in self.skip if offset >= place}
        if self.dead:
            self.dead = {offset: letter for offset, letter in self.dead.items() if offset >= place}

    def failed(self, now: float) -> None:
        """The lambda failed: one more attempt without progress."""
        self.failures += 1
        self.attempt += 1
        self.first_failed_at = now if self.first_failed_at is None else self.first_failed_at

    def is_delivered(self, offset: int | None) -> bool:
        """``offset`` is one that the present lease was given, and has not checkpointed."""
        furthest = self.window.furthest
        return offset is not None and furthest is not None and self.resume_at <= offset <= furthest

    def stall(self, now: float) -> bool:
        """Note whether records are outstanding without progress for too long. True once when that begins."""
        waits = self.state is State.RUNNING and self.window.outstanding > 0
        stalled = waits and now - self.last_progress_at > self.limits.stall_after
        begins = stalled and not self.stalled
        self.stalled = stalled
        return begins

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
            self.state in (State.RUNNING, State.WAITING, State.DRAINING, State.PAUSED)
            and self.window.records == 0
            and not self.rewind_pending
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
            self._passed(position)

    def to_commit(self) -> int | None:
        """The offset that Kafka does not know yet, or None."""
        return self.resume_at if self.touched and self.resume_at != self.committed else None
