"""All partitions of one lambda: events in, commands out.

Every method takes the time as an argument, changes the state and appends to ``commands``; the owner of the table (the
lambda's consumer thread) carries them out. Invariants, checked by the model test:

- A stream has at most one partition, a partition at most one stream; a lease always belongs to the same pair of them.
- An event with a dead lease changes nothing.
- Records go only to a RUNNING partition, at most ``frames_in_flight`` frames at a time, and never exceed the window.
- A partition never waits while there is a spare stream, except one of a process in quarantine.
- Every state but WAITING, RUNNING, RESOLVING, HALTED and PAUSED ends by itself at ``due``.
- At most one partition at a time moves to another process for balance (``Balance``).
"""

from collections.abc import Callable, Collection, Iterable, Sequence

from sidecar.partitions.operator_actions import OperatorActions
from sidecar.partitions.partition import AfterDrain, Ordered, Partition
from sidecar.partitions.transitions import Transitions
from sidecar.partitions.vocabulary import (
    CheckpointOutcome,
    ClosedReason,
    Command,
    DeadLetter,
    EndReason,
    EndStream,
    ErrorAction,
    ErrorOutcome,
    Failure,
    Lease,
    Limits,
    Pausing,
    Policy,
    Progress,
    RevokeReason,
    Rewind,
    State,
    StreamId,
    TopicPartition,
)

STALL_CHECK_INTERVAL_S = 1.0
"""Seconds between checks for stalled partitions."""


class PartitionTable:
    """The partitions of one lambda that are assigned to this sidecar, and the streams that can take them."""

    def __init__(self, limits: Limits, new_lease: Callable[[], Lease], jitter: Callable[[], float]) -> None:
        """``new_lease`` returns a new unguessable name, ``jitter`` a number from 0 to 1."""
        self._moves = moves = Transitions(limits, new_lease, jitter)
        self.operator = OperatorActions(moves)
        self.limits = limits
        self.partitions = moves.partitions
        self.processes = moves.processes
        self.balance = moves.balance
        self.counts = moves.counts
        self.commands = moves.commands
        self._next_stall_check = 0.0

    def take_commands(self) -> list[Command]:
        """Return the commands in their order, and forget them."""
        commands = [*self.commands]
        self.commands.clear()
        return commands

    # --- events of Kafka ------------------------------------------------------------------------------------

    def assigned(self, tps: Iterable[TopicPartition]) -> None:
        """Kafka assigned these partitions; their resume offsets are not known yet.

        With the eager protocol, some of them were assigned to us before: an operator's orders for them stay in force.
        """
        orders, self._moves.orders = self._moves.orders, {}
        for tp in tps:
            self.partitions[tp] = Partition(tp, self.limits, ordered=orders.pop(tp, None))
        for tp, order in orders.items():
            self._moves.report_end(tp, order)

    def not_resolved(self, tp: TopicPartition, reason: str) -> None:
        """The resume offset cannot be determined yet, for this ``reason``."""
        partition = self.partitions[tp]
        if partition.state is State.RESOLVING:
            partition.trouble.reason = reason

    def resolved(self, tp: TopicPartition, offset: int, now: float, *, committed: bool) -> None:
        """The resume offset is ``offset``: the group's committed offset, or the one that the config chose.

        An offset that is not ``committed`` yet must be committed before a lambda gets the first record (`committed`).
        Otherwise, if the sidecar were killed in between, the next start would choose again, maybe another offset.
        """
        partition = self.partitions[tp]
        partition.move_to(offset, committed=committed)
        if committed:
            self._moves.begin(partition, now)

    def committed(self, tp: TopicPartition, offset: int, now: float) -> None:
        """Kafka has taken ``offset`` as the partition's committed offset."""
        partition = self.partitions.get(tp)
        if partition is None:
            return
        partition.offsets.committed = offset
        if partition.state is State.RESOLVING and offset == partition.offsets.resume_at:
            self._moves.begin(partition, now)

    def offset_lost(self, tp: TopicPartition, offset: int, now: float, reason: str, *, halt: bool = False) -> None:
        """The resume offset is no longer in the log: go on at ``offset``; with ``halt``, when an operator resumes.

        The lease ends at once: its checkpoints mean nothing at the new position, since the topic may be another one
        with the same name.
        """
        partition = self.partitions[tp]
        halted, paused, paused_for = (
            partition.state is State.HALTED,
            partition.is_paused_by_operator,
            partition.trouble.reason,
        )
        if partition.lease is not None:
            leaves = partition.leaves
            self._moves.fence(partition, RevokeReason.SEEK, now, rewind=False)
            if leaves:
                partition.offsets.rewind_pending = True  # the client's position must not be committed any more
                return  # the next owner will find the same loss
        self._moves.forget_wait(partition)
        partition.move_to(offset, committed=False)
        if halt or halted:
            partition.offsets.uncommitted = (
                False  # if the new offset were committed, the next owner would not notice the loss
            )
            self._moves.halt(partition, reason, None)
        elif paused:
            partition.trouble.reason = paused_for
            self._moves.pause_for_operator(partition)
        else:
            self._moves.untime(partition)
            partition.state = State.RESOLVING  # until the new offset is committed

    def revoke(
        self,
        tps: Iterable[TopicPartition],
        reason: RevokeReason,
        seconds: float,
        now: float,
        *,
        may_return: bool = False,
    ) -> None:
        """Drain these partitions within ``seconds``; a partition that no stream holds needs no drain.

        ``may_return``: the eager protocol revokes all partitions and assigns some of them again in the same
        rebalance.
        """
        for tp in tps:
            partition = self.partitions.get(tp)
            if partition is None:
                continue
            order = Ordered.of(partition)
            if order is not None and may_return:
                self._moves.orders[tp] = order
            elif order is not None:
                self._moves.report_end(tp, order)
            if partition.lease is None:
                self._moves.forget_wait(partition)
                partition.state, partition.after_drain = State.DRAINING, AfterDrain.RELEASE
            elif partition.state is State.DRAINING:
                partition.after_drain = AfterDrain.RELEASE
                partition.due = min(partition.due or now + seconds, now + seconds)
            else:
                self._moves.drain(partition, reason, AfterDrain.RELEASE, seconds, now)

    def revoke_all(self, reason: RevokeReason, seconds: float, now: float) -> None:
        """The sidecar stops: drain all partitions, and assign none to a stream any more."""
        self._moves.draining_all = True
        self.revoke(list(self.partitions), reason, seconds, now)

    def held(self, tps: Collection[TopicPartition] | None = None) -> bool:
        """Whether a lambda still holds one of these partitions (None: any partition)."""
        partitions = self.partitions.values() if tps is None else map(self.partitions.get, tps)
        return any(p is not None and p.lease is not None for p in partitions)

    def forget(self, tps: Iterable[TopicPartition]) -> None:
        """These partitions were released: they are no longer assigned to us."""
        gone = {*tps}
        # A rewind that is still pending must not move a partition that is assigned again to its old position.
        self.commands[:] = [c for c in self.commands if not (isinstance(c, Rewind) and c.partition in gone)]
        for tp in gone:
            partition = self.partitions.pop(tp, None)
            if partition is not None:
                self.balance.gone(partition)
                self._moves.forget_wait(partition)
                self._moves.timed.pop(tp, None)
                if partition.lease is not None:
                    del self._moves.leases[partition.lease]

    def lost(self, tps: Iterable[TopicPartition], now: float) -> None:
        """These partitions may already belong to another member: end their leases, without a drain or a commit."""
        mine = [tp for tp in tps if tp in self.partitions]
        for tp in mine:
            order = Ordered.of(self.partitions[tp])
            if order is not None:
                self._moves.report_end(tp, order)
            if self.partitions[tp].lease is not None:
                self._moves.fence(self.partitions[tp], RevokeReason.LOST, now)
        self.forget(mine)

    def wants_group(self, now: float) -> bool:
        """Whether the sidecar should be a member of the group: there is a process, or the last one left recently."""
        if len(self.processes) > 0:
            return True
        return self._moves.empty_since is not None and now - self._moves.empty_since < self.limits.leave_group_after

    # --- streams --------------------------------------------------------------------------------------------

    def available(self, stream: StreamId, process_id: str, max_message_bytes: int, now: float) -> None:
        """A stream can take a partition."""
        self.processes.add(stream, process_id, max_message_bytes, now)
        self._moves.empty_since = None
        self._moves.match(now)

    def ready(self, stream: StreamId, lease: Lease, now: float) -> None:
        """The lambda of the stream's partition exists."""
        partition = self._moves.partition_of(stream)
        if partition is None:
            return  # it was fenced in the meantime: its Closed or its end follows
        if partition.lease != lease or partition.state not in (State.STARTING, State.DRAINING):
            self.commands.append(EndStream(stream, EndReason.PROTOCOL, "ready.lease: not the lease of Assigned"))
        elif partition.state is State.STARTING:
            partition.state = State.RUNNING
            partition.trouble.reason = ""
            partition.held.running_since = now
            self._moves.untime(partition)
            self.processes.succeeded(partition.held.process_id)
            self.balance.arrived(partition, now)

    def closed(self, stream: StreamId, reason: ClosedReason, last: Progress | None, now: float) -> None:
        """The lambda closed, and the stream ends. The last checkpoint counts if the lease is living."""
        partition = self._moves.partition_of(stream)
        known = self.processes.get(stream)
        if reason is ClosedReason.STOPPED and known is not None:
            self.processes.leaves(known.process_id)
        if partition is not None:
            if last is not None:
                self._moves.progress(partition, last, now)
            declined = reason is ClosedReason.DECLINED and partition.state is State.STARTING
            unasked = reason is ClosedReason.REVOKED and partition.state is not State.DRAINING
            if (declined or unasked) and known is not None:
                self.processes.failed(known.process_id, now, broke=True)  # it would close the next one at once, too
            orderly = declined or reason in (ClosedReason.STOPPED, ClosedReason.REVOKED)
            self._moves.released(partition, now, f"the lambda closed ({reason.name.lower()})", orderly=orderly)
        if known is not None:
            self._moves.remove(known, now)

    def stream_lost(self, stream: StreamId, now: float) -> None:
        """The stream ended without Closed: the process died, or the connection broke."""
        partition = self._moves.partition_of(stream)
        known = self.processes.get(stream)
        if known is None:
            return
        if partition is not None:
            self.processes.failed(known.process_id, now, broke=True)
            self._moves.released(partition, now, "the stream broke", immediate=True)
        self._moves.remove(known, now)

    def checkpoint(self, lease: Lease, progress: Progress, now: float) -> tuple[CheckpointOutcome, int | None]:
        """Apply a checkpoint. Returns the outcome and, with BEYOND_DELIVERED, the last delivered offset."""
        partition = self._moves.leases.get(lease)
        if partition is None:
            return CheckpointOutcome.STALE_LEASE, None
        outcome = self._moves.progress(partition, progress, now)
        delivered = partition.window.delivered if outcome is CheckpointOutcome.BEYOND_DELIVERED else None
        return outcome, delivered

    def error(self, lease: Lease, failure: Failure, last: Progress | None, now: float) -> tuple[ErrorOutcome, float]:
        """A lambda reported an error. Returns the outcome and the seconds of back-off."""
        partition = self._moves.leases.get(lease)
        if partition is None:
            return ErrorOutcome.STALE_LEASE, 0.0
        fields = failure.fields()
        if failure.action is ErrorAction.REPORT:
            self.counts.reports += 1
            self._moves.report("warning", "lambda reported an error", partition, **fields)
            if last is not None:
                self._moves.progress(partition, last, now)
            return ErrorOutcome.REPORTED, 0.0
        if last is not None and (failure.offset is None or last.offset is None or last.offset < failure.offset):
            self._moves.progress(partition, last, now)
        reason = f"{failure.code or failure.type or 'error'}: {failure.message}"
        stream = self._moves.stream_of(partition)
        creating = partition.state is State.STARTING
        if creating:
            self.processes.failed(stream.process_id, now)
        # First, so that the process no longer counts this partition when a stream is chosen below.
        self.processes.fence(stream, now + self.limits.close_timeout)
        if failure.action is ErrorAction.CRITICAL and not creating and not partition.leaves:
            outcome, seconds = self._moves.critical(partition, failure, reason, now), 0.0
        else:
            # A partition that is being released is not halted: the next owner's lambda meets the same failure.
            self._moves.report("warning", "lambda failed", partition, creating=creating, **fields)
            outcome, seconds = self._moves.released(partition, now, reason, failure=failure)
        return outcome, seconds

    def pause_lease(self, stream: StreamId, pausing: Pausing, now: float) -> None:
        """The lambda of the stream's partition asks for a pause."""
        partition = self._moves.partition_of(stream)
        if partition is None or partition.state is State.DRAINING:
            return  # its lease has ended, or ends soon
        if partition.state not in (State.RUNNING, State.PAUSED):
            self.commands.append(EndStream(stream, EndReason.PROTOCOL, "pause: came before Ready"))
            return
        self._moves.untime(partition)
        partition.state = State.PAUSED
        partition.held.pause(pausing)
        partition.trouble.reason = pausing.reason or "paused by its lambda"
        if pausing.retry_after is not None:
            partition.due = now + pausing.retry_after
            self._moves.timed[partition.tp] = partition
        again = None if pausing.offset is None else partition.deliver_again(pausing.offset)
        if again is not None:
            self.commands.append(Rewind(partition.tp, again))
        waits = {"again_from": again, "seconds": pausing.retry_after}
        self._moves.report(
            "warning", "partition paused by its lambda", partition, reason=partition.trouble.reason, **waits
        )

    def resume_lease(self, stream: StreamId, now: float) -> None:
        """The lambda ends its pause."""
        partition = self._moves.partition_of(stream)
        if partition is not None and partition.state is State.PAUSED:
            self._moves.go_on(partition, now)

    def rewound(self, tp: TopicPartition) -> None:
        """Kafka's client was moved to the offset of the ``Rewind``."""
        self.partitions[tp].offsets.rewind_pending = False

    def not_rewound(self, rewind: Rewind, later: Sequence[Command]) -> None:
        """The rewind could not be carried out: issue it again, unless one of the ``later`` commands replaces it."""
        if not any(isinstance(c, Rewind) and c.partition == rewind.partition for c in (*later, *self.commands)):
            self.commands.append(rewind)

    def partition_of_lease(self, lease: Lease) -> TopicPartition | None:
        """The partition of a living lease; None: the lease is not living."""
        partition = self._moves.leases.get(lease)
        return None if partition is None else partition.tp

    # --- records --------------------------------------------------------------------------------------------

    def may_send(self, tp: TopicPartition) -> int:
        """How many records may be sent to the partition's lambda now; 0: none."""
        partition = self.partitions.get(tp)
        if (
            partition is None
            or partition.state is not State.RUNNING
            or partition.offsets.rewind_pending  # buffered records come after those that must be fetched again
            or partition.held.in_flight >= self.limits.frames_in_flight
        ):
            return 0
        return partition.window.room()

    def sent(
        self,
        tp: TopicPartition,
        first: int,
        last: int,
        count: int,
        size: int,
        offsets: Sequence[int] | None,
        now: float,
    ) -> None:
        """A frame of ``count`` records and ``size`` bytes was handed to the stream."""
        self.partitions[tp].held.sent(first, last, count, size, offsets, now)

    def written(self, stream: StreamId) -> TopicPartition | None:
        """A frame was written. Returns the stream's partition, which may get another frame; None: it has none."""
        partition = self._moves.partition_of(stream)
        if partition is None:
            return None
        partition.held.in_flight -= 1
        return partition.tp

    def undeliverable(
        self, tp: TopicPartition, offset: int, reason: str, seconds: float, now: float, *, readable: bool = False
    ) -> bool:
        """The record at ``offset`` cannot be delivered. Returns whether it becomes a dead letter.

        A record that is not ``readable`` cannot be written as a dead letter. Then the lambda gets ``seconds`` to
        finish the earlier records that it has begun, and the partition halts. The others are delivered after a
        resume.
        """
        partition = self.partitions[tp]
        self._moves.report("error", "record cannot be delivered", partition, offset=offset, reason=reason)
        failure = Failure(ErrorAction.CRITICAL, offset, "undeliverable", reason)
        if readable and self.limits.policy is Policy.DEAD_LETTER:
            partition.dead[offset] = DeadLetter(failure, partition.trouble.attempt, now, now)
            return True
        self._halt_at(partition, offset, reason, seconds, now)
        self._moves.exit_or_halt(partition, reason)
        return False

    def dead_lettered(
        self, tp: TopicPartition, offset: int, letter: DeadLetter, error: str, seconds: float, now: float
    ) -> None:
        """The record at ``offset`` was written to the dead-letter topic; with an ``error``, it could not be.

        An error halts the partition: no record is dropped.
        """
        partition = self.partitions.get(tp)
        if partition is None or partition.dead.get(offset) is not letter:
            return  # the partition was revoked or moved in the meantime; the record is handled again when it comes
        del partition.dead[offset]
        if not error:
            self.counts.dead_letters += 1
            partition.skip.add(offset)
            if partition.state is State.RUNNING:
                partition.trouble.reason = ""
            self._moves.report("warning", "dead letter written", partition, offset=offset)
            return
        reason = f"the dead letter for offset {offset} cannot be written: {error}"
        self._moves.report("error", "dead letter cannot be written: halting", partition, offset=offset, reason=error)
        if partition.lease is not None:
            self._halt_at(partition, offset, reason, seconds, now)
        elif partition.state not in (State.DRAINING, State.HALTED):
            self._moves.forget_wait(partition)
            partition.offsets.rewind_pending = True
            self.commands.append(Rewind(tp, partition.offsets.resume_at))
            self._moves.halt(partition, reason, offset)

    def no_such_record(self, tp: TopicPartition, offset: int, seconds: float, now: float) -> None:
        """A lambda failed at an offset where the log has no record: halt, since it would fail again each time."""
        partition = self.partitions[tp]
        del partition.dead[offset]
        reason = f"the lambda failed at offset {offset}, where the log has no record: no dead letter"
        self._moves.report("error", "there is no record at the failing offset: halting", partition, offset=offset)
        self._halt_at(partition, offset, reason, seconds, now)

    def _halt_at(self, partition: Partition, offset: int, reason: str, seconds: float, now: float) -> None:
        """Drain the partition, then halt at ``offset``."""
        partition.offsets.rewind_pending = True
        if partition.state is State.DRAINING:
            if partition.after_drain is not AfterDrain.RELEASE:
                partition.after_drain, partition.trouble.reason, partition.trouble.failing_offset = (
                    AfterDrain.HALT,
                    reason,
                    offset,
                )
            return
        partition.trouble.reason, partition.trouble.failing_offset = reason, offset
        self._moves.drain(partition, RevokeReason.HALTED, AfterDrain.HALT, seconds, now)

    def waits_for_dead_letter(self, tp: TopicPartition, offset: int) -> None:
        """The next record was given to the dead-letter thread."""
        self.partitions[tp].trouble.reason = f"waits for the dead letter of offset {offset} to be written"

    def misrouted(self, tp: TopicPartition, offset: int) -> None:
        """The record at ``offset`` arrived on the wrong queue and was dropped: fetch again from it on."""
        partition = self.partitions.get(tp)
        if partition is None or partition.offsets.rewind_pending:
            return  # not assigned to us, or fetched again anyway
        partition.offsets.rewind_pending = True
        self.commands.append(Rewind(tp, offset))

    def dropped(self, tps: Iterable[TopicPartition]) -> None:
        """Fetched records of these partitions were dropped: the client's position must not be committed."""
        for tp in tps:
            if tp in self.partitions:
                self.partitions[tp].offsets.rewind_pending = True

    def settled(self, tp: TopicPartition, position: int) -> None:
        """No record of the partition is buffered, and the position of Kafka's client is ``position``."""
        self.partitions[tp].settle(position)

    def block(self, tp: TopicPartition, now: float) -> None:
        """Records are buffered: check whether the window is full. To be called whenever that may have changed."""
        partition = self.partitions.get(tp)
        if partition is None or partition.state is not State.RUNNING:
            return
        holding = partition.held
        if holding.block(now, self.limits.blocked_report_after):
            self._moves.report(
                "warning",
                "no checkpoint: the window is full, the partition stands still",
                partition,
                outstanding=holding.window.outstanding,
                checkpoint=partition.offsets.checkpoint,
                delivered=holding.window.delivered,
                seconds=round(now - (holding.blocked_since or now)),
            )

    # --- the clock --------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Time has passed: end drains and starts that took too long, back-offs and pauses; start hand-overs."""
        for partition in [p for p in self._moves.timed.values() if p.due is not None and p.due <= now]:
            self._overdue(partition, now)
        for stream in self.processes.fenced_late(now):
            self._moves.end(stream, "closed: did not come in time after the lease was dead")
            self._moves.remove(stream, now)
        self._moves.match(now)
        self._moves.hand_over(now)
        if now >= self._next_stall_check:
            self._next_stall_check = now + STALL_CHECK_INTERVAL_S
            self._report_stalls(now)

    def next_due(self, now: float) -> float | None:
        """The time by which ``tick`` must be called; None: nothing is due."""
        times = [p.due for p in self._moves.timed.values()]
        times.append(self.processes.next_fence())
        if self._moves.waiting:
            times.append(self.processes.next_release(now))
        return min((time for time in times if time is not None), default=None)

    def _overdue(self, partition: Partition, now: float) -> None:
        if partition.state is State.BACKING_OFF:
            self._moves.wait(partition, now)
            return
        if partition.state is State.PAUSED:
            self._moves.go_on(partition, now)
            return
        stream = self._moves.stream_of(partition)
        if partition.state is State.STARTING:
            self.processes.failed(stream.process_id, now)
            self._moves.end(stream, f"ready: did not come within {self.limits.ready_timeout:g} s of Assigned")
            self._moves.released(partition, now, "Ready did not come in time")
        else:
            self._moves.report("warning", "drain deadline passed without Closed", partition)
            self._moves.end(stream, "closed: did not come within the deadline of Revoked")
            self._moves.released(partition, now, "drain deadline")
        self._moves.remove(stream, now)

    def _report_stalls(self, now: float) -> None:
        for partition in self.partitions.values():
            if partition.stall(now):
                self._moves.report(
                    "warning",
                    "partition is stalled: records are unacknowledged, and no checkpoint comes",
                    partition,
                    outstanding=partition.window.outstanding,
                    checkpoint=partition.offsets.checkpoint,
                    handled=partition.offsets.handled,
                    seconds=round(now - partition.held.last_progress_at),
                )
