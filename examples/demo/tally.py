"""How often the demo's handler was called: counters that a killed process leaves behind.

They are memory that belongs to a file, so each call counts, saved or not. No lambda needs this; the demo does, to
tell how many messages were handled twice.
"""

import mmap
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import NamedTuple

_COUNTERS = Struct("=qq")  # calls; the highest offset + 1


class Handled(NamedTuple):
    """Of all partitions."""

    next_offsets: dict[int, int]
    """By partition."""
    again: int
    """Calls for messages that had been handled before."""

    @property
    def messages(self) -> int:
        """Different ones: offsets begin with 0 and have no gaps."""
        return sum(self.next_offsets.values())


class Tally:
    """The counters of one partition."""

    def __init__(self, folder: Path, partition: int) -> None:
        path = folder / f"partition-{partition}.tally"
        with path.open("ab") as file:
            file.truncate(_COUNTERS.size)
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _COUNTERS.size)
        self._calls, self._next = _COUNTERS.unpack_from(self._memory)

    def add(self, offset: int) -> None:
        """The handler got this offset."""
        self._calls += 1
        self._next = max(self._next, offset + 1)
        _COUNTERS.pack_into(self._memory, 0, self._calls, self._next)

    def close(self) -> None:
        """Let go of the file."""
        self._memory.close()


def read_handled(folder: Path) -> Handled:
    """What all tallies in this folder say, while they are written too."""
    all_calls = 0
    next_offsets: dict[int, int] = {}
    for path in folder.glob("partition-*.tally"):
        with suppress(OSError):
            content = path.read_bytes()
            if len(content) == _COUNTERS.size:
                calls, beyond = _COUNTERS.unpack(content)
                all_calls += calls
                next_offsets[int(path.stem.rpartition("-")[2])] = beyond
    return Handled(next_offsets, max(0, all_calls - sum(next_offsets.values())))
