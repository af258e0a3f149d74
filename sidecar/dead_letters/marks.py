"""Marks: records in a dead-letter topic that say which of its letters were replayed. Pure.

A mark stands in the partition of its letters, after them, and is written in the transaction that writes the replayed
records. Hence a mark lives as long as its letters: retention and `purge` delete a log from its beginning, and so the
letters first; and whoever deletes the topic deletes both.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable

from sidecar.dead_letters.letter import Headers, Place, Stored

HEADER = "__kafka_sidecar.mark"
REPLAYED = b"replayed"

MAX_NAMED = 100_000
"""Letters that one mark can name."""

MarkRecord = tuple[str, int, bytes, Headers]
"""Topic, partition, value and headers of a mark."""


def mark_records(letters: Iterable[Place], now: str) -> list[MarkRecord]:
    """The marks of letters that are replayed: one for each of their partitions. ``now``: a time in ISO 8601."""
    offsets: dict[tuple[str, int], set[int]] = {}
    for place in letters:
        offsets.setdefault((place.topic, place.partition), set()).add(place.offset)
    return [
        (topic, partition, _value(those, now), ((HEADER, REPLAYED),))
        for (topic, partition), those in sorted(offsets.items())
    ]


def marked(stored: Stored) -> list[Place] | None:
    """The letters that a mark names; None: the record is no mark, or one of another kind."""
    if (HEADER, REPLAYED) not in stored.headers:
        return None
    topic, partition, end = stored.place
    try:
        runs = [(int(first), int(last)) for first, last in json.loads(stored.value or b"")["offsets"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    # A mark names only letters before it. One that names more than any replay writes at once is forged.
    runs = [(max(0, first), min(last, end - 1)) for first, last in runs]
    if sum(last - first + 1 for first, last in runs if last >= first) > MAX_NAMED:
        return None
    return [Place(topic, partition, offset) for first, last in runs for offset in range(first, last + 1)]


def _value(offsets: Collection[int], now: str) -> bytes:
    return json.dumps({"offsets": _runs(offsets), "at": now}, separators=(",", ":")).encode()


def _runs(offsets: Collection[int]) -> list[list[int]]:
    """Offsets as [first, last] of each stretch without a gap."""
    runs: list[list[int]] = []
    for offset in sorted(offsets):
        if runs and offset == runs[-1][1] + 1:
            runs[-1][1] = offset
        else:
            runs.append([offset, offset])
    return runs
