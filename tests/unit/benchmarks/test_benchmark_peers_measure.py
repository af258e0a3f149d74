"""A run of a program that talks as a peer's does: its figures, and what makes it a failure."""

import json
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from benchmarks.peers import measure as module
from benchmarks.peers.measure import Program, RunFailedError, Work, measure

WORK = Work("nowhere:1", "topic", "group", total=8)
RESULT: Mapping[str, Any] = {
    "records": 8,
    "measured": 6,
    "seconds": 2.0,
    "per_partition": [5, 3],
    "strange": 0,
}


def program(*lines: object, end: str = "", until_signal: bool = False) -> Program:
    """Says these lines, waits until its input ends, and ends as told."""
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    code = f"import os, signal, sys\nos.write(1, {text.encode()!r})\nsys.stdin.read()\n{end}"
    return Program([sys.executable, "-c", code], until_signal=until_signal)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[int, int]]:
    """What is in the topic, and what the group has committed."""
    state = {"there": {0: 5, 1: 3}, "committed": {0: 5, 1: 3}}
    monkeypatch.setattr(module, "end_offsets", lambda *_: state["there"])
    monkeypatch.setattr(module, "committed", lambda *_: state["committed"])
    return state


def test_figures_are_of_what_came_after_the_warm_up(broker: dict[str, dict[int, int]]) -> None:
    figures = measure(program({"warm": True}, RESULT), WORK)
    assert figures["records"] == 8
    assert figures["records_per_second"] == 3.0
    assert figures["cpu_seconds_per_million"] >= 0
    assert figures["memory_mb"] > 1


def test_what_a_library_says_is_passed_over(broker: dict[str, dict[int, int]]) -> None:
    lines = ("a banner", f"prefix {json.dumps({'warm': True})}", "", RESULT)
    assert measure(program(*lines), WORK)["records"] == 8


def test_a_program_may_end_by_the_signal_it_is_sent(broker: dict[str, dict[int, int]]) -> None:
    waiting = program({"warm": True}, RESULT, end="signal.pause()", until_signal=True)
    assert measure(waiting, WORK)["records"] == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"records": 7}, "7 records handled, 8 produced"),
        ({"records": 9}, "9 records handled, 8 produced"),
        ({"strange": 1}, "missed, repeated or out of order: 1"),
        ({"per_partition": [4, 4]}, "handled"),
    ],
)
def test_not_each_record_once_has_no_figures(
    change: dict[str, Any], message: str, broker: dict[str, dict[int, int]]
) -> None:
    with pytest.raises(RunFailedError, match=message):
        measure(program({"warm": True}, {**RESULT, **change}), WORK)


def test_of_who_cannot_tell_records_only_the_number_is_checked(broker: dict[str, dict[int, int]]) -> None:
    lines = ({"warm": True}, {**RESULT, "strange": 8, "per_partition": [0, 0]})
    assert measure(program(*lines), WORK, counted_only=True)["records"] == 8


def test_what_is_not_committed_in_the_end_is_a_failure(
    broker: dict[str, dict[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSING", 0.0)
    broker["committed"] = {0: 5}
    with pytest.raises(RunFailedError, match=r"committed \{0: 5\} of"):
        module._wait_until_committed(WORK)


def test_of_who_commits_nothing_that_is_not_checked(broker: dict[str, dict[int, int]]) -> None:
    broker["committed"] = {}
    assert measure(program({"warm": True}, RESULT), WORK, commits=False)["records"] == 8


def test_a_program_that_ends_early_fails_with_its_last_words(broker: dict[str, dict[int, int]]) -> None:
    early = Program([sys.executable, "-c", "raise SystemExit('no such topic')"])
    with pytest.raises(RunFailedError, match="ended early: no such topic"):
        measure(early, WORK)


def test_a_program_that_ends_badly_fails(broker: dict[str, dict[int, int]]) -> None:
    with pytest.raises(RunFailedError, match="ended with 1: its positions"):
        measure(program({"warm": True}, RESULT, end="sys.exit('its positions')"), WORK)


def test_a_silent_program_is_given_up_and_killed(
    broker: dict[str, dict[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST", 0.0)
    with pytest.raises(RunFailedError, match="not done within 0 s"):
        measure(program(), WORK)


def test_arguments_are_what_a_tally_reads() -> None:
    assert WORK.arguments() == ["nowhere:1", "topic", "group", "8", "2"]
