"""All partitions of one lambda: events in, commands out.

Every method takes the time as an argument, changes the state and appends to ``commands``; whoever owns the table
(the lambda's consumer thread) carries them out. Invariants, checked by the model test:

- A stream has at most one partition; a partition at most one stream; a lease belongs to one pair of them for ever.
- What comes with a dead lease changes nothing.
- Records go only to a RUNNING partition, at most ``frames_in_flight`` frames at a time, never beyond the window.
- A partition never waits while a spare stream does, but for the quarantine of a process that just broke.
- Every state but WAITING, RUNNING, RESOLVING and HALTED ends by itself at ``due``.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import cast

from sidecar.partitions.backoff import delay
from sidecar.partitions.partition import AfterDrain, Partition
from sidecar.partitions.processes import Processes, Stream
from sidecar.partitions.vocabulary import (
    Assign,
    CheckpointOutcome,
    ClosedReason,
    Command,
    EndReason,
    EndStream,
    ErrorAction,
    ErrorOutcome,
    Failure,
    Lease,
    Level,
    Limits,
    Progress,
    Report,
    ResumeRefused,
    Revoke,
    RevokeReason,
    Rewind,
    State,
    StreamId,
    TopicPartition,
)


class PartitionTable:
    """The partitions that this sidecar owns of one lambda's topics, and the streams that can take them."""

    def __init__(self, limits: Limits, new_lease: Callable[[], Lease], jitter: Callable[[], float]) -> None:
        """``new_lease`` gives an unguessable name at each call; ``jitter`` a number from 0 to 1."""
        self.limits = limits
        self.processes = Processes()
        self.partitions: dict[TopicPartition, Partition] = {}
        self.commands: list[Command] = []
        self.restarts = 0
        self._new_lease = new_lease
        self._jitter = jitter
        self._leases: dict[Lease, Partition] = {}
        self._waiting: dict[TopicPartition, None] = {}  # in the order in which they began to wait
        self._timed: dict[TopicPartition, Partition] = {}
        self._empty_since: float | None = None
        self._draining_all = False

    # --- Kafka's side ---------------------------------------------------------------------------------------

    def assigned(self, tps: Iterable[TopicPartition]) -> None:
        """Kafka gave these partitions; where to start is not known yet."""
        for tp in tps:
            self.partitions[tp] = Partition(tp, self.limits)

    def resolved(self, tp: TopicPartition, offset: int, now: float, *, committed: bool) -> None:
        """Where to start is known: ``offset`` is the group's committed one, or what the config decided."""
        partition = self.partitions[tp]
        partition.place(offset, committed=committed)
        self._wait(partition, now)

    def offset_lost(self, tp: TopicPartition, offset: int, now: float, reason: str, *, halt: bool = False) -> None:
        """The place is gone from the log; go on at ``offset``, or, with ``halt``, when an operator says so.

        Checkpoints of the old place mean nothing in the new one (the topic may be another by the same name), so
        the lease dies at once.
        """
        partition = self.partitions[tp]
        if partition.lease is not None:
            draining = partition.state is State.DRAINING and partition.after_drain is AfterDrain.RELEASE
            self._fence(partition, RevokeReason.SEEK, now, rewind=False)
            if draining:
                return  # somebody else's soon, who will find the same
        self._forget_wait(partition)
        halted = partition.state is State.HALTED
        partition.place(offset, committed=False)
        if halt or halted:
            partition.touched = False  # were the new place committed, nobody would hear of the loss again
            self._halt(partition, reason, None)
        else:
            self._wait(partition, now)

    def revoke(self, tps: Iterable[TopicPartition], reason: RevokeReason, seconds: float, now: float) -> None:
        """Take these partitions back within ``seconds``: those that nobody holds are gone at once."""
        for tp in tps:
            partition = self.partitions.get(tp)
            if partition is None:
                continue
            if partition.lease is None:
                self._forget_wait(partition)
                partition.state = State.DRAINING
            elif partition.state is State.DRAINING:
                partition.after_drain = AfterDrain.RELEASE
                partition.due = min(partition.due or now + seconds, now + seconds)
            else:
                self._drain(partition, reason, AfterDrain.RELEASE, seconds, now)

    def revoke_all(self, reason: RevokeReason, seconds: float, now: float) -> None:
        """The sidecar stops, or leaves the group: take everything back and give nothing out any more."""
        self._draining_all = True
        self.revoke(list(self.partitions), reason, seconds, now)

    def accept_again(self) -> None:
        """After a ``revoke_all``: partitions may be given out again (the group is joined anew)."""
        self._draining_all = False

    def held(self, tps: Collection[TopicPartition] | None = None) -> bool:
        """Whether a lambda still holds one of these partitions (of all, when None)."""
        partitions = self.partitions.values() if tps is None else map(self.partitions.get, tps)
        return any(p is not None and p.lease is not None for p in partitions)

    def forget(self, tps: Iterable[TopicPartition]) -> None:
        """These partitions were released: they are not ours any more."""
        gone = {*tps}
        # Were one of them to come back before this is carried out, its new place would be moved to the old one.
        self.commands = [c for c in self.commands if not (isinstance(c, Rewind) and c.partition in gone)]
        for tp in gone:
            partition = self.partitions.pop(tp, None)
            if partition is not None:
                self._forget_wait(partition)
                self._timed.pop(tp, None)
                if partition.lease is not None:
                    del self._leases[partition.lease]

    def lost(self, tps: Iterable[TopicPartition], now: float) -> None:
        """These partitions are already somebody else's: fence at once, wait for nothing, commit nothing."""
        mine = [tp for tp in tps if tp in self.partitions]
        for tp in mine:
            if self.partitions[tp].lease is not None:
                self._fence(self.partitions[tp], RevokeReason.LOST, now)
        self.forget(mine)

    @property
    def someone_waits(self) -> bool:
        """Partitions wait for a stream."""
        return bool(self._waiting)

    def wants_group(self, now: float) -> bool:
        """Whether the sidecar should be a member: a process is there, or was until lately."""
        if len(self.processes) > 0:
            return True
        return self._empty_since is not None and now - self._empty_since < self.limits.leave_group_after

    # --- streams --------------------------------------------------------------------------------------------

    def available(self, stream: StreamId, process_id: str, max_message_bytes: int, now: float) -> None:
        """A stream can take a partition."""
        self.processes.add(stream, process_id, max_message_bytes)
        self._empty_since = None
        self._match(now)

    def ready(self, stream: StreamId, lease: Lease) -> None:
        """The lambda of the stream's partition exists."""
        partition = self._partition_of(stream)
        if partition is None:
            return  # fenced meanwhile: its Closed or its end comes
        if partition.lease != lease or partition.state not in (State.STARTING, State.DRAINING):
            self.commands.append(EndStream(stream, EndReason.PROTOCOL, "ready.lease: not the lease of Assigned"))
        elif partition.state is State.STARTING:
            partition.state = State.RUNNING
            partition.reason = ""
            partition.due = None
            self._timed.pop(partition.tp, None)

    def closed(self, stream: StreamId, reason: ClosedReason, last: Progress | None, now: float) -> None:
        """The lambda closed: its last checkpoint counts while its lease lives; the stream is over."""
        partition = self._partition_of(stream)
        known = self.processes.get(stream)
        if reason is ClosedReason.STOPPED and known is not None:
            self.processes.leaves(known.process_id)
        if partition is not None:
            if last is not None:
                partition.progress(last)
            declined = reason is ClosedReason.DECLINED and partition.state is State.STARTING
            unasked = reason is ClosedReason.REVOKED and partition.state is not State.DRAINING
            if (declined or unasked) and known is not None:
                self.processes.failed(known.process_id, now, broke=True)  # it would do the same with the next at once
            orderly = declined or reason in (ClosedReason.STOPPED, ClosedReason.REVOKED)
            self._released(partition, now, orderly=orderly, why=f"the lambda closed ({reason.name.lower()})")
        if known is not None:
            self._remove(known, now)

    def stream_lost(self, stream: StreamId, now: float) -> None:
        """The stream ended without Closed: the process died, or the connection broke."""
        partition = self._partition_of(stream)
        known = self.processes.get(stream)
        if known is None:
            return
        if partition is not None:
            self.processes.failed(known.process_id, now, broke=True)
            self._released(partition, now, orderly=False, why="the stream broke", immediate=True)
        self._remove(known, now)

    def checkpoint(self, lease: Lease, progress: Progress) -> tuple[CheckpointOutcome, int | None]:
        """How far a lambda has got. Returns the outcome and, when it lies beyond, what was delivered."""
        partition = self._leases.get(lease)
        if partition is None:
            return CheckpointOutcome.STALE_LEASE, None
        outcome = partition.progress(progress)
        delivered = partition.window.delivered if outcome is CheckpointOutcome.BEYOND_DELIVERED else None
        return outcome, delivered

    def error(self, lease: Lease, failure: Failure, last: Progress | None, now: float) -> tuple[ErrorOutcome, float]:
        """A lambda reported an error. Returns the outcome and the seconds of back-off."""
        partition = self._leases.get(lease)
        if partition is None:
            return ErrorOutcome.STALE_LEASE, 0.0
        fields = failure.fields()
        if failure.action is ErrorAction.REPORT:
            self._report("warning", "lambda reported an error", partition, **fields)
            if last is not None:
                partition.progress(last)
            return ErrorOutcome.REPORTED, 0.0
        if last is not None and (failure.offset is None or last.offset is None or last.offset < failure.offset):
            partition.progress(last)
        reason = f"{failure.code or failure.type or 'error'}: {failure.message}"
        stream = self._stream_of(partition)
        creating = partition.state is State.STARTING
        if failure.action is ErrorAction.CRITICAL and not creating and partition.state is not State.DRAINING:
            self._report("error", "partition halted: critical error of the lambda", partition, **fields)
            self._end_lease(partition)
            self._halt(partition, reason, failure.offset)
            outcome, seconds = ErrorOutcome.HALTED, 0.0
        else:
            self._report("warning", "lambda failed", partition, creating=creating, **fields)
            if creating:
                self.processes.failed(stream.process_id, now)
            draining = partition.state is State.DRAINING
            seconds = 0.0 if draining else self._released(partition, now, orderly=False, why=reason)
            if draining:
                self._released(partition, now, orderly=True, why=reason)
            outcome = ErrorOutcome.RESTARTING
        self.processes.fence(stream, now + self.limits.close_timeout)
        return outcome, seconds

    def rewound(self, tp: TopicPartition) -> None:
        """Kafka's client was told to fetch again from where ``Rewind`` said."""
        self.partitions[tp].refetch = False

    def partition_of_lease(self, lease: Lease) -> TopicPartition | None:
        """The partition of a living lease."""
        partition = self._leases.get(lease)
        return None if partition is None else partition.tp

    # --- records --------------------------------------------------------------------------------------------

    def may_send(self, tp: TopicPartition) -> int:
        """How many records may go to the partition's lambda now; 0: none."""
        partition = self.partitions.get(tp)
        if (
            partition is None
            or partition.state is not State.RUNNING
            or partition.in_flight >= self.limits.frames_in_flight
        ):
            return 0
        return partition.window.room()

    def sent(
        self, tp: TopicPartition, first: int, last: int, count: int, size: int, offsets: Sequence[int] | None
    ) -> None:
        """A frame of ``count`` records and ``size`` bytes was handed to the stream."""
        partition = self.partitions[tp]
        partition.window.sent(first, last, count, size, offsets)
        partition.in_flight += 1

    def written(self, stream: StreamId) -> TopicPartition | None:
        """A frame left. Returns the partition that may get the next, or None when the stream has none."""
        partition = self._partition_of(stream)
        if partition is None:
            return None
        partition.in_flight -= 1
        return partition.tp

    def undeliverable(self, tp: TopicPartition, offset: int, reason: str, seconds: float, now: float) -> None:
        """The record at ``offset`` cannot be delivered: let the lambda finish what came before, then halt."""
        partition = self.partitions[tp]
        self._report("error", "record cannot be delivered", partition, offset=offset, reason=reason)
        partition.reason = reason
        partition.failing_offset = offset
        partition.refetch = True
        self._drain(partition, RevokeReason.HALTED, AfterDrain.HALT, seconds, now)

    def block(self, tp: TopicPartition, now: float) -> None:
        """Records wait, and the window is full (or not any more: called whenever that may have changed)."""
        partition = self.partitions.get(tp)
        if partition is None or partition.state is not State.RUNNING:
            return
        if partition.block(now):
            self._report(
                "warning",
                "no checkpoint: the window is full, the partition stands still",
                partition,
                outstanding=partition.window.outstanding,
                checkpoint=partition.checkpoint,
                delivered=partition.window.delivered,
                seconds=round(now - (partition.blocked_since or now)),
            )

    # --- the operator, the clock ------------------------------------------------------------------------------

    def resume(self, tp: TopicPartition, now: float, *, skip: bool) -> tuple[int, int | None]:
        """Let a halted partition go on. Returns where it goes on and the offset that will be left out.

        Raises ``ResumeRefused`` when the partition is not halted, or ``skip`` and no failing offset is known.
        """
        partition = self.partitions.get(tp)
        if partition is None:
            mine = ", ".join(map(str, sorted(self.partitions))) or "none"
            raise ResumeRefused(f"{tp} is not assigned to this sidecar now; it has: {mine}", known=False)
        if partition.state is not State.HALTED:
            raise ResumeRefused(f"{tp} is not halted, it is {partition.state.name.lower().replace('_', ' ')}")
        if skip and partition.failing_offset is None:
            raise ResumeRefused(
                f"{tp} halted without naming a failing offset ({partition.reason}), so there is none to skip; "
                "resume without --skip"
            )
        skipped = partition.failing_offset if skip else None
        if skipped is not None:
            partition.skip.add(skipped)
        self._report("info", "partition resumed by an operator", partition, skipped=skipped)
        partition.failures = 0
        partition.attempt = 1
        partition.failing_offset = None
        partition.reason = ""
        partition.touched = True  # a place that was found lost is taken by the operator's word
        self._wait(partition, now)
        return partition.resume_at, skipped

    def tick(self, now: float) -> None:
        """Time has passed: drains and starts that took too long, back-offs that are over."""
        for partition in [p for p in self._timed.values() if p.due is not None and p.due <= now]:
            self._overdue(partition, now)
        for stream in self.processes.fenced_late(now):
            self._end(stream, "closed: did not come in time after the lease was dead")
            self._remove(stream, now)
        self._match(now)

    def next_due(self, now: float) -> float | None:
        """When ``tick`` has something to do next, or None."""
        times = [p.due for p in self._timed.values()]
        times.append(self.processes.next_fence())
        if self._waiting:
            times.append(self.processes.next_release(now))
        return min((time for time in times if time is not None), default=None)

    # --- inside -----------------------------------------------------------------------------------------------

    def _match(self, now: float) -> None:
        while self._waiting and not self._draining_all:
            stream = self.processes.choose(now)
            if stream is None:
                return
            tp = next(iter(self._waiting))
            del self._waiting[tp]
            partition = self.partitions[tp]
            lease = self._new_lease()
            partition.begin(lease, stream.id, stream.process_id, now + self.limits.ready_timeout)
            self._timed[tp] = partition
            self._leases[lease] = partition
            self.processes.give(stream, tp)
            self.commands.append(Assign(stream.id, lease, tp, partition.resume_at, partition.attempt))

    def _wait(self, partition: Partition, now: float) -> None:
        partition.state = State.WAITING
        partition.due = None
        self._timed.pop(partition.tp, None)
        self._waiting[partition.tp] = None
        self._match(now)

    def _forget_wait(self, partition: Partition) -> None:
        self._waiting.pop(partition.tp, None)
        if partition.state is State.BACKING_OFF:
            self._timed.pop(partition.tp, None)
            partition.due = None

    def _halt(self, partition: Partition, reason: str, offset: int | None) -> None:
        partition.state = State.HALTED
        partition.due = None
        self._timed.pop(partition.tp, None)
        partition.reason = reason
        partition.failing_offset = offset

    def _drain(
        self, partition: Partition, reason: RevokeReason, then: AfterDrain, seconds: float, now: float
    ) -> None:
        stream = self._stream_of(partition)
        partition.state = State.DRAINING
        partition.after_drain = then
        partition.due = now + seconds
        self._timed[partition.tp] = partition
        self.commands.append(Revoke(stream.id, reason, seconds))

    def _fence(self, partition: Partition, reason: RevokeReason, now: float, *, rewind: bool = True) -> None:
        """End the lease now; the stream gets some time to say Closed."""
        stream = self._stream_of(partition)
        self.commands.append(Revoke(stream.id, reason, 0.0))
        self._end_lease(partition, rewind=rewind)
        self.processes.fence(stream, now + self.limits.close_timeout)

    def _end_lease(self, partition: Partition, *, rewind: bool = True) -> None:
        assert partition.lease is not None
        del self._leases[partition.lease]
        self._timed.pop(partition.tp, None)
        leaves = partition.state is State.DRAINING and partition.after_drain is AfterDrain.RELEASE
        offset = partition.end_lease()
        if offset is not None and rewind and not leaves:
            self.commands.append(Rewind(partition.tp, offset))

    def _released(
        self, partition: Partition, now: float, *, orderly: bool, why: str, immediate: bool = False
    ) -> float:
        """The lambda let go of the partition. Returns the seconds of back-off.

        ``orderly``: nothing failed. ``immediate``: a first failure is tried again at once (a process that was
        killed is no reason to wait; one that dies again and again is).
        """
        draining = partition.state is State.DRAINING
        lease = partition.lease
        self._end_lease(partition)
        if draining:
            if partition.after_drain is AfterDrain.HALT:
                self._halt(partition, partition.reason, partition.failing_offset)
            return 0.0
        if orderly:
            self._report("info", "partition waits for a lambda", partition, lease=lease, reason=why)
            self._wait(partition, now)
            return 0.0
        partition.failures += 1
        partition.attempt += 1
        partition.reason = why
        self.restarts += 1
        if immediate and partition.failures == 1:
            self._report("warning", "partition restarts at once", partition, lease=lease, reason=why)
            self._wait(partition, now)
            return 0.0
        limits = self.limits
        seconds = delay(partition.failures, limits.backoff_first, limits.backoff_most, self._jitter)
        partition.state = State.BACKING_OFF
        partition.due = now + seconds
        self._timed[partition.tp] = partition
        self._report(
            "warning",
            "partition backs off",
            partition,
            lease=lease,
            reason=why,
            attempt=partition.attempt,
            seconds=round(seconds, 3),
        )
        return seconds

    def _overdue(self, partition: Partition, now: float) -> None:
        if partition.state is State.BACKING_OFF:
            self._wait(partition, now)
            return
        stream = self._stream_of(partition)
        if partition.state is State.STARTING:
            self.processes.failed(stream.process_id, now)
            self._end(stream, f"ready: did not come within {self.limits.ready_timeout:g} s of Assigned")
            self._released(partition, now, orderly=False, why="Ready did not come in time")
        else:
            self._report("warning", "drain deadline passed without Closed", partition)
            self._end(stream, "closed: did not come within the deadline of Revoked")
            self._released(partition, now, orderly=True, why="drain deadline")
        self._remove(stream, now)

    def _end(self, stream: Stream, text: str) -> None:
        self.commands.append(EndStream(stream.id, EndReason.TOO_LATE, text))

    def _remove(self, stream: Stream, now: float) -> None:
        self.processes.remove(stream)
        if len(self.processes) == 0:
            self._empty_since = now
        self._match(now)

    def _partition_of(self, stream: StreamId) -> Partition | None:
        known = self.processes.get(stream)
        if known is None or known.partition is None:
            return None
        partition = self.partitions.get(known.partition)
        # After a rebalance the same partition may be here again under another stream.
        return partition if partition is not None and partition.stream == stream else None

    def _stream_of(self, partition: Partition) -> Stream:
        assert partition.stream is not None
        stream = self.processes.get(partition.stream)
        assert stream is not None
        return stream

    def _report(self, level: Level, event: str, partition: Partition, /, **fields: object) -> None:
        lease = fields.pop("lease", partition.lease)
        self.commands.append(Report(level, event, partition.tp, cast("Lease | None", lease), fields))
