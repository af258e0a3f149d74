"""Where the demo's lambda keeps its statistics: an SQLite file for each partition."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import NamedTuple

_TABLES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS sensors (sensor TEXT PRIMARY KEY, count INTEGER, total REAL, lowest REAL, highest REAL);
CREATE TABLE IF NOT EXISTS place (only INTEGER PRIMARY KEY CHECK (only = 1), next_offset INTEGER);
"""

_ADD = """
INSERT INTO sensors VALUES (?, ?, ?, ?, ?) ON CONFLICT (sensor) DO UPDATE SET
    count = count + excluded.count, total = total + excluded.total,
    lowest = min(lowest, excluded.lowest), highest = max(highest, excluded.highest)
"""


@dataclass
class Statistics:
    """Of one sensor's readings."""

    count: int
    total: float
    lowest: float
    highest: float

    def add(self, celsius: float) -> None:
        """One more reading."""
        self.count += 1
        self.total += celsius
        self.lowest = min(self.lowest, celsius)
        self.highest = max(self.highest, celsius)


class Saved(NamedTuple):
    """What the stores of all partitions hold together."""

    sensors: int
    readings: int
    offsets: int
    """Sum of the next offsets: as many readings there were, where offsets begin with 0 and have no gaps."""


class Store:
    """The statistics of one partition. One caller at a time, from any thread."""

    def __init__(self, folder: Path, partition: int) -> None:
        self._file = sqlite3.connect(folder / f"partition-{partition}.sqlite", check_same_thread=False)
        self._file.executescript(_TABLES)
        row = self._file.execute("SELECT next_offset FROM place").fetchone()
        self.next_offset: int = row[0] if row else 0
        """The first offset that the statistics do not know."""

    def save(self, fresh: Mapping[str, Statistics], next_offset: int) -> None:
        """Add these readings and keep the place: both or neither."""
        with self._file:
            self._file.executemany(_ADD, [(sensor, *astuple(one)) for sensor, one in fresh.items()])
            self._file.execute("INSERT OR REPLACE INTO place VALUES (1, ?)", (next_offset,))
        self.next_offset = next_offset

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def read_saved(folder: Path) -> Saved:
    """What is in the stores of this folder."""
    sensors: set[str] = set()
    readings = offsets = 0
    for path in folder.glob("partition-*.sqlite"):
        with closing(sqlite3.connect(path)) as file:
            for sensor, count in file.execute("SELECT sensor, count FROM sensors"):
                sensors.add(sensor)
                readings += count
            offsets += sum(row[0] for row in file.execute("SELECT next_offset FROM place"))
    return Saved(len(sensors), readings, offsets)
