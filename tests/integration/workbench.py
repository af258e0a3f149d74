"""Helpers for tests of `kafka-sidecar dead-letters`: the commands, and dead letters to use them on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from sidecar.dead_letters.letter import Stored as StoredLetter
from tests.integration.dead import dead_topic, read_dead
from tests.integration.harness import PATIENCE, ROOT, Program, Stage
from tests.servers.topics import Record, Stored, create_topic, produce, read_all
from tests.unit.dead_letters.letters import stored


class Workbench:
    """The commands, with a config file of a stage."""

    def __init__(self, stage: Stage, config: dict[str, Any] | None = None) -> None:
        self.stage = stage
        path = stage.folder / "workbench.yaml"
        path.write_text(yaml.safe_dump(config or stage.config(on_critical="dead-letter")))
        self._command = [sys.executable, "-m", "sidecar", "--config", str(path), "dead-letters"]

    def run(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """What a command wrote to standard output and standard error."""
        command = [*self._command, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=2 * PATIENCE)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback (most recent call last)" not in done.stderr, done.stderr
        return done.stdout, done.stderr

    def groups(self, *arguments: str) -> list[dict[str, Any]]:
        """The answer of `list --json`."""
        found: list[dict[str, Any]] = json.loads(self.run("list", "--json", *arguments)[0])["groups"]
        return found

    def letters(self, *arguments: str) -> list[dict[str, Any]]:
        """The answer of `list --letters --json`."""
        said = json.loads(self.run("list", "--letters", "--json", *arguments)[0])
        found: list[dict[str, Any]] = said["letters"]
        return found

    def start(self, *arguments: str) -> Program:
        """A command that the test does not wait for."""
        return self.stage.program(" ".join(arguments), [*self._command, *arguments])


def write_letters(stage: Stage, count: int, partitions: int = 1, **fields: Any) -> None:
    """Write dead letters as the sidecar does, many at once; the source gets no records."""
    stage.create_topic(partitions)
    create_topic(stage.broker.address, dead_topic(stage), partitions)
    add_letters(stage, ((number % partitions, number // partitions) for number in range(count)), **fields)


def add_letters(
    stage: Stage, sources: Iterable[tuple[int, int]], values: Sequence[bytes] | None = None, **fields: Any
) -> None:
    """Write more of them: of these partitions and offsets of the source. By default a value is its offset."""

    def value(number: int, offset: int) -> bytes:
        return b"%d" % offset if values is None else values[number]

    def letter(number: int, partition: int, offset: int) -> StoredLetter:
        given: dict[str, Any] = {"value": value(number, offset), **fields}
        return stored(0, offset, partition=partition, source_topic=stage.topic, **given)

    letters = (letter(number, *source) for number, source in enumerate(sources))
    records = (Record(one.key, one.value, one.headers, one.place.partition) for one in letters)
    produce(stage.broker.address, dead_topic(stage), records)


def numbers(stage: Stage, topic: str = "") -> dict[int, list[int]]:
    """The numbers in a topic's values, by partition; by default of the source."""
    found: dict[int, list[int]] = {}
    for one in read_all(stage.broker.address, topic or stage.topic):
        found.setdefault(one.partition, []).append(int(one.value or b""))
    return found


def headers(record: Stored) -> dict[str, bytes | None]:
    assert record.headers is not None
    return dict(record.headers)


def read_letters(stage: Stage) -> list[Stored]:
    """The dead letters, without the marks."""
    return [one for one in read_dead(stage) if one.headers and one.headers[0][0] != "__kafka_sidecar.mark"]


def read_source(stage: Stage) -> list[Stored]:
    return read_all(stage.broker.address, stage.topic)


def marks(stage: Stage) -> int:
    """How many marks the dead-letter topic has."""
    return len(read_dead(stage)) - len(read_letters(stage))
