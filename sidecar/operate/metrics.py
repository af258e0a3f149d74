"""Prometheus metrics, made from the lambdas' status at each scrape."""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar.logs.sink import SINK
from sidecar.partitions.vocabulary import State
from sidecar.status import LambdaStatus, PartitionStatus, SidecarStatus


def _lag(partition: PartitionStatus) -> int | None:
    if partition.end is None or partition.committed is None:
        return None
    return max(0, partition.end - partition.committed)


_COUNTERS: tuple[tuple[str, str, Callable[[LambdaStatus], int]], ...] = (
    ("records_sent", "Records sent to lambdas.", lambda s: s.records_sent),
    ("records_fetched", "Records fetched from Kafka; more than sent: fetched again.", lambda s: s.records_fetched),
    ("restarts", "Leases that ended by an error, a failed create or a broken stream.", lambda s: s.restarts),
    ("dead_letters", "Records written to a dead-letter topic.", lambda s: s.dead_letters),
    ("hand_overs", "Partitions moved from one process to another for balance.", lambda s: s.hand_overs),
    ("produced_records", "Records that lambdas produced, written to Kafka.", lambda s: s.produced),
    (
        "produce_failures",
        "Records that lambdas produced, not known to be written.",
        lambda s: sum(s.produce_failures.values()),
    ),
    ("process_exits", "Ends of processes that the sidecar keeps running.", lambda s: s.process_exits),
    ("reports", "Errors that lambdas reported without stopping.", lambda s: s.reports),
    ("skipped_records", "Records passed without being handled, as lambdas tell.", lambda s: s.skipped),
)
_GAUGES: tuple[tuple[str, str, Callable[[LambdaStatus], float]], ...] = (
    ("connected", "1 while Kafka can be reached.", lambda s: s.connected),
    ("ready", "1 while nothing keeps the lambda from consuming.", lambda s: s.ready),
    ("processes", "Lambda processes.", lambda s: len(s.processes)),
    ("partitions", "Partitions assigned to this sidecar.", lambda s: len(s.partitions)),
    (
        "corrupt_documents",
        "Documents whose records are skipped, as lambdas tell.",
        lambda s: sum(p.skipping_count for p in s.partitions),
    ),
)
_PARTITION: tuple[tuple[str, str, Callable[[PartitionStatus], float | None]], ...] = (
    ("lag", "Records written and not yet committed.", _lag),
    ("outstanding", "Records sent, neither checkpointed nor completed beyond.", lambda p: p.outstanding),
    ("waiting", "Records fetched and not yet sent.", lambda p: p.waiting),
    ("checkpoint", "Last offset known to be processed.", lambda p: p.checkpoint),
    ("committed", "Committed offset.", lambda p: p.committed),
    ("halted", "1 while the partition waits for an operator.", lambda p: p.state is State.HALTED),
    ("paused", "1 while an operator or the lambda lets it stand still.", lambda p: p.state is State.PAUSED),
    ("blocked", "1 while the window is full and records wait.", lambda p: p.blocked_since is not None),
    ("stalled", "1 while records are outstanding without a checkpoint.", lambda p: p.stalled_since is not None),
)


class StatusCollector(Collector):
    """All metrics of the sidecar."""

    def __init__(self, status: SidecarStatus) -> None:
        self._status = status

    def describe(self) -> list[Metric]:
        """No metrics to check at registration: this is the registry's only collector."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics of one scrape."""
        dropped = "Log lines that could not be written."
        yield CounterMetricFamily("kafka_sidecar_log_lines_dropped", dropped, value=SINK.dropped)
        statuses = self._status.lambdas
        for name, text, count in _COUNTERS:
            counter = CounterMetricFamily(f"kafka_sidecar_{name}", text, labels=["lambda"])
            for lambda_name, status in statuses.items():
                counter.add_metric([lambda_name], count(status))
            yield counter
        for name, text, value in _GAUGES:
            gauge = GaugeMetricFamily(f"kafka_sidecar_{name}", text, labels=["lambda"])
            for lambda_name, status in statuses.items():
                gauge.add_metric([lambda_name], float(value(status)))
            yield gauge
        problems = GaugeMetricFamily(
            "kafka_sidecar_problem", "1 while there is a problem of this kind.", labels=["lambda", "kind"]
        )
        for lambda_name, status in statuses.items():
            for problem in status.problems:
                problems.add_metric([lambda_name, problem.kind], 1.0)
        yield problems
        for name, text, measure in _PARTITION:
            gauge = GaugeMetricFamily(
                f"kafka_sidecar_partition_{name}", text, labels=["lambda", "topic", "partition"]
            )
            for lambda_name, status in statuses.items():
                for partition in status.partitions:
                    number = measure(partition)
                    if number is not None:
                        labels = [lambda_name, partition.tp.topic, str(partition.tp.partition)]
                        gauge.add_metric(labels, float(number))
            yield gauge
