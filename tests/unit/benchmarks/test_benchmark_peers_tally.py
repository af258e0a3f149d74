"""What a peer's handler counts into: it notices what was missed or came twice, however records are handed over."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.peers import measure
from benchmarks.peers.tally import MARK, Tally, arguments


@dataclass
class Record:
    partition: int
    offset: int


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What goes to the runner, which answers at once; the clock ticks once for each look."""
    lines: list[Any] = []
    clock = iter(range(1, 100))
    system = SimpleNamespace(write=lambda _, line: lines.append(json.loads(line)), read=lambda *_: b"")
    monkeypatch.setattr("benchmarks.peers.tally.os", system)
    monkeypatch.setattr("benchmarks.peers.tally.time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    return lines


def one_by_one(tally: Tally, records: list[Record]) -> None:
    for record in records:
        tally.one(record.partition, record.offset)


def mixed(tally: Tally, records: list[Record]) -> None:
    tally.mixed(records)


def batches(tally: Tally, records: list[Record]) -> None:
    for partition in sorted({record.partition for record in records}):
        offsets = [record.offset for record in records if record.partition == partition]
        tally.batch(partition, offsets[0], offsets[-1], len(offsets))


WAYS = pytest.mark.parametrize("way", [one_by_one, mixed, batches])
Way = Callable[[Tally, list[Record]], None]


@WAYS
def test_each_record_once_and_in_order_is_not_strange(way: Way, said: list[Any]) -> None:
    tally = Tally(6, 2, partitions=2)
    way(tally, [Record(number % 2, number // 2) for number in range(6)])
    way(tally, [])
    assert tally.counts == [3, 3]
    assert tally.strange == 0
    assert said[0] == MARK


@WAYS
@pytest.mark.parametrize("offsets", [[1, 2], [0, 2], [0, 0], [0, 1, 1]])
def test_what_was_missed_or_repeated_is_strange(way: Way, offsets: list[int], said: list[Any]) -> None:
    tally = Tally(100, 90, partitions=1)
    way(tally, [Record(0, offset) for offset in offsets])
    assert tally.strange > 0
    assert said == []


def test_order_within_a_partition_matters(said: list[Any]) -> None:
    tally = Tally(100, 90, partitions=1)
    one_by_one(tally, [Record(0, 1), Record(0, 0)])
    assert tally.strange == 2
    assert said == []


def test_the_clock_starts_after_the_warm_up_and_ends_with_the_last(said: list[Any]) -> None:
    tally = Tally(10, 3, partitions=1)
    for offset in range(10):
        assert not tally.finished
        tally.one(0, offset)
    assert tally.finished
    assert said == [
        MARK,
        {"records": 10, "measured": 7, "seconds": 1.0, "per_partition": [10], "strange": 0},
    ]


def test_a_batch_over_the_end_of_the_warm_up_is_not_measured(said: list[Any]) -> None:
    tally = Tally(10, 3)
    tally.unordered(8)
    tally.unordered(2)
    assert said[1]["measured"] == 2


def test_records_behind_the_last_are_not_told_twice(said: list[Any]) -> None:
    tally = Tally(4, 1)
    for _ in range(4):
        tally.unordered(2)
    assert [line for line in said if line != MARK] == [said[1]]
    assert said[1]["records"] == 4
    assert tally.count == 8


def test_broker_topic_group_and_counts_come_from_the_command_line(
    monkeypatch: pytest.MonkeyPatch, said: list[Any]
) -> None:
    monkeypatch.setattr(sys, "argv", ["program", "broker:1", "topic", "group", "4", "1", "more"])
    broker, topic, group, tally = arguments()
    assert (broker, topic, group) == ("broker:1", "topic", "group")
    tally.unordered(4)
    tally.unordered(1)
    assert said[0] == MARK


@pytest.mark.skipif(shutil.which("node") is None, reason="no `node` on the PATH")
@pytest.mark.parametrize(
    ("records", "strange"),
    [
        ("[0,1,'a'], [0,0,'b'], [1,0,'c'], [0,2,'b']", 0),  # any order of the partition, in that of each key
        ("[0,1,'a'], [0,0,'a'], [1,0,'b'], [0,2,'b']", 1),  # a key's records in another order
        ("[0,1], [0,0], [0,2], [1,0]", 0),  # without keys
        ("[0,1], [0,0], [0,1], [1,0]", 1),  # twice
        ("[0,1], [0,0], [0,9], [1,0]", 1),  # an offset that is not there
    ],
)
def test_node_counts_records_that_come_in_no_order(records: str, strange: int) -> None:
    tally = Path(measure.__file__).with_name("tally.js")
    code = f"""
        const {{ Tally }} = require({json.dumps(str(tally))});
        const tally = new Tally(4, 1, 2);
        for (const record of [{records}]) tally.scattered(...record);
    """
    node = subprocess.run(["node", "-e", code], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    warm, result = map(json.loads, node.stdout.splitlines())
    assert warm == MARK
    assert (result["records"], result["measured"], result["strange"]) == (4, 3, strange)
