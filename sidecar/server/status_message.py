"""The snapshot as the message of `proto/admin.proto`. Pure."""

from collections import defaultdict
from typing import cast

from sdk_python.protocol import admin_pb2 as pb
from sidecar.status import LambdaStatus, PartitionStatus, ProcessStatus, SidecarStatus, SupervisedStatus


def status_response(status: SidecarStatus) -> pb.StatusResponse:
    """The answer to `Status`: what operators' commands and the page show."""
    clock = _Clock(status.wall_clock)
    return pb.StatusResponse(
        version=status.version,
        started_at_ms=clock.ms(status.started_at),
        bootstrap_servers=status.bootstrap_servers,
        lambdas=[_lambda(name, one, clock) for name, one in status.lambdas.items()],
        now_ms=clock.ms(status.taken_at),
        host=status.host,
        pid=status.pid,
        config_hash=status.config_hash,
        memory_bytes=status.memory_bytes,
        draining=status.draining,
    )


class _Clock:
    """Turns times of the monotonic clock into milliseconds since the Unix epoch."""

    def __init__(self, wall_clock: float) -> None:
        self._wall_clock = wall_clock

    def ms(self, seconds: float) -> int:
        return round((seconds + self._wall_clock) * 1000)

    def maybe_ms(self, seconds: float | None) -> int | None:
        return None if seconds is None else self.ms(seconds)


def _lambda(name: str, status: LambdaStatus, clock: _Clock) -> pb.Lambda:
    rebalance = status.last_rebalance
    sent, done = defaultdict[str, float](float), defaultdict[str, float](float)
    for partition in status.partitions:
        sent[partition.process_id] += partition.sent_per_second
        done[partition.process_id] += partition.done_per_second
    return pb.Lambda(
        name=name,
        group=status.group,
        topics=status.topics,
        connected=status.connected,
        joined=status.joined,
        problem=status.problem,
        problems=[
            pb.Problem(kind=one.kind, text=one.text, since_ms=clock.ms(one.since), blocks=one.blocks, cause=one.cause)
            for one in status.problems
        ],
        processes=[_process(one, sent[one.process_id], done[one.process_id], clock) for one in status.processes],
        partitions=[_partition(one, clock) for one in status.partitions],
        records_sent=status.records_sent,
        records_fetched=status.records_fetched,
        restarts=sum(status.restarts.values()),
        dead_letters=status.dead_letters,
        exactly_once=status.exactly_once,
        transactions_committed=status.transactions_committed,
        transactions_aborted=status.transactions_aborted,
        hand_overs=status.hand_overs,
        reports=status.reports,
        skipped_records=status.skipped,
        supervised=[_supervised(one, clock) for one in status.supervised],
        last_rebalance=None
        if rebalance is None
        else pb.Rebalance(
            at_ms=clock.ms(rebalance.at),
            kind=cast("pb.RebalanceKind", rebalance.kind),
            partitions=rebalance.partitions,
            reason=rebalance.reason,
        ),
        rebalances=sum(status.rebalances.values()),
        bytes_sent=status.bytes_sent,
        produced_records=status.produced,
        lanes=status.lanes,
        topic_sizes=[pb.TopicSize(topic=topic, partitions=count) for topic, count in status.topic_sizes],
        produce_failures=sum(status.produce_failures.values()),
    )


def _process(process: ProcessStatus, sent_per_second: float, done_per_second: float, clock: _Clock) -> pb.Process:
    return pb.Process(
        process_id=process.process_id,
        instance=process.instance,
        pid=process.pid,
        partitions=process.partitions,
        spare=process.spare,
        client=process.client,
        lambda_version=process.lambda_version,
        identity=process.identity,
        peer=process.peer,
        connected_since_ms=clock.maybe_ms(process.connected_since),
        last_seen_ms=clock.maybe_ms(process.last_seen),
        sent_per_second=sent_per_second,
        done_per_second=done_per_second,
    )


def _supervised(process: SupervisedStatus, clock: _Clock) -> pb.Supervised:
    return pb.Supervised(
        instance=process.instance,
        program=process.program,
        pid=process.pid,
        since_ms=clock.ms(process.since),
        exits=process.exits,
        failures=process.failures,
        next_start_ms=clock.maybe_ms(process.next_start),
        last_exits=[
            pb.Exit(at_ms=clock.ms(one.at), how=one.how, ran_ms=round(one.ran * 1000), last_line=one.last_line)
            for one in process.last_exits
        ],
    )


def _partition(status: PartitionStatus, clock: _Clock) -> pb.Partition:
    failure = status.last_failure
    return pb.Partition(
        topic=status.tp.topic,
        partition=status.tp.partition,
        state=cast("pb.PartitionState", status.state),
        process_id=status.process_id,
        delivered=status.delivered,
        handled=status.handled,
        checkpoint=status.checkpoint,
        committed=status.committed,
        end=status.end,
        outstanding=status.outstanding,
        waiting=status.waiting,
        attempt=status.attempt,
        reason=status.reason,
        failing_offset=status.failing_offset,
        blocked_since_ms=clock.maybe_ms(status.blocked_since),
        stalled_since_ms=clock.maybe_ms(status.stalled_since),
        resumes_at_ms=clock.maybe_ms(status.resumes_at),
        skipped_records=status.skipped,
        skipping=status.skipping,
        skipping_count=status.skipping_count,
        state_since_ms=clock.ms(status.state_since),
        lease_since_ms=clock.maybe_ms(status.lease_since),
        oldest_outstanding_ms=clock.maybe_ms(status.oldest_outstanding),
        outstanding_bytes=status.outstanding_bytes,
        waiting_bytes=status.waiting_bytes,
        sent_per_second=status.sent_per_second,
        done_per_second=status.done_per_second,
        last_error=None
        if failure is None
        else pb.Failure(
            at_ms=clock.ms(failure.at),
            text=failure.text,
            offset=failure.offset,
            kind=cast("pb.FailureKind", failure.kind),
        ),
        waits_for=cast("pb.WaitsFor", status.waits_for),
        next_retry_at_ms=clock.maybe_ms(status.next_retry),
        progress_at_ms=clock.maybe_ms(status.progress_at),
        handled_at_ms=clock.maybe_ms(status.handled_at),
        progress=status.progress,
        overdue_at_ms=clock.maybe_ms(status.overdue_at),
        state_bytes=status.state_bytes,
        lane=status.lane,
        lanes=status.lanes if status.lanes > 1 else 0,
    )
