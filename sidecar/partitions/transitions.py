"""The transitions between the states of a partition that several events share.

A life is the time from Assign to the end of the lease. This module decides what follows it: the partition waits for
the next lambda, backs off, halts, is paused, or is released.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from sidecar.measured import DELAY_BOUNDS_S, Histogram
from sidecar.partitions.assignment import Assignment
from sidecar.partitions.backoff import delay
from sidecar.partitions.balance import Balance
from sidecar.partitions.partition import AfterDrain, Ordered, Partition
from sidecar.partitions.processes import Processes, Stream
from sidecar.partitions.vocabulary import (
    Assign,
    CheckpointOutcome,
    Command,
    DeadLetter,
    EndReason,
    EndStream,
    ErrorAction,
    ErrorOutcome,
    Exit,
    Failure,
    FailureKind,
    Lane,
    Lease,
    Level,
    Limits,
    Policy,
    Progress,
    Report,
    Resumed,
    Revoke,
    RevokeReason,
    Rewind,
    State,
    StreamId,
    TopicPartition,
)


@dataclass(slots=True)
class Counts:
    """Counters of all partitions of one lambda, since the start."""

    restarts: Counter[FailureKind] = field(default_factory=Counter)
    """By what failed."""
    dead_letters: int = 0
    reports: int = 0
    skipped: int = 0
    delays: Histogram = field(default_factory=lambda: Histogram(DELAY_BOUNDS_S))
    """From sending a record to the checkpoint that passes it."""


class Transitions:
    """The partitions, the streams that can take them, and the steps between their states.

    `PartitionTable`, `StreamEvents`, `RecordEvents` and `OperatorActions`, whose methods are the events, share it;
    nothing else calls it.
    """

    def __init__(self, limits: Limits, new_lease: Callable[[], Lease], jitter: Callable[[], float]) -> None:
        """``new_lease`` returns a new unguessable name, ``jitter`` a number from 0 to 1."""
        self.limits = limits
        self.processes = Processes()
        self.balance = Balance(limits)
        self.partitions: dict[TopicPartition, Assignment] = {}
        """What Kafka assigned to us."""
        self.lanes: dict[Lane, Partition] = {}
        """The lanes of all these partitions, as lambdas hold them."""
        self.commands: list[Command] = []
        self.counts = Counts()
        self._new_lease = new_lease
        self._jitter = jitter
        self.leases: dict[Lease, Partition] = {}
        self.waiting: dict[Lane, None] = {}  # in the order in which they began to wait
        self.timed: dict[Lane, Partition] = {}
        self.empty_since: float | None = None
        self.draining_all = False
        self.orders: dict[Lane, Ordered] = {}  # of partitions that may be assigned again in the same rebalance

    # --- a life begins ----------------------------------------------------------------------------------------

    def begin(self, partition: Partition, now: float) -> None:
        """Its resume offset is committed: wait for a lambda, or halt or pause again if that was ordered before."""
        order, partition.ordered = partition.ordered, None
        if order is None:
            self._start(partition, now)
            return
        same_offset = order.resume_at == partition.offsets.resume_at
        partition.skip = {offset for offset in order.skip if offset >= partition.offsets.resume_at}
        if order.is_paused:
            partition.trouble.reason = order.reason
            self.pause_for_operator(partition, now)
        elif order.is_halted and (same_offset or order.wherever):
            self.halt(partition, order.reason, order.failing_offset, now)
            if order.wherever:
                self.exit_or_halt(partition, order.reason)
        else:
            self._start(partition, now)

    def _start(self, partition: Partition, now: float) -> None:
        """Wait for a lambda, after an abort maybe only when the back-off is over."""
        if partition.not_before > now:
            self._back_off(partition, partition.not_before, now)
        else:
            partition.trouble.reason = ""
            self.wait(partition, now)

    def _back_off(self, partition: Partition, until: float, now: float) -> None:
        partition.enter(State.BACKING_OFF, now)
        partition.due = until
        self.timed[partition.lane] = partition

    def report_end(self, lane: Lane, order: Ordered) -> None:
        """The partition is no longer assigned to us, so an operator's pause of it ends."""
        if order.is_paused:
            event = "an operator's pause ended: the partition is not this sidecar's any more"
            self.commands.append(Report("warning", event, lane, None, {"reason": order.reason}))

    def wait(self, partition: Partition, now: float) -> None:
        partition.enter(State.WAITING, now)
        self.untime(partition)
        self.waiting[partition.lane] = None
        self.match(now)

    def forget_wait(self, partition: Partition) -> None:
        self.waiting.pop(partition.lane, None)
        if partition.state is State.BACKING_OFF:
            self.untime(partition)

    def match(self, now: float) -> None:
        while self.waiting and not self.draining_all:
            lane = next(iter(self.waiting))
            partition = self.lanes[lane]
            stream = self.processes.choose(now, partition.handover_target)
            if stream is None:
                return
            del self.waiting[lane]
            lease = self._new_lease()
            partition.begin(lease, stream.id, stream.process_id, now + self.limits.ready_timeout, now)
            self.timed[lane] = partition
            self.leases[lease] = partition
            self.processes.give(stream, lane)
            (start, state), attempt = partition.offsets.place, partition.trouble.attempt
            self.commands.append(Assign(stream.id, lease, lane, start, attempt, state))

    def hand_over(self, now: float) -> None:
        """Give a process that joined later its share, one partition at a time."""
        if self.waiting or self.draining_all:
            return
        chosen = self.balance.choose(self.lanes.values(), self.processes, now)
        if chosen is not None:
            partition, target_id = chosen
            self.balance.begun(partition, target_id)
            self.report("info", "partition is handed over to another process", partition)
            self.drain(partition, RevokeReason.HAND_OVER, AfterDrain.WAIT, self.limits.hand_over_drain, now)

    # --- a life goes on ---------------------------------------------------------------------------------------

    def progress(self, partition: Partition, progress: Progress, now: float) -> CheckpointOutcome:
        """Apply a checkpoint of the living lease."""
        outcome = partition.progress(progress, now)
        if outcome not in (CheckpointOutcome.BEYOND_DELIVERED, CheckpointOutcome.STATE_TOO_LARGE):
            more, names = partition.skips(progress)
            self.counts.skipped += more
            if names:
                counts = {"skipping": partition.held.skipping_count, "skipped": partition.skipped}
                event = "documents are corrupt: their records are skipped"
                self.report("warning", event, partition, documents=names, **counts)
        return outcome

    def last_progress(self, partition: Partition, progress: Progress, now: float) -> None:
        """Apply the checkpoint that came with Closed or Error, whose answer does not tell what became of it."""
        outcome = self.progress(partition, progress, now)
        if outcome is CheckpointOutcome.STATE_TOO_LARGE:
            size, most = len(progress.state or b""), self.limits.max_state_bytes
            event = "last checkpoint not taken: its state is too large; some records will be handled again"
            self.report("warning", event, partition, offset=progress.offset, bytes=size, at_most=most)

    def drop_state(self, partition: Partition, offset: int) -> None:
        """The partition moves to ``offset``, to which its state does not belong."""
        if partition.offsets.state:
            self.report(
                "warning",
                "the lambda's state is dropped: it belongs to another offset",
                partition,
                bytes=len(partition.offsets.state),
                state_of=partition.offsets.resume_at,
                offset=offset,
            )

    # --- a life is interrupted --------------------------------------------------------------------------------

    def go_on(self, partition: Partition, now: float) -> None:
        """End the pause that its lambda asked for."""
        holding = partition.held
        assert holding.pausing is not None
        number, holding.pausing = holding.pausing.number, None
        partition.enter(State.RUNNING, now)
        partition.trouble.reason = ""
        holding.last_progress_at = now
        self.untime(partition)
        self.commands.append(Resumed(holding.stream, number, partition.next_offset))
        self.report("info", "partition goes on after its lambda's pause", partition)

    # --- a life ends ------------------------------------------------------------------------------------------

    def drain(self, partition: Partition, reason: RevokeReason, then: AfterDrain, seconds: float, now: float) -> None:
        stream = self.stream_of(partition)
        partition.enter(State.DRAINING, now)
        partition.held.pausing = None
        partition.after_drain = then
        partition.due = now + seconds
        self.timed[partition.lane] = partition
        self.commands.append(Revoke(stream.id, reason, seconds))

    def fence(self, partition: Partition, reason: RevokeReason, now: float, *, rewind: bool = True) -> None:
        """End the lease now; the stream gets some time to send Closed."""
        stream = self.stream_of(partition)
        self.commands.append(Revoke(stream.id, reason, 0.0))
        self.end_lease(partition, rewind=rewind)
        self.processes.fence(stream, now + self.limits.close_timeout)

    def abort(
        self,
        partition: Partition,
        reason: str,
        now: float,
        refused: DeadLetter | None = None,
        *,
        culprit: bool,
        is_settled: bool = False,
    ) -> bool:
        """See `PartitionTable.aborted`; ``refused``: of this lane."""
        leaves, limits, lease = partition.leaves, self.limits, partition.lease
        partition.ordered = Ordered.of(partition)
        partition.failed(FailureKind.ABORTED, reason, None, now)
        if lease is not None:
            if partition.state is not State.DRAINING:
                self.balance.ended(partition, now)
            self.fence(partition, RevokeReason.ABORTED, now, rewind=False)
        partition.void()
        partition.keep_refused(refused)
        if leaves:
            return False  # the next owner starts from what is committed
        self.balance.gone(partition)
        self.forget_wait(partition)
        self.untime(partition)
        self.counts.restarts[FailureKind.ABORTED] += 1
        seconds = 0.0
        if not is_settled:
            partition.trouble.failed(now)
            if culprit or partition.trouble.failures > 1:
                seconds = delay(partition.trouble.failures, limits.backoff_first, limits.backoff_most, self._jitter)
            too_many = limits.max_restarts is not None and partition.trouble.failures > limits.max_restarts
            order = partition.ordered
            if too_many and (order is None or not (order.is_paused or order.is_halted)):
                reason = f"{limits.max_restarts} restarts did not help: {reason}"
                partition.ordered = Ordered.halting(reason)
        partition.aborted, partition.not_before = True, now + seconds if seconds else 0.0
        partition.enter(State.RESOLVING, now)
        partition.trouble.reason = reason
        waits = {"attempt": partition.trouble.attempt, "seconds": round(seconds, 3)}
        event = "transaction aborted: the partition starts again from what is committed"
        self.report("warning", event, partition, lease=lease, reason=reason, **waits)
        return True

    def end_lease(self, partition: Partition, *, rewind: bool = True) -> None:
        assert partition.lease is not None
        del self.leases[partition.lease]
        self.timed.pop(partition.lane, None)
        offset = partition.end_lease()
        if offset is not None and rewind and not partition.leaves:
            self.commands.append(Rewind(partition.lane, offset))

    def released(
        self,
        partition: Partition,
        now: float,
        why: str,
        kind: FailureKind,
        *,
        orderly: bool = False,
        immediate: bool = False,
        failure: Failure | None = None,
    ) -> tuple[ErrorOutcome, float]:
        """The lambda released the partition. Returns the outcome and the seconds of back-off.

        ``orderly``: nothing failed. ``immediate``: retry a first failure at once, since a single killed process is no
        reason to wait, but a process that dies repeatedly is. ``failure``: the error that the lambda reported.
        """
        lease, draining = partition.lease, partition.state is State.DRAINING
        if not draining:
            self.balance.ended(partition, now)
        if draining and partition.after_drain is AfterDrain.FAIL:
            # However it closed in the drain, it failed before: a first failure, too, is followed by a back-off.
            why, kind, immediate = partition.trouble.reason, FailureKind.DEADLINE, False
        elif orderly or draining:
            self.end_lease(partition)
            self.after(partition, now, lease, why)
            return ErrorOutcome.RESTARTING, 0.0
        offset = None if failure is None else failure.offset
        partition.failed(kind, why, offset, now)
        limits = self.limits
        if partition.is_well(now):
            partition.trouble.recovered()
        if limits.max_restarts is not None and partition.trouble.failures >= limits.max_restarts:
            said = failure or Failure(ErrorAction.CRITICAL, code="max_restarts", message=why)
            return self.critical(partition, said, f"{limits.max_restarts} restarts did not help: {why}", now), 0.0
        partition.trouble.failed(now)
        self.counts.restarts[kind] += 1
        self.end_lease(partition)
        partition.trouble.reason = why
        if immediate and partition.trouble.failures == 1:
            self.report("warning", "partition restarts at once", partition, lease=lease, reason=why)
            self.wait(partition, now)
            return ErrorOutcome.RESTARTING, 0.0
        seconds = delay(partition.trouble.failures, limits.backoff_first, limits.backoff_most, self._jitter)
        self._back_off(partition, now + seconds, now)
        waits = {"attempt": partition.trouble.attempt, "seconds": round(seconds, 3)}
        self.report("warning", "partition backs off", partition, lease=lease, reason=why, **waits)
        return ErrorOutcome.RESTARTING, seconds

    def after(self, partition: Partition, now: float, lease: Lease | None, why: str) -> None:
        """Do what ``after_drain`` says; outside of a drain, wait for the next lambda."""
        then = partition.after_drain if partition.state is State.DRAINING else AfterDrain.WAIT
        match then:
            case AfterDrain.RELEASE:
                self.balance.gone(partition)
            case AfterDrain.HALT:
                self.halt(partition, partition.trouble.reason, partition.trouble.failing_offset, now)
            case AfterDrain.PAUSE:
                self.pause_for_operator(partition, now)
            case AfterDrain.WAIT:
                partition.trouble.reason = ""
                self.report("info", "partition waits for a lambda", partition, lease=lease, reason=why)
                self.wait(partition, now)

    def critical(self, partition: Partition, failure: Failure, reason: str, now: float) -> ErrorOutcome:
        """Apply the policy. A dead letter needs a record that was delivered and is not checkpointed."""
        lease, policy = partition.lease, self.limits.policy
        partition.failed(FailureKind.CRITICAL, reason, failure.offset, now)
        letter = DeadLetter(failure, partition.trouble.attempt, partition.trouble.first_failed_at or now, now)
        if policy is Policy.DEAD_LETTER and failure.offset is not None and partition.is_delivered(failure.offset):
            # It is written when it is fetched again, after the rewind: records before it are not processed yet.
            partition.dead[failure.offset] = letter
            partition.trouble.attempt, partition.trouble.failures, partition.trouble.first_failed_at = 1, 0, None
            self.counts.restarts[FailureKind.CRITICAL] += 1
            self.report("warning", "record becomes a dead letter", partition, reason=reason, **failure.fields())
            if partition.state is State.DRAINING and partition.after_drain in (AfterDrain.HALT, AfterDrain.FAIL):
                # The record that halts it comes later, and halts it again; for a missed deadline this is the reason.
                partition.after_drain = AfterDrain.WAIT
                partition.trouble.failing_offset, partition.trouble.reason = None, ""
            self.end_lease(partition)
            self.after(partition, now, lease, reason)
            return ErrorOutcome.DEAD_LETTERED
        if policy is Policy.DEAD_LETTER:
            reason = f"{reason} (no dead letter: the error names no record that is under way)"
        event = "partition halted: critical error of the lambda"
        self.report("error", event, partition, reason=reason, **failure.fields())
        self.end_lease(partition)
        self.halt(partition, reason, failure.offset, now)
        return self.exit_or_halt(partition, reason)

    def exit_or_halt(self, partition: Partition, reason: str) -> ErrorOutcome:
        if self.limits.policy is not Policy.EXIT:
            return ErrorOutcome.HALTED
        self.commands.append(Exit(f"{partition.lane}: {reason}"))
        return ErrorOutcome.EXITING

    def halt(self, partition: Partition, reason: str, offset: int | None, now: float) -> None:
        self.balance.gone(partition)
        partition.enter(State.HALTED, now)
        self.untime(partition)
        partition.trouble.reason = reason
        partition.trouble.failing_offset = offset

    def pause_for_operator(self, partition: Partition, now: float) -> None:
        """Put it into an operator's pause: no stream holds it."""
        self.balance.gone(partition)
        partition.enter(State.PAUSED, now)
        self.untime(partition)

    # --- streams ----------------------------------------------------------------------------------------------

    def end(self, stream: Stream, text: str) -> None:
        self.commands.append(EndStream(stream.id, EndReason.TOO_LATE, text))

    def remove(self, stream: Stream, now: float) -> None:
        self.processes.remove(stream)
        if len(self.processes) == 0:
            self.empty_since = now
        self.match(now)

    def partition_of(self, stream: StreamId) -> Partition | None:
        known = self.processes.get(stream)
        if known is None or known.lane is None:
            return None
        partition = self.lanes.get(known.lane)
        # After a rebalance the same partition may be assigned to us again and be held by another stream.
        holding = None if partition is None else partition.holding
        return partition if holding is not None and holding.stream == stream else None

    def stream_of(self, partition: Partition) -> Stream:
        stream = self.processes.get(partition.held.stream)
        assert stream is not None
        return stream

    # --- helpers ----------------------------------------------------------------------------------------------

    def untime(self, partition: Partition) -> None:
        partition.due = None
        self.timed.pop(partition.lane, None)

    def report(self, level: Level, event: str, partition: Partition, /, **fields: object) -> None:
        lease = fields.pop("lease", partition.lease)
        self.commands.append(Report(level, event, partition.lane, cast("Lease | None", lease), fields))
