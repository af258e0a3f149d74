"""Each process's own log of what it did: one JSON line an event, on the disk before anybody is told of it."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any


class Journal:
    """Appends to a file, from any thread.

    A line is one system call, so it is whole or not there, and is flushed to the disk before `write` returns. Each
    has both clocks: the monotonic one, which all processes of a machine share, and the wall's, which Kafka uses.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()

    def write(self, kind: str, **fields: Any) -> None:
        """One event, at once."""
        self.write_all([{"kind": kind, **fields}])

    def write_all(self, events: list[dict[str, Any]]) -> None:
        """Several that belong together."""
        clocks = {"at": time.monotonic(), "wall": time.time()}
        data = "".join(json.dumps({**clocks, **event}) + "\n" for event in events).encode()
        with self._lock:
            os.write(self._file, data)
            os.fsync(self._file)

    def close(self) -> None:
        """Nothing more comes."""
        os.close(self._file)
