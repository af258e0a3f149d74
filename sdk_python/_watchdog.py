"""Warns when something blocks the event loop, mostly a sync handler that waits for a database.

This is a thread, since the loop cannot say that it is blocked. The hot path pays nothing: the loop only leaves a
heartbeat a few times a second, and the message that is being handled is read from the loop thread's own frames.
"""

import asyncio
import sys
import threading
import time
import traceback
from types import CodeType, FrameType, TracebackType
from typing import Final

from ._dispatch import Dispatcher, call_each
from ._log import log
from ._message import Message

LIMIT_S: Final = 1.0
"""Seconds that the loop may be blocked before there is a warning."""

_HANDLER_CODES = {call_each.__code__, Dispatcher._finish.__code__}  # noqa: SLF001  our own


def calls_handlers(code: CodeType) -> None:
    """Register code that calls handlers with its local variable ``message``, as the document router has it."""
    _HANDLER_CODES.add(code)


class Watchdog:
    """Watches the running loop while the ``with`` block is open. Warns once each time the loop is blocked."""

    def __init__(self, lambda_name: str, limit: float = LIMIT_S) -> None:
        self._lambda = lambda_name
        self._limit = limit
        self._beat = 0.0
        self._warned = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="kafka-sidecar-watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._pulse()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        self._over.set()
        self._timer.cancel()
        self._thread.join(timeout=1.0)

    def _pulse(self) -> None:
        self._beat = time.monotonic()
        self._timer = self._loop.call_later(self._limit / 4, self._pulse)

    def _watch(self) -> None:
        while not self._over.wait(self._limit / 4):
            beat = self._beat
            blocked = time.monotonic() - beat
            if blocked > self._limit and beat != self._warned:
                self._warned = beat
                frame = sys._current_frames().get(self._watched)  # noqa: SLF001  the only way there is
                if frame is not None:
                    self._warn(blocked, frame)

    def _warn(self, blocked: float, frame: FrameType) -> None:
        where = _where(frame)
        log.warning(
            "%s: the event loop has been blocked for %.1f s%s. A sync handler must not wait: make it `async def`, or "
            "wait in a thread with asyncio.to_thread. It is here:\n%s",
            self._lambda,
            blocked,
            "" if where is None else f" by the handler of {where[0]}/{where[1]} at offset {where[2]}",
            "".join(traceback.format_stack(frame)),
            extra={"lambda": self._lambda}
            | ({} if where is None else dict(zip(("topic", "partition", "offset"), where, strict=True))),
        )


def _where(frame: FrameType | None) -> tuple[str, int, int] | None:
    """Return topic, partition and offset of the message whose handler is on this stack; None: there is none."""
    while frame is not None:
        if frame.f_code in _HANDLER_CODES:
            message = frame.f_locals.get("message")
            if isinstance(message, Message):
                return message.topic, message.partition, message.offset
        frame = frame.f_back
    return None
