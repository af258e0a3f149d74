"""The histories that lambda processes write, read as events."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a history. Fields that an event does not have are -1 or empty.

    Kinds: started (a process), created, handled, checkpointed, failing, closing, closed (a lambda), disposed.
    """

    kind: str
    at: float
    """Seconds of the machine's monotonic clock."""
    process: str
    """The label of the process that wrote it."""
    lease: str = ""
    topic: str = ""
    partition: int = -1
    offset: int = -1
    start: int | None = None
    attempt: int = -1
    reason: str = ""
    pid: int = -1
    hash: str | None = None
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def utc(self) -> float:
        """The time in seconds since the epoch, as in logs and records."""
        return self.at + time.time() - time.monotonic()


class History:
    """All histories in a folder, ordered by time. Reading again reads only new lines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._events: list[Event] = []
        self._read: dict[Path, int] = {}
        self._places: dict[str, tuple[str, int]] = {}
        self._handled: set[tuple[str, int, int]] = set()

    def events(self, *kinds: str, process: str | None = None, partition: int | None = None) -> list[Event]:
        """The events so far: all, or those of some kinds, of one process, of one partition."""
        self._catch_up()
        return [
            event
            for event in self._events
            if (not kinds or event.kind in kinds)
            and process in (None, event.process)
            and partition in (None, event.partition)
        ]

    def handled(self, process: str | None = None, partition: int | None = None) -> list[Event]:
        """The events of handler calls."""
        return self.events("handled", process=process, partition=partition)

    def count(self) -> int:
        """The number of different records handled so far."""
        self._catch_up()
        return len(self._handled)

    def pids(self) -> list[int]:
        """The process ids of the processes, oldest first."""
        return [event.pid for event in self.events("started")]

    def _catch_up(self) -> None:
        fresh: list[Event] = []
        for path in sorted(self.folder.glob("*.jsonl")):
            begin = self._read.get(path, 0)
            with path.open("rb") as file:
                file.seek(begin)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            if whole:
                self._read[path] = begin + len(whole)
                fresh += self._parsed(path.stem.rpartition("-")[0], whole.splitlines())
        if fresh:
            self._handled.update((one.topic, one.partition, one.offset) for one in fresh if one.kind == "handled")
            self._events = sorted([*self._events, *fresh], key=lambda event: event.at)

    def _parsed(self, process: str, lines: Iterable[bytes]) -> Iterable[Event]:
        for line in lines:
            event = Event(process=process, **json.loads(line))
            if event.kind == "created":
                self._places[event.lease] = (event.topic, event.partition)
            elif event.lease and event.partition < 0:
                topic, partition = self._places[event.lease]
                known = {name: getattr(event, name) for name in ("kind", "at", "lease", "offset", "reason")}
                event = Event(process=process, topic=topic, partition=partition, **known)
            yield event
