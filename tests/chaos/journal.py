"""The history that each process writes: one JSON line for each event, on disk before the event has any effect."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any


class Journal:
    """Appends lines to a file. Its methods may be called in any thread.

    One system call writes a line, so it is complete or missing, and it is flushed to disk before `write` returns.
    Each line has both clocks: the monotonic one, which all processes of a machine share, and the wall clock, Kafka's.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()

    def write(self, kind: str, **fields: Any) -> None:
        """Write one event."""
        self.write_all([{"kind": kind, **fields}])

    def write_all(self, events: list[dict[str, Any]]) -> None:
        """Write several events that belong together."""
        clocks = {"at": time.monotonic(), "wall": time.time()}
        data = "".join(json.dumps({**clocks, **event}) + "\n" for event in events).encode()
        with self._lock:
            os.write(self._file, data)
            os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
