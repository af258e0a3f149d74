"""A document's text, as whoever reads its operations in the order of their numbers builds it.

Each word has a name that its writer gave it, and an operation says behind which word another comes, or which word
goes. Names, unlike positions, mean the same to everybody, whatever others have typed meanwhile; that the texts are
the same everywhere needs one thing more, that all apply the operations in one order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

START = ""
"""The name of the place before the first word."""


@dataclass
class Word:
    """A word, also after it was deleted: for somebody who did not know that yet, others may still come behind it."""

    name: str
    text: str
    deleted_at: int = 0
    """The number of the operation that deleted it; 0: it is there."""


class Text:
    """The words of one document."""

    def __init__(self) -> None:
        self._words: list[Word] = []
        self._deleted = 0

    def __str__(self) -> str:
        return " ".join(word.text for word in self.words())

    def words(self) -> list[Word]:
        """Those that are there."""
        return [word for word in self._words if not word.deleted_at]

    def has(self, name: str) -> bool:
        """Whether this word is there."""
        return any(word.name == name and not word.deleted_at for word in self._words)

    def apply(self, name: str, number: int, contents: Any, minimum: int) -> bool:
        """Apply the operation of this name and number; False: it refers to a word that nobody knows.

        ``minimum`` is its minimum sequence number. All writers have seen what happened up to there, so no later
        operation refers to words that were deleted by then: they are forgotten. That is what the minimum is for.
        """
        if not isinstance(contents, Mapping):
            return True
        known = True
        if "insert" in contents:
            place = self._place(contents["behind"])
            known = place is not None
            self._words.insert(len(self._words) if place is None else place, Word(name, contents["insert"]))
        elif "delete" in contents:
            place = self._place(contents["delete"])
            known = place is not None
            if place is not None and not self._words[place - 1].deleted_at:  # else another was faster
                self._words[place - 1].deleted_at = number
                self._deleted += 1
        if self._deleted:
            self._words = [word for word in self._words if not 0 < word.deleted_at <= minimum]
            self._deleted = sum(1 for word in self._words if word.deleted_at)
        return known

    def _place(self, name: str) -> int | None:
        """The place behind this word; None: no such word."""
        if name == START:
            return 0
        return next((index + 1 for index, word in enumerate(self._words) if word.name == name), None)


def insert(text: str, behind: str) -> dict[str, Any]:
    """The contents of an operation."""
    return {"insert": text, "behind": behind}


def delete(name: str) -> dict[str, Any]:
    """The contents of an operation."""
    return {"delete": name}


def name_of(client: str, number: int) -> str:
    """What a word is called that came with this operation of a client."""
    return f"{client}/{number}"
