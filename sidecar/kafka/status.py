"""How one lambda is doing, for operators. Called by the consumer thread, of what it owns."""

from confluent_kafka import Consumer, KafkaException, TopicPartition as KafkaPartition

from sidecar import mail
from sidecar.kafka.inflow import Inflow
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import State, TopicPartition


def lambda_status(
    consumer: Consumer,
    table: PartitionTable,
    inflow: Inflow,
    *,
    connected: bool,
    joined: bool,
    problems: list[mail.Problem],
    sent: int,
) -> mail.LambdaStatus:
    """A picture of the present moment. Asks nobody: the log's ends are as Kafka's client last heard them."""
    return mail.LambdaStatus(
        connected=connected,
        joined=joined,
        problems=problems,
        records_sent=sent,
        records_fetched=inflow.fetched,
        restarts=table.restarts,
        dead_letters=table.dead_letters,
        hand_overs=table.balance.count,
        reports=table.reports,
        processes=[mail.ProcessStatus(*process) for process in table.processes],
        partitions=[
            mail.PartitionStatus(
                tp=tp,
                state=p.state,
                process_id=p.process_id,
                delivered=p.window.delivered,
                handled=p.handled,
                checkpoint=p.checkpoint,
                committed=p.committed,
                end=_end(consumer, tp),
                outstanding=p.window.outstanding,
                waiting=inflow.count(tp),
                attempt=p.attempt,
                reason=p.reason,
                failing_offset=p.failing_offset,
                blocked_since=p.blocked_since,
                stalled_since=p.moved_at if p.stalled else None,
                resumes_at=p.due if p.state is State.PAUSED else None,
            )
            for tp, p in sorted(table.partitions.items())
        ],
    )


def _end(consumer: Consumer, tp: TopicPartition) -> int | None:
    try:
        marks = consumer.get_watermark_offsets(KafkaPartition(tp.topic, tp.partition), cached=True)
    except KafkaException:
        return None
    return marks[1] if marks[1] >= 0 else None
