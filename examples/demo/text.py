"""A document's text, as every reader builds it from the operations in the order of their numbers.

Each word has a name that its writer gave it. An operation inserts a word after a named word, or deletes a named word.
Names, unlike positions, mean the same to everybody, whatever others have typed meanwhile. For equal texts one thing
more is needed: that all readers apply the operations in one order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

START = ""
"""The name of the position before the first word."""


@dataclass
class Word:
    """A word, also after it was deleted: a writer who did not know that yet may insert a word after it."""

    name: str
    text: str
    deleted_at: int = 0
    """The number of the operation that deleted it; 0: it is not deleted."""


class Text:
    """The words of one document."""

    def __init__(self) -> None:
        self._words: list[Word] = []
        self._deleted = 0

    def __str__(self) -> str:
        return " ".join(word.text for word in self.words())

    def words(self) -> list[Word]:
        """The words that are not deleted."""
        return [word for word in self._words if not word.deleted_at]

    def has(self, name: str) -> bool:
        """Whether the text has this word."""
        return any(word.name == name and not word.deleted_at for word in self._words)

    def apply(self, name: str, number: int, contents: Any, minimum: int) -> bool:
        """Apply the operation with this name and number. Returns False when it refers to an unknown word.

        ``minimum`` is its minimum sequence number. All writers have seen what happened up to there, so no later
        operation refers to words that were deleted by then: they are forgotten. This is the purpose of the minimum.
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
            if place is not None and not self._words[place - 1].deleted_at:  # else another operation has deleted it
                self._words[place - 1].deleted_at = number
                self._deleted += 1
        if self._deleted:
            self._words = [word for word in self._words if not 0 < word.deleted_at <= minimum]
            self._deleted = sum(1 for word in self._words if word.deleted_at)
        return known

    def _place(self, name: str) -> int | None:
        """The index after this word; None: no such word."""
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
    """The name of the word that this operation of a client inserts."""
    return f"{client}/{number}"
