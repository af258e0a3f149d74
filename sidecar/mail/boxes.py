"""The two boxes between a lambda's consumer thread and the event loop.

The two share nothing else. The thread owns its Consumer and its partitions' state; the loop owns sockets and streams.
"""

import asyncio
import queue
from collections.abc import Callable
from typing import Any

from sidecar.mail.letters import Answer, Delivery, Letter, Reply


class GoneError(Exception):
    """The consumer thread has ended and cannot answer."""


class Mailbox:
    """The letters to one consumer thread, its owner, which takes them.

    Any thread may call ``put``: the loop, the dead-letter thread, the topic watch, Kafka's admin client. Only the
    loop closes it.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Letter] = queue.SimpleQueue()
        self._front: Letter | None = None  # used by the owner only: found by `wait`, taken next
        self._closed = False
        self.bell: Callable[[], None] | None = None
        """Called after each letter that rings, in the thread that puts it, to wake an owner that waits for more than
        letters."""

    def put(self, letter: Letter, *, rings: bool = True) -> None:
        """Add a letter; never blocks. After the mailbox is closed, its reply fails with ``GoneError``.

        A letter that does not ring is read in the owner's next turn, whatever that is for; it comes within 50 ms.
        """
        if self._closed:
            _return_to_sender(letter)
            return
        self._queue.put(letter)
        bell = self.bell
        if rings and bell is not None:
            bell()

    def close(self) -> None:
        """The owner has ended: the replies of all letters fail with ``GoneError``.

        Called on the loop, which also puts all letters with replies, so none can arrive during the call.
        """
        self._closed = True
        while (letter := self.take()) is not None:
            _return_to_sender(letter)

    def empty(self) -> bool:
        """Whether there is no letter now."""
        return self._front is None and self._queue.empty()

    def wait(self, timeout: float) -> None:
        """Wait until there is a letter, up to ``timeout`` seconds."""
        if self._front is None:
            self._front = self.take(timeout)

    def take(self, timeout: float = 0.0) -> Letter | None:
        """Take the next letter, waiting up to ``timeout`` seconds; None: there is none."""
        if self._front is not None:
            front, self._front = self._front, None
            return front
        try:
            return self._queue.get(timeout=timeout) if timeout > 0 else self._queue.get_nowait()
        except queue.Empty:
            return None


class Outbox:
    """The deliveries of one consumer thread to the loop.

    The thread collects them and flushes about once a turn, so that one wake-up of the loop carries many.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, deliver: Callable[[list[Delivery]], None]) -> None:
        """``deliver`` is called on ``loop`` with each flush."""
        self._loop = loop
        self._deliver = deliver
        self._items: list[Delivery] = []

    def post(self, item: Delivery) -> None:
        """Add a delivery to the next flush."""
        self._items.append(item)

    def flush(self) -> None:
        """Hand the collected deliveries to the loop."""
        if self._items:
            items, self._items = self._items, []
            self._loop.call_soon_threadsafe(self._deliver, items)


def _return_to_sender(letter: Letter) -> None:
    reply: Reply[Any] | None = getattr(letter, "reply", None)
    if reply is not None and not reply.future.done():
        reply.future.set_exception(GoneError("the lambda's consumer thread has ended; the sidecar is stopping"))


def settle(answer: Answer) -> None:
    """Give an answer to its reply, unless its caller was cancelled. Called on the loop."""
    future = answer.reply.future
    if future.done():
        return
    if answer.error is not None:
        future.set_exception(answer.error)
    else:
        future.set_result(answer.value)
