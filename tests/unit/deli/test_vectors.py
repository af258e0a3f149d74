"""Every step of every scenario that was captured from the real service, output for output.

Where the sequencer is safer on purpose, ``SAFER`` says so, with the reason.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from examples.deli import (
    Checkpoint,
    Config,
    Deltas,
    Document,
    Event,
    Failure,
    Malformed,
    Output,
    ProduceFailed,
    RawDeltas,
    Record,
    Saves,
    SaveState,
    Sequencer,
    Signal,
    State,
    parse_boxcar,
)
from tests.unit.deli.shared import DATA, Json, tick_until

SCENARIOS: list[Json] = json.loads((DATA / "vectors/deli.json").read_text())

SAFER = {
    ("D55", 0): (
        {"stateCheckpoint"},
        "a produce failed: the service saves the state all the same, with numbers that nobody was told (DL-61)",
    ),
}
"""Outputs of the service, by scenario and step, that the sequencer does not have, and why."""

PRODUCE_FAILS = {"D55": "kaboom"}
SAVE_FAILS = {"D57"}
"""Scenarios whose point is a failure outside; the captured file does not say so otherwise."""


class Player:
    """Plays a scenario: runs the sequencer and its saves as a process would, and shows outputs as captured."""

    def __init__(self, scenario: Json, now: int) -> None:
        self.name = scenario["name"][:3]
        self.now = now
        config = Config.from_settings({**scenario["config"].get("deli", {}), "signals": scenario["signals"]})
        state = State.from_json(scenario["initialState"])
        self.sequencer = Sequencer(Document("t1", "d1"), state, config, now)
        self.saves = Saves(safe=state.log_offset)

    def construct(self) -> list[Json]:
        return self.show(self.sequencer.outputs)

    def play(self, step: Json) -> list[Json]:
        if "advanceMs" in step:
            self.now += step["advanceMs"]
            return self.show(tick_until(self.sequencer, self.now))
        boxcar = {"contents": step["boxcar"], "documentId": "d1", "tenantId": "t1", "type": "boxcar"}
        outputs = self.sequencer.feed(Record(step["offset"], parse_boxcar(json.dumps(boxcar))), self.now)
        if self.name in PRODUCE_FAILS:
            # The failure comes while the produce before the save is under way: the save is not reached.
            outputs = [output for output in outputs if not isinstance(output, SaveState)]
            outputs += self.sequencer.feed(ProduceFailed(PRODUCE_FAILS[self.name], step["offset"]), self.now)
        return self.show(outputs)

    def show(self, outputs: list[Output]) -> list[Json]:
        return [shown for output in outputs for shown in self.show_one(output)]

    def show_one(self, output: Output) -> Iterator[Json]:
        match output:
            case Deltas(messages):
                yield {"kind": "deltas", "msgs": [*messages]}
            case RawDeltas(message):
                yield {"kind": "rawdeltas", "msgs": [message]}
            case Signal(message):
                yield {"kind": "signals", "msgs": [message]}
            case Event("dsn", number):
                yield {"kind": "event:dsn", "dsn": number}
            case Event("updatedNackMessages", (identifier, contents)):
                yield {"kind": "event:updatedNackMessages", "type": identifier, "set": contents is not None}
            case Event(name):
                yield {"kind": f"event:{name}"}
            case Checkpoint():
                self.saves, checkpoint = self.saves.told(output.offset)
                yield from shown(checkpoint)
            case SaveState(reason, state, _, time):
                yield {"kind": "stateCheckpoint", "reason": int(reason), "state": state.to_json(time)}
                yield from self.saved(output)
            case Failure(error, restart):
                yield {"kind": "error", "error": error, "restart": restart, "tenantId": "t1", "documentId": "d1"}

    def saved(self, save: SaveState) -> Iterator[Json]:
        self.saves = self.saves.ask(save)
        if self.name in SAVE_FAILS:
            self.saves = self.saves.failed()
            return
        self.saves, checkpoint = self.saves.saved()
        yield from shown(checkpoint)


def shown(checkpoint: Checkpoint | None) -> Iterator[Json]:
    if checkpoint:
        yield {"kind": "kafkaCheckpoint", "offset": checkpoint.offset, "restartFlag": True}


def start_of_clock(scenario: Json) -> int:
    """When a scenario starts: the clock that all of them shared, as far as an output shows it."""
    advanced = 0
    for outputs, step in [(scenario["construct"], {}), *((step["out"], step) for step in scenario["steps"])]:
        advanced += int(step.get("advanceMs", 0))
        times: list[int | None] = [wall_clock(output) for output in outputs]
        for time in times:
            if time is not None:
                return time - advanced
    return 1_700_000_000_000


def wall_clock(output: Json) -> int | None:
    if output["kind"] == "stateCheckpoint":
        return int(output["state"]["checkpointTimestamp"])
    messages: list[Json] = output.get("msgs", [])
    return next((int(m["timestamp"]) for m in messages if m["type"] in {"RawOperation", "Nack", "Signal"}), None)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: str(scenario["name"]))
def test_scenario(scenario: Json) -> None:
    player = Player(scenario, start_of_clock(scenario))
    assert player.construct() == scenario["construct"]
    for index, step in enumerate(scenario["steps"]):
        missing, _ = SAFER.get((player.name, index), (set(), ""))
        expected: list[Any] = [output for output in step["out"] if output["kind"] not in missing]
        if "thrown" in step:
            with pytest.raises(Malformed):
                player.play(step)
            assert expected == []
        else:
            assert player.play(step) == expected, f"step {index}"


def test_every_exception_is_of_a_scenario_that_is_there() -> None:
    names = {scenario["name"][:3] for scenario in SCENARIOS}
    assert {name for name, _ in SAFER} | set(PRODUCE_FAILS) | SAVE_FAILS <= names
