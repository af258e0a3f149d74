"""The status of one lambda, for operators. Called in the consumer thread, which owns the objects it reads."""

from sidecar.consuming.ends import Ends
from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.consuming.subscription import Subscription
from sidecar.partitions.partition import Partition
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import State, TopicPartition
from sidecar.status import LambdaStatus, PartitionStatus, Problem, ProcessStatus


def lambda_status(
    ends: Ends,
    subscription: Subscription,
    table: PartitionTable,
    buffer: FetchBuffer,
    *,
    connected: bool,
    joined: bool,
    problems: list[Problem],
    sent: int,
) -> LambdaStatus:
    """The status now. It asks Kafka nothing: the ends of the logs are as last heard."""
    return LambdaStatus(
        connected=connected,
        joined=joined,
        problems=problems,
        records_sent=sent,
        records_fetched=buffer.fetched,
        restarts=table.counts.restarts,
        dead_letters=table.counts.dead_letters,
        hand_overs=table.balance.count,
        reports=table.counts.reports,
        skipped=table.counts.skipped,
        processes=[ProcessStatus(*process) for process in table.processes],
        partitions=[
            _partition(p, ends.end(tp), buffer.count(p.lane), subscription)
            for tp, p in sorted(table.partitions.items())
        ],
    )


def _partition(p: Partition, end: int | None, waiting: int, subscription: Subscription) -> PartitionStatus:
    holding, offsets, trouble = p.holding, p.offsets, p.trouble
    return PartitionStatus(
        tp=p.tp,
        state=p.state,
        process_id="" if holding is None else holding.process_id,
        delivered=None if holding is None else holding.window.delivered,
        handled=offsets.handled,
        checkpoint=offsets.checkpoint,
        committed=offsets.committed,
        end=end,
        outstanding=0 if holding is None else holding.window.outstanding,
        waiting=waiting,
        attempt=trouble.attempt,
        reason=trouble.reason or _without_leader(subscription, p.tp),
        failing_offset=trouble.failing_offset,
        blocked_since=None if holding is None else holding.blocked_since,
        stalled_since=holding.last_progress_at if holding is not None and holding.stalled else None,
        resumes_at=p.due if p.state is State.PAUSED else None,
        skipped=p.skipped,
        skipping=() if holding is None else holding.skipping,
        skipping_count=0 if holding is None else holding.skipping_count,
    )


def _without_leader(subscription: Subscription, tp: TopicPartition) -> str:
    return "" if subscription.has_leader(tp) else "no broker leads the partition"
