"""A run's folder: the histories of all processes and Kafka's data, and how they become facts.

| file | content |
| --- | --- |
| `run.json` | the seed, the options, the schedule |
| `history/lambda-*.jsonl` | the history of each lambda process |
| `history/producer.jsonl` | the producer: acknowledged records |
| `history/runner.jsonl` | the runner: each step, each process, resumes, seeks |
| `history/offsets.jsonl` | Kafka's `__consumer_offsets`: each commit and each assignment, in the log's order |
| `end.json` | the records in the topics, and the state at the end |
| `logs/`, `configs/` | the logs and configs of each process |
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sidecar.cluster import commit_metadata
from sidecar.records import key_lane
from tests.chaos import lanes, offsets
from tests.chaos.facts import (
    Checkpointed,
    Commit,
    End,
    Facts,
    Failed,
    Generation,
    Handled,
    Lease,
    Life,
    Seek,
    Span,
)
from tests.servers import topics

Line = dict[str, Any]
FOREVER = float("inf")


def lines(path: Path) -> list[Line]:
    """The complete lines of a history; empty without the file."""
    if not path.exists():
        return []
    data = path.read_bytes()
    return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]


# --- Kafka's data -----------------------------------------------------------------------------------------------


def keep_offsets(folder: Path, address: str, group: str, topic: str) -> None:
    """Store the commits and assignments of a group.

    Raises ``RuntimeError`` when the log has gaps, because some commits have been removed.
    """
    kept: list[Line] = []
    before = -1
    for record in topics.read_all(address, offsets.TOPIC, "read_uncommitted"):
        if record.offset != before + 1:
            raise RuntimeError(f"{offsets.TOPIC} lacks offsets {before + 1} to {record.offset - 1}")
        before = record.offset
        found = offsets.parse(record.key, record.value)
        base: Line = {"position": record.offset, "wall": record.timestamp / 1000}
        if isinstance(found, offsets.CommitRecord) and (found.group, found.topic) == (group, topic):
            wall = found.wall or base["wall"]
            commit = {"kind": "commit", "partition": found.partition, "offset": found.offset, "wall": wall}
            if found.offset is not None:
                places = commit_metadata.decode(found.offset, found.metadata).places
                commit["places"] = [place.offset for place in places]
            kept.append({**base, **commit})
        elif isinstance(found, offsets.GroupRecord) and found.group == group:
            owners = {str(number): [*who] for (name, number), who in found.owners.items() if name == topic}
            kept.append({**base, "kind": "generation", "number": found.generation, "owners": owners})
    text = "".join(json.dumps(line) + "\n" for line in kept)
    (folder / "history" / "offsets.jsonl").write_text(text)


def keep_end(
    folder: Path, address: str, topic: str, dead_letter_topic: str | None, *, lanes: int, **end: Any
) -> None:
    """Store the records in the topics, with the lane of each, and ``end``."""
    records: dict[str, list[int]] = {}
    of: dict[str, list[int]] = {}
    for record in topics.read_all(address, topic):
        records.setdefault(str(record.partition), []).append(record.offset)
        of.setdefault(str(record.partition), []).append(key_lane.lane_of(record.key, record.offset, lanes))
    letters = [] if dead_letter_topic is None else [*_dead_letters(address, dead_letter_topic)]
    (folder / "end.json").write_text(json.dumps({"records": records, "lanes": of, "dead_letters": letters, **end}))


def _dead_letters(address: str, topic: str) -> Iterator[tuple[int, int]]:
    """The (partition, offset) from which each dead letter came, by its headers."""
    for record in topics.read_all(address, topic):
        headers = dict(record.headers or ())
        partition, offset = (headers.get(f"__connect.errors.{name}") for name in ("partition", "offset"))
        if partition is None or offset is None:
            raise RuntimeError(f"a dead letter does not say where it is from: {headers}")
        yield int(partition), int(offset)


# --- facts ------------------------------------------------------------------------------------------------------


class Clock:
    """Converts wall clock times to monotonic ones, by the nearest line that has both: the wall clock is corrected
    from time to time, in small steps."""

    def __init__(self, both: Iterable[Line]) -> None:
        pairs = sorted((line["wall"], line["at"]) for line in both)
        self._walls: list[float] = [wall for wall, _ in pairs]
        self._ahead: list[float] = [wall - at for wall, at in pairs]

    def at(self, wall: float) -> float:
        """The monotonic time of a wall clock time, both in seconds."""
        index = bisect_left(self._walls, wall)
        near = min(
            (i for i in (index - 1, index) if 0 <= i < len(self._walls)), key=lambda i: abs(self._walls[i] - wall)
        )
        return wall - self._ahead[near]

    @property
    def drift(self) -> float:
        """The change of the difference between the clocks, in seconds."""
        return max(self._ahead) - min(self._ahead)


def load(folder: Path) -> Facts:
    """Read all facts of the run in a folder."""
    run = json.loads((folder / "run.json").read_text())
    end = json.loads((folder / "end.json").read_text())
    runner = lines(folder / "history" / "runner.jsonl")
    clock = Clock(runner)
    lambdas = [(path.stem.removeprefix("lambda-"), lines(path)) for path in (folder / "history").glob("lambda-*")]
    events = sorted(
        ({**line, "process": process} for process, several in lambdas for line in several), key=lambda e: e["at"]
    )
    log = lines(folder / "history" / "offsets.jsonl")
    facts = Facts(
        window=run["options"]["window"],
        interval=run["options"]["interval"],
        on_critical=run["options"]["on_critical"],
        records={int(partition): tuple(found) for partition, found in end["records"].items()},
        acknowledged=frozenset(
            (line["partition"], line["offset"])
            for line in lines(folder / "history" / "producer.jsonl")
            if line["kind"] == "produced"
        ),
        leases=_leases(events),
        handled=tuple(Handled(*_record(e)) for e in events if e["kind"] == "handled"),
        checkpoints=tuple(Checkpointed(*_record(e)) for e in events if e["kind"] == "checkpointed"),
        failures=tuple(Failed(*_record(e), e["critical"]) for e in events if e["kind"] == "failed"),
        commits=tuple(
            Commit(
                e["position"],
                clock.at(e["wall"]),
                e["partition"],
                -1 if e["offset"] is None else e["offset"],
                tuple(e.get("places", ())),
            )
            for e in log
            if e["kind"] == "commit"
        ),
        generations=tuple(_generation(e, clock) for e in log if e["kind"] == "generation"),
        seeks=tuple(_seeks(runner)),
        lives=tuple(_lives(runner)),
        ends=_ends(runner),
        spans=tuple(_spans(runner)),
        dead_letters=frozenset((partition, offset) for partition, offset in end["dead_letters"]),
        end=End(
            committed={int(partition): offset for partition, offset in end["committed"].items()},
            ends={int(partition): offset for partition, offset in end["ends"].items()},
            group=end["group"],
            left=tuple(end["left"]),
            exits=end["exits"],
        ),
    )
    count = run["options"].get("lanes", 1)
    if count == 1:
        return facts
    return lanes.split(facts, count, {int(partition): found for partition, found in end["lanes"].items()})


def _record(event: Line) -> tuple[float, str, int, int]:
    return event["at"], event["lease"], event["partition"], event["offset"]


def _generation(line: Line, clock: Clock) -> Generation:
    owners = {int(partition): (member, client) for partition, (member, client) in line["owners"].items()}
    return Generation(line["position"], clock.at(line["wall"]), line["number"], owners)


def _leases(events: Iterable[Line]) -> tuple[Lease, ...]:
    made: dict[str, Line] = {}
    for event in events:
        if event["kind"] == "created":
            made[event["lease"]] = {"lane": 0, "state": None, **event, "closing": None, "closed": None}
        elif event["kind"] in ("closing", "closed"):
            made[event["lease"]][event["kind"]] = event["at"]
    names = ("process", "slot", "partition", "start", "attempt", "at", "closing", "closed", "lane", "state")
    return tuple(Lease(name, *(one[key] for key in names)) for name, one in made.items())


def _seeks(runner: Iterable[Line]) -> Iterator[Seek]:
    """The seeks, which do not overlap: the operator is one thread."""
    asked: Line | None = None
    for line in runner:
        if line["kind"] == "seeking":
            asked = line
        elif line["kind"] == "sought" and asked is not None:
            yield Seek(line["partition"], line["target"], asked["at"], line["at"], line["code"] == 0)
            asked = None
    if asked is not None:
        yield Seek(asked["partition"], asked["target"], asked["at"], FOREVER, done=False)


def _ends(runner: Iterable[Line]) -> dict[str, float]:
    ended: dict[str, float] = {}
    for line in runner:
        if line["kind"] in ("ended", "crashed"):
            ended.setdefault(line["label"], line["at"])
    return ended


def _lives(runner: list[Line]) -> Iterator[Life]:
    ended = _ends(runner)
    begun = {line["label"]: line for line in runner if line["kind"] == "started" and "/" not in line["slot"]}
    for label, line in begun.items():
        yield Life(label, line["slot"], line["at"], ended.get(label, FOREVER))


def _spans(runner: Iterable[Line]) -> Iterator[Span]:
    """The spans: a sidecar's has its slot, a lambda process's its label."""
    begun: dict[str, float] = {}
    for line in runner:
        if line["kind"] == "frozen":
            begun[_who(line)] = line["at"]
        elif line["kind"] == "thawed" and _who(line) in begun:
            yield Span(_who(line), begun.pop(_who(line)), line["at"])
    for who, at in begun.items():
        yield Span(who, at, FOREVER)


def _who(line: Line) -> str:
    return str(line["label"] if "/" in line["slot"] else line["slot"])
