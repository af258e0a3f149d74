"""One lane while its partition is assigned to this sidecar: its state, its failures, and what moves its offsets.

Without lanes in the config, a partition has one lane. So it is called a partition here: to its lambda, a lane is a
partition with gaps in its offsets.
"""

from dataclasses import dataclass, field
from enum import Enum, auto

from sidecar.measured import Histogram
from sidecar.partitions.holding import Holding
from sidecar.partitions.meter import Meter
from sidecar.partitions.offsets import Commitment, Offsets
from sidecar.partitions.vocabulary import (
    CheckpointOutcome,
    DeadLetter,
    FailureKind,
    Lane,
    LastFailure,
    Lease,
    Limits,
    Progress,
    State,
    StreamId,
    TopicPartition,
)
from sidecar.partitions.window import LowMark, Window

WELL_AFTER_S = 30.0
"""Seconds that a lambda with no outstanding records must have run to count as well."""


class AfterDrain(Enum):
    """What happens to a partition after its drain."""

    RELEASE = auto()  # Kafka assigns it to another member, or the sidecar stops
    HALT = auto()  # the next record cannot be delivered, or cannot be written as a dead letter
    PAUSE = auto()  # an operator paused it
    WAIT = auto()  # another process of this sidecar gets it
    FAIL = auto()  # its lambda missed its deadline: it is tried again as after another failure


@dataclass(frozen=True, slots=True)
class Ordered:
    """An operator's pause or skips of a partition, or a halt that waits for an operator.

    It stays in force when a rebalance takes the partition and gives it back to this sidecar.
    """

    resume_at: int
    is_paused: bool
    is_halted: bool
    reason: str
    failing_offset: int | None
    skip: frozenset[int]
    wherever: bool = False
    """A halt at whatever offset it starts from: too many aborts."""

    @classmethod
    def halting(cls, reason: str) -> "Ordered":
        """It halts as soon as its resume offset is known."""
        return cls(-1, False, True, reason, None, frozenset(), wherever=True)

    @classmethod
    def of(cls, partition: "Partition") -> "Ordered | None":
        """None: there is nothing to keep."""
        if partition.state is State.RESOLVING:
            return partition.ordered
        halted = partition.state is State.HALTED
        if not (partition.is_paused_by_operator or halted or partition.skip):
            return None
        return cls(
            partition.offsets.resume_at,
            partition.is_paused_by_operator,
            halted,
            partition.trouble.reason,
            partition.trouble.failing_offset,
            frozenset(partition.skip),
        )


@dataclass(slots=True)
class Trouble:
    """The failures of a partition since its last progress."""

    attempt: int = 1
    failures: int = 0
    first_failed_at: float | None = None
    """Seconds of the monotonic clock."""
    failing_offset: int | None = None
    reason: str = ""
    """Why the partition does not run, as a text for people."""

    def failed(self, now: float) -> None:
        """The lambda failed: one more attempt without progress."""
        self.failures += 1
        self.attempt += 1
        self.first_failed_at = now if self.first_failed_at is None else self.first_failed_at

    def recovered(self) -> None:
        """There was progress: count attempts from 1 again."""
        self.attempt = 1
        self.failures = 0
        self.first_failed_at = None


@dataclass(slots=True)
class Partition:
    """One lane of a partition. Only the table that owns it changes its state; this class decides about its offsets.

    Invariants:

    - A stream holds it in STARTING, RUNNING, DRAINING, and in PAUSED if the lambda asked for the pause; in DRAINING
      the lease may have ended already.
    - ``resume_at`` never moves back while the partition is assigned to us, except by ``move_to``.
    - A checkpoint moves ``resume_at`` only under the living lease, only forward, and not beyond the last delivered
    record.
    - A record in ``dead`` is never delivered, and no record after it is delivered before it is written as a dead
      letter; then its offset is in ``skip``. So no checkpoint can pass a record that is neither processed nor written
      as a dead letter.
    """

    lane: Lane
    limits: Limits
    state_since: float
    """When it entered its state, in seconds of the monotonic clock."""
    delays: Histogram
    """From sending a record to the checkpoint that passes it. All partitions of the lambda share it."""
    mark: LowMark | None = None
    """None: the partition has no other lanes."""
    state: State = State.RESOLVING
    ordered: Ordered | None = None
    """While RESOLVING: the orders that were in force before the rebalance."""
    offsets: Offsets = field(default_factory=Offsets)
    holding: Holding | None = None
    """None: no stream holds it."""
    trouble: Trouble = field(default_factory=Trouble)
    due: float | None = None
    """When the present state times out, or when BACKING_OFF or a lambda's pause ends."""
    after_drain: AfterDrain = AfterDrain.RELEASE
    handed_over: bool = False
    """The present lease, or the next one, comes from a hand-over."""
    handover_target: str = ""
    """During a hand-over: the id of the process that gets the partition."""
    skip: set[int] = field(default_factory=set)
    """Offsets to skip, because an operator said so or because they are written as dead letters: their records are
    dropped when they are fetched."""
    dead: dict[int, DeadLetter] = field(default_factory=dict)
    """Offsets whose records become dead letters when they are fetched."""
    under_way: int | None = None
    """The offset in ``dead`` whose record was given to the dead-letter thread last."""
    skipped: int = 0
    """Records that its lambdas skipped without handling them, since the partition was assigned to us."""
    last_failure: LastFailure | None = None
    transacting: bool = False
    """With exactly-once: a transaction with its place is under way."""
    aborted: bool = False
    """A transaction of it was aborted, and Kafka is asked for its place. Its failures are still counted."""
    not_before: float = 0.0
    """After that: when its lambda may start, in seconds of the monotonic clock."""
    sent: Meter = field(default_factory=Meter)
    """Records that were sent to its lambdas."""
    done: Meter = field(default_factory=Meter)
    """Records that checkpoints passed."""

    @property
    def tp(self) -> TopicPartition:
        """Its name in Kafka."""
        return self.lane.partition

    @property
    def lease(self) -> Lease | None:
        """The lease of its holding; None: no stream holds it."""
        return None if self.holding is None else self.holding.lease

    @property
    def window(self) -> Window:
        """The window of its holding; an empty one when no stream holds it."""
        return self._new_window() if self.holding is None else self.holding.window

    @property
    def held(self) -> Holding:
        """Its holding; there must be one."""
        assert self.holding is not None
        return self.holding

    def move_to(self, offset: int, *, committed: bool, state: bytes = b"") -> None:
        """Set a new resume offset: ``committed`` says whether Kafka has it; otherwise it must be committed.

        No stream may hold the partition. ``state`` belongs to the new offset. Failures, skips and dead letters of
        before are forgotten.
        """
        assert self.holding is None
        self.offsets = Offsets(
            offset,
            offset if committed else None,
            uncommitted=not committed,
            handled=self.offsets.handled,
            handled_at=self.offsets.handled_at,
            state=state,
        )
        self.trouble = Trouble()
        self.skip.clear()
        self.dead.clear()

    def void(self) -> None:
        """What was checkpointed since the last commit is void, and nothing of it may be committed."""
        offsets = self.offsets
        self.offsets = Offsets(
            committed=offsets.committed,
            rewind_pending=True,
            handled=offsets.handled,
            handled_at=offsets.handled_at,
        )

    def keep_refused(self, refused: DeadLetter | None = None) -> None:
        """Of the dead letters keep only the first one that Kafka has refused; ``refused`` is one more.

        The records of all others come again, and so do those of later ones that were refused as well: by then an
        operator may have mended what is wrong.
        """
        kept = {offset: letter for offset, letter in self.dead.items() if letter.refused}
        if refused is not None and refused.failure.offset is not None:
            kept[refused.failure.offset] = refused
        self.dead = {offset: kept[offset] for offset in sorted(kept)[:1]}
        self.under_way = None

    def enter(self, state: State, now: float) -> None:
        """The state changes; a state that goes on keeps its time."""
        if state is not self.state:
            self.state, self.state_since = state, now

    def failed(self, kind: FailureKind, text: str, offset: int | None, now: float) -> None:
        """Keep the failure for operators."""
        self.last_failure = LastFailure(kind, text, offset, now)

    def begin(self, lease: Lease, stream: StreamId, process_id: str, due: float, now: float) -> None:
        """A stream gets the partition: STARTING."""
        self.enter(State.STARTING, now)
        self.holding = Holding(lease, stream, process_id, self._new_window(), now, now)
        self.offsets.handled = self.offsets.handled_at = None
        self.due = due

    def _new_window(self) -> Window:
        return Window(self.limits, self.offsets.resume_at, self.mark)

    def end_lease(self) -> int | None:
        """End the lease. Returns the offset to fetch again from; None: no record was outstanding."""
        if self.window.records > 0:
            self.offsets.rewind_pending = True
        self.holding = None
        self.due = None
        return self.offsets.resume_at if self.offsets.rewind_pending else None

    def deliver_again(self, offset: int) -> int | None:
        """Deliver records from ``offset`` on again, under the same lease; from the resume offset if that is higher.

        Returns the offset to fetch again from; None: no record from ``offset`` on was delivered.
        """
        window = self.held.window
        offset = max(offset, self.offsets.resume_at)
        if window.delivered is None or offset > window.delivered:
            return None
        window.rewind(offset)
        self.offsets.rewind_pending = True
        return offset

    @property
    def leaves(self) -> bool:
        """It is drained to be released: another member gets it, or the sidecar stops."""
        return self.state is State.DRAINING and self.after_drain is AfterDrain.RELEASE

    @property
    def is_paused_by_operator(self) -> bool:
        """An operator paused it, or it is drained for that."""
        if self.state is State.DRAINING:
            return self.after_drain is AfterDrain.PAUSE
        return self.state is State.PAUSED and self.holding is None

    @property
    def next_offset(self) -> int:
        """A lower bound for the offset of the next record that is sent under the present lease."""
        resume_at, delivered = self.offsets.resume_at, self.window.delivered
        return resume_at if delivered is None else max(resume_at, delivered + 1)

    def progress(self, progress: Progress, now: float) -> CheckpointOutcome:
        """Apply a checkpoint of the living lease."""
        if progress.state is not None and len(progress.state) > self.limits.max_state_bytes:
            return CheckpointOutcome.STATE_TOO_LARGE
        holding = self.held
        outstanding, records = holding.window.outstanding, holding.window.records
        checkpoint = self.offsets.checkpoint
        if progress.handled is not None and progress.handled != self.offsets.handled:
            self.offsets.handled, self.offsets.handled_at = progress.handled, now
        outcome = self._progress(progress, holding, now)
        self.done.add(records - holding.window.records, now)
        if holding.window.outstanding < outstanding or self.offsets.checkpoint != checkpoint:
            holding.last_progress_at = now
        return outcome

    def _progress(self, progress: Progress, holding: Holding, now: float) -> CheckpointOutcome:
        offsets, window, offset = self.offsets, holding.window, progress.offset
        accepted = CheckpointOutcome.ACCEPTED_DRAINING if self.state is State.DRAINING else CheckpointOutcome.ACCEPTED
        if offset is None or offset == offsets.checkpoint or offset + 1 == offsets.resume_at:
            window.completed(progress.completed_beyond, progress.completed_beyond_bytes)
            holding.unblock()
            return accepted
        if offset < offsets.resume_at:
            return CheckpointOutcome.IGNORED_LOWER
        if window.delivered is None or offset > window.delivered:
            return CheckpointOutcome.BEYOND_DELIVERED
        for sent_at, count in window.checkpoint(offset):
            self.delays.add(now - sent_at, count)
        window.completed(progress.completed_beyond, progress.completed_beyond_bytes)
        holding.unblock()
        offsets.resume_at = offset + 1
        offsets.checkpoint = offset
        offsets.uncommitted = True
        if progress.state is not None:
            offsets.state = progress.state
        if not self.limits.exactly_once:
            self.trouble.recovered()
        self._passed(offsets.resume_at)
        return accepted

    def skips(self, progress: Progress) -> tuple[int, tuple[str, ...]]:
        """Note which records the lambda skips. Returns how many records, and which names, it had not reported before.

        Numbers from the wire are not trusted: no lease skips more records than the offsets that it passed.
        """
        holding = self.held
        count = min(progress.skipped, self.offsets.resume_at - holding.window.start)
        more = max(0, count - holding.skipped)
        holding.skipped += more
        self.skipped += more
        names = tuple(name for name in progress.skipping if name not in holding.skipping)
        holding.skipping, holding.skipping_count = progress.skipping, progress.skipping_count
        return more, names

    def is_well(self, now: float) -> bool:
        """Its lambda has run for a while with no outstanding record: earlier failures no longer count.

        Without this, the failures of a partition that receives no records would never be forgotten.
        """
        since = None if self.holding is None else self.holding.running_since
        return since is not None and now - since >= WELL_AFTER_S and self.window.records == 0

    def _passed(self, offset: int) -> None:
        if self.skip:
            self.skip = {one for one in self.skip if one >= offset}
        if self.dead:
            self.dead = {one: letter for one, letter in self.dead.items() if one >= offset}

    def is_delivered(self, offset: int | None) -> bool:
        """A record at ``offset`` may have been delivered under the present lease, and is not checkpointed."""
        furthest = self.window.furthest
        return offset is not None and furthest is not None and self.offsets.resume_at <= offset <= furthest

    def stall(self, now: float) -> bool:
        """Note whether records are outstanding without progress for too long. Returns True once, when that begins."""
        holding = self.holding
        if holding is None:
            return False
        waits = self.state is State.RUNNING and holding.window.outstanding > 0
        stalled = waits and now - holding.last_progress_at > self.limits.stall_after
        begins = stalled and not holding.stalled
        holding.stalled = stalled
        return begins

    @property
    def overdue_at(self) -> float | None:
        """When its lambda is ended, unless there is progress; None: never, as things are."""
        holding, deadline = self.holding, self.limits.deadline
        if deadline is None or holding is None or self.state is not State.RUNNING or not holding.window.outstanding:
            return None
        return holding.last_progress_at + deadline

    @property
    def caught_up(self) -> bool:
        """All delivered records are processed, and no record has to be fetched again."""
        return (
            self.state in (State.RUNNING, State.WAITING, State.DRAINING, State.PAUSED)
            and (self.holding is None or self.holding.window.records == 0)
            and not self.offsets.rewind_pending
            and self.trouble.failing_offset is None
        )

    @property
    def commitment(self) -> Commitment:
        """What a commit made now has of it."""
        return Commitment(self.offsets.place, self.offsets, self.offsets.checkpoint)

    def committed(self, commitment: Commitment) -> bool:
        """Kafka has taken this commit. Returns whether it is a commit of the partition as it is now.

        It is none if the partition was moved, or released and assigned again, while the commit was under way. Then
        the new resume offset is still to be committed, even if the number is the same: the state and the topic may be
        others.
        """
        offsets = self.offsets
        if commitment.of is not offsets:
            return False
        if offsets.committed is None or commitment.offset > offsets.committed:
            offsets.committed = commitment.offset
            if self.limits.exactly_once:
                self.trouble.recovered()
        return True

    def became_durable(self, commitment: Commitment) -> int | None:
        """The last checkpoint of this commit, which Kafka has taken; None: it was known to be in Kafka."""
        offsets, checkpoint = self.offsets, commitment.checkpoint
        if checkpoint is None or (offsets.durable is not None and checkpoint <= offsets.durable):
            return None
        offsets.durable = checkpoint
        return checkpoint

    def settle(self, position: int) -> None:
        """Move the resume offset over gaps: to the first outstanding record, or, if there is none, to ``position``.

        ``position``: all records of the lane below it were sent, or left out. It is the offset of the lane's first
        buffered record; without one, the position of Kafka's client, as far as this lane has seen its records.

        The gaps are the records of other lanes, transaction markers, and what compaction removed. Without this, a
        lane that gets no records would hold back the committed offset, and after a transaction the lag would never
        reach 0, since the marker has an offset of its own.
        """
        first = None if self.holding is None else self.holding.window.first
        if first is not None:
            position = first
        if position > self.offsets.resume_at and (first is not None or self.caught_up):
            self.offsets.resume_at = position
            self.offsets.uncommitted = True
            self._passed(position)
