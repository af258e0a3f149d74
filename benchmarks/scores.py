"""The progress of all lambda processes of a run together: a file of numbers that each of them maps into its memory.

Each process sees the sum within milliseconds and uses the machine's clock, so each knows when the run's clock starts
and when the run is done.
"""

import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_ONE = struct.Struct("qq")


def fresh(file: Path, processes: int) -> Path:
    """Create the file for this many processes."""
    file.write_bytes(bytes(_ONE.size * processes))
    return file


class Scores:
    """One process's view.

    Args:
        file: created by `fresh`.
        process: the number of this process, from 0.
        processes: how many there are.
    """

    def __init__(self, file: Path, process: int, processes: int) -> None:
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), _ONE.size * processes)
        self._place = _ONE.size * process

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Scores":
        """Open it as a lambda's settings say."""
        return cls(Path(config["scores"]), int(config["process"]), int(config["processes"]))

    def put(self, count: int, lambdas: int) -> None:
        """Write how many records this process has handled, and for how many partitions it has a lambda."""
        _ONE.pack_into(self._memory, self._place, count, lambdas)

    def all(self) -> tuple[int, int]:
        """The sums of all processes."""
        counts, lambdas = zip(*_ONE.iter_unpack(self._memory), strict=True)
        return sum(counts), sum(lambdas)

    def close(self) -> None:
        """Unmap the file."""
        self._memory.close()
