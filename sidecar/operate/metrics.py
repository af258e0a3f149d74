"""Prometheus metrics, made from a snapshot of the sidecar at each scrape. `declared` says which there are."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, product
from typing import TypeVar

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from sidecar.measured import Times
from sidecar.operate.declared import LAMBDA, PARTITION, PREFIX, SIDECAR, Metric, Value
from sidecar.status import SidecarStatus

S = TypeVar("S")
_PARTITION_LABELS = ("lambda", "topic", "partition")


def registry_of(status: SidecarStatus, *, partitions: bool) -> CollectorRegistry:
    """All metrics of one scrape; ``partitions``: with those of each partition."""
    registry = CollectorRegistry()
    registry.register(StatusCollector(status, partitions=partitions))
    for collector in process_collectors():
        registry.register(collector)
    return registry


def process_collectors() -> list[Collector]:
    """The client library's own collectors: the process, the Python that runs it, and its garbage collector."""
    unused = CollectorRegistry()  # each wants to register itself somewhere
    return [ProcessCollector(registry=unused), PlatformCollector(unused), GCCollector(unused)]


class StatusCollector(Collector):
    """The metrics of a snapshot."""

    def __init__(self, status: SidecarStatus, *, partitions: bool) -> None:
        """``partitions``: with those of each partition."""
        self._status = status
        self._partitions = partitions

    def describe(self) -> list[Family]:
        """No metrics to check at registration: no other collector has names with our prefix."""
        return []

    def collect(self) -> Iterator[Family]:
        """The metrics of one scrape."""
        status = self._status
        for metric in SIDECAR:
            yield _family(metric, (), [((), status)], status.taken_at)
        lambdas = [((name,), one) for name, one in status.lambdas.items()]
        for of_lambda in LAMBDA:
            yield _family(of_lambda, ("lambda",), lambdas, status.taken_at)
        if not self._partitions:
            return
        every = [
            ((name, partition.tp.topic, str(partition.tp.partition)), partition)
            for name, one in status.lambdas.items()
            for partition in one.whole_partitions
        ]
        for of_partition in PARTITION:
            yield _family(of_partition, _PARTITION_LABELS, every, status.taken_at)


def _family(
    metric: Metric[S], labels: tuple[str, ...], subjects: Sequence[tuple[tuple[str, ...], S]], now: float
) -> Family:
    """The samples of one metric for all its subjects, which have these labels."""
    name, names = f"{PREFIX}{metric.name}", [*labels, *metric.labels]
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(name, metric.help, labels=names)
        for place, subject in subjects:
            times = metric.read(subject, now)
            assert isinstance(times, Times)
            histogram.add_metric(place, _buckets(times), times.total)
        return histogram
    family = (CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily)(name, metric.help, labels=names)
    for place, subject in subjects:
        for own, number in _samples(metric, metric.read(subject, now)):
            family.add_metric((*place, *own), float(number))
    return family


def _samples(metric: Metric[S], value: Value) -> Iterator[tuple[tuple[str, ...], float]]:
    """The values of the metric's own labels with a number each.

    Those that count nothing yet are 0: `increase` does not see the first event of a series that was not there before.
    """
    if isinstance(value, Mapping):
        zeros: dict[tuple[str, ...], float] = dict.fromkeys(product(*metric.labels.values()), 0.0)
        yield from (zeros | {(k,) if isinstance(k, str) else k: number for k, number in value.items()}).items()
    elif value is not None:
        assert not isinstance(value, Times)
        yield (), value


def _buckets(times: Times) -> list[tuple[str, float]]:
    """Cumulative counts by their upper bounds, as Prometheus has them."""
    bounds = [*map(floatToGoString, times.bounds), "+Inf"]
    return [*zip(bounds, accumulate(times.counts), strict=True)]
