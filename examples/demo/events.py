"""What happened, in sentences: of the sidecar's log, and of how its status changes. Starts and asks nothing."""

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sdk_python.protocol import admin_pb2 as pb

Tone = Literal["good", "bad", "plain"]

MERGED_WITHIN = 1.5
"""Seconds in which what happens to several partitions is one event."""

_STARTS = re.compile(r"partition (\d+) starts at offset (\d+), attempt")
_COMMON = ("ts", "level", "event", "logger", "lambda", "lease")

_GONE = "gone"

_EXPECTED = ("lambda process ended", "starting the lambda process again", "the topic does not exist", "lambda output")
"""Warnings that tell nothing new here."""


@dataclass
class Event:
    """Something to show. ``at`` is in seconds since the start of the demo."""

    at: float
    tone: Tone
    text: str
    kind: str = ""
    places: dict[int, str] = field(default_factory=dict)
    """By partition, what is to be said of it; added to the text."""

    def __str__(self) -> str:
        return " ".join([self.text, "  ".join(self.places[number] for number in sorted(self.places))]).rstrip()


class Events:
    """Collects events, the latest last."""

    def __init__(self, most: int = 100) -> None:
        self.latest: deque[Event] = deque(maxlen=most)
        self.process_ends = 0
        """How often the lambda process ended without being asked to."""
        self.left_group = False
        """The sidecar has committed and left the group."""
        self.begun = 0
        """Events so far: `latest` forgets."""
        self._processes: dict[str, int] = {}
        self._gone_at: float | None = None

    def read(self, lines: Iterable[dict[str, Any]], now: float) -> None:
        """Take lines of the log."""
        for line in lines:
            self._read(line, str(line["event"]), now)

    def compare(self, processes: Sequence[pb.Process], now: float) -> None:
        """Take the lambda processes of the present status."""
        present = {one.process_id: one.pid for one in processes}
        for gone in self._processes.keys() - present.keys():
            self._gone_at = now
            text = f"lambda process {self._processes[gone]} is gone; the sidecar keeps its place"
            self.add(Event(now, "bad", text, _GONE))
        for come in present.keys() - self._processes.keys():
            after = "" if self._gone_at is None else f", {now - self._gone_at:.1f} s later"
            self.add(Event(now, "good", f"lambda process {present[come]} is here{after}"))
        self._processes = present

    def add(self, event: Event) -> None:
        """Add an event, or its partitions to the last one of its kind."""
        for known in reversed(self.latest):
            if known.kind == _GONE or not event.kind:
                break  # what follows a process's end is not what came before it
            if known.kind == event.kind and event.at - known.at < MERGED_WITHIN:
                known.places.update(event.places)
                return
        self.latest.append(event)
        self.begun += 1

    def _read(self, line: dict[str, Any], event: str, now: float) -> None:
        partition = line.get("partition")
        starts = _STARTS.search(str(line.get("line", "")))
        if starts:
            number, offset = int(starts[1]), int(starts[2])
            text = "partitions go on:" if self.process_ends else "partitions start:"
            self.add(Event(now, "good", text, "starts", {number: f"{number} at {offset:,}"}))
        elif event == "lambda process ended" and line.get("level") == "warning":
            self.process_ends += 1
        elif event == "left the group":
            self.left_group = True
            self.add(Event(now, "plain", "drained and committed; the sidecar has left the group"))
        elif line.get("level") in {"warning", "error", "critical"} and not event.startswith(_EXPECTED):
            if isinstance(partition, int):
                why = f" ({line['reason']})" if line.get("reason") else ""
                self.add(Event(now, "bad", f"{event}{why}:", event, {partition: f"{partition}"}))
            else:
                self.add(Event(now, "bad", sentence(line)))


def sentence(line: dict[str, Any]) -> str:
    """A line of the log for people: its event, and what else it says."""
    rest = ", ".join(f"{name} {value}" for name, value in line.items() if name not in _COMMON)
    return f"{line['event']} ({rest})" if rest else str(line["event"])
