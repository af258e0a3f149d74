"""The core has a closed door: events in, commands out. Whom it may import is checked by `make lint`."""

import ast
from dataclasses import fields
from inspect import getmembers, isfunction
from pathlib import Path

import sidecar
from sidecar.partitions.holding import Holding
from sidecar.partitions.offsets import Offsets
from sidecar.partitions.partition import Partition, Trouble
from sidecar.partitions.window import Window

KINDS = (Offsets, Partition, Trouble, Holding)
FIELDS = {field.name for kind in KINDS for field in fields(kind)}
PARTS = {"offsets", "trouble", "holding", "held", "window"}
QUERIES = {"to_commit", "is_delivered", "is_well", "room"}
CHANGES = {name for kind in (*KINDS, Window) for name, _ in getmembers(kind, isfunction)} - QUERIES
SETS = {"skip", "dead"}
OUTSIDE = [
    path
    for path in sorted(Path(sidecar.__path__[0]).rglob("*.py"))
    if path.parent.name not in ("partitions", "server")
]


def is_partition(node: ast.expr) -> bool:
    """A partition or a part of one, by its usual names: `partition`, `p`, `partitions[tp]`, `lanes[lane]`."""
    if isinstance(node, ast.Attribute) and node.attr in PARTS:
        return is_partition(node.value)
    if isinstance(node, ast.Subscript):
        return isinstance(node.value, ast.Attribute) and node.value.attr in ("partitions", "lanes")
    return isinstance(node, ast.Name) and node.id in ("partition", "p", "held", "holding")


def through_the_wall(source: str) -> list[int]:
    """Lines that set something of a partition, call what changes it, or put a command into the table."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            lines += [target.lineno for target in assigned_to(node) if is_inside(target)]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of = node.func.value
            changes = is_partition(of) and node.func.attr in CHANGES
            its_set = isinstance(of, ast.Attribute) and of.attr in SETS and is_partition(of.value)
            commands = isinstance(of, ast.Attribute) and of.attr == "commands"
            if changes or its_set or commands:
                lines.append(node.lineno)
    return lines


def assigned_to(node: ast.Assign | ast.AugAssign | ast.AnnAssign) -> list[ast.expr]:
    """Each target of an assignment."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [one for target in targets for one in getattr(target, "elts", [target])]


def is_inside(target: ast.expr) -> bool:
    """Whether it is an attribute of a partition, or the table's commands."""
    if not isinstance(target, ast.Attribute):
        return False
    return (target.attr in FIELDS and is_partition(target.value)) or target.attr == "commands"


def test_the_check_sees_each_way_around_the_events() -> None:
    for line in (
        "partition.trouble.reason = 'x'",
        "self._table.lanes[Lane(tp)].offsets.rewind_pending = True",
        "p.trouble.failures += 1",
        "holding.window.rewind(3)",
        "p.settle(3)",
        "self._table.lanes[lane].offsets.rewind_pending = True",
        "self._table.lanes[lane].settle(3)",
        "self._table.lanes[Lane(tp)].settle(3)",
        "self._table.commands.append(command)",
        "self._table.streams.commands.append(command)",
        "commands, self._table.commands = self._table.commands, []",
        "partition.skip.add(3)",
    ):
        assert through_the_wall(line), line
    assert through_the_wall("self._table.dropped([tp])\nself._table.take_commands()\npartition.to_commit()") == []


def test_other_rooms_change_a_partition_only_by_events() -> None:
    assert OUTSIDE
    assert {path.name: found for path in OUTSIDE if (found := through_the_wall(path.read_text()))} == {}
