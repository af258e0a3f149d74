"""Which letters an operator means: one by its place, or all with a fingerprint. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sidecar.dead_letters.fingerprint import is_fingerprint
from sidecar.dead_letters.letter import Letter, Place

_FORMS = (
    "expected a letter as TOPIC/PARTITION/OFFSET (orders.billing.dead-letter/3/17), or the fingerprint of a group "
    "(7f3a9c21), both as `dead-letters list` shows them"
)


class Choice(NamedTuple):
    """The letters that an operator named. Nothing named means all."""

    places: frozenset[Place] = frozenset()
    fingerprints: frozenset[str] = frozenset()
    lambda_name: str | None = None
    """Only letters of this lambda: several may share a dead-letter topic."""

    @property
    def names(self) -> bool:
        """Whether any letter was named."""
        return bool(self.places or self.fingerprints)

    def has(self, letter: Letter) -> bool:
        """Whether the letter was named."""
        if self.lambda_name is not None and letter.lambda_name != self.lambda_name:
            return False
        return not self.names or letter.place in self.places or letter.fingerprint in self.fingerprints

    def missing(self, letters: Iterable[Letter]) -> list[str]:
        """What was named, and is not among ``letters``."""
        places: set[Place] = set(self.places)
        fingerprints = set(self.fingerprints)
        for letter in filter(self.has, letters):
            places.discard(letter.place)
            fingerprints.discard(letter.fingerprint)
        return [*map(str, sorted(places)), *sorted(fingerprints)]


def chosen(named: Iterable[Place | str], lambda_name: str | None = None) -> Choice:
    """The choice of everything that was named, of one lambda or of all."""
    listed = [*named]
    return Choice(
        frozenset(one for one in listed if isinstance(one, Place)),
        frozenset(one for one in listed if not isinstance(one, Place)),
        lambda_name,
    )


def parse_which(text: str) -> Place | str:
    """Parse the place of a letter, or a fingerprint. Raises ``ValueError``, whose text shows both forms."""
    if is_fingerprint(text.lower()):
        return text.lower()
    parts = text.split("/")
    numbers = parts[1:]
    if len(parts) != 3 or not parts[0] or not all(map(_is_number, numbers)):
        raise ValueError(f"{_FORMS}, not {text!r}")
    return Place(parts[0], int(parts[1]), int(parts[2]))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20
