"""What the demo tells of changes, its rates and its log; nothing is started here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from examples.demo import events, sidecar_process
from examples.demo.events import Event, Events
from examples.demo.meter import Meter
from examples.demo.pieces import Flow
from sdk_python.protocol import admin_pb2 as pb

# --- events ---------------------------------------------------------------------------------------------------------


def process(pid: int) -> pb.Process:
    return pb.Process(process_id=f"id-{pid}", pid=pid)


def lambdas(*processes: pb.Process, **partitions: Any) -> list[pb.Lambda]:
    return [pb.Lambda(name="deli", processes=processes, **partitions)]


def starts(partition: int, offset: int) -> dict[str, Any]:
    ready = f"ready (start offset {offset}, attempt 2)"
    text = f"2026-01-01 00:00:00,000 INFO    deli rawdeltas/{partition} [ab-_12] {ready}"
    return {"level": "info", "event": "lambda output", "line": text, "lambda": "deli"}


def broken(partition: int, event: str = "partition restarts at once") -> dict[str, Any]:
    common = {"topic": "t", "partition": partition, "lambda": "deli"}
    return {"level": "warning", "event": event, "reason": "the stream broke", **common}


def test_a_killed_process_as_the_events_tell_it() -> None:
    told = Events()
    told.compare(lambdas(process(1)), 0.5)
    told.read([starts(1, 0), starts(0, 0)], 0.5)
    told.compare(lambdas(), 8.0)
    ended = {"level": "warning", "event": "lambda process ended", "exit_code": 137, "lambda": "deli"}
    told.read([ended, broken(0), broken(1)], 8.0)
    told.compare(lambdas(process(2)), 8.4)
    told.read([starts(1, 1_190), starts(0, 1_205)], 8.4)
    assert [str(one) for one in told.latest] == [
        "deli process 1 is here",
        "deli partitions start: 0 at 0  1 at 0",
        "deli process 1 is gone; the sidecar keeps its place",
        "deli partition restarts at once: 0  1 (the stream broke)",
        "deli process 2 is here, 0.4 s later",
        "deli partitions go on: 0 at 1,205  1 at 1,190",
    ]
    assert told.process_ends == 1


def test_a_second_kill_soon_after_has_events_of_its_own() -> None:
    told = Events()
    told.compare(lambdas(process(1)), 0.0)
    told.compare(lambdas(process(2)), 1.0)
    told.read([broken(0)], 1.0)
    told.compare(lambdas(process(3)), 1.5)
    told.read([broken(0)], 1.5)
    assert [str(one) for one in told.latest].count("deli partition restarts at once: 0 (the stream broke)") == 2


def test_a_requested_end_is_no_restart() -> None:
    told = Events()
    left = {"level": "info", "event": "left the group", "lambda": "deli"}
    told.read([{"level": "info", "event": "lambda process ended"}, left], 3.0)
    assert told.process_ends == 0
    assert [str(one) for one in told.latest] == ["deli drained and committed; the sidecar has left its group"]


def test_any_warning_of_the_sidecar_is_told_with_what_it_says() -> None:
    told = Events()
    told.read(
        [{"level": "warning", "event": "Kafka cannot be reached; trying on", "ts": "x", "error": "refused"}], 1.0
    )
    assert [str(one) for one in told.latest] == ["Kafka cannot be reached; trying on (error refused)"]


def test_the_end_of_a_pause() -> None:
    told = Events()
    paused = [pb.Partition(partition=number, state=pb.PARTITION_STATE_PAUSED) for number in (2, 1)]
    told.compare(lambdas(partitions=paused), 1.0)
    assert not told.latest, "the log tells its begin, and why"
    told.compare(lambdas(partitions=[pb.Partition(partition=2, state=pb.PARTITION_STATE_RUNNING)]), 2.0)
    assert [str(one) for one in told.latest] == ["deli goes on after its pause: 1  2"]


def test_events_are_bounded() -> None:
    told = Events(most=3)
    for number in range(10):
        told.add(Event(float(number), "plain", "x"))
    assert (len(told.latest), told.begun) == (3, 10)


# --- numbers --------------------------------------------------------------------------------------------------------


def test_a_meter_takes_the_rate_of_the_last_second() -> None:
    meter = Meter()
    assert meter.flow() == Flow()
    for step in range(17):
        meter.add(step * 0.25, step * 250 if step <= 8 else 2_000 + (step - 8) * 500)
    flow = meter.flow()
    assert flow.total == 6_000
    assert flow.rate == pytest.approx(2_000.0)
    assert flow.history == pytest.approx((1_000.0, 1_000.0, 2_000.0, 2_000.0))


def test_the_log_is_read_line_by_line_as_it_grows(tmp_path: Path) -> None:
    log = sidecar_process.LogFile(tmp_path / "log")
    one = json.dumps({"level": "info", "event": "one"})
    log.path.write_text(f"{one}\nTraceback: no JSON\n" + '{"event": "ha')
    assert [line["event"] for line in log.fresh()] == ["one", "Traceback: no JSON"]
    with log.path.open("a") as file:
        file.write('lf"}\n')
    assert log.fresh() == [{"event": "half"}]
    assert log.fresh() == []
    assert len(log.all()) == 3


def test_a_sentence_leaves_out_what_every_line_has() -> None:
    line = {"ts": "t", "level": "error", "event": "cannot start", "logger": "l", "error": "port taken"}
    assert events.sentence(line) == "cannot start (error port taken)"
