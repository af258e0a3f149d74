"""How far all lambda processes of a run are together: a file of numbers that each of them maps into its memory.

Each process sees the sum within milliseconds, and the clock is the machine's, so each can tell when the clock starts
and when all is done.
"""

import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_ONE = struct.Struct("qq")


def fresh(file: Path, processes: int) -> Path:
    """A file for so many, none of which has done anything yet."""
    file.write_bytes(bytes(_ONE.size * processes))
    return file


class Scores:
    """One process's view.

    Args:
        file: made by `fresh`.
        process: which one this is, from 0.
        processes: how many there are.
    """

    def __init__(self, file: Path, process: int, processes: int) -> None:
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), _ONE.size * processes)
        self._place = _ONE.size * process

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Scores":
        """As a lambda's settings say."""
        return cls(Path(config["scores"]), int(config["process"]), int(config["processes"]))

    def put(self, count: int, lambdas: int) -> None:
        """What this process has done so far, and for how many partitions a lambda is there."""
        _ONE.pack_into(self._memory, self._place, count, lambdas)

    def all(self) -> tuple[int, int]:
        """The same of all together."""
        counts, lambdas = zip(*_ONE.iter_unpack(self._memory), strict=True)
        return sum(counts), sum(lambdas)

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
