"""Letters grouped by their cause: ten thousand failures for one reason are one group. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sidecar.dead_letters.contents import Contents
from sidecar.dead_letters.letter import Letter, instant


@dataclass(slots=True)
class Group:
    """The letters of a dead-letter topic that have one fingerprint."""

    topic: str
    newest: Letter
    """The letter with the last failure."""
    lambdas: set[str]
    sources: set[str]
    letters: int = 0
    open: int = 0
    """How many were not replayed."""
    first_ms: int = 0
    """The first failure, in milliseconds since the Unix epoch."""

    @property
    def fingerprint(self) -> str:
        """What the letters have in common."""
        return self.newest.fingerprint

    @property
    def last_ms(self) -> int:
        """The last failure."""
        return self.newest.last_ms


def grouped(contents: Contents, letters: Iterable[Letter]) -> list[Group]:
    """The groups of ``letters``, by topic, the one that failed last first."""
    groups: dict[tuple[str, str], Group] = {}
    for letter in letters:
        key = (letter.place.topic, letter.fingerprint)
        group = groups.get(key)
        if group is None:
            group = groups[key] = Group(letter.place.topic, letter, set(), set(), first_ms=letter.first_ms)
        group.letters += 1
        group.open += contents.is_open(letter)
        group.first_ms = min(group.first_ms, letter.first_ms)
        group.lambdas.add(letter.lambda_name)
        group.sources.add(letter.source.topic)
        if letter.last_ms > group.newest.last_ms:
            group.newest = letter
    return sorted(groups.values(), key=lambda group: (group.topic, -group.last_ms, group.fingerprint))


def group_document(group: Group) -> dict[str, Any]:
    """A group, for JSON."""
    return {
        "topic": group.topic,
        "fingerprint": group.fingerprint,
        "letters": group.letters,
        "open": group.open,
        "first": instant(group.first_ms),
        "last": instant(group.last_ms),
        "lambdas": sorted(group.lambdas),
        "sources": sorted(group.sources),
        "newest": str(group.newest.place),
        "type": group.newest.type,
        "code": group.newest.code,
        "message": group.newest.message,
    }
