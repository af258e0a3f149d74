"""The sidecar, with notes of when its consumer thread waited and what it read.

python -m benchmarks.stalls.traced ARGUMENTS    as `python -m sidecar ARGUMENTS`; needs the extension

It writes two files into the folder that the environment variable STALLS_FOLDER names, when it ends: `waits` (when a
wait for records, events and letters began and ended) and `reads` (for each partition of a read: when it began and
ended, the partition, and the offset after the last record). Times are nanoseconds of the wall clock. It has one
lambda, whose topic is new, so that the number of a partition's records is that offset.
"""

import os
import time
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

from sidecar.cli import main as sidecar_main
from sidecar.consuming import client
from sidecar.records.source import RowSource


class Notes:
    """What the consumer thread notes; it is the only one that writes here."""

    def __init__(self) -> None:
        self.waits = array("q")
        self.reads = array("q")

    def write(self, folder: Path) -> None:
        """Write the two files."""
        for name in ("waits", "reads"):
            (folder / name).write_bytes(getattr(self, name).tobytes())


class Watched:
    """The extension's source, which notes its waits and reads. What is not here is the source's own."""

    def __init__(self, source: Any, notes: Notes) -> None:
        self._source = source
        self._notes = notes
        self._ends: Counter[int] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def wait(self, seconds: float) -> None:
        """Wait, and note when."""
        began = time.time_ns()
        self._source.wait(seconds)
        self._notes.waits.extend((began, time.time_ns()))

    def read(self) -> Any:
        """Read, and note what was read."""
        began = time.time_ns()
        found = self._source.read()
        ended = time.time_ns()
        for (_, partition), added in found[0]:
            self._ends[partition] += added
            self._notes.reads.extend((began, ended, partition, self._ends[partition]))
        return found


def main() -> None:
    """Run the sidecar until it is ended."""
    notes = Notes()

    class Traced(RowSource):
        def __init__(self, consumer: Any, source: Any, *more: Any) -> None:
            super().__init__(consumer, Watched(source, notes), *more)  # type: ignore[arg-type]

    setattr(client, "RowSource", Traced)  # noqa: B010  # the program is watched from outside, as it is
    try:
        sidecar_main(prog_name="kafka-sidecar")
    finally:
        notes.write(Path(os.environ["STALLS_FOLDER"]))


if __name__ == "__main__":
    main()
