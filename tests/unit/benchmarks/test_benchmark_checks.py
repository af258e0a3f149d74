"""What makes a run of the whole path fail, and what several processes know of each other."""

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, strategies as st

from benchmarks import machine, scores
from benchmarks.busy import work
from benchmarks.clock import Clock
from benchmarks.counting import Counter, WorkingCounter, note
from benchmarks.scores import Scores
from benchmarks.shapes import HEADERS, SHAPES
from benchmarks.throughput import must_be_each_once
from sdk_python import CloseReason, IContext, Message


class Context:
    """As much of one as a counter uses."""

    def __init__(self, start: int | None = None) -> None:
        self.partition = 3
        self.start_offset = start
        self.checkpoints: list[int] = []

    def checkpoint(self, offset: int) -> None:
        self.checkpoints.append(offset)


def counter(context: Context, kind: type[Counter] = Counter, headers: int = 0) -> Counter:
    return kind(cast("IContext", context), headers)


def message(offset: int, headers: tuple[Any, ...] = ()) -> Message:
    return Message("topic", 3, offset, None, 0, None, b"", headers)


def test_pieces_of_several_processes_are_each_record_once() -> None:
    must_be_each_once([[1, 0, 5], [0, 4, 6], [0, 0, 4]], {0: 10, 1: 5})
    must_be_each_once([], {})
    must_be_each_once([[0, 0, 1]], {0: 1, 1: 0})


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([[0, 0, 4], [0, 5, 5]], "missed in partition 0: 4 to 5"),
        ([[0, 0, 4], [0, 3, 7]], "repeated in partition 0: 4 to 3"),
        ([[0, 0, 10], [0, 0, 10]], "repeated in partition 0: 10 to 0"),
        ([[0, 1, 9]], "missed in partition 0: 0 to 1"),
        ([[0, 0, 9]], "handled up to"),
        ([[0, 0, 11]], "handled up to"),
        ([], "handled up to"),
        ([[0, 0, 10], [1, 0, 1]], "in partition 1"),
    ],
)
def test_what_was_missed_or_repeated_is_an_error(pieces: list[list[int]], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        must_be_each_once(pieces, {0: 10})


@given(st.integers(1, 50), st.sets(st.integers(1, 49)), st.randoms(use_true_random=False))
def test_any_cut_of_a_partition_is_whole(end: int, cuts: set[int], order: Any) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < end), end]
    pieces = [[0, start, stop - start] for start, stop in pairwise(edges)]
    order.shuffle(pieces)
    must_be_each_once(pieces, {0: end})
    with pytest.raises(RuntimeError):
        must_be_each_once(pieces[1:], {0: end})
    with pytest.raises(RuntimeError):
        must_be_each_once([*pieces, pieces[0]], {0: end})


def test_a_counter_checkpoints_what_it_has_counted() -> None:
    context = Context(start=5)
    one = counter(context)
    one.checkpoint()
    assert context.checkpoints == []
    for offset in (5, 6, 7):
        one.handler(message(offset))
    one.checkpoint()
    one.close(CloseReason.STOPPED)
    assert context.checkpoints == [7], "nothing came since"
    assert one.piece() == [3, 5, 3]
    assert not one.open


@pytest.mark.parametrize("offsets", [[0, 2], [0, 0], [1], [0, 1, 2, 2]])
def test_a_counter_notices_a_gap_and_a_repetition(offsets: list[int]) -> None:
    context = Context()
    one = counter(context)
    for offset in offsets:
        one.handler(message(offset))
    with pytest.raises(RuntimeError, match="after"):
        one.checkpoint()
    assert context.checkpoints == []


def test_a_counter_notices_that_headers_are_lost() -> None:
    one = counter(Context(), headers=len(HEADERS))
    one.handler(message(0, HEADERS))
    one.checkpoint()
    one.handler(message(1))
    with pytest.raises(RuntimeError):
        one.checkpoint()


def test_the_clock_starts_when_enough_is_handled_and_all_lambdas_are_there() -> None:
    clock = Clock(warm=10, lambdas=2)
    assert not clock.look(1.0, 0, 1)
    assert not clock.look(2.0, 4, 1)
    assert not clock.look(3.0, 12, 1)
    assert clock.look(4.0, 20, 2)
    assert not clock.look(5.0, 30, 2)
    assert clock.result(6.0, 44) == {
        "records": 44,
        "seconds": 2.0,
        "measured": 24,
        "whole_seconds": 4.0,
        "whole_measured": 40,
    }


def test_a_clock_that_never_started_has_measured_nothing() -> None:
    clock = Clock(warm=0, lambdas=2)
    assert not clock.look(1.0, 5, 1)
    assert clock.result(2.0, 9)["measured"] == 0


def test_a_working_counter_counts_too() -> None:
    one = counter(Context(), WorkingCounter)
    one.handler(message(0))
    assert one.piece() == [3, 0, 1]


def test_work_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 0.000_005, 0.000_019, 0.000_020, 99.0])
    monkeypatch.setattr("benchmarks.busy.time", SimpleNamespace(perf_counter=lambda: next(times)))
    work()
    assert next(times) == 99.0


def test_processes_see_each_others_scores(tmp_path: Path) -> None:
    file = scores.fresh(tmp_path / "scores", 2)
    config = {"scores": str(file), "processes": 2}
    first = Scores.of(config | {"process": 0})
    second = Scores.of(config | {"process": 1})
    assert first.all() == (0, 0)
    second.put(5, 1)
    first.put(2, 3)
    assert first.all() == second.all() == (7, 4)
    first.close()
    second.close()


def test_a_note_is_there_as_a_whole(tmp_path: Path) -> None:
    note({"result": str(tmp_path / "result-0")}, "result", {"records": 1})
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("result-0", '{"records": 1}')]


@pytest.mark.parametrize("name", SHAPES)
def test_a_shapes_partitions_all_get_the_same(name: str) -> None:
    shape = SHAPES[name]
    for records in (1, 200_000, 3_000_000):
        total = shape.total(records)
        assert total > 0
        assert total % shape.partitions == 0


def test_values_of_the_compressed_shape_are_as_long_as_the_others() -> None:
    values = SHAPES["lz4"].filled["values"]
    assert {len(value) for value in values} == {100}
    assert len({*values}) == len(values)
    assert len(values) % SHAPES["lz4"].partitions  # so each of them comes to each partition


def test_a_busy_machine_is_noticed() -> None:
    ticks = machine._TICKS
    stats = iter(
        [
            "cpu 0 0 0 0 0 0 0 0 0 0\ncpu0 1\n",
            f"cpu {ticks * 2} {ticks} 0 {ticks * 9} {ticks * 5} 0 0 0 0 0\ncpu0 1\n",
        ]
    )
    slept: list[float] = []
    assert machine.busy(2.0, lambda: next(stats), slept.append) == pytest.approx(1.5)
    assert slept == [2.0]
