"""What is known of one partition while this sidecar owns it: where it is, who holds it, what went wrong."""

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
            partition.position.resume_at,
            partition.stands_still,
            halted,
            partition.trouble.reason,
            partition.trouble.failing_offset,
            frozenset(partition.skip),
        )


@dataclass(slots=True)
class Position:
    """Where a partition is."""

    resume_at: int = -1
    """The next offset to process, and so what is to be committed. -1 while RESOLVING."""
    committed: int | None = None
    """What Kafka is known to have: the next offset to process."""
    uncommitted: bool = False
    """``resume_at`` says more than Kafka knows: it came from a checkpoint, or is where a new group starts."""
    rewind_pending: bool = False
    """Records from ``resume_at`` on were fetched, and are here no more: until Kafka's client is back at
    ``resume_at``, its position says nothing about what is done."""
    checkpoint: int | None = None
    """The last offset that was checkpointed."""
    handled: int | None = None
    """The last offset whose handler returned, under the present or the last lease."""

    def to_commit(self) -> int | None:
        """The offset that Kafka does not know yet, or None."""
        return self.resume_at if self.uncommitted and self.resume_at != self.committed else None


@dataclass(slots=True)
class Trouble:
    """What went wrong with a partition since its last progress."""

    attempt: int = 1
    failures: int = 0
    first_failed_at: float | None = None
    """The first failure since the last progress."""
    failing_offset: int | None = None
    reason: str = ""
    """Why it does not run, for people."""

    def failed(self, now: float) -> None:
        """The lambda failed: one more attempt without progress."""
        self.failures += 1
        self.attempt += 1
        self.first_failed_at = now if self.first_failed_at is None else self.first_failed_at

    def recovered(self) -> None:
        """There was progress: attempts are counted anew."""
        self.attempt = 1
        self.failures = 0
        self.first_failed_at = None


@dataclass(slots=True)
class Holding:
    """Who holds a partition, and what it owes: from Assign to the end of the lease."""

    lease: Lease
    stream: StreamId
    process_id: str
    window: Window
    in_flight: int = 0
    """Frames that were handed to the stream and are not written yet."""
    running_since: float | None = None
    """When the lease said Ready."""
    pausing: Pausing | None = None
    """In PAUSED: what the lambda asked for."""
    last_progress_at: float = 0.0
    """When something became outstanding while nothing was, or the last progress after that."""
    stalled: bool = False
    blocked_since: float | None = None
    blocked_reported: bool = False
    skipped: int = 0
    """Records that the lambda passed without handling them."""
    skipping: tuple[str, ...] = ()
    """Names of what it skips; ``skipping_count`` may be more."""
    skipping_count: int = 0

    def sent(self, first: int, last: int, count: int, size: int, offsets: Sequence[int] | None, now: float) -> None:
        """A frame was handed to the stream."""
        if self.window.outstanding == 0:
            self.last_progress_at = now
        self.window.sent(first, last, count, size, offsets)
        self.in_flight += 1

    def pause(self, pausing: Pausing) -> None:
        """The lambda asked for it: what it owes is not looked at meanwhile."""
        self.pausing = pausing
        self.stalled = False
        self.blocked_since, self.blocked_reported = None, False

    def block(self, now: float, report_after: float) -> bool:
        """Records wait: note since when the window is full. Returns True once when that is worth a report."""
        self.unblock()
        if self.window.room() > 0:
            return False
        if self.blocked_since is None:
            self.blocked_since = now
        elif not self.blocked_reported and now - self.blocked_since > report_after:
            self.blocked_reported = True
            return True
        return False

    def unblock(self) -> None:
        """The window may have room again."""
        if self.window.room() > 0:
            self.blocked_since = None
            self.blocked_reported = False


@dataclass(slots=True)
class Partition:
    """One partition. Only the table that owns it changes its state; what concerns its position is decided here.

    Invariants:

    - Somebody holds it in STARTING, RUNNING, DRAINING, and in PAUSED while the lambda asked for that; in DRAINING the
      lease may be over already.
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
    position: Position = field(default_factory=Position)
    holding: Holding | None = None
    """None: nobody holds it."""
    trouble: Trouble = field(default_factory=Trouble)
    due: float | None = None
    """When the present state has lasted too long, or BACKING_OFF or a lambda's pause is over."""
    after_drain: AfterDrain = AfterDrain.RELEASE
    handed_over: bool = False
    """The present lease, or the next one, comes from a hand-over."""
    handover_target: str = ""
    """The process that is to get it, while it is being handed over."""
    skip: set[int] = field(default_factory=set)
    """Offsets that are left out, by an operator or because they are dead letters by now: dropped when they come."""
    dead: dict[int, DeadLetter] = field(default_factory=dict)
    """Offsets whose records are to become dead letters when they come."""
    skipped: int = 0
    """Records that its lambdas passed without handling them, since it is ours."""

    @property
    def lease(self) -> Lease | None:
        """Of who holds it."""
        return None if self.holding is None else self.holding.lease

    @property
    def window(self) -> Window:
        """Of who holds it; an empty one when nobody does."""
        return Window(self.limits, self.position.resume_at) if self.holding is None else self.holding.window

    @property
    def held(self) -> Holding:
        """Who holds it; somebody must."""
        assert self.holding is not None
        return self.holding

    def place(self, offset: int, *, committed: bool) -> None:
        """Where to go on from is known anew: ``committed`` when Kafka said so, else it is to be committed.

        Nobody holds it, and what was known of the old position means nothing here.
        """
        assert self.holding is None
        handled = self.position.handled
        self.position = Position(offset, offset if committed else None, uncommitted=not committed, handled=handled)
        self.trouble = Trouble()
        self.skip.clear()
        self.dead.clear()

    def begin(self, lease: Lease, stream: StreamId, process_id: str, due: float) -> None:
        """A stream takes it: STARTING."""
        self.state = State.STARTING
        self.holding = Holding(lease, stream, process_id, Window(self.limits, self.position.resume_at))
        self.position.handled = None
        self.due = due

    def end_lease(self) -> int | None:
        """The lease is dead. Returns the offset to fetch again from, or None when nothing was outstanding."""
        if self.window.records > 0:
            self.position.rewind_pending = True
        self.holding = None
        self.due = None
        return self.position.resume_at if self.position.rewind_pending else None

    def deliver_again(self, offset: int) -> int | None:
        """Under the same lease, from ``offset`` on, as near to it as checkpoint and delivery allow.

        Returns where to fetch again from, or None when nothing of it was delivered.
        """
        window = self.held.window
        offset = max(offset, self.position.resume_at)
        if window.delivered is None or offset > window.delivered:
            return None
        window.rewind(offset)
        self.position.rewind_pending = True
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
        return self.state is State.PAUSED and self.holding is None

    @property
    def next_offset(self) -> int:
        """The next record that is sent under the present lease has this offset or a higher one."""
        resume_at, delivered = self.position.resume_at, self.window.delivered
        return resume_at if delivered is None else max(resume_at, delivered + 1)

    def progress(self, progress: Progress, now: float) -> CheckpointOutcome:
        """A checkpoint came under the living lease."""
        holding = self.held
        outstanding = holding.window.outstanding
        outcome = self._progress(progress, holding)
        if holding.window.outstanding < outstanding:
            holding.last_progress_at = now
        return outcome

    def _progress(self, progress: Progress, holding: Holding) -> CheckpointOutcome:
        position, window, offset = self.position, holding.window, progress.offset
        if progress.handled is not None:
            position.handled = progress.handled
        accepted = CheckpointOutcome.ACCEPTED_DRAINING if self.state is State.DRAINING else CheckpointOutcome.ACCEPTED
        if offset is None or offset == position.checkpoint or offset + 1 == position.resume_at:
            window.completed(progress.completed_beyond, progress.completed_beyond_bytes)
            holding.unblock()
            return accepted
        if offset < position.resume_at:
            return CheckpointOutcome.IGNORED_LOWER
        if window.delivered is None or offset > window.delivered:
            return CheckpointOutcome.BEYOND_DELIVERED
        window.checkpoint(offset)
        window.completed(progress.completed_beyond, progress.completed_beyond_bytes)
        holding.unblock()
        position.resume_at = offset + 1
        position.checkpoint = offset
        position.uncommitted = True
        self.trouble.recovered()
        self._passed(position.resume_at)
        return accepted

    def skips(self, progress: Progress) -> tuple[int, tuple[str, ...]]:
        """What the lambda says that it skips. Returns how many records that are new, and the names that are new.

        What comes from the wire is not trusted: no more records than offsets were passed under the lease.
        """
        holding = self.held
        count = min(progress.skipped, self.position.resume_at - holding.window.start)
        more = max(0, count - holding.skipped)
        holding.skipped += more
        self.skipped += more
        names = tuple(name for name in progress.skipping if name not in holding.skipping)
        holding.skipping, holding.skipping_count = progress.skipping, progress.skipping_count
        return more, names

    def is_well(self, now: float) -> bool:
        """Its lambda has run for a while and owes nothing: what failed before says nothing of what fails now.

        Without this a partition to which nothing is written would count its failures for ever.
        """
        since = None if self.holding is None else self.holding.running_since
        return since is not None and now - since >= WELL_AFTER and self.window.records == 0

    def _passed(self, offset: int) -> None:
        if self.skip:
            self.skip = {one for one in self.skip if one >= offset}
        if self.dead:
            self.dead = {one: letter for one, letter in self.dead.items() if one >= offset}

    def is_delivered(self, offset: int | None) -> bool:
        """``offset`` is one that the present lease was given, and has not checkpointed."""
        furthest = self.window.furthest
        return offset is not None and furthest is not None and self.position.resume_at <= offset <= furthest

    def stall(self, now: float) -> bool:
        """Note whether records are outstanding without progress for too long. True once when that begins."""
        holding = self.holding
        if holding is None:
            return False
        waits = self.state is State.RUNNING and holding.window.outstanding > 0
        stalled = waits and now - holding.last_progress_at > self.limits.stall_after
        begins = stalled and not holding.stalled
        holding.stalled = stalled
        return begins

    @property
    def caught_up(self) -> bool:
        """Everything that was ever fetched of it and sent is done, and nothing is to be fetched again."""
        return (
            self.state in (State.RUNNING, State.WAITING, State.DRAINING, State.PAUSED)
            and self.window.records == 0
            and not self.position.rewind_pending
            and self.trouble.failing_offset is None
        )

    def settle(self, position: int) -> None:
        """It is caught up, nothing waits, and Kafka's client stands at ``position``: go on from there.

        At a transaction's end this lies above checkpoint + 1, since the marker has an offset of its own; without
        it the lag would never reach 0.
        """
        if position > self.position.resume_at and self.caught_up:
            self.position.resume_at = position
            self.position.uncommitted = True
            self._passed(position)
