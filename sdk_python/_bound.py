"""Bounds how long the end of a process takes, whatever its lambdas do, and says what did not end.

These could hold the end up: a handler that blocks the event loop; a thread that a coroutine waits for, which asyncio
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

_MIN_END_S: Final = 0.5
_NATIVE_CODE_S: Final = 1.0
"""So many seconds later the process ends even when native code keeps Python itself from running."""


class Bound:
    """A thread that ends the process some time after `begin`. Make it in the main thread, before signals can come."""

    def __init__(self, name: str, seconds: float, stderr: StderrHandler) -> None:
        self.code = 0
        """The exit code when the process is cut short."""
        self.left: Callable[[], Sequence[str]] = tuple
        """Returns what has not ended, in words."""
        self._name = name
        self._seconds = max(_MIN_END_S, seconds)
        self._stderr = stderr
        # Not an Event: `begin` is called in a signal handler, which may have interrupted another call of it.
        self._orders: queue.SimpleQueue[bool] = queue.SimpleQueue()
        threading.Thread(target=self._watch, name="kafka-sidecar-end", daemon=True).start()

    def begin(self) -> None:
        """Begin the end. Only the first call counts. May be called in a signal handler."""
        self._orders.put(True)

    def disarm(self) -> None:
        """Let the process go on."""
        self._orders.put(False)

    def _watch(self) -> None:
        if not self._orders.get():
            return
        end = time.monotonic() + self._seconds
        with suppress(Exception):  # stderr has no file
            faulthandler.dump_traceback_later(self._seconds + _NATIVE_CODE_S, exit=True)
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
    """Give forked children back the default actions of SIGTERM and SIGINT: our handlers are for this process.

    With our handlers, ``multiprocessing.Pool`` and ``Process.terminate`` would wait for ever for a child that only
    notes that it is to drain. A signal may also arrive before the child can do anything: the child has the parent's
    handlers then, and Python forgets a signal that it noted before the fork was over. So both signals are blocked
    during the fork and delivered after it.
    """
    ours = (signal.SIGTERM, signal.SIGINT)
    masks: dict[int, set[int]] = {}  # by the thread that forks

    def before() -> None:
        masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, ours)

    def in_parent() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop(threading.get_ident(), ()))

    def in_child() -> None:
        signal.set_wakeup_fd(-1)  # it would wake the parent's loop
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        in_parent()

    os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)
