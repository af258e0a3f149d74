"""Frames in, handler calls out: the hot path of the SDK.

Owner: the event loop. The reader puts frames in, one task runs `Dispatcher.run`, and `stop` and `hold` may come from
anywhere on the loop, also from inside a handler (``context.error``, ``context.pause``).

Nothing runs per message but the handler and the loop around it:

- Whether to stop is not asked per message: `stop` empties the list that the loop iterates over, which ends it. `hold`
  does the same, and keeps what the list's iterator has not come to.
- Time is looked at once per slice. Slices grow while they are quick, so that a handler that takes long yields the
  event loop after each message, and one that is fast when the process has had its turn (`Turns`).
- Which message is being handled is not recorded: the watchdog reads it from the running frame.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from inspect import isawaitable
from operator import length_hint
from types import AsyncGeneratorType, GeneratorType
from typing import Any, Final

from ._checkpoints import Place
from ._leaving import is_ours
from ._message import Columns, Message
from ._turns import Turns
from .protocol import lambda_pb2 as pb

_MAX_SLICE: Final = 128  # bounds what a handler that turns slow all at once can do to the loop
_QUICK: Final = 0.001
_SLOW: Final = 0.002

Handler = Callable[[Message], Any]


class HandlerFailedError(Exception):
    """A handler raised, or the awaitable it returned did. The cause is what it raised, of whatever kind."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"the handler failed at offset {offset}")
        self.offset = offset


class Dispatcher:
    """Calls one partition's handler with one message after another."""

    def __init__(self, topic: str, partition: int, place: Place, turns: Turns) -> None:
        self._topic = topic
        self._partition = partition
        self._place = place
        self._turns = turns
        self._frames: deque[pb.Batch] = deque()
        self._columns: Columns | None = None  # the frame that slices are taken from, up to here:
        self._position = 0
        self._current: list[Message] = []
        self._remaining: Iterator[Message] = iter(self._current)
        self._rest: list[Message] = []  # of the slice in which `hold` came
        self._held = False
        self._stopped = False
        self._news = asyncio.Event()
        self._slice = 1
        self._task: asyncio.Task[object] | None = None
        self._awaited: int | None = None  # the offset whose handler is awaited
        self.waiting = 0
        """Messages that came and are in no slice yet."""
        self.idle = asyncio.Event()
        """Set while nothing runs, and nothing will: because nothing waits, or because it is held."""
        self.room = asyncio.Event()
        """Set whenever a frame was taken up, and by `hold`."""

    @property
    def held(self) -> bool:
        """Whether it was told to stand still."""
        return self._held

    @property
    def next_offset(self) -> int | None:
        """The first message that a held dispatcher has not called its handler with; None: none waits."""
        if self._rest:
            return self._rest[0].offset
        if self._columns is not None and self._position < self._columns.count:
            return self._columns.offset(self._position)
        return self._frames[0].first_offset if self._frames else None

    @property
    def working_on(self) -> int | None:
        """The message whose handler runs, as far as it can be told; may be asked in any thread."""
        if self._awaited is not None:
            return self._awaited
        current = self._current
        index = len(current) - length_hint(self._remaining) - 1
        return current[index].offset if 0 <= index < len(current) else None

    def put(self, batch: pb.Batch, count: int) -> None:
        """Queue a frame of ``count`` messages. After `stop` it is dropped: its messages come again elsewhere."""
        if not self._stopped and count:
            self._frames.append(batch)
            self.waiting += count
            self.idle.clear()
            self._news.set()

    def hold(self) -> None:
        """Call no handler until `release`. What runs, runs on; what waits, waits, in its order."""
        if self._held or self._stopped:
            return
        self._held = True
        # Not put in the place of an earlier rest: released and held again while one async handler runs.
        self._rest += self._current[len(self._current) - length_hint(self._remaining) :]
        self._current.clear()
        self.room.set()

    def release(self) -> None:
        """Go on after `hold`."""
        if self._held and not self._stopped:
            self._held = False
            self.idle.clear()
            self._news.set()

    def drop(self) -> None:
        """Forget what waits: it comes again."""
        self._frames.clear()
        self._columns = None
        self._current.clear()
        self._rest.clear()
        self.waiting = 0
        self.room.set()

    def stop(self) -> None:
        """Call no handler any more. What runs, runs on; `run` returns after it."""
        self._stopped = True
        self.drop()
        self._news.set()

    async def run(self, handler: Handler) -> None:
        """Call ``handler`` until `stop`.

        Raises:
            HandlerFailedError: it raised; nothing was called after it.
        """
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        try:
            await self._turns.begin(loop)
            while not self._stopped:
                if self._held or not self._frames:
                    await self._stand(loop)
                    continue
                self._columns = Columns(self._frames.popleft(), self._topic, self._partition)
                self._position = 0
                self.waiting -= self._columns.count
                self.room.set()
                await self._run_frame(handler, loop)
        finally:
            self._stopped = True
            self._current = []
            self.idle.set()

    async def _run_frame(self, handler: Handler, loop: asyncio.AbstractEventLoop) -> None:
        began = loop.time()
        # `drop` takes the frame away.
        while self._columns is not None and self._position < self._columns.count:
            if self._held:
                await self._stand(loop)
                began = loop.time()
                continue
            messages = self._columns.messages(self._position, self._position + self._slice)
            self._position += self._slice
            await self._run_slice(handler, messages, loop)
            now = loop.time()
            if now - began < _QUICK:
                self._slice = min(_MAX_SLICE, self._slice * 2)
            elif now - began > _SLOW:
                self._slice = max(1, self._slice // 2)
            # The sidecar may wait for this checkpoint to send on, and a turn is long enough for a whole window.
            if self._turns.over(loop) or self._place.urgent:
                await self._turns.wait(loop)
                now = loop.time()
            began = now
        self._columns = None

    async def _run_slice(self, handler: Handler, messages: list[Message], loop: asyncio.AbstractEventLoop) -> None:
        while messages:
            self._current = messages
            remaining = self._remaining = iter(messages)
            while (last := call_each(handler, remaining, self._place)) is not None:
                await self._finish(*last)
                if self._turns.over(loop):
                    await self._turns.wait(loop)
            while self._rest and self._held:
                await self._stand(loop)
            messages, self._rest = self._rest, []

    async def _stand(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for news; the caller asks what it is."""
        self.idle.set()
        self._news.clear()
        await self._news.wait()
        await self._turns.begin(loop)

    async def _finish(self, message: Message, pending: Awaitable[object]) -> None:
        """Await what an async handler returned."""
        self._awaited = message.offset
        try:
            await pending
        except BaseException as error:
            if is_ours(error, self._task):
                raise
            raise HandlerFailedError(message.offset) from error
        finally:
            self._awaited = None
        self._place.handled = message.offset


def call_each(
    handler: Handler, messages: Iterator[Message], place: Place
) -> tuple[Message, Awaitable[object]] | None:
    """Call ``handler`` with each message until one answers with an awaitable; None when none is left."""
    message: Message | None = None
    try:
        for message in messages:
            result = handler(message)
            if result is not None:
                if isawaitable(result):
                    return message, result
                refuse_generator(result)
    except BaseException as error:
        # Nothing is awaited here, so a cancellation is none of this task: it is one that the handler came upon.
        if message is None:
            raise
        raise HandlerFailedError(message.offset) from error
    if message is not None:
        place.handled = message.offset
    return None


def refuse_generator(result: object) -> None:
    """Raises TypeError: the handler made a generator, whose code nobody would run."""
    if isinstance(result, AsyncGeneratorType | GeneratorType):
        raise TypeError(
            f"the handler returned {result!r}, and nothing of it has run: take `yield` out of it, or loop over it"
        )
