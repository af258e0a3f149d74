"""The status of one lambda, for operators. Called in the consumer thread, which owns the objects it reads."""

from sidecar.consuming.ends import Ends
from sidecar.consuming.lambda_state import LambdaState
from sidecar.partitions.partition import Partition
from sidecar.partitions.vocabulary import State
from sidecar.partitions.waiting import waits_for
from sidecar.status import LambdaStatus, PartitionStatus, ProcessStatus


def lambda_status(state: LambdaState, ends: Ends, now: float, *, joined: bool) -> LambdaStatus:
    """The status at ``now``. It asks Kafka nothing: the ends of the logs are as last heard."""
    table, rebalances = state.table, state.rebalances
    return LambdaStatus(
        connected=state.connection.connected,
        joined=joined,
        problems=state.problems.now,
        records_sent=state.sender.sent,
        records_fetched=state.buffer.fetched,
        restarts=dict(table.counts.restarts),
        dead_letters=table.counts.dead_letters,
        hand_overs=table.balance.count,
        reports=table.counts.reports,
        skipped=table.counts.skipped,
        processes=[ProcessStatus(*process) for process in table.processes],
        partitions=[
            _partition(state, lane, ends.end(tp), now)
            for tp, partition in sorted(table.partitions.items())
            for lane in partition.lanes
        ],
        lanes=state.config.lanes,
        group=state.config.group,
        topics=tuple(state.config.topics),
        bytes_sent=state.sender.sent_bytes,
        bytes_shared=state.sender.shared_bytes,
        last_rebalance=rebalances.last,
        rebalances=dict(rebalances.counts),
        topic_sizes=state.subscription.sizes(),
        produced=0 if state.transacted is None else state.transacted.written,
        exactly_once=state.config.exactly_once,
        transactions_committed=0 if state.transacted is None else state.transacted.committed_count,
        transactions_aborted=0 if state.transacted is None else state.transacted.aborted_count,
        delays=table.counts.delays.now,
        thread=state.measure.now,
    )


def _waits_beside(state: LambdaState, p: Partition) -> str:
    """That it waits for another lane of its partition; empty: it does not."""
    if not p.window.is_spanned:
        return ""
    lowest = min(state.table.partitions[p.tp].lanes, key=lambda lane: lane.offsets.resume_at)
    return f"too far ahead of {lowest.lane}, which is at offset {lowest.offsets.resume_at}"


def _partition(state: LambdaState, p: Partition, end: int | None, now: float) -> PartitionStatus:
    holding, offsets, trouble = p.holding, p.offsets, p.trouble
    window = None if holding is None else holding.window
    has_leader = state.subscription.has_leader(p.tp)
    return PartitionStatus(
        tp=p.tp,
        lane=p.lane.number,
        lanes=p.lane.of,
        state=p.state,
        process_id="" if holding is None else holding.process_id,
        delivered=None if window is None else window.delivered,
        handled=offsets.handled,
        checkpoint=offsets.checkpoint,
        committed=offsets.committed,
        end=end,
        outstanding=0 if window is None else window.outstanding,
        waiting=state.buffer.count(p.lane),
        attempt=trouble.attempt,
        reason=trouble.reason or ("no broker leads the partition" if not has_leader else _waits_beside(state, p)),
        failing_offset=trouble.failing_offset,
        blocked_since=None if holding is None else holding.blocked_since,
        stalled_since=holding.last_progress_at if holding is not None and holding.stalled else None,
        resumes_at=p.due if p.state is State.PAUSED else None,
        skipped=p.skipped,
        skipping=() if holding is None else holding.skipping,
        skipping_count=0 if holding is None else holding.skipping_count,
        state_since=p.state_since,
        lease_since=None if holding is None else holding.since,
        oldest_outstanding=None if window is None else window.oldest_sent_at,
        outstanding_bytes=0 if window is None else window.outstanding_bytes,
        waiting_bytes=state.buffer.bytes(p.lane),
        sent_per_second=p.sent.rate(now),
        done_per_second=p.done.rate(now),
        last_failure=p.last_failure,
        waits_for=waits_for(p, has_leader=has_leader, end=end),
        handled_at=offsets.handled_at,
        progress_at=None if holding is None else holding.last_progress_at,
        next_retry=p.due if p.state is State.BACKING_OFF else None,
        progress="" if holding is None else holding.progress_text,
        overdue_at=p.overdue_at,
        state_bytes=len(offsets.state),
    )
