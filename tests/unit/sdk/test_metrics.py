"""What a process counts, and how Prometheus reads it."""

import re
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from prometheus_client.parser import text_string_to_metric_families as parsed

from sdk_python import IContext, Message, ProduceError, partition_lambda
from sdk_python._counters import Counters
from sdk_python._exposition import Metric, Sample, exposition
from sdk_python._handler_times import HandlerTimes
from sdk_python._metrics import Present, metrics_of
from sdk_python.testing import FakeSidecar

NOTHING = Present(connected=False, draining=False, partitions=0, streams=0, waiting=0)
DOCS = Path(__file__).parents[3] / "docs"


def counters_of(sidecar: FakeSidecar) -> Counters:
    assert sidecar._life is not None
    return sidecar._life._host.counters


@given(st.text(), st.text(), st.floats(allow_nan=False))
def test_a_help_or_a_label_may_hold_anything(text: str, label: str, value: float) -> None:
    metric = Metric("name", "gauge", text, (Sample(value, {"label": label}), Sample(7, {})))
    body = exposition([metric])
    assert body.count("\n") == 4
    if "\r" not in text + label:  # which that parser takes for the end of a line
        (family,) = parsed(body)
        assert [(one.labels, one.value) for one in family.samples] == [({"label": label}, value), ({}, 7.0)]


def test_every_metric_has_a_name_of_prometheus_and_a_help_and_is_there_from_the_start() -> None:
    metrics = [*metrics_of("words", {"version": "1"}, Counters(), HandlerTimes(), NOTHING)]
    assert len({metric.name for metric in metrics}) == len(metrics)
    for metric in metrics:
        assert metric.samples
        assert metric.help.endswith(".")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        if metric.name.startswith("kafka_sidecar_sdk_"):
            assert all(sample.labels["lambda"] == "words" for sample in metric.samples)
    assert len([*parsed(exposition(metrics))]) == len(metrics)


def test_the_docs_have_them_all() -> None:
    text = (DOCS / "lambdas.md").read_text()
    named = {*re.findall(r"`(kafka_sidecar_sdk_\w+)[`{]", text)}
    own = {metric.name for metric in metrics_of("words", {}, Counters(), HandlerTimes(), NOTHING)}
    assert named == {name for name in own if name.startswith("kafka_sidecar_sdk_")}
    assert {name.partition("_")[0] for name in own} == {"kafka", "python", "process"}


async def test_frames_and_records_errors_and_reports_are_counted() -> None:
    def handle(message: Message, context: IContext) -> None:
        if message.offset == 1:
            context.report("of no importance")
        if message.offset == 2:
            context.error("away", restart=True)

    async with FakeSidecar(partition_lambda(handle)) as sidecar:
        await sidecar.feed(b"a", b"b", b"c")
        counted = counters_of(sidecar)
        assert (counted.frames, counted.records) == (1, 3)
        assert counted.errors == {"report": 1, "restart": 1}


async def test_a_handler_that_raises_is_counted_as_critical() -> None:
    def handle(_: Message) -> None:
        raise ValueError("planned")

    async with FakeSidecar(partition_lambda(handle)) as sidecar:
        await sidecar.feed(b"a")
        assert counters_of(sidecar).errors == {"critical": 1}


async def test_produced_records_and_those_that_failed_are_counted_by_kind() -> None:
    async def handle(message: Message, context: IContext) -> None:
        value = b"x" * 2_000_000 if message.offset == 1 else message.value
        try:
            await context.produce("out", value)
        except ProduceError:
            context.checkpoint(message.offset)

    async with FakeSidecar(partition_lambda(handle)) as sidecar:
        await sidecar.feed(b"a", b"too large")
        sidecar.produce_error = "the broker is away"
        await sidecar.feed(b"c", b"d")
        counted = counters_of(sidecar)
        assert (counted.produced, dict(counted.produce_failures)) == (1, {"too_large": 1, "failed": 2})


@pytest.mark.parametrize("file", ["stat", "statm"])
def test_a_system_with_another_proc_only_lacks_those_of_the_process(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / file).write_text("nonsense")
    monkeypatch.setattr("sdk_python._metrics._PROC", tmp_path)
    names = [metric.name for metric in metrics_of("words", {}, Counters(), HandlerTimes(), NOTHING)]
    assert "process_cpu_seconds_total" in names
    assert "process_resident_memory_bytes" not in names
