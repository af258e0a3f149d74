"""The programs at the ends: the lambda, a bare loop on the same topic, and a clock that notices when nothing runs.

The lambda notes of each record its partition, its offset, when it was produced and when it is handled. Settings:
``total``, ``records`` (the file for the notes) and ``result`` (a file that appears when all are noted).

    python -m benchmarks.stalls.handling witness BROKER TOPIC TOTAL     a bare `poll` loop, with the same notes
    python -m benchmarks.stalls.handling metronome                      notes when a sleep of 1 ms took far longer

Both write their notes to standard output at their end; the metronome ends with its standard input.
"""

from __future__ import annotations

import select
import sys
import time
import uuid
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer

from benchmarks.counting import note
from sdk_python import IContext, Message

BEAT_S = 0.001
LATE_NS = 3_000_000
"""A sleep of `BEAT_S` that takes so long is noted."""


class _Lambda:
    def __init__(self, factory: _Factory, context: IContext) -> None:
        self._factory = factory
        self._context = context

    def handler(self, message: Message) -> None:
        self._factory.note(message.partition, message.offset, message.value)
        self._context.checkpoint(message.offset)


class _Factory:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._notes = array("q")
        self._left = int(config["total"])

    async def create(self, _: Mapping[str, Any], context: IContext) -> _Lambda:
        return _Lambda(self, context)

    async def dispose(self) -> None:
        """Nothing to close."""

    def note(self, partition: int, offset: int, value: bytes | None) -> None:
        self._notes.extend((partition, offset, _produced(value), time.time_ns()))
        self._left -= 1
        if not self._left:
            Path(self._config["records"]).write_bytes(self._notes.tobytes())
            note(self._config, "result", {})


async def create(config: Mapping[str, Any]) -> _Factory:
    """The plugin is this module."""
    return _Factory(config)


def _produced(value: bytes | None) -> int:
    return int((value or b"").split(b" ", 1)[0])


def _witness(broker: str, topic: str, total: int) -> array[int]:
    properties = {"group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer({"bootstrap.servers": broker, **properties})
    consumer.subscribe([topic], on_assign=lambda *_: print("ready", flush=True))
    notes = array("q")
    while len(notes) < 4 * total:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            now = time.time_ns()
            notes.extend((message.partition() or 0, message.offset() or 0, _produced(message.value()), now))
    consumer.close()
    return notes


def _metronome() -> array[int]:
    """Pairs: when a late sleep began, and when it ended."""
    notes = array("q")
    print("ready", flush=True)
    began = time.time_ns()
    while not select.select([sys.stdin], [], [], BEAT_S)[0]:
        ended = time.time_ns()
        if ended - began > LATE_NS:
            notes.extend((began, ended))
        began = ended
    return notes


if __name__ == "__main__":
    found = _witness(sys.argv[2], sys.argv[3], int(sys.argv[4])) if sys.argv[1] == "witness" else _metronome()
    sys.stdout.buffer.write(found.tobytes())
