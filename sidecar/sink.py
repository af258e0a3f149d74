"""Where log lines go: to a descriptor, by a thread of its own, and never with an error or a wait for whoever logs.

A log can fail in many ways: its reader is gone or stands still, the disk is full, the file has reached its limit, the
descriptor is closed. In each of them lines are dropped and counted, and the first line that can be written again
comes after one that says how many are missing.
"""

from __future__ import annotations

import os
import queue
import select
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

MOST_WAITING = 4 * 1024 * 1024
"""Bytes that wait for a reader that is slow; beyond them lines are dropped."""

TICK = 1.0
"""Seconds after which the thread looks up when there is nothing to write."""


class Sink:
    """Lines to standard error. Made once; `start` hands the writing to a thread."""

    def __init__(self) -> None:
        self.notice: Callable[[int], str] = lambda count: f"{count} log lines were dropped\n"
        """Makes the line that says how many are missing."""
        self.tick: Callable[[], None] = lambda: None
        """Called about once a second in the thread that writes."""
        self.dropped = 0
        """Lines since the start that were not written."""
        self._untold = 0
        self._torn = False
        self._waiting = 0
        # One may log while another line of the same thread is on its way here: in a finalizer, in a signal handler.
        self._lock = threading.RLock()
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._descriptor: int | None = None
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Take a line, with its end. Never raises and, once started, never waits."""
        data = line.encode(errors="backslashreplace")
        if self._thread is None:
            self._deliver(data)
            return
        with self._lock:
            if self._waiting + len(data) > MOST_WAITING:
                self.drop()
                return
            self._waiting += len(data)
        self._queue.put(data)

    def drop(self) -> None:
        """Count a line that cannot be written."""
        with self._lock:
            self.dropped += 1
            self._untold += 1

    def start(self, descriptor: int) -> None:
        """From now on a thread writes, to this descriptor, which stays the caller's."""
        self._descriptor = descriptor
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Write what waits, for so many seconds at most: a reader that stands still must not keep the process."""
        thread = self._thread
        if thread is None:
            return
        self._queue.put(None)
        thread.join(timeout)
        if not thread.is_alive():  # else it waits for its reader, and whatever is said from now on waits with it
            self._thread = None
            self._descriptor = None

    def _run(self) -> None:
        while True:
            try:
                data = self._queue.get(timeout=TICK)
            except queue.Empty:
                self.tick()
                continue
            if data is None:
                return
            self._deliver(data)
            with self._lock:
                self._waiting -= len(data)

    def _deliver(self, data: bytes) -> None:
        """Write a line, and before it what is missing. Counts it where that is not possible."""
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
        """Whether all of it was written."""
        if self._descriptor is None:
            return _to_stderr(data)
        if self._torn:  # the last line ends in its middle
            data = b"\n" + data
        at = 0
        while at < len(data):
            try:
                at += os.write(self._descriptor, data[at : at + 65536])
            except BlockingIOError:  # somebody has made it so for all who share it
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
    """Before the start, and in tests: to `sys.stderr` as it is at this moment."""
    try:
        sys.stderr.write(data.decode())
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # it is closed; there is none
        return False
    return True


SINK = Sink()
"""Of this process."""
