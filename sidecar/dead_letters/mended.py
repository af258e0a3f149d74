"""A file of exported letters, which somebody may have changed. It is read from the disk, not kept in memory."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from sidecar.dead_letters.exported import Content, Malformed, imported
from sidecar.dead_letters.letter import Place


class MendedFile:
    """The letters of a file, one a line; a context manager.

    Raises ``Malformed`` with the file's name and the line, and ``OSError``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")
        self._at: dict[Place, tuple[int, int]] = {}
        """The number of each letter's line, and where it begins, in bytes."""
        try:
            self._index()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._file.close()

    @property
    def places(self) -> frozenset[Place]:
        """The letters that are in the file."""
        return frozenset(self._at)

    def content(self, place: Place) -> Content | None:
        """What the file says of a letter's record; None: it does not have the letter."""
        if place not in self._at:
            return None
        number, position = self._at[place]
        self._file.seek(position)
        return self._parsed(number, self._file.readline())[1]

    def _index(self) -> None:
        position = 0
        for number, line in enumerate(self._file, 1):
            if line.strip():
                place, _ = self._parsed(number, line)
                if place in self._at:
                    raise Malformed(f"{self._path}:{number}: the letter {place} is in line {self._at[place][0]} too")
                self._at[place] = (number, position)
            position += len(line)

    def _parsed(self, number: int, line: bytes) -> tuple[Place, Content]:
        try:
            return imported(line.decode())
        except UnicodeDecodeError:
            raise Malformed(f"{self._path}:{number}: it is not UTF-8") from None
        except Malformed as error:
            raise Malformed(f"{self._path}:{number}: {error}") from None
