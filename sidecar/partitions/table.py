"""All partitions of one lambda: events in, commands out.

The table has the events of Kafka and of the clock; its ``streams``, ``records`` and ``operator`` have the others.
Every event takes the time as an argument, changes the state and appends to ``commands``; the owner of the table (the
lambda's consumer thread) carries them out. Invariants, checked by the model test:

- A stream has at most one partition, a partition at most one stream; a lease always belongs to the same pair of them.
- An event with a dead lease changes nothing.
- Records go only to a RUNNING partition, at most ``frames_in_flight`` frames at a time, and never exceed the window.
- A partition never waits while there is a spare stream, except one of a process in quarantine.
- Every state but WAITING, RUNNING, RESOLVING, HALTED and PAUSED ends by itself at ``due``.
- At most one partition at a time moves to another process for balance (``Balance``).
"""

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from types import MappingProxyType

from sidecar.partitions.operator_actions import OperatorActions
from sidecar.partitions.partition import AfterDrain, Commitment, Ordered, Partition
from sidecar.partitions.record_events import RecordEvents
from sidecar.partitions.stream_events import StreamEvents
from sidecar.partitions.transitions import Transitions
from sidecar.partitions.vocabulary import (
    Command,
    Committed,
    FailureKind,
    Hung,
    Lane,
    Lease,
    Limits,
    RevokeReason,
    Rewind,
    State,
    TopicPartition,
)

PROGRESS_CHECK_INTERVAL_S = 1.0
"""Seconds between checks for lambdas that make no progress."""


class PartitionTable:
    """The partitions of one lambda that are assigned to this sidecar, and the streams that can take them."""

    def __init__(self, limits: Limits, new_lease: Callable[[], Lease], jitter: Callable[[], float]) -> None:
        """``new_lease`` returns a new unguessable name, ``jitter`` a number from 0 to 1."""
        self._moves = moves = Transitions(limits, new_lease, jitter)
        self.streams = StreamEvents(moves)
        self.records = RecordEvents(moves)
        self.operator = OperatorActions(moves)
        self.limits = limits
        self.partitions = moves.partitions
        self.lanes = moves.lanes
        self.processes = moves.processes
        self.balance = moves.balance
        self.counts = moves.counts
        self.commands = moves.commands
        self._next_progress_check = 0.0

    def take_commands(self) -> list[Command]:
        """Return the commands in their order, and forget them."""
        commands = [*self.commands]
        self.commands.clear()
        return commands

    def lanes_of(self, tp: TopicPartition) -> Collection[Lane]:
        """The lanes of this partition; none, if it is not assigned to us."""
        partition = self.partitions.get(tp)
        return () if partition is None else (partition.lane,)

    # --- events of Kafka ------------------------------------------------------------------------------------

    def assigned(self, tps: Iterable[TopicPartition], now: float) -> None:
        """Kafka assigned these partitions; their resume offsets are not known yet.

        With the eager protocol, some of them were assigned to us before: an operator's orders for them stay in force.
        """
        orders, self._moves.orders = self._moves.orders, {}
        for tp in tps:
            lane = Lane(tp)
            self.partitions[tp] = self.lanes[lane] = Partition(
                lane, self.limits, now, self.counts.delays, ordered=orders.pop(tp, None)
            )
        for tp, order in orders.items():
            self._moves.report_end(tp, order)

    def not_resolved(self, tp: TopicPartition, reason: str) -> None:
        """The resume offset cannot be determined yet, for this ``reason``."""
        partition = self.partitions[tp]
        if partition.state is State.RESOLVING:
            partition.trouble.reason = reason

    def resolved(self, tp: TopicPartition, offset: int, now: float, *, committed: bool, state: bytes = b"") -> None:
        """The resume offset is ``offset``: the group's committed offset, or the one that the config chose.

        ``state`` was committed with it.

        An offset that is not ``committed`` yet must be committed before a lambda gets the first record (`committed`).
        Otherwise, if the sidecar were killed in between, the next start would choose again, maybe another offset.
        """
        partition = self.partitions[tp]
        trouble = partition.trouble
        partition.move_to(offset, committed=committed, state=state)
        if partition.aborted:
            # The client has read further. What failed since the last commit has not succeeded meanwhile.
            partition.aborted, partition.trouble = False, trouble
            partition.offsets.rewind_pending = True
            self.commands.append(Rewind(tp, offset))
        if committed:
            self._moves.begin(partition, now)

    def committed(self, tp: TopicPartition, commitment: Commitment, now: float) -> None:
        """Kafka has taken this commit of the partition."""
        partition = self.partitions.get(tp)
        if partition is None or not partition.committed(commitment):
            return
        if partition.state is State.RESOLVING and commitment.offset == partition.offsets.resume_at:
            self._moves.begin(partition, now)
        durable = partition.became_durable(commitment)
        if durable is not None and partition.holding is not None:
            self.commands.append(Committed(partition.holding.stream, durable))

    def transacting(self, tps: Container[TopicPartition]) -> None:
        """Transactions with the places of these partitions are under way, and none of others (exactly-once)."""
        for tp, partition in self.partitions.items():
            partition.transacting = tp in tps

    def aborted(
        self,
        tp: TopicPartition,
        reason: str,
        now: float,
        *,
        culprit: bool,
        unwritten: Mapping[Lane, Iterable[int]] = MappingProxyType({}),
    ) -> bool:
        """The transaction with the partition's last checkpoints was aborted (exactly-once).

        Whoever holds it has seen what is not there, so its lease ends at once; the next lambda starts from what Kafka
        says. ``culprit``: a record of it was refused, so its next lambda starts after a back-off. Others start at
        once the first time. ``unwritten``: the offsets of dead letters that have waited for the transaction: their
        records come again. Returns whether its resume offset has to be resolved again; not if it is being released.
        """
        for lane, offsets in unwritten.items():
            self.lanes[lane].skip.difference_update(offsets)
        partition = self.partitions.get(tp)
        return partition is not None and self._moves.abort(partition, reason, now, culprit=culprit)

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
        partition.failed(FailureKind.OFFSET_LOST, reason, partition.offsets.resume_at, now)
        if partition.lease is not None:
            leaves = partition.leaves
            self._moves.fence(partition, RevokeReason.SEEK, now, rewind=False)
            if leaves:
                partition.offsets.rewind_pending = True  # the client's position must not be committed any more
                return  # the next owner will find the same loss
        self._moves.forget_wait(partition)
        self._moves.drop_state(partition, offset)
        partition.move_to(offset, committed=False)
        if halt or halted:
            partition.offsets.uncommitted = (
                False  # if the new offset were committed, the next owner would not notice the loss
            )
            self._moves.halt(partition, reason, None, now)
        elif paused:
            partition.trouble.reason = paused_for
            self._moves.pause_for_operator(partition, now)
        else:
            self._moves.untime(partition)
            partition.enter(State.RESOLVING, now)  # until the new offset is committed

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
                partition.enter(State.DRAINING, now)
                partition.after_drain = AfterDrain.RELEASE
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
                self._moves.timed.pop(partition.lane, None)
                del self.lanes[partition.lane]
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

    # --- the position of Kafka's client ---------------------------------------------------------------------

    def rewound(self, tp: TopicPartition) -> None:
        """Kafka's client was moved to the offset of the ``Rewind``."""
        self.partitions[tp].offsets.rewind_pending = False

    def not_rewound(self, rewind: Rewind, later: Sequence[Command]) -> None:
        """The rewind could not be carried out: issue it again, unless one of the ``later`` commands replaces it."""
        if not any(isinstance(c, Rewind) and c.partition == rewind.partition for c in (*later, *self.commands)):
            self.commands.append(rewind)

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
        if now >= self._next_progress_check:
            self._next_progress_check = now + PROGRESS_CHECK_INTERVAL_S
            self._report_stalls(now)
            self._end_overdue(now)

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
            self._moves.released(partition, now, "Ready did not come in time", FailureKind.LATE)
        else:
            self._moves.report("warning", "drain deadline passed without Closed", partition)
            if partition.after_drain is AfterDrain.FAIL:
                self.processes.failed(stream.process_id, now)  # others get it first
                self.commands.append(Hung(stream.id))  # before the stream's end, while the loop knows its process
            self._moves.end(stream, "closed: did not come within the deadline of Revoked")
            partition.failed(FailureKind.LATE, "Closed did not come before the drain's deadline", None, now)
            self._moves.released(partition, now, "drain deadline", FailureKind.LATE)
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

    def _end_overdue(self, now: float) -> None:
        """Take the partition from lambdas that miss their deadline. They get the time of a drain to close."""
        for partition in self.partitions.values():
            overdue_at = partition.overdue_at
            if overdue_at is None or now < overdue_at:
                continue
            holding, seconds = partition.held, self.limits.deadline
            why = f"neither a checkpoint nor progress for {seconds:g} s (`deadline`)"
            self._moves.report(
                "warning",
                "lambda misses its deadline: it is ended, and counts as failed",
                partition,
                reason=why,
                outstanding=holding.window.outstanding,
                checkpoint=partition.offsets.checkpoint,
                handled=partition.offsets.handled,
                progress=holding.progress_text,
            )
            partition.failed(FailureKind.DEADLINE, why, None, now)
            self.balance.ended(partition, now)
            partition.trouble.reason = why
            drain = self.limits.hand_over_drain
            self._moves.drain(partition, RevokeReason.DEADLINE, AfterDrain.FAIL, drain, now)
