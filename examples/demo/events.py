"""Sentences about events, from the sidecar's log and from changes of its status. It starts and queries nothing."""

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sdk_python.protocol import admin_pb2 as pb

Tone = Literal["good", "bad", "plain"]

MERGED_WITHIN = 1.5
"""Within this many seconds, the same event of several partitions is one event."""

_STARTS = re.compile(r"(\S+)/(\d+) \[\S+\] ready \(start offset (\d+), attempt")
_COMMON = ("ts", "level", "event", "logger", "lambda", "lease")

_GONE = "gone"

_EXPECTED = ("lambda process ended", "starting the lambda process again", "the topic does not exist", "lambda output")
"""Warnings that are not shown: other events say the same."""


@dataclass
class Event:
    """An event to show. ``at`` is in seconds since the start of the demo."""

    at: float
    tone: Tone
    text: str
    kind: str = ""
    places: dict[int, str] = field(default_factory=dict)
    """A text for each partition, which is added to the text."""
    why: str = ""
    """The end of the text, since it may be long."""

    def __str__(self) -> str:
        places = "  ".join(self.places[number] for number in sorted(self.places))
        return " ".join(part for part in (self.text, places, f"({self.why})" if self.why else "") if part)


class Events:
    """Collects events, the latest last."""

    def __init__(self, most: int = 100) -> None:
        self.latest: deque[Event] = deque(maxlen=most)
        self.process_ends = 0
        """How often the lambda process ended unexpectedly."""
        self.begun = 0
        """Number of all events; `latest` keeps only some."""
        self._processes: dict[str, tuple[str, int]] = {}
        self._gone_at: dict[str, float] = {}
        self._ended: set[str] = set()
        self._paused: set[tuple[str, int]] = set()

    def read(self, lines: Iterable[dict[str, Any]], now: float) -> None:
        """Take lines of the log."""
        for line in lines:
            self._read(line, str(line["event"]), now)

    def compare(self, lambdas: Sequence[pb.Lambda], now: float) -> None:
        """Take the lambda processes of the present status."""
        present = {process.process_id: (one.name, process.pid) for one in lambdas for process in one.processes}
        for gone in self._processes.keys() - present.keys():
            name, pid = self._processes[gone]
            self._gone_at[name] = now
            self.add(Event(now, "bad", f"{name} process {pid} is gone; the sidecar keeps its place", _GONE))
        for come in present.keys() - self._processes.keys():
            name, pid = present[come]
            after = f", {now - self._gone_at[name]:.1f} s later" if name in self._gone_at else ""
            self.add(Event(now, "good", f"{name} process {pid} is here{after}"))
        self._processes = present
        self._compare_paused(lambdas, now)

    def _compare_paused(self, lambdas: Sequence[pb.Lambda], now: float) -> None:
        """Only the end of a pause: the log has its beginning and its reason."""
        paused = {
            (one.name, partition.partition)
            for one in lambdas
            for partition in one.partitions
            if partition.state == pb.PARTITION_STATE_PAUSED
        }
        for name, number in sorted(self._paused - paused):
            self.add(Event(now, "good", f"{name} goes on after its pause:", f"{name} resumes", {number: f"{number}"}))
        self._paused = paused

    def add(self, event: Event) -> None:
        """Add an event, or its partitions to the last one of its kind."""
        for known in reversed(self.latest):
            if known.kind == _GONE or not event.kind:
                break  # events after a process's end are not part of those before it
            if known.kind == event.kind and event.at - known.at < MERGED_WITHIN:
                known.places.update(event.places)
                return
        self.latest.append(event)
        self.begun += 1

    def _read(self, line: dict[str, Any], event: str, now: float) -> None:
        partition = line.get("partition")
        name = str(line.get("lambda", ""))
        starts = _STARTS.search(str(line.get("line", "")))
        if starts:
            number, offset = int(starts[2]), int(starts[3])
            verb = "go on" if name in self._ended else "start"
            self.add(
                Event(
                    now, "good", f"{name} partitions {verb}:", f"{name} starts", {number: f"{number} at {offset:,}"}
                )
            )
        elif event == "lambda process ended" and line.get("level") == "warning":
            self.process_ends += 1
            self._ended.add(name)
        elif event == "left the group":
            self.add(Event(now, "plain", f"{name} drained and committed; the sidecar has left its group"))
        elif line.get("level") in {"warning", "error", "critical"} and not event.startswith(_EXPECTED):
            if isinstance(partition, int):
                why = str(line.get("reason") or line.get("error") or "")
                kind = f"{name} {event} {why}"
                self.add(Event(now, "bad", f"{name} {event}:", kind, {partition: f"{partition}"}, why))
            else:
                self.add(Event(now, "bad", sentence(line)))


def sentence(line: dict[str, Any]) -> str:
    """A line of the log for people: its event and its fields."""
    rest = ", ".join(f"{name} {value}" for name, value in line.items() if name not in _COMMON)
    return f"{line['event']} ({rest})" if rest else str(line["event"])
