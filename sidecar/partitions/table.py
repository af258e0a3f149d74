"""All partitions of one lambda: events in, commands out.

Every method takes the time as an argument, changes the state and appends to ``commands``; whoever owns the table
(the lambda's consumer thread) carries them out. Invariants, checked by the model test:

- A stream has at most one partition; a partition at most one stream; a lease belongs to one pair of them for ever.
- What comes with a dead lease changes nothing.
- Records go only to a RUNNING partition, at most ``frames_in_flight`` frames at a time, never beyond the window.
- A partition never waits while a spare stream does, but for the quarantine of a process that just broke.
- Every state but WAITING, RUNNING, RESOLVING, HALTED and PAUSED ends by itself at ``due``.
- At most one partition changes its process for balance at a time (``Balance``).
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

STALL_LOOK = 1.0
"""Seconds between looks for stalled partitions."""


class PartitionTable:
    """The partitions that this sidecar owns of one lambda's topics, and the streams that can take them."""

    def __init__(self, limits: Limits, new_lease: Callable[[], Lease], jitter: Callable[[], float]) -> None:
        """``new_lease`` gives an unguessable name at each call; ``jitter`` a number from 0 to 1."""
        self._moves = moves = Transitions(limits, new_lease, jitter)
        self.operator = OperatorActions(moves)
        self.limits = limits
        self.partitions = moves.partitions
        self.processes = moves.processes
        self.balance = moves.balance
        self.counts = moves.counts
        self.commands = moves.commands
        self._next_stall_look = 0.0

    def take_commands(self) -> list[Command]:
        """What is to be done, in this order. Each is taken once."""
        commands = [*self.commands]
        self.commands.clear()
        return commands

    # --- Kafka's side ---------------------------------------------------------------------------------------

    def assigned(self, tps: Iterable[TopicPartition]) -> None:
        """Kafka gave these partitions; where to start is not known yet.

        With the eager protocol some were ours until a moment ago: what an operator ordered of them still holds.
        """
        orders, self._moves.orders = self._moves.orders, {}
        for tp in tps:
            self.partitions[tp] = Partition(tp, self.limits, ordered=orders.pop(tp, None))
        for tp, order in orders.items():
            self._moves.report_end(tp, order)

    def not_resolved(self, tp: TopicPartition, reason: str) -> None:
        """Where to start cannot be said yet, and why."""
        partition = self.partitions[tp]
        if partition.state is State.RESOLVING:
            partition.trouble.reason = reason

    def resolved(self, tp: TopicPartition, offset: int, now: float, *, committed: bool) -> None:
        """Where to start is known: ``offset`` is the group's committed one, or what the config decided.

        A place that is not committed yet is committed before a lambda gets the first record: `committed`. Were the
        sidecar killed in between, the next start would decide anew, and begin somewhere else.
        """
        partition = self.partitions[tp]
        partition.place(offset, committed=committed)
        if committed:
            self._moves.begin(partition, now)

    def committed(self, tp: TopicPartition, offset: int, now: float) -> None:
        """Kafka has ``offset`` as the partition's committed one."""
        partition = self.partitions.get(tp)
        if partition is None:
            return
        partition.position.committed = offset
        if partition.state is State.RESOLVING and offset == partition.position.resume_at:
            self._moves.begin(partition, now)

    def offset_lost(self, tp: TopicPartition, offset: int, now: float, reason: str, *, halt: bool = False) -> None:
        """The place is gone from the log; go on at ``offset``, or, with ``halt``, when an operator says so.

        Checkpoints of the old place mean nothing in the new one (the topic may be another by the same name), so
        the lease dies at once.
        """
        partition = self.partitions[tp]
        halted, still, paused_for = partition.state is State.HALTED, partition.stands_still, partition.trouble.reason
        if partition.lease is not None:
            leaves = partition.leaves
            self._moves.fence(partition, RevokeReason.SEEK, now, rewind=False)
            if leaves:
                partition.position.rewind_pending = True  # nothing may be settled on the client's position any more
                return  # somebody else's soon, who will find the same
        self._moves.forget_wait(partition)
        partition.place(offset, committed=False)
        if halt or halted:
            partition.position.uncommitted = (
                False  # were the new place committed, nobody would hear of the loss again
            )
            self._moves.halt(partition, reason, None)
        elif still:
            partition.trouble.reason = paused_for
            self._moves.stand_still(partition)
        else:
            self._moves.untime(partition)
            partition.state = State.RESOLVING  # until the new place is committed

    def revoke(
        self,
        tps: Iterable[TopicPartition],
        reason: RevokeReason,
        seconds: float,
        now: float,
        *,
        may_return: bool = False,
    ) -> None:
        """Take these partitions back within ``seconds``: those that nobody holds are gone at once.

        ``may_return``: the protocol is the eager one, which takes all partitions away and then says which stay.
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
        """The sidecar stops: take everything back and give nothing out any more."""
        self._moves.draining_all = True
        self.revoke(list(self.partitions), reason, seconds, now)

    def held(self, tps: Collection[TopicPartition] | None = None) -> bool:
        """Whether a lambda still holds one of these partitions (of all, when None)."""
        partitions = self.partitions.values() if tps is None else map(self.partitions.get, tps)
        return any(p is not None and p.lease is not None for p in partitions)

    def forget(self, tps: Iterable[TopicPartition]) -> None:
        """These partitions were released: they are not ours any more."""
        gone = {*tps}
        # Were one of them to come back before this is carried out, its new place would be moved to the old one.
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
        """These partitions are already somebody else's: fence at once, wait for nothing, commit nothing."""
        mine = [tp for tp in tps if tp in self.partitions]
        for tp in mine:
            order = Ordered.of(self.partitions[tp])
            if order is not None:
                self._moves.report_end(tp, order)
            if self.partitions[tp].lease is not None:
                self._moves.fence(self.partitions[tp], RevokeReason.LOST, now)
        self.forget(mine)

    @property
    def has_waiting(self) -> bool:
        """Partitions wait for a stream."""
        return bool(self._moves.waiting)

    def wants_group(self, now: float) -> bool:
        """Whether the sidecar should be a member: a process is there, or was until lately."""
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
            return  # fenced meanwhile: its Closed or its end comes
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
        """The lambda closed: its last checkpoint counts while its lease lives; the stream is over."""
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
                self.processes.failed(known.process_id, now, broke=True)  # it would do the same with the next at once
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
        """How far a lambda has got. Returns the outcome and, when it lies beyond, what was delivered."""
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
        # Before anything is given out anew: the stream does not count as a partition of its process any more.
        self.processes.fence(stream, now + self.limits.close_timeout)
        if failure.action is ErrorAction.CRITICAL and not creating and not partition.leaves:
            outcome, seconds = self._moves.critical(partition, failure, reason, now), 0.0
        else:
            # What leaves is the next owner's, who meets the same failure with a lease that can tell it.
            self._moves.report("warning", "lambda failed", partition, creating=creating, **fields)
            outcome, seconds = self._moves.released(partition, now, reason, failure=failure)
        return outcome, seconds

    def pause_lease(self, stream: StreamId, pausing: Pausing, now: float) -> None:
        """The lambda of the stream's partition wants no records for now."""
        partition = self._moves.partition_of(stream)
        if partition is None or partition.state is State.DRAINING:
            return  # it is over, or will be soon
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
        """The lambda wants records again."""
        partition = self._moves.partition_of(stream)
        if partition is not None and partition.state is State.PAUSED:
            self._moves.go_on(partition, now)

    def rewound(self, tp: TopicPartition) -> None:
        """Kafka's client was told to fetch again from where ``Rewind`` said."""
        self.partitions[tp].position.rewind_pending = False

    def not_rewound(self, rewind: Rewind, later: Sequence[Command]) -> None:
        """It could not be carried out: it is asked for again, unless one of the ``later`` commands replaces it."""
        if not any(isinstance(c, Rewind) and c.partition == rewind.partition for c in (*later, *self.commands)):
            self.commands.append(rewind)

    def partition_of_lease(self, lease: Lease) -> TopicPartition | None:
        """The partition of a living lease."""
        partition = self._moves.leases.get(lease)
        return None if partition is None else partition.tp

    # --- records --------------------------------------------------------------------------------------------

    def may_send(self, tp: TopicPartition) -> int:
        """How many records may go to the partition's lambda now; 0: none."""
        partition = self.partitions.get(tp)
        if (
            partition is None
            or partition.state is not State.RUNNING
            or partition.position.rewind_pending  # what would come now lies beyond what is to be fetched again
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
        """A frame left. Returns the partition that may get the next, or None when the stream has none."""
        partition = self._moves.partition_of(stream)
        if partition is None:
            return None
        partition.held.in_flight -= 1
        return partition.tp

    def undeliverable(
        self, tp: TopicPartition, offset: int, reason: str, seconds: float, now: float, *, readable: bool = False
    ) -> bool:
        """The record at ``offset`` cannot be delivered. Returns whether it is to become a dead letter.

        One that is not ``readable`` cannot be kept byte for byte: the lambda finishes what it has begun of what came
        before, within ``seconds``, then the partition halts. What it had not begun comes again when it is resumed.
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
        """The dead-letter topic has the record at ``offset``, or, with ``error``, could not be written.

        The latter halts the partition: nothing is dropped.
        """
        partition = self.partitions.get(tp)
        if partition is None or partition.dead.get(offset) is not letter:
            return  # taken away or moved meanwhile: whoever meets the record again decides anew
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
            partition.position.rewind_pending = True
            self.commands.append(Rewind(tp, partition.position.resume_at))
            self._moves.halt(partition, reason, offset)

    def no_such_record(self, tp: TopicPartition, offset: int, seconds: float, now: float) -> None:
        """A lambda named an offset that the log jumps over: there is nothing to keep, and it would fail for ever."""
        partition = self.partitions[tp]
        del partition.dead[offset]
        reason = f"the lambda failed at offset {offset}, where the log has no record: no dead letter"
        self._moves.report("error", "there is no record at the failing offset: halting", partition, offset=offset)
        self._halt_at(partition, offset, reason, seconds, now)

    def _halt_at(self, partition: Partition, offset: int, reason: str, seconds: float, now: float) -> None:
        """Take back what runs, then halt at ``offset``."""
        partition.position.rewind_pending = True
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
        """The next record was given to the writer of dead letters."""
        self.partitions[tp].trouble.reason = f"waits for the dead letter of offset {offset} to be written"

    def misrouted(self, tp: TopicPartition, offset: int) -> None:
        """The record at ``offset`` was given away by Kafka's client and is not here: fetch again from it on."""
        partition = self.partitions.get(tp)
        if partition is None or partition.position.rewind_pending:
            return  # somebody else's; or it is fetched again anyway
        partition.position.rewind_pending = True
        self.commands.append(Rewind(tp, offset))

    def dropped(self, tps: Iterable[TopicPartition]) -> None:
        """Fetched records of these were dropped for good: the client's position says nothing about what is done."""
        for tp in tps:
            if tp in self.partitions:
                self.partitions[tp].position.rewind_pending = True

    def settled(self, tp: TopicPartition, position: int) -> None:
        """Nothing of it waits, and Kafka's client stands at ``position``."""
        self.partitions[tp].settle(position)

    def block(self, tp: TopicPartition, now: float) -> None:
        """Records wait, and the window is full (or not any more: called whenever that may have changed)."""
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
                checkpoint=partition.position.checkpoint,
                delivered=holding.window.delivered,
                seconds=round(now - (holding.blocked_since or now)),
            )

    # --- the clock --------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Time has passed: drains and starts that took too long, back-offs and pauses that are over, hand-overs."""
        for partition in [p for p in self._moves.timed.values() if p.due is not None and p.due <= now]:
            self._overdue(partition, now)
        for stream in self.processes.fenced_late(now):
            self._moves.end(stream, "closed: did not come in time after the lease was dead")
            self._moves.remove(stream, now)
        self._moves.match(now)
        self._moves.hand_over(now)
        if now >= self._next_stall_look:
            self._next_stall_look = now + STALL_LOOK
            self._look_for_stalls(now)

    def next_due(self, now: float) -> float | None:
        """When ``tick`` has something to do next that was promised, or None."""
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

    def _look_for_stalls(self, now: float) -> None:
        for partition in self.partitions.values():
            if partition.stall(now):
                self._moves.report(
                    "warning",
                    "partition is stalled: records are unacknowledged, and no checkpoint comes",
                    partition,
                    outstanding=partition.window.outstanding,
                    checkpoint=partition.position.checkpoint,
                    handled=partition.position.handled,
                    seconds=round(now - partition.held.last_progress_at),
                )
