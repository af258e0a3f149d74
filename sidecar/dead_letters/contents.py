"""What dead-letter topics hold: letters, which of them were replayed, and other records. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sidecar.dead_letters.letter import Letter, Place, Stored, letter_of
from sidecar.dead_letters.marks import marked

Partition = tuple[str, int]
"""A topic and the number of a partition."""


@dataclass(slots=True)
class Contents:
    """The contents of dead-letter topics, as far as they were read."""

    letters: dict[Place, Letter] = field(default_factory=dict)
    """In the order in which they were read."""
    replayed: set[Place] = field(default_factory=set)
    """Letters that were replayed; some may be gone from the topic."""
    others: list[Place] = field(default_factory=list)
    """Records that are neither letters nor marks."""
    ends: dict[Partition, int] = field(default_factory=dict)
    """The offset after the last one that was read, of each partition."""

    def add(self, stored: Stored) -> None:
        """Take a record. A partition's records come in order, so a letter comes before its mark."""
        # A letter of a mark, which a lambda that consumes dead letters has caused, is a letter.
        letter = letter_of(stored)
        if letter is not None:
            self.letters[letter.place] = letter
            return
        named = marked(stored)
        if named is None:
            self.others.append(stored.place)
        else:
            self.replayed.update(named)

    def is_open(self, letter: Letter) -> bool:
        """Whether the letter was not replayed."""
        return letter.place not in self.replayed

    def open(self) -> Iterable[Letter]:
        """The letters that were not replayed."""
        return filter(self.is_open, self.letters.values())
