"""Recorded documents, sequenced again: straight through, and with crashes on the way."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.deli import Checkpoint, Deltas, Document, Record, Saves, SaveState, Sequencer, State, load, parse_boxcar
from examples.deli.config import Config
from tests.recorded import all_documents
from tests.unit.deli.shared import NOW, Json

FILES = all_documents()


def records(path: Path) -> list[Record]:
    """The records of a raw stream, with offsets that leave gaps."""
    values = [json.dumps(json.loads(line)["value"]).encode() for line in path.read_bytes().splitlines()]
    return [Record(3 * index + 5, parse_boxcar(value)) for index, value in enumerate(values)]


def expected(path: Path) -> list[Json]:
    """What the service made of it."""
    recorded = path.with_name(path.name.replace("rawdeltas", "deltas"))
    return [json.loads(line) for line in recorded.read_bytes().splitlines()]


def operations(outputs: list[object]) -> Iterator[Json]:
    """The sequenced operations among the outputs; a recorded document has no nacks."""
    for output in outputs:
        if isinstance(output, Deltas):
            for message in output.messages:
                assert message["type"] == "SequencedOperation", message
                yield message["operation"]


def like(operation: Json, recorded: Json) -> Json:
    return {name: operation[name] for name in recorded}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.removesuffix(".rawdeltas.jsonl"))
def test_recorded_document(path: Path) -> None:
    sequencer = Sequencer(Document("fluid", path.name), State(), Config(), NOW)
    made = [op for record in records(path) for op in operations([*sequencer.feed(record, NOW)])]
    wanted = expected(path)
    assert len(made) == len(wanted)
    for operation, recorded in zip(made, wanted, strict=True):
        assert like(operation, recorded) == recorded


class Crashing:
    """Runs a document in a process that dies now and then, and keeps what outlives it."""

    def __init__(self, path: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.document = Document("fluid", path.name)
        self.records = records(path)
        self.stored: str | None = None
        self.committed = -1
        self.deltas: list[Json] = []
        self.crashes = 0

    def run(self) -> None:
        """Until a process comes to the end."""
        while not self.live():
            self.crashes += 1

    def live(self) -> bool:
        """One process's life. What it produced stays; what it had not saved is lost."""
        state = load(self.stored)
        sequencer = Sequencer(self.document, state, Config(), NOW + self.crashes)
        saves = Saves(safe=state.log_offset)
        for record in self.records:
            if record.offset <= self.committed:
                continue
            for output in sequencer.feed(record, NOW + self.crashes):
                self.deltas += operations([output])
                if isinstance(output, SaveState):
                    saves = self.save(saves.ask(output))
                elif isinstance(output, Checkpoint):
                    saves, checkpoint = saves.told(output.offset)
                    self.committed = max(self.committed, checkpoint.offset if checkpoint else -1)
            if self.random.random() < 0.01:
                return False
        return True

    def save(self, saves: Saves) -> Saves:
        """The save that is under way takes a while, so that some are still under way at the crash."""
        if saves.write is None or self.random.random() < 0.7:
            return saves
        self.stored = json.dumps(saves.write.state.to_json(saves.write.time))
        saves, checkpoint = saves.saved()
        if checkpoint and self.random.random() < 0.7:
            assert checkpoint.offset > self.committed
            self.committed = checkpoint.offset
        return saves


def without_time(operation: Json) -> Json:
    """The time of the state that rides on a message is the only thing that another process writes differently."""
    if "additionalContent" not in operation:
        return operation
    content = json.loads(operation["additionalContent"])
    return {**operation, "additionalContent": {**content, "checkpointTimestamp": 0}}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.removesuffix(".rawdeltas.jsonl"))
def test_a_crash_changes_no_number(path: Path, seed: int) -> None:
    crashing = Crashing(path, seed)
    crashing.run()
    by_number: dict[int, Json] = {}
    for operation in map(without_time, crashing.deltas):
        number = operation["sequenceNumber"]
        assert by_number.setdefault(number, operation) == operation, "a number that came twice, with other content"
        assert number <= len(by_number), "a number that was left out"
    wanted = expected(path)
    assert [*by_number] == [recorded["sequenceNumber"] for recorded in wanted]
    for recorded in wanted:
        assert like(by_number[recorded["sequenceNumber"]], recorded) == recorded


def test_the_processes_do_crash() -> None:
    crashes = 0
    for path in FILES:
        crashing = Crashing(path, 0)
        crashing.run()
        crashes += crashing.crashes
    assert crashes > 5
