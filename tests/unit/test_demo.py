"""The demo's text and numbers; nothing is started here."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from examples.demo import pieces
from examples.demo.documents import Change
from examples.demo.events import Event
from examples.demo.picture import Snapshot, Summary
from examples.demo.pieces import Flow
from examples.demo.rows import Row, Rows, window
from examples.demo.run import Run, RunError, StoppedEarlyError
from examples.demo.view import View
from sdk_python.protocol import admin_pb2 as pb

CHANGES = [
    Change("minutes", 123_456 + number, 123_400, "op", "ada-1", 40_000, {"insert": "remarkable", "behind": ""}, 31)
    for number in range(40)
]
ROWS = Rows(
    documents=[Row(name, 123_456, 123_400, 3, ["word"] * 90, 40) for name in ("minutes", "novel", "rice")],
    latest=CHANGES,
    numbers=370_368,
)
SUMMARY = Summary(
    seconds=4.0,
    produced=110,
    waiting=0,
    lag=0,
    process_ends=0,
    partition_restarts=0,
    rows=Rows(documents=[Row("minutes", 60), Row("novel", 60)], numbers=120),
    log=Path("demo") / "sidecar.log",
)


def status(**fields: Any) -> pb.Lambda:
    partitions = [
        pb.Partition(
            topic="rawdeltas",
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
    process = pb.Process(process_id="p", instance="host:1234567", pid=1234567, partitions=4)
    given = {"name": "deli", "topics": ["rawdeltas"], "processes": [process], "partitions": partitions, **fields}
    return pb.Lambda(**given)


def snapshot(**fields: Any) -> Snapshot:
    flow = Flow(49_600_000, 2_345.6, [2_000.0] * 120)
    given = {"seconds": 754.2, "phase": "", "bootstrap_servers": "127.0.0.1:50123", "sent": flow, "numbered": flow}
    return Snapshot(**{**given, "status": status(), "rows": ROWS, **fields})


def drawn(now: Snapshot, width: int = 80, height: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(now.picture(width, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


# --- the picture ----------------------------------------------------------------------------------------------------


def test_the_picture_fits_into_the_smallest_terminal_after_hours() -> None:
    long = Event(
        753.0, "good", "deli partitions go on:", "starts", {n: f"{n} at {12_400_000 + n:,}" for n in range(4)}
    )
    lines = drawn(snapshot(phase="the writers leave", process_ends=12, events=[long] * 9))
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert "the writers leave  12:34" in lines[0]
    assert any(line.startswith(" minutes      #123,495 min 123,400 ada      types remarkable") for line in lines)


def test_a_larger_terminal_shows_more_of_the_stream() -> None:
    def changes(height: int) -> int:
        return sum("types remarkable" in line for line in drawn(snapshot(), 120, height))

    assert changes(24) < changes(30) < changes(34)
    assert len(drawn(snapshot(), 120, 34)) <= 34


def test_the_picture_tells_the_numbers_and_what_to_try() -> None:
    rows = replace(ROWS, again=17)
    text = "\n".join(drawn(snapshot(process_ends=1, rows=rows), 120))
    for part in ("127.0.0.1:50123", "rawdeltas > deli > deltas", "12:34", "2,346/s", "49,600,000", "OUTSTANDING"):
        assert part in text
    assert "kill -9 1234567" in text
    assert "Ctrl-C" in text
    assert "restarts 1, latency 31 ms; no gap, 17 came again" in text
    row = next(line for line in drawn(snapshot()) if line.strip().startswith("2 "))
    assert row.split() == ["2", "running", "12,400,102", "12,400,000", "12,399,001", "12,401,234", "2,233"]


def test_the_picture_says_when_a_number_is_wrong() -> None:
    rows = replace(ROWS, wrong=["minutes: number 3 came after 1"])
    text = "\n".join(drawn(snapshot(rows=rows), 120))
    assert "numbers are WRONG: minutes: number 3 came after 1" in text


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


def test_the_plain_lines() -> None:
    lines = snapshot().lines()
    assert lines[0] == (
        "12:34  sent 2,346/s  numbered 2,346/s  total 49,600,000  latency 31 ms  lag 8,932  running 4/4  pid 1234567"
    )
    assert lines[1].startswith("      minutes  number 123,456  minimum 123,400  writers 3  … word word")
    assert lines[4:] == ["      minutes      #123,495 min 123,400 ada      types remarkable            31 ms"]
    assert Snapshot(0.4, "joining").lines() == [
        "0:00  sent 0/s  numbered 0/s  total 0  latency 0 ms  lag 0  running 0/0  pid -  joining"
    ]


@pytest.mark.parametrize(
    ("words", "at", "room", "expected"),
    [
        ([], -1, 10, ""),
        (["one"], -1, 10, "one"),
        (["one", "two", "three"], -1, 13, "one two three"),
        (["one", "two", "three"], -1, 12, "… two three"),
        (["one", "two", "three"], 0, 9, "one two …"),
        (["one", "two", "three"], 1, 7, "… two …"),
        (["one", "two", "three"], 1, 2, "… two …"),
    ],
)
def test_a_text_is_cut_around_a_word(words: list[str], at: int, room: int, expected: str) -> None:
    assert window(words, at, room).plain == expected


@pytest.mark.parametrize(
    ("history", "room", "expected"),
    [([], 10, ""), ([0.0, 0.0], 10, ""), ([1.0], 0, ""), ([1.0, 8.0], 10, "▂█"), ([8.0, 1.0, 8.0], 2, "▂█")],
)
def test_bars(history: list[float], room: int, expected: str) -> None:
    assert pieces.bars(history, room) == expected


# --- the summary ----------------------------------------------------------------------------------------------------


def test_the_summary_of_an_undisturbed_run() -> None:
    lines = SUMMARY.lines()
    text = "\n".join(lines)
    assert "numbers given         120  30/s on average" in text
    assert "0  all that was sent has its number" in text
    assert "  minutes                60  numbers, without a gap" in lines
    assert max(len(line) for line in lines) <= 80


def test_the_summary_tells_what_is_left_and_what_came_twice() -> None:
    rows = replace(SUMMARY.rows, again=37, wrong=["x"])
    end = replace(SUMMARY, waiting=3, lag=15, rows=rows, process_ends=1, partition_restarts=4)
    lines = end.lines()
    text = "\n".join(lines)
    assert "3  when it was stopped" in text
    assert "15  the next start would go on there" in text
    assert "37  after a restart, each with the content it had" in text
    assert "1  of the process, 4 of partitions" in text
    assert "  minutes                60  numbers, WRONG" in lines
    assert max(len(line) for line in lines) <= 80


# --- the run --------------------------------------------------------------------------------------------------------


class Fake(Run):
    """A run without a sidecar."""

    def __init__(self, wrong: Sequence[str] = (), error: BaseException | None = None) -> None:
        self.output = io.StringIO()
        super().__init__(Console(file=self.output), threading.Event(), None, "test")
        self.wrong, self.error = wrong, error

    def prepare(self) -> None:
        if self.error is not None:
            raise self.error

    def play(self, shown: View) -> None:
        shown.show(self.snapshot())

    def snapshot(self) -> Snapshot:
        return Snapshot(0.0, "nothing happens")

    def summary(self) -> tuple[Sequence[str], Sequence[str]]:
        return ["Summary"], self.wrong


@pytest.mark.parametrize(
    ("outcome", "code", "last"),
    [
        ({}, 0, "Summary"),
        ({"wrong": ["number 3 came after 1"]}, 1, "error: number 3 came after 1"),
        ({"error": RunError("no broker")}, 1, "error: no broker"),
        ({"error": StoppedEarlyError("stopped while x")}, 0, "stopped while x"),
        ({"error": KeyboardInterrupt()}, 1, "error: stopped at once, nothing was drained"),
    ],
)
def test_exit_codes(outcome: dict[str, Any], code: int, last: str) -> None:
    run = Fake(**outcome)
    assert run.run() == code
    assert run.output.getvalue().splitlines()[-1] == last
    assert not run.folder.exists()
