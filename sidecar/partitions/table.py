"""All partitions of one lambda, and their lanes: events in, commands out.

The table has the events of Kafka and of the clock; its ``streams``, ``records`` and ``operator`` have the others.
Every event takes the time as an argument, changes the state and appends to ``commands``; the owner of the table (the
lambda's consumer thread) carries them out. Invariants, checked by the model test:

- A stream has at most one lane, a lane at most one stream; a lease always belongs to the same pair of them.
- An event with a dead lease changes nothing.
- All lanes of a partition are assigned, revoked and forgotten together; nothing else joins them but `window_span`.
- Records go only to a RUNNING partition, at most ``frames_in_flight`` frames at a time, and never exceed the window.
- A partition never waits while there is a spare stream, except one of a process in quarantine.
- Every state but WAITING, RUNNING, RESOLVING, HALTED and PAUSED ends by itself at ``due``.
- At most one partition at a time moves to another process for balance (``Balance``).
"""

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from types import MappingProxyType

from sidecar.partitions.assignment import Assignment
from sidecar.partitions.offsets import Commitment
from sidecar.partitions.operator_actions import OperatorActions
from sidecar.partitions.partition import AfterDrain, Ordered, Partition
from sidecar.partitions.record_events import RecordEvents
from sidecar.partitions.stream_events import StreamEvents
from sidecar.partitions.transitions import Transitions
from sidecar.partitions.vocabulary import (
    Command,
    Committed,
    DeadLetter,
    ErrorAction,
    Failure,
    FailureKind,
    Hung,
    Lane,
    Lease,
    Limits,
    Place,
    RevokeReason,
    Rewind,
    State,
    TopicPartition,
)
from sidecar.partitions.window import LowMark

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

    def lanes_of(self, tp: TopicPartition) -> Sequence[Lane]:
        """The lanes of this partition, by their numbers; none, if it is not assigned to us."""
        partition = self.partitions.get(tp)
        return () if partition is None else partition.keys

    # --- events of Kafka ------------------------------------------------------------------------------------

    def assigned(self, tps: Iterable[TopicPartition], now: float) -> None:
        """Kafka assigned these partitions; their resume offsets are not known yet.

        With the eager protocol, some of them were assigned to us before: an operator's orders for them stay in force.
        """
        orders, self._moves.orders = self._moves.orders, {}
        count = self.limits.lanes
        for tp in tps:
            mark, keys = LowMark(-1), tuple(Lane(tp, number, count) for number in range(count))
            lanes = tuple(
                Partition(
                    lane,
                    self.limits,
                    now,
                    self.counts.delays,
                    mark if count > 1 else None,
                    ordered=orders.pop(lane, None),
                )
                for lane in keys
            )
            self.partitions[tp] = Assignment(tp, lanes, mark, keys)
            self.lanes.update(zip(keys, lanes, strict=True))
        for lane, order in orders.items():
            self._moves.report_end(lane, order)

    def not_resolved(self, tp: TopicPartition, reason: str) -> None:
        """The resume offset cannot be determined yet, for this ``reason``."""
        for lane in self.partitions[tp].lanes:
            if lane.state is State.RESOLVING:
                lane.trouble.reason = reason

    def resolved(
        self, tp: TopicPartition, offset: int, now: float, *, committed: bool, places: Sequence[Place] = ()
    ) -> None:
        """The resume offset is ``offset``: the group's committed offset, or the one that the config chose.

        ``places``: where each lane goes on; empty: all begin at ``offset``, without a state.

        An offset that is not ``committed`` yet must be committed before a lambda gets the first record (`committed`).
        Otherwise, if the sidecar were killed in between, the next start would choose again, maybe another offset.
        """
        partition = self.partitions[tp]
        for lane, place in zip(partition.lanes, places or [Place(offset)] * len(partition.lanes), strict=True):
            trouble, dead = lane.trouble, lane.dead.copy()
            lane.move_to(place.offset, committed=committed, state=place.state)
            if lane.aborted:
                # The client has read further. What failed since the last commit has not succeeded meanwhile.
                lane.aborted, lane.trouble = False, trouble
                lane.dead = {offset: letter for offset, letter in dead.items() if offset >= place.offset}
                lane.offsets.rewind_pending = True
                self.commands.append(Rewind(lane.lane, place.offset))
        partition.note_mark()
        if committed:
            for lane in partition.lanes:
                self._moves.begin(lane, now)

    def committed(self, tp: TopicPartition, commitments: Sequence[Commitment], now: float) -> None:
        """Kafka has taken this commit of the partition: one ``Commitment`` for each lane."""
        partition = self.partitions.get(tp)
        if partition is None:
            return
        for lane, commitment in zip(partition.lanes, commitments, strict=True):
            if not lane.committed(commitment):
                continue
            if lane.state is State.RESOLVING and commitment.offset == lane.offsets.resume_at:
                self._moves.begin(lane, now)
            durable = lane.became_durable(commitment)
            if durable is not None and lane.holding is not None:
                self.commands.append(Committed(lane.holding.stream, durable))

    def transacting(self, tps: Container[TopicPartition]) -> None:
        """Transactions with the places of these partitions are under way, and none of others (exactly-once)."""
        for lane, partition in self.lanes.items():
            partition.transacting = lane.partition in tps

    def aborted(
        self,
        tp: TopicPartition,
        reason: str,
        now: float,
        *,
        culprit: bool,
        unwritten: Mapping[Lane, Iterable[int]] = MappingProxyType({}),
        refused: Mapping[Lane, tuple[int, str]] = MappingProxyType({}),
        is_settled: bool = False,
    ) -> bool:
        """The transaction with the partition's last checkpoints was aborted (exactly-once).

        Whoever holds a lane of it has seen what is not there, so all leases end at once; the next lambdas start from
        what Kafka says. ``culprit``: a record of it was refused, so they start after a back-off. Others start at once
        the first time. ``unwritten``: the offsets of dead letters that have waited for the transaction: their records
        come again. ``refused``: the first dead letter of each lane that Kafka has refused for good: its offset, and
        why. The lane goes on up to that record, and halts there. ``is_settled``: all refusals were of that kind, so
        nothing of it is tried again, and it counts as no failure.

        Returns whether its resume offset has to be resolved again; not if it is being released.
        """
        for lane, offsets in unwritten.items():
            self.lanes[lane].skip.difference_update(offsets)
        again = False
        for partition in self._lanes_of(tp):
            offset, why = refused.get(partition.lane, (-1, ""))
            failure = Failure(ErrorAction.CRITICAL, offset, "dead_letter", why)
            letter = DeadLetter(failure, partition.trouble.attempt, now, now, refused=why) if why else None
            again |= self._moves.abort(partition, reason, now, letter, culprit=culprit, is_settled=is_settled)
        return again

    def offset_lost(
        self,
        tp: TopicPartition,
        offset: int,
        now: float,
        reason: str,
        *,
        halt: bool = False,
        from_start: bool = False,
    ) -> None:
        """The resume offset is no longer in the log: go on at ``offset``; with ``halt``, when an operator resumes.

        The leases end at once: their checkpoints mean nothing at the new position, since the topic may be another one
        with the same name. Lanes that were farther than ``offset`` stay there, if the log only lost its beginning
        (``from_start``).
        """
        partition = self.partitions[tp]
        for lane in partition.lanes:
            to = max(offset, lane.offsets.resume_at) if from_start else offset
            self._lane_lost(lane, to, now, reason, halt=halt)
        partition.note_mark()

    def _lane_lost(self, partition: Partition, offset: int, now: float, reason: str, *, halt: bool) -> None:
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
            # If the new offset were committed, the next owner would not notice the loss. Lanes that go on need it.
            partition.offsets.uncommitted = not halt and partition.mark is not None
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
            for lane in self._lanes_of(tp):
                self._revoke(lane, reason, seconds, now, may_return=may_return)

    def _revoke(
        self, partition: Partition, reason: RevokeReason, seconds: float, now: float, *, may_return: bool
    ) -> None:
        order = Ordered.of(partition)
        if order is not None and may_return:
            self._moves.orders[partition.lane] = order
        elif order is not None:
            self._moves.report_end(partition.lane, order)
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
        return any(
            lane.lease is not None for tp in (self.partitions if tps is None else tps) for lane in self._lanes_of(tp)
        )

    def forget(self, tps: Iterable[TopicPartition]) -> None:
        """These partitions were released: they are no longer assigned to us."""
        gone = {*tps}
        # A rewind that is still pending must not move a partition that is assigned again to its old position.
        self.commands[:] = [c for c in self.commands if not (isinstance(c, Rewind) and c.lane.partition in gone)]
        for tp in gone:
            for partition in self._lanes_of(tp):
                self.balance.gone(partition)
                self._moves.forget_wait(partition)
                self._moves.timed.pop(partition.lane, None)
                del self.lanes[partition.lane]
                if partition.lease is not None:
                    del self._moves.leases[partition.lease]
            self.partitions.pop(tp, None)

    def lost(self, tps: Iterable[TopicPartition], now: float) -> None:
        """These partitions may already belong to another member: end their leases, without a drain or a commit."""
        mine = [tp for tp in tps if tp in self.partitions]
        for lane in (lane for tp in mine for lane in self._lanes_of(tp)):
            order = Ordered.of(lane)
            if order is not None:
                self._moves.report_end(lane.lane, order)
            if lane.lease is not None:
                self._moves.fence(lane, RevokeReason.LOST, now)
        self.forget(mine)

    def _lanes_of(self, tp: TopicPartition) -> tuple[Partition, ...]:
        partition = self.partitions.get(tp)
        return () if partition is None else partition.lanes

    def wants_group(self, now: float) -> bool:
        """Whether the sidecar should be a member of the group: there is a process, or the last one left recently."""
        if len(self.processes) > 0:
            return True
        return self._moves.empty_since is not None and now - self._moves.empty_since < self.limits.leave_group_after

    # --- the position of Kafka's client ---------------------------------------------------------------------

    def rewound(self, lane: Lane) -> None:
        """The lane's records will be fetched from the offset of its ``Rewind`` on."""
        self.lanes[lane].offsets.rewind_pending = False

    def not_rewound(self, rewind: Rewind) -> None:
        """The rewind could not be carried out: issue it again, unless another one has replaced it since."""
        if not any(isinstance(c, Rewind) and c.lane == rewind.lane for c in self.commands):
            self.commands.append(rewind)

    def misrouted(self, lane: Lane, offset: int) -> None:
        """Records from ``offset`` on arrived on the wrong queue and were dropped: fetch the lane's ones again."""
        partition = self.lanes[lane]
        if partition.offsets.rewind_pending:
            return  # fetched again anyway
        partition.offsets.rewind_pending = True
        self.commands.append(Rewind(lane, offset))

    def dropped(self, tps: Iterable[TopicPartition]) -> None:
        """Fetched records of these partitions were dropped: the client's position must not be committed."""
        for tp in tps:
            for lane in self._lanes_of(tp):
                lane.offsets.rewind_pending = True

    def settle(self, tp: TopicPartition, positions: Sequence[int]) -> None:
        """Up to ``positions`` all records of the partition's lanes were sent, or left out (`Partition.settle`)."""
        self.partitions[tp].settle(positions)

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
        for partition in self.lanes.values():
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
        for partition in self.lanes.values():
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
