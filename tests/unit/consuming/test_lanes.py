"""A lane is a key: the objects that a record passes on its way to a lambda never look inside one."""

import ast
from inspect import getsource
from pathlib import Path
from types import ModuleType

import pytest

import sidecar
from sidecar.consuming import fetch_buffer, in_flight, sender
from sidecar.partitions.vocabulary import Lane

from .bench import P0, Bench

INSIDE = {"partition", "partitions", "tp", "topic", "lanes_of"}
"""Attributes by which code gets from a lane to its partition, or from a partition to its lane."""


def looks_inside(source: str) -> list[str]:
    """Code that takes a lane for more than a key, makes one, or knows partitions of Kafka."""
    return [ast.unparse(node) for node in ast.walk(ast.parse(source)) if is_inside(node)]


def is_inside(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(attr=name):
            return name in INSIDE
        case ast.alias(name=name):
            return name == "TopicPartition"
        case ast.Call(func=ast.Name(id=name)):
            return name == "Lane"
        case ast.Assign(targets=[ast.Tuple() | ast.List()], value=value):
            return is_lane(value)
        case ast.Subscript(value=value) | ast.Starred(value=value):
            return is_lane(value)
    return False


def is_lane(node: ast.expr) -> bool:
    return "lane" in (getattr(node, "id", ""), getattr(node, "attr", ""))


@pytest.mark.parametrize(
    "line",
    [
        "lane.partition",
        "answer.lane.partition.topic",
        "partition.tp",
        "self._table.lanes[Lane(key)]",
        "self._table.lanes_of(key)",
        "Lane(key)",
        "from sidecar.partitions.vocabulary import TopicPartition",
        "lane[0]",
        "answer.lane[0]",
        "(inside,) = lane",
        "print(*lane)",
    ],
)
def test_the_check_sees_each_way_inside(line: str) -> None:
    assert looks_inside(line)


def test_a_lane_may_be_a_key_and_the_name_of_a_type() -> None:
    assert looks_inside("def held(lane: Lane, sizes: dict[Lane, int]) -> int:\n    return sizes[lane]") == []


@pytest.mark.parametrize("module", [fetch_buffer, in_flight, sender])
def test_records_pass_without_a_look_inside_their_lane(module: ModuleType) -> None:
    assert looks_inside(getsource(module)) == []


def test_only_the_places_that_the_design_lists_get_from_a_lane_to_its_partition() -> None:
    root = Path(sidecar.__path__[0])
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "partition" and is_lane(node.value)
    }
    outside = {path for path in found if not path.startswith("partitions/")}
    assert outside == {
        "consuming/back_pressure.py",
        "consuming/letter_reader.py",
        "consuming/places.py",
        "consuming/transacted.py",
        "producing/dead_letters.py",
        "server/frames.py",
    }


def test_a_lane_is_made_once_for_an_assignment() -> None:
    bench = Bench()
    bench.assign(P0)
    bench.run()
    [lane] = bench.table.lanes_of(P0)
    assert lane == Lane(P0)
    bench.fetch(0)
    assert next(iter(bench.buffer)) is lane
    assert bench.table.streams.lane_of("L1") is lane
    bench.sender.work(bench.now)
    assert bench.table.streams.written(bench.stream_of[P0]) is lane
