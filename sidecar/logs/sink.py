"""Writes log lines to a descriptor in a thread of its own, so that logging never raises and never waits.

Writing can fail in many ways: the reader is gone or does not read, the disk is full, the file has reached its limit,
the descriptor is closed. In all these cases lines are dropped and counted. The next line that can be written follows
one that says how many are missing.
"""

from __future__ import annotations

import os
import queue
import select
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

MAX_WAITING_BYTES = 4 * 1024 * 1024
"""The size of the lines that wait for a slow reader; beyond this, lines are dropped."""

TICK_S = 1.0
"""How often the thread calls `tick` while there is nothing to write."""


class Sink:
    """Writes lines to standard error. Made once; from `start` on a thread writes."""

    def __init__(self) -> None:
        self.notice: Callable[[int], str] = lambda count: f"{count} log lines were dropped\n"
        """Makes the line that says how many lines are missing."""
        self.tick: Callable[[], None] = lambda: None
        """Called about once a second in the writing thread."""
        self.dropped = 0
        """Lines since the start that were dropped."""
        self._untold = 0
        self._torn = False
        self._waiting = 0
        # Reentrant: a finalizer or a signal handler may log while the same thread is in here with another line.
        self._lock = threading.RLock()
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._descriptor: int | None = None
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Take a line, with its line end. Never raises and, once started, never waits."""
        data = line.encode(errors="backslashreplace")
        if self._thread is None:
            self._deliver(data)
            return
        with self._lock:
            if self._waiting + len(data) > MAX_WAITING_BYTES:
                self.drop()
                return
            self._waiting += len(data)
        self._queue.put(data)

    def drop(self) -> None:
        """Count a dropped line."""
        with self._lock:
            self.dropped += 1
            self._untold += 1

    def start(self, descriptor: int) -> None:
        """Start the thread, which writes to this descriptor. The caller keeps owning the descriptor."""
        self._descriptor = descriptor
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Write the waiting lines, for at most ``timeout`` seconds: a reader that does not read must not block us."""
        thread = self._thread
        if thread is None:
            return
        self._queue.put(None)
        thread.join(timeout)
        if not thread.is_alive():  # else it waits for its reader, and so do later lines
            self._thread = None
            self._descriptor = None

    def _run(self) -> None:
        while True:
            try:
                data = self._queue.get(timeout=TICK_S)
            except queue.Empty:
                self.tick()
                continue
            if data is None:
                return
            self._deliver(data)
            with self._lock:
                self._waiting -= len(data)

    def _deliver(self, data: bytes) -> None:
        """Write a line, after a notice if lines are missing. Counts it as dropped if that fails."""
        with self._lock:
            missing = self._untold
        if missing and not self._written(self.notice(missing).encode(errors="backslashreplace")):
            self.drop()
            return
        with self._lock:
            self._untold -= missing
        if not self._written(data):
            self.drop()

    def _written(self, data: bytes) -> bool:
        """Write all of ``data``. Returns whether that was possible."""
        if self._descriptor is None:
            return _to_stderr(data)
        if self._torn:  # the last line was cut in its middle
            data = b"\n" + data
        at = 0
        while at < len(data):
            try:
                at += os.write(self._descriptor, data[at : at + 65536])
            except BlockingIOError:  # another process set O_NONBLOCK on the shared file
                self._wait()
            except OSError:
                self._torn = self._torn or at > 0
                return False
        self._torn = False
        return True

    def _wait(self) -> None:
        assert self._descriptor is not None
        poll = select.poll()
        with suppress(OSError):
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll(1000)


def _to_stderr(data: bytes) -> bool:
    """Write to the current `sys.stderr`: before `start`, and in tests. Returns whether that was possible."""
    try:
        sys.stderr.write(data.decode())
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # stderr is closed or missing
        return False
    return True


SINK = Sink()
"""The sink of this process."""
