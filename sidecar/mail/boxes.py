"""The two boxes that join a lambda's consumer thread and the event loop.

Nothing else is shared between the two. The thread owns its Consumer and its partitions' state; the loop owns
sockets and streams.
"""

import asyncio
import queue
from collections.abc import Callable
from typing import Any

from sidecar.mail.letters import Answer, Delivery, Letter, Reply


class GoneError(Exception):
    """The thread that was asked has ended."""


class Mailbox:
    """To one consumer thread. The loop puts and closes, the thread that writes dead letters puts; the owner takes."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Letter] = queue.SimpleQueue()
        self._front: Letter | None = None  # the owner's: met by `wait`, taken next
        self._closed = False
        self.bell: Callable[[], None] | None = None
        """Rung after each letter, in the thread that puts it. The owner's, which may wait for more than letters."""

    def put(self, letter: Letter) -> None:
        """Never blocks. Once the owner has ended, questions are answered with ``GoneError``."""
        if self._closed:
            _return_to_sender(letter)
            return
        self._queue.put(letter)
        bell = self.bell
        if bell is not None:
            bell()

    def close(self) -> None:
        """The owner has ended. Called on the loop, so that no letter can slip in between."""
        self._closed = True
        while (letter := self.take()) is not None:
            _return_to_sender(letter)

    def empty(self) -> bool:
        """Whether nothing is there now."""
        return self._front is None and self._queue.empty()

    def wait(self, timeout: float) -> None:
        """Until there is a letter, up to ``timeout`` seconds."""
        if self._front is None:
            self._front = self.take(timeout)

    def take(self, timeout: float = 0.0) -> Letter | None:
        """The next letter, waiting up to ``timeout`` seconds for one; None when there is none."""
        if self._front is not None:
            front, self._front = self._front, None
            return front
        try:
            return self._queue.get(timeout=timeout) if timeout > 0 else self._queue.get_nowait()
        except queue.Empty:
            return None


class Outbox:
    """From one consumer thread to the loop.

    The thread collects and flushes once a turn: one wake-up of the loop carries all that the turn had to say.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, deliver: Callable[[list[Delivery]], None]) -> None:
        """``deliver`` is called on ``loop`` with each flush."""
        self._loop = loop
        self._deliver = deliver
        self._items: list[Delivery] = []

    def post(self, item: Delivery) -> None:
        """Goes out with the next flush."""
        self._items.append(item)

    def flush(self) -> None:
        """Hand over what was collected."""
        if self._items:
            items, self._items = self._items, []
            self._loop.call_soon_threadsafe(self._deliver, items)


def _return_to_sender(letter: Letter) -> None:
    reply: Reply[Any] | None = getattr(letter, "reply", None)
    if reply is not None and not reply.future.done():
        reply.future.set_exception(GoneError("the lambda's consumer thread has ended; the sidecar is stopping"))


def settle(answer: Answer) -> None:
    """On the loop: give an answer to whoever awaits it (who may have gone)."""
    future = answer.reply.future
    if future.done():
        return
    if answer.error is not None:
        future.set_exception(answer.error)
    else:
        future.set_result(answer.value)
