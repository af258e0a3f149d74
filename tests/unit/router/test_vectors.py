"""The recorded scenarios of the document router in Fluid Framework's kafka-service ("the seed"), output for output.

Where our router does something else on purpose, `DIFFERENT` says what and why. The recording does not say what its
lambdas do by themselves (a handler that throws, a create that fails): `BEHAVIOUR` does.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from sdk_python import CloseReason, Message
from sdk_python.document_router import CorruptDocument
from tests.unit.deli.shared import DATA

from .world import Inner, World, message, settle

VECTORS = DATA / "vectors/document_router.json"

REASONS = {"Rebalance": CloseReason.REBALANCED, "Stop": CloseReason.STOPPED, "Error": CloseReason.ERROR}

TIGHTER = (
    "the seed takes the document's own last checkpoint, and ours the last record before its first unfinished one: "
    "all up to there is done as well, so less comes again after a restart"
)
NULL = "an id that is null is none: all such records would share one document called null. So they are done at once"
TOLERANT = "a checkpoint above the document's last message is ignored with a warning, not thrown into the lambda"
ONLY_THE_LAST = "the router has in memory what is not done, and asks for the last message only to hear of the end"
NO_HOOKS = "a lambda has no `pause` and `resume`: its handler is not called, and that is all"
FROM_MEMORY = "the first message that comes again says that the pause is over; A then gets 2 from memory"
STILL_COUNTS = "a checkpoint made in a pause counts, as in the SDK: B's 3 was done then"
NONE_TWICE = "B did not ask for 3 again"

DIFFERENT: dict[tuple[str, int], tuple[list[str], str]] = {
    ("R05", 6): (["CP 5"], TIGHTER),
    ("R05", 7): (["CP 10"], TIGHTER),
    ("R05", 8): (["CP 12"], TIGHTER),
    ("R15", 1): ([], TOLERANT),
    ("R35", 8): (["PAUSE 3"], ONLY_THE_LAST),
    ("R35", 9): ([], NO_HOOKS),
    ("R35", 12): ([], NO_HOOKS),
    ("R35", 13): (["A.handler(2)"], FROM_MEMORY),
    ("R35", 14): ([], FROM_MEMORY),
    ("R35", 15): (["CP 3"], STILL_COUNTS),
    ("R35", 16): ([], NONE_TWICE),
    ("R35", 17): ([], STILL_COUNTS),
    ("R37", 12): (["CP 5"], TIGHTER),
    ("R37", 16): (["CP 7"], TIGHTER),
    ("R43", 0): (["CP 0"], NULL),
    ("R43", 1): (["CP 1"], NULL),
}
"""Scenario and step: what ours does, and why."""

CLOSED_TOO = "a corrupt document's lambda is closed with ERROR; the seed keeps it open, holding what it holds"


def _acknowledging(throw_at: int, error: str) -> Callable[[World], None]:
    def set_up(world: World) -> None:
        def handle(inner: Inner, got: Message) -> None:
            if got.offset >= throw_at and inner.name != "B":
                raise RuntimeError(error)
            inner.context.checkpoint(got.offset)

        world.factory.handle = handle

    return set_up


def _throwing_at_1(world: World) -> None:
    def handle(_: Inner, got: Message) -> None:
        if got.offset == 1:
            raise RuntimeError("boom")

    world.factory.handle = handle


def _create_fails(world: World) -> None:
    def creating(inner: Inner) -> None:
        if inner.name == "A":
            raise CorruptDocument("create fail")

    world.factory.creating = creating


def _short_timeout(world: World) -> None:
    def creating(inner: Inner) -> None:
        inner.activity_timeout = 30.0  # type: ignore[attr-defined]

    world.factory.creating = creating


BEHAVIOUR: dict[str, Callable[[World], None]] = {
    "R19": _acknowledging(1, "boom"),
    "R21": _throwing_at_1,
    "R25": _create_fails,
    "R31": _short_timeout,
    "R39": _acknowledging(10, "Test Error"),
}


def _scenarios() -> list[Any]:
    return [pytest.param(entry, id=entry["name"]) for entry in json.loads(VECTORS.read_text())]


async def _step(world: World, step: list[Any]) -> None:
    match step:
        case ["msg", offset, None, text]:
            world.router.handler(message(offset, text))
        case ["msg", offset, document]:
            world.put(offset, document)
        case ["cp", document, offset]:
            world.context(document).checkpoint(offset)
        case ["err", document, text, restart]:
            world.context(document).error(text, restart=restart)
        case ["tick", ms]:
            await world.tick(ms / 1000)
        case ["pausedoc", document, offset]:
            world.context(document).pause(offset=offset)
        case ["resumedoc", document]:
            world.context(document).resume()
        case ["lsucc" | "pausepart" | "resumepart", *_]:
            pass  # ours has no such calls
        case ["close", reason]:
            await world.router.close(REASONS[reason])
        case _:
            raise AssertionError(step)
    await settle()


def _ours(line: str) -> str:
    return line.replace("ActivityTimeout", "idle").replace("Rebalance", "rebalanced").removesuffix(" restart=false")


@pytest.mark.parametrize("scenario", _scenarios())
async def test_a_scenario_ends_as_recorded(scenario: dict[str, Any]) -> None:
    number = scenario["name"].split()[0]
    world = World(corrupt_documents="skip")  # what the seed does
    if number in BEHAVIOUR:
        BEHAVIOUR[number](world)
    for index, step in enumerate(scenario["steps"]):
        await _step(world, step["in"])
        # `thrown` is beside `out` in the recording: nothing is thrown here.
        theirs = [*map(_ours, step["out"]), *(["thrown"] if "thrown" in step else [])]
        expected, why = DIFFERENT.get((number, index), (theirs, ""))
        assert not why or expected != theirs, "it is not different any more"
        assert _comparable(world.take()) == expected, (index, step, why)
    await world.router.close(CloseReason.STOPPED)


def test_the_table_of_differences_names_only_recorded_scenarios() -> None:
    recorded = {parameter.values[0]["name"].split()[0] for parameter in _scenarios()}
    assert {number for number, _ in DIFFERENT} | set(BEHAVIOUR) <= recorded


def _comparable(lines: list[str]) -> list[str]:
    closed = {line for line in lines if line.endswith(".close(error)")}  # see CLOSED_TOO
    return [line.replace("document t/A: ", "") for line in lines if line not in closed]
