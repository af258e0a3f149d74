"""The end of a process, bounded: whatever its lambdas do, it is over in time, and says what was left behind.

What would hold it up otherwise: a handler that blocks the event loop; a thread for which one waits, which asyncio
joins; threads of the lambda's own, which Python joins. So a thread of ours ends the process when its time is over.
"""

import faulthandler
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Final

from ._stderr import StderrHandler, threads_left

_LEAST: Final = 0.5
_NATIVE: Final = 1.0
"""Seconds after which the process ends even when native code keeps Python itself from running."""


class Bound:
    """Waits for `begin`. Make it in the main thread, before signals can come."""

    def __init__(self, name: str, seconds: float, stderr: StderrHandler) -> None:
        self.code = 0
        """How the process ends when it is cut short."""
        self.left: Callable[[], Sequence[str]] = tuple
        """What has not ended, in words."""
        self._name = name
        self._seconds = max(_LEAST, seconds)
        self._stderr = stderr
        # Not an Event: `begin` is called in a signal handler, which may have interrupted another call of it.
        self._orders: queue.SimpleQueue[bool] = queue.SimpleQueue()
        threading.Thread(target=self._watch, name="kafka-sidecar-end", daemon=True).start()

    def begin(self) -> None:
        """The end begins now. Only the first call counts. May be called in a signal handler."""
        self._orders.put(True)

    def disarm(self) -> None:
        """The process goes on."""
        self._orders.put(False)

    def _watch(self) -> None:
        if not self._orders.get():
            return
        end = time.monotonic() + self._seconds
        with suppress(Exception):  # stderr has no file
            faulthandler.dump_traceback_later(self._seconds + _NATIVE, exit=True)
        while (seconds := end - time.monotonic()) > 0:
            try:
                again = self._orders.get(timeout=seconds)
            except queue.Empty:
                break
            if not again:
                faulthandler.cancel_dump_traceback_later()
                return
        self._cut()

    def _cut(self) -> None:
        try:
            left = list(self.left())
            threads = ", ".join(threads_left()) or "none"
            what = "; ".join(left) or "no partition"
            self._stderr.say(
                f"{self._name}: ends after {self._seconds:g} s (--drain-timeout) and leaves behind: {what}; "
                f"threads: {threads}"
            )
        finally:
            os._exit(self.code)


@cache
def children_end_by_signals() -> None:
    """Forked children get back what SIGTERM and SIGINT do by default: ours are for this process.

    With ours, ``multiprocessing.Pool`` and ``Process.terminate`` would wait for ever for a child that only notes that
    it is to drain. A signal may come to a child before it can do anything: it has the parent's handlers then, and
    Python forgets what it noted before the fork was over. So they are blocked meanwhile, and wait.
    """
    ours = (signal.SIGTERM, signal.SIGINT)
    masks: dict[int, set[int]] = {}  # of each thread that forks

    def before() -> None:
        masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, ours)

    def in_parent() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop(threading.get_ident(), ()))

    def in_child() -> None:
        signal.set_wakeup_fd(-1)  # it is the parent's loop that would wake
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        in_parent()

    os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)
