"""The demo's text and numbers; nothing is started here."""

from __future__ import annotations

import io
import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from examples.demo import events, picture, sensors, sidecar_process
from examples.demo.events import Event, Events
from examples.demo.meter import Meter
from examples.demo.picture import Flow, Snapshot, Summary
from examples.demo.store import Statistics, Store, read_saved
from examples.demo.tally import Tally, read_handled
from sdk_python.protocol import admin_pb2 as pb
from sdk_python.testing import FakeSidecar

SUMMARY = Summary(
    seconds=4.0,
    produced=8_000,
    handled=8_000,
    again=0,
    committed=8_000,
    last_word=True,
    process_ends=0,
    partition_restarts=0,
    sensors=40,
    readings=8_000,
    log=Path("demo") / "sidecar.log",
)


def status(**fields: Any) -> pb.Lambda:
    partitions = [
        pb.Partition(
            topic="readings",
            partition=number,
            state=pb.PARTITION_STATE_RUNNING,
            process_id="p",
            handled=12_400_100 + number,
            checkpoint=12_400_000,
            committed=12_399_001,
            end=12_401_234,
            outstanding=100,
            attempt=1,
        )
        for number in range(4)
    ]
    process = pb.Process(
        process_id="p", instance="a-host-with-a-long-name.example.org:1234567", pid=1234567, partitions=4
    )
    given = {"name": "sensors", "topics": ["readings"], "processes": [process], "partitions": partitions, **fields}
    return pb.Lambda(**given)


def snapshot(**fields: Any) -> Snapshot:
    flow = Flow(49_600_000, 2_345.6, [2_000.0] * 120)
    given = {"seconds": 754.2, "phase": "", "bootstrap_servers": "127.0.0.1:50123", "produced": flow, "handled": flow}
    return Snapshot(**{**given, "status": status(), **fields})


def drawn(now: Snapshot, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=50, force_terminal=True, color_system=None)
    console.print(picture.picture(now, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


# --- the picture ----------------------------------------------------------------------------------------------------


def test_the_picture_fits_into_the_smallest_terminal_after_hours() -> None:
    long = Event(753.0, "good", "partitions go on:", "starts", {n: f"{n} at {12_400_000 + n:,}" for n in range(4)})
    lines = drawn(snapshot(phase="draining", again=12_345, process_ends=12, events=[long] * 9))
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if "…" in line and "instance" not in line and "partitions go on" not in line]


def test_the_picture_tells_the_numbers_and_what_to_try() -> None:
    text = "\n".join(drawn(snapshot(process_ends=1, again=17), width=120))
    for part in (
        "127.0.0.1:50123 > readings > sensors",
        "12:34",
        "2,346/s",
        "49,600,000",
        "kill -9 1234567",
        "Ctrl-C",
    ):
        assert part in text
    assert "17 messages were handled twice" in text
    assert "OUTSTANDING" in text
    row = next(line for line in drawn(snapshot()) if line.strip().startswith("2 "))
    assert row.split() == ["2", "running", "12,400,102", "12,400,000", "12,399,001", "12,401,234", "2,233"]


def test_the_picture_before_there_is_anything_to_tell() -> None:
    lines = drawn(Snapshot(0.0, "starting the sidecar"))
    assert "starting the sidecar" in lines[0]
    assert any("none: the sidecar keeps the place" in line for line in lines)


def test_a_partition_of_which_little_is_known_has_dashes() -> None:
    bare = pb.Partition(partition=0, state=pb.PARTITION_STATE_BACKING_OFF, reason="the database is away", attempt=3)
    lines = drawn(snapshot(status=status(processes=[], partitions=[bare])))
    row = next(line for line in lines if "backing off  " in line)
    assert row.split() == ["0", "backing", "off", "-", "-", "-", "-", "-"]
    assert " 0 backing off: the database is away" in lines


def test_the_reason_of_partitions_is_told_once_and_only_while_they_stand_still() -> None:
    waiting = status()
    for one in waiting.partitions:
        one.reason = "the stream broke"
    assert not [line for line in drawn(snapshot(status=waiting)) if "the stream broke" in line]
    for one in waiting.partitions:
        one.state = pb.PARTITION_STATE_WAITING
    lines = drawn(snapshot(status=waiting))
    assert [line for line in lines if "the stream broke" in line] == [" 0, 1, 2, 3 waiting: the stream broke"]


def test_brackets_in_what_others_say_are_no_markup() -> None:
    event = Event(1.0, "bad", "failed [bold]really[/bold]")
    assert " 0:01  failed [bold]really[/bold]" in drawn(snapshot(events=[event]))


def test_the_plain_line() -> None:
    line = picture.plain_line(snapshot())
    assert line == "12:34  in 2,346/s  handled 2,346/s  total 49,600,000  lag 8,932  running 4/4  pid 1234567"
    assert picture.plain_line(Snapshot(0.4, "joining")).endswith("running 0/0  pid -  joining")


@pytest.mark.parametrize(
    ("history", "room", "expected"),
    [([], 10, ""), ([0.0, 0.0], 10, ""), ([1.0], 0, ""), ([1.0, 8.0], 10, "▂█"), ([8.0, 1.0, 8.0], 2, "▂█")],
)
def test_bars(history: list[float], room: int, expected: str) -> None:
    assert picture.bars(history, room) == expected


# --- the summary ----------------------------------------------------------------------------------------------------


def test_the_summary_of_an_undisturbed_run() -> None:
    lines = picture.summary_lines(SUMMARY)
    text = "\n".join(lines)
    assert "8,000  in 4.0 s: 2,000/s on average" in text
    assert "8,000  all of them" in text
    assert max(len(line) for line in lines[:-1]) <= 80
    assert not picture.contradictions(SUMMARY)


def test_the_summary_tells_what_is_left_and_what_came_twice() -> None:
    end = replace(
        SUMMARY, handled=7_990, readings=7_990, committed=7_985, again=120, process_ends=1, partition_restarts=4
    )
    lines = picture.summary_lines(end)
    text = "\n".join(lines)
    assert "10 not yet" in text
    assert "         15  the next start would go on there" in text
    assert "120  not checkpointed yet when the process was killed" in text
    assert "1  of the lambda process, 4 of partitions" in text
    assert max(len(line) for line in lines[:-1]) <= 80
    assert not picture.contradictions(end)


def test_the_summary_says_when_the_last_commit_was_not_seen() -> None:
    assert "as last heard" in "\n".join(picture.summary_lines(replace(SUMMARY, last_word=False)))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"readings": 7_999}, "readings are counted"),
        ({"committed": 8_001}, "only 8,000 were handled"),
        ({"produced": 7_999}, "only 7,999 produced"),
    ],
)
def test_contradictions_are_found(wrong: dict[str, int], words: str) -> None:
    found = picture.contradictions(replace(SUMMARY, **wrong))  # type: ignore[arg-type]
    assert any(words in one for one in found)


# --- events ---------------------------------------------------------------------------------------------------------


def process(pid: int) -> pb.Process:
    return pb.Process(process_id=f"id-{pid}", pid=pid)


def starts(partition: int, offset: int) -> dict[str, Any]:
    text = f"2026-01-01 00:00:00,000 INFO    partition {partition} starts at offset {offset}, attempt 2"
    return {"level": "info", "event": "lambda output", "line": text}


def broken(partition: int, event: str = "partition restarts at once") -> dict[str, Any]:
    return {"level": "warning", "event": event, "topic": "t", "partition": partition, "reason": "the stream broke"}


def test_a_killed_process_as_the_events_tell_it() -> None:
    told = Events()
    told.compare([process(1)], 0.5)
    told.read([starts(1, 0), starts(0, 0)], 0.5)
    told.compare([], 8.0)
    ended = {"level": "warning", "event": "lambda process ended", "exit_code": 137}
    told.read([ended, broken(0), broken(1)], 8.0)
    told.compare([process(2)], 8.4)
    told.read([starts(1, 1_190), starts(0, 1_205)], 8.4)
    assert [str(one) for one in told.latest] == [
        "lambda process 1 is here",
        "partitions start: 0 at 0  1 at 0",
        "lambda process 1 is gone; the sidecar keeps its place",
        "partition restarts at once (the stream broke): 0  1",
        "lambda process 2 is here, 0.4 s later",
        "partitions go on: 0 at 1,205  1 at 1,190",
    ]
    assert told.process_ends == 1


def test_a_second_kill_soon_after_has_events_of_its_own() -> None:
    told = Events()
    told.compare([process(1)], 0.0)
    told.compare([process(2)], 1.0)
    told.read([broken(0)], 1.0)
    told.compare([process(3)], 1.5)
    told.read([broken(0)], 1.5)
    assert [str(one) for one in told.latest].count("partition restarts at once (the stream broke): 0") == 2


def test_an_end_that_was_asked_for_is_no_restart() -> None:
    told = Events()
    told.read([{"level": "info", "event": "lambda process ended"}, {"level": "info", "event": "left the group"}], 3.0)
    assert told.process_ends == 0
    assert told.left_group
    assert [str(one) for one in told.latest] == ["drained and committed; the sidecar has left the group"]


def test_any_warning_of_the_sidecar_is_told_with_what_it_says() -> None:
    told = Events()
    told.read(
        [{"level": "warning", "event": "Kafka cannot be reached; trying on", "ts": "x", "error": "refused"}], 1.0
    )
    assert [str(one) for one in told.latest] == ["Kafka cannot be reached; trying on (error refused)"]


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


# --- the lambda -----------------------------------------------------------------------------------------------------


def test_the_tally_outlives_a_process_that_never_closed_it(tmp_path: Path) -> None:
    first = Tally(tmp_path, 0)
    for offset in range(10):
        first.add(offset)
    second = Tally(tmp_path, 0)
    for offset in range(7, 12):
        second.add(offset)
    handled = read_handled(tmp_path)
    assert (handled.messages, handled.again, handled.next_offsets) == (12, 3, {0: 12})
    first.close()
    second.close()


def test_the_store_adds_up_and_keeps_its_place(tmp_path: Path) -> None:
    store = Store(tmp_path, 3)
    assert store.next_offset == 0
    store.save({"a": Statistics(2, 30.0, 10.0, 20.0)}, 2)
    store.save({"a": Statistics(1, 5.0, 5.0, 5.0), "b": Statistics(1, 1.0, 1.0, 1.0)}, 4)
    store.close()
    again = Store(tmp_path, 3)
    assert again.next_offset == 4
    again.close()
    assert read_saved(tmp_path) == (2, 4, 4)


async def test_the_lambda_checkpoints_what_is_saved_and_nothing_else(tmp_path: Path) -> None:
    never = {"folder": str(tmp_path), "save_every": 3600}
    async with FakeSidecar(sensors.plugin, settings=never) as sidecar:
        await sidecar.feed(b"20.0", b"22.0", key=b"a")
        assert sidecar.checkpoint is None
        assert read_saved(tmp_path).readings == 0
        await sidecar.rebalance()
        assert sidecar.checkpoint == 1
        assert read_saved(tmp_path) == (1, 2, 2)


async def test_the_lambda_saves_while_messages_come(tmp_path: Path) -> None:
    async with FakeSidecar(sensors.plugin, settings={"folder": str(tmp_path), "save_every": 0.01}) as sidecar:
        await sidecar.feed(b"20.0", b"22.0", key=b"a")
        await sidecar.checkpointed(1)
        await sidecar.feed(b"21.0", key=b"b")
        await sidecar.checkpointed(2)
    assert read_saved(tmp_path) == (2, 3, 3)


async def test_a_reading_that_comes_twice_is_counted_once(tmp_path: Path) -> None:
    settings = {"folder": str(tmp_path), "save_every": 3600}
    async with FakeSidecar(sensors.plugin, settings=settings) as sidecar:
        await sidecar.feed(b"20.0", b"22.0", key=b"a")
        await sidecar.restart()  # saved when the stream broke, and the checkpoint no longer counted
        assert sidecar.checkpoint is None
        await sidecar.feed(b"24.0", key=b"a")
    assert sidecar.checkpoint == 2
    handled = read_handled(tmp_path)
    assert (handled.messages, handled.again) == (3, 2)
    with sqlite3.connect(tmp_path / "partition-0.sqlite") as file:
        assert file.execute("SELECT * FROM sensors").fetchall() == [("a", 3, 66.0, 20.0, 24.0)]
    file.close()


async def test_a_store_that_fails_is_recoverable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async with FakeSidecar(sensors.plugin, settings={"folder": str(tmp_path), "save_every": 0.01}) as sidecar:
        with monkeypatch.context() as broken:
            broken.setattr(Store, "save", full)
            await sidecar.feed(b"20.0", key=b"a")
            await sidecar.ended()
        assert [(one.action, one.message) for one in sidecar.errors] == [("restart", "database or disk is full")]
        await sidecar.restart()
        await sidecar.checkpointed(0)
    assert read_saved(tmp_path) == (1, 1, 1)
