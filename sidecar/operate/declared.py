"""Every metric of the sidecar: its name, its meaning, its labels, and where its value comes from.

This is the only place that names them: the collector renders it, docs/operate/metrics.md has a table made of it, and
tests compare the alerts and the dashboard with it.
"""

import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from confluent_kafka import libversion

from sidecar.cluster.errors import KINDS
from sidecar.logs.sink import SINK
from sidecar.measured import Times
from sidecar.partitions.vocabulary import FailureKind, RebalanceKind, State
from sidecar.producing.outcomes import FAILURE_KINDS
from sidecar.records.extension import extension
from sidecar.status import LambdaStatus, PartitionStatus, SidecarStatus
from sidecar.version import VERSION

PREFIX = "kafka_sidecar_"

S = TypeVar("S")
Kind = Literal["counter", "gauge", "histogram"]
Value: TypeAlias = "float | Mapping[str, float] | Mapping[tuple[str, ...], float] | Times | None"
"""Of a metric with labels of its own: a value for each of their values. None: unknown, so it is not shown."""

PROBLEM_KINDS = (
    *("connection", "broker", "client", "group", "topics", "leaders", "commits", "commit", "process", "sidecar"),
    "transactions",
)
"""What `Problem.kind` begins with. What follows a colon there, such as a partition, would be no bounded label."""

FETCH_KINDS = (*(kind for kind in KINDS if kind != "rebalance"), "offset_lost", "not_fetched")

RESTART_KINDS = (
    *(FailureKind.FAILED, FailureKind.CRITICAL, FailureKind.CREATE, FailureKind.BROKE, FailureKind.LATE),
    *(FailureKind.CLOSED, FailureKind.DEADLINE, FailureKind.ABORTED),
)
"""The failures that end a lease."""


@dataclass(frozen=True, slots=True)
class Metric(Generic[S]):
    """One metric of the sidecar, a lambda or a partition (`S`)."""

    name: str
    """Without `PREFIX`, and of a counter without `_total`."""
    kind: Kind
    help: str
    read: Callable[[S, float], Value]
    """Its value; the second argument is the time of the snapshot, in seconds of the monotonic clock."""
    labels: Mapping[str, tuple[str, ...]]
    """Its own labels and the values that each can have; no values: anything, but one at a time."""

    @property
    def full_name(self) -> str:
        """The name that Prometheus shows; of a histogram without `_bucket`, `_sum` and `_count`."""
        return f"{PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"


def _counter(name: str, text: str, read: Callable[[S], Value], **labels: Iterable[str]) -> Metric[S]:
    return Metric(name, "counter", text, lambda of, _: read(of), _own(labels))


def _gauge(name: str, text: str, read: Callable[[S], Value], **labels: Iterable[str]) -> Metric[S]:
    return Metric(name, "gauge", text, lambda of, _: read(of), _own(labels))


def _histogram(name: str, text: str, read: Callable[[S], Times]) -> Metric[S]:
    return Metric(name, "histogram", text, lambda of, _: read(of), {})


def _aged(name: str, text: str, read: Callable[[S, float], Value]) -> Metric[S]:
    return Metric(name, "gauge", text, read, {})


def _own(labels: Mapping[str, Iterable[str]]) -> Mapping[str, tuple[str, ...]]:
    return {label: tuple(values) for label, values in labels.items()}


def _words(kinds: Iterable[State | FailureKind | RebalanceKind]) -> tuple[str, ...]:
    return tuple(kind.name.lower() for kind in kinds)


def _by_word(counts: Mapping[FailureKind, int] | Mapping[RebalanceKind, int]) -> Mapping[str, float]:
    return {kind.name.lower(): count for kind, count in counts.items()}


@cache
def _build() -> Mapping[tuple[str, ...], float]:
    has_extension = "no" if extension() is None else "yes"
    return {(VERSION, platform.python_version(), libversion()[0], has_extension): 1}


SIDECAR: tuple[Metric[SidecarStatus], ...] = (
    _gauge(
        "build_info",
        "1. The labels say what runs; extension: records are read by the C extension.",
        lambda _: _build(),
        version=(),
        python=(),
        librdkafka=(),
        extension=("yes", "no"),
    ),
    _gauge(
        "config_info",
        "1. The hash is equal for equal settings, whatever their secrets are.",
        lambda s: {s.config_hash: 1},
        hash=(),
    ),
    _gauge("draining", "1 while the sidecar stops.", lambda s: s.draining),
    _counter("log_lines_dropped", "Log lines that could not be written.", lambda _: SINK.dropped),
)


# --- of a lambda --------------------------------------------------------------------------------------------------


def _sum(read: Callable[[PartitionStatus], float | None]) -> Callable[[LambdaStatus], float]:
    """The sum over the partitions whose value is known."""
    return lambda s: sum(read(partition) or 0 for partition in s.partitions)


def _lag(partition: PartitionStatus) -> int | None:
    if partition.end is None or partition.committed is None:
        return None
    return max(0, partition.end - partition.committed)


def _whole_lag(status: LambdaStatus) -> int:
    return sum(_lag(partition) or 0 for partition in status.whole_partitions)


def _states(status: LambdaStatus) -> Mapping[str, float]:
    counts = dict.fromkeys(_words(State), 0)
    for partition in status.partitions:
        counts[partition.state.name.lower()] += 1
    return counts


def _problems(status: LambdaStatus) -> Mapping[str, float]:
    return {problem.kind.partition(":")[0]: 1 for problem in status.problems}


def _age(partition: PartitionStatus, now: float) -> float:
    return 0.0 if partition.oldest_outstanding is None else max(0.0, now - partition.oldest_outstanding)


LAMBDA: tuple[Metric[LambdaStatus], ...] = (
    # whether it works
    _gauge("ready", "1 while nothing keeps the lambda from consuming.", lambda s: s.ready),
    _gauge("connected", "1 while Kafka can be reached.", lambda s: s.connected),
    _gauge(
        "problem",
        "1 while there is a problem of this kind.",
        _problems,
        kind=PROBLEM_KINDS,
    ),
    _gauge("processes", "Lambda processes that are connected.", lambda s: len(s.processes)),
    _gauge("partitions", "Partitions assigned to this sidecar; with lanes: lanes.", _states, state=_words(State)),
    _gauge(
        "blocked_partitions",
        "Partitions whose window is full while records wait.",
        _sum(lambda p: p.blocked_since is not None),
    ),
    _gauge(
        "stalled_partitions",
        "Partitions with outstanding records and no checkpoint for `stall_after`.",
        _sum(lambda p: p.stalled_since is not None),
    ),
    _gauge(
        "corrupt_documents",
        "Documents whose records are skipped, as lambdas tell.",
        _sum(lambda p: p.skipping_count),
    ),
    # how far it is
    _gauge("lag", "Records written and not yet committed, of the partitions whose end is known.", _whole_lag),
    _aged(
        "oldest_outstanding_age_seconds",
        "How long ago the oldest outstanding record was sent; 0: there is none.",
        lambda s, now: max((_age(p, now) for p in s.partitions), default=0.0),
    ),
    _gauge(
        "outstanding_records",
        "Records sent, neither checkpointed nor completed beyond.",
        _sum(lambda p: p.outstanding),
    ),
    _gauge("outstanding_bytes", "The frames of those records.", _sum(lambda p: p.outstanding_bytes)),
    _gauge("waiting_records", "Records fetched and not yet sent.", _sum(lambda p: p.waiting)),
    _gauge("waiting_bytes", "The memory of those records.", _sum(lambda p: p.waiting_bytes)),
    # how quick it is
    _histogram(
        "handler_duration_seconds",
        "How long handlers take, as SDKs report: the Python SDK does.",
        lambda s: s.loop.handlers,
    ),
    _histogram(
        "checkpoint_delay_seconds",
        "From sending a record to the checkpoint that passes it.",
        lambda s: s.delays,
    ),
    _histogram(
        "commit_duration_seconds",
        "From a commit request to the answer that Kafka has taken it.",
        lambda s: s.thread.commits,
    ),
    # what went through it
    _counter(
        "records_fetched",
        "Records fetched from Kafka; more than sent: fetched again.",
        lambda s: s.records_fetched,
    ),
    _counter("records_sent", "Records sent to lambdas.", lambda s: s.records_sent),
    _counter("frames_sent", "Messages to lambda processes, on their streams.", lambda s: s.loop.frames_sent),
    _counter("frames_sent_bytes", "The bytes of those messages.", lambda s: s.loop.bytes_sent),
    _counter(
        "frames_shared_bytes",
        "The bytes of frames that went through shared memory (server.shared_memory) instead of the streams.",
        lambda s: s.bytes_shared,
    ),
    _counter(
        "frames_received",
        "Messages of lambda processes, on their streams and in calls.",
        lambda s: s.loop.frames_received,
    ),
    _counter("frames_received_bytes", "The bytes of those messages.", lambda s: s.loop.bytes_received),
    _counter("produced_records", "Records that lambdas produced, written to Kafka.", lambda s: s.produced),
    _counter(
        "skipped_records",
        "Records passed without being handled, as lambdas tell.",
        lambda s: s.skipped,
    ),
    # what went wrong
    _counter(
        "restarts",
        "Leases that ended by a failure, by its kind.",
        lambda s: _by_word(s.restarts),
        kind=_words(RESTART_KINDS),
    ),
    _counter(
        "transactions",
        "Transactions that ended, with exactly-once.",
        lambda s: {"committed": s.transactions_committed, "aborted": s.transactions_aborted},
        outcome=("committed", "aborted"),
    ),
    _counter("dead_letters", "Records written to a dead-letter topic.", lambda s: s.dead_letters),
    _counter("reports", "Errors that lambdas reported without stopping.", lambda s: s.reports),
    _counter(
        "produce_failures",
        "Records that lambdas produced, not known to be written.",
        lambda s: s.produce_failures,
        kind=FAILURE_KINDS,
    ),
    _counter(
        "commit_failures",
        "Commit requests that Kafka did not take; they are tried again.",
        lambda s: s.thread.commit_failures,
        kind=KINDS,
    ),
    _counter(
        "fetch_errors",
        "Errors in place of records.",
        lambda s: s.thread.fetch_errors,
        kind=FETCH_KINDS,
    ),
    _counter(
        "process_exits",
        "Ends of processes that the sidecar keeps running.",
        lambda s: s.process_exits,
    ),
    # who has the partitions
    _counter(
        "rebalances",
        "Times that the group gave partitions to this sidecar, or took them, or it asked for a rebalance.",
        lambda s: _by_word(s.rebalances),
        kind=_words(RebalanceKind),
    ),
    _counter(
        "hand_overs",
        "Partitions moved from one process to another for balance.",
        lambda s: s.hand_overs,
    ),
)

PARTITION: tuple[Metric[PartitionStatus], ...] = (
    _gauge("partition_lag", "Records written and not yet committed.", _lag),
    _gauge("partition_checkpoint_offset", "Last offset known to be processed.", lambda p: p.checkpoint),
    _gauge("partition_committed_offset", "Committed offset.", lambda p: p.committed),
    _gauge("partition_outstanding_records", "As outstanding_records.", lambda p: p.outstanding),
    _aged("partition_oldest_outstanding_age_seconds", "As oldest_outstanding_age_seconds.", _age),
    _gauge("partition_waiting_records", "As waiting_records.", lambda p: p.waiting),
    _gauge(
        "partition_halted",
        "1 while the partition waits for an operator.",
        lambda p: p.state is State.HALTED,
    ),
    _gauge(
        "partition_paused",
        "1 while an operator or the lambda lets it stand still.",
        lambda p: p.state is State.PAUSED,
    ),
    _gauge(
        "partition_blocked",
        "1 while the window is full and records wait.",
        lambda p: p.blocked_since is not None,
    ),
    _gauge(
        "partition_stalled",
        "1 while records are outstanding without a checkpoint.",
        lambda p: p.stalled_since is not None,
    ),
)
"""With `operate.partition_metrics` alone: there are as many series of each as there are partitions."""

EVERY: tuple[Metric[Any], ...] = (*SIDECAR, *LAMBDA, *PARTITION)
"""All of them."""
