"""How one lambda is doing, for operators. Called by the consumer thread, of what it owns."""

from sidecar.consuming.ends import Ends
from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.consuming.subscription import Subscription
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
    """A picture of the present moment. Asks nobody: the log's ends are as last heard."""
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
            PartitionStatus(
                tp=tp,
                state=p.state,
                process_id=p.process_id,
                delivered=p.window.delivered,
                handled=p.handled,
                checkpoint=p.checkpoint,
                committed=p.committed,
                end=ends.end(tp),
                outstanding=p.window.outstanding,
                waiting=buffer.count(tp),
                attempt=p.attempt,
                reason=p.reason or _without_leader(subscription, tp),
                failing_offset=p.failing_offset,
                blocked_since=p.blocked_since,
                stalled_since=p.last_progress_at if p.stalled else None,
                resumes_at=p.due if p.state is State.PAUSED else None,
                skipped=p.skipped,
                skipping=p.skipping,
                skipping_count=p.skipping_count,
            )
            for tp, p in sorted(table.partitions.items())
        ],
    )


def _without_leader(subscription: Subscription, tp: TopicPartition) -> str:
    return "" if subscription.has_leader(tp) else "no broker leads the partition"
