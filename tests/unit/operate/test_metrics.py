"""What a scrape shows of a snapshot."""

import re
from collections import Counter
from typing import Any

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from sidecar.logs.sink import SINK
from sidecar.measured import Histogram, LoopMeasured, ThreadMeasured
from sidecar.operate.declared import EVERY, PARTITION, PROBLEM_KINDS
from sidecar.operate.metrics import registry_of
from sidecar.partitions.vocabulary import FailureKind, RebalanceKind, State
from sidecar.status import LambdaStatus, Problem, ProcessStatus
from tests.unit.snapshots import lambda_status, partition_status, sidecar_status

Sample = tuple[str, frozenset[tuple[str, str]]]


def scraped(lambdas: dict[str, LambdaStatus], *, partitions: bool = True, **fields: Any) -> dict[Sample, float]:
    """The samples with our prefix, as a client reads them."""
    text = generate_latest(registry_of(sidecar_status(lambdas, **fields), partitions=partitions)).decode()
    return {
        (sample.name.removeprefix("kafka_sidecar_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("kafka_sidecar_")
    }


def of(shown: dict[Sample, float], name: str, **labels: str) -> dict[str, float]:
    """The samples of one metric with these labels, by their other labels' values."""
    return {
        " ".join(value for _, value in sorted(own - labels.items())): number
        for (found, own), number in shown.items()
        if found == name and labels.items() <= own
    }


def alone(shown: dict[Sample, float], **labels: str) -> dict[str, float]:
    """All samples with exactly these labels, by name."""
    return {name: number for (name, own), number in shown.items() if own == frozenset(labels.items())}


def histogram(bounds: tuple[float, ...], *values: float) -> Any:
    made = Histogram(bounds)
    for value in values:
        made.add(value)
    return made.now


def test_the_metrics_of_a_lambda() -> None:
    partitions = [
        partition_status(0, oldest_outstanding=60.0, outstanding_bytes=100, waiting_bytes=7),
        partition_status(1, state=State.HALTED, blocked_since=5.0, oldest_outstanding=90.0, outstanding_bytes=11),
        partition_status(2, committed=None, skipping=("a", "b"), skipping_count=2, outstanding=0, stalled_since=4.0),
        partition_status(3, committed=21, skipping=("c",), skipping_count=11),
    ]
    deli = lambda_status(
        partitions=partitions,
        processes=[ProcessStatus("p1", 4, True)],
        records_sent=10,
        records_fetched=12,
        dead_letters=4,
        hand_overs=5,
        reports=6,
        produced=7,
        process_exits=9,
        skipped=10,
        bytes_shared=11,
        loop=LoopMeasured(frames_sent=1, bytes_sent=2, frames_received=3, bytes_received=4),
    )
    scribe = lambda_status(connected=False, problems=[Problem("connection", "no broker", 1.0)])
    shown = scraped({"deli": deli, "scribe": scribe})
    nothing = dict.fromkeys([*alone(shown, **{"lambda": "scribe"})], 0.0)
    assert alone(shown, **{"lambda": "scribe"}) == nothing
    histograms = {name for name in nothing if name.endswith(("_sum", "_count"))}
    assert len(histograms) == 6
    expected = {
        "ready": 1,
        "connected": 1,
        "processes": 1,
        "blocked_partitions": 1,
        "stalled_partitions": 1,
        "corrupt_documents": 13,
        "lag": 24,
        "oldest_outstanding_age_seconds": 40,
        "outstanding_records": 6,
        "outstanding_bytes": 111,
        "waiting_records": 12,
        "waiting_bytes": 7,
        "records_fetched_total": 12,
        "records_sent_total": 10,
        "frames_sent_total": 1,
        "frames_sent_bytes_total": 2,
        "frames_shared_bytes_total": 11,
        "frames_received_total": 3,
        "frames_received_bytes_total": 4,
        "produced_records_total": 7,
        "skipped_records_total": 10,
        "dead_letters_total": 4,
        "reports_total": 6,
        "process_exits_total": 9,
        "hand_overs_total": 5,
    }
    assert alone(shown, **{"lambda": "deli"}) == {**nothing, **expected}
    assert expected.keys() | histograms == nothing.keys()


def test_what_has_kinds_shows_each_of_them_from_the_start() -> None:
    """`increase` does not see the first event of a series that was not there before."""
    status = lambda_status(
        partitions=[partition_status(0), partition_status(1), partition_status(2, state=State.HALTED)],
        restarts={FailureKind.BROKE: 2},
        rebalances={RebalanceKind.LOST: 3},
        produce_failures={"too_large": 4},
        thread=ThreadMeasured(commit_failures={"rebalance": 5}, fetch_errors={"unreadable": 6}),
    )
    shown = scraped({"deli": status})
    kinds = {
        name: of(shown, name, **{"lambda": "deli"})
        for name in (
            *("partitions", "restarts_total", "rebalances_total", "produce_failures_total"),
            *("commit_failures_total", "fetch_errors_total"),
        )
    }
    counted = {name: {kind: n for kind, n in one.items() if n} for name, one in kinds.items()}
    assert counted == {
        "partitions": {"running": 2, "halted": 1},
        "restarts_total": {"broke": 2},
        "rebalances_total": {"lost": 3},
        "produce_failures_total": {"too_large": 4},
        "commit_failures_total": {"rebalance": 5},
        "fetch_errors_total": {"unreadable": 6},
    }
    restarts = {"failed", "critical", "create", "broke", "late", "closed", "deadline", "aborted"}
    assert kinds["restarts_total"].keys() == restarts
    assert kinds["rebalances_total"].keys() == {"assigned", "revoked", "lost", "left", "asked"}
    assert len(kinds["partitions"]) == len(State)


def test_a_problem_is_shown_by_the_bounded_part_of_its_kind() -> None:
    problems = [Problem(f"commit:orders/{number}", "refused", 1.0) for number in range(100)]
    shown = of(scraped({"deli": lambda_status(problems=problems)}), "problem", **{"lambda": "deli"})
    assert shown == {kind: float(kind == "commit") for kind in PROBLEM_KINDS}


def test_histograms_are_cumulative() -> None:
    deli = lambda_status(
        loop=LoopMeasured(handlers=histogram((0.1, 1.0), 0.05, 0.5, 0.5, 7.0)),
        delays=histogram((2.0,), 1.0, 2.0, 3.0),
        thread=ThreadMeasured(commits=histogram((0.5,), 0.25)),
    )
    shown = scraped({"deli": deli})
    handlers, delays = (f"{name}_seconds_bucket" for name in ("handler_duration", "checkpoint_delay"))
    assert of(shown, handlers, **{"lambda": "deli"}) == {"0.1": 1, "1.0": 3, "+Inf": 4}
    assert of(shown, delays, **{"lambda": "deli"}) == {"2.0": 2, "+Inf": 3}
    sums = {name: value for name, value in alone(shown, **{"lambda": "deli"}).items() if name.endswith("_sum")}
    assert [*sums.values()] == pytest.approx([8.05, 6.0, 0.25])


def test_the_metrics_of_a_partition() -> None:
    running = {
        "partition_lag": 12,
        "partition_outstanding_records": 2,
        "partition_oldest_outstanding_age_seconds": 0,
        "partition_waiting_records": 3,
        "partition_checkpoint_offset": 7,
        "partition_committed_offset": 8,
        "partition_halted": 0,
        "partition_paused": 0,
        "partition_blocked": 0,
        "partition_stalled": 0,
    }
    partitions = [
        partition_status(0),
        partition_status(1, state=State.HALTED, blocked_since=5.0),
        partition_status(2, checkpoint=None, committed=None, end=None),
        partition_status(3, committed=21, oldest_outstanding=99.5),
        partition_status(4, state=State.PAUSED, stalled_since=5.0),
    ]
    shown = scraped({"deli": lambda_status(partitions=partitions)})
    first, second, third, fourth, fifth = (
        alone(shown, **{"lambda": "deli", "topic": "raw", "partition": str(number)}) for number in range(5)
    )
    assert first == running
    assert second == {**running, "partition_halted": 1, "partition_blocked": 1}
    unknown = {"partition_lag", "partition_checkpoint_offset", "partition_committed_offset"}
    assert third == {name: value for name, value in running.items() if name not in unknown}, "and not zero"
    assert fourth["partition_lag"] == 0, "the log's end is heard later than our own commit"
    assert fourth["partition_oldest_outstanding_age_seconds"] == 0.5
    assert fifth == {**running, "partition_paused": 1, "partition_stalled": 1}


def test_without_partitions_the_number_of_series_does_not_depend_on_theirs() -> None:
    def series(count: int, *, partitions: bool) -> int:
        deli = lambda_status(partitions=[partition_status(number) for number in range(count)])
        return len(scraped({"deli": deli}, partitions=partitions))

    assert series(1, partitions=False) == series(1000, partitions=False) < 180
    assert series(101, partitions=True) - series(1, partitions=True) == 100 * len(PARTITION)


def test_the_sidecar_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SINK, "dropped", 3)
    shown = scraped({}, config_hash="abc", draining=True)
    assert alone(shown) == {"draining": 1, "log_lines_dropped_total": 3}
    assert alone(shown, hash="abc") == {"config_info": 1}
    ((build, value),) = [(labels, value) for (name, labels), value in shown.items() if name == "build_info"]
    assert value == 1
    labels = dict(build)
    assert labels.keys() == {"version", "python", "librdkafka", "extension"}
    assert labels["extension"] in {"yes", "no"}
    assert all(labels.values())


def test_the_process_itself_is_shown() -> None:
    text = generate_latest(registry_of(sidecar_status({}), partitions=False)).decode()
    for name in (
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "python_info",
        "python_gc_collections",
    ):
        assert re.search(rf"^{name}", text, re.MULTILINE), name


def test_names_follow_the_conventions_of_prometheus() -> None:
    assert max(Counter(metric.name for metric in EVERY).values()) == 1
    for metric in EVERY:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", metric.name), metric.name
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket")), metric.name
        assert metric.help.endswith("."), metric.name
        assert not (metric.kind == "histogram" and not metric.name.endswith("_seconds")), metric.name
        assert "le" not in metric.labels


def test_lanes_of_a_partition_are_told_of_as_one() -> None:
    """There is one log: the lag is that of the lowest lane, not of all of them."""
    places = [(State.RUNNING, 90, 2), (State.HALTED, 40, 0), (State.RUNNING, 100, 5)]
    lanes = [
        partition_status(3, state=state, committed=committed, end=100, outstanding=outstanding, lane=number, lanes=3)
        for number, (state, committed, outstanding) in enumerate(places)
    ]
    shown = scraped({"deli": lambda_status(partitions=lanes)})
    assert of(shown, "lag", **{"lambda": "deli"}) == {"": 60.0}
    [found] = {frozenset(own) for name, own in shown if name == "partition_lag"}
    where = dict(found)
    values = alone(shown, **where)
    assert (values["partition_lag"], values["partition_outstanding_records"], values["partition_halted"]) == (
        60,
        7,
        1,
    )
    assert of(shown, "partitions", **{"lambda": "deli"})["running"] == 2
