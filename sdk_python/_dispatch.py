"""Frames in, handler calls out: the hot path of the SDK.

Owner: the event loop. The reader puts frames in, and one task runs `Dispatcher.run`. `stop` and `hold` may be called
from anywhere on the loop, also from inside a handler (``context.error``, ``context.pause``).

For each message only the handler and the loop around it run:

- Nothing asks per message whether to stop: `stop` empties the list that the loop iterates over, which ends the loop.
  `hold` does the same, and keeps the messages that the list's iterator has not reached.
- Time is looked at once per slice. Slices grow while they are quick. So a handler that takes long yields the event
  loop after each message, and a quick one when the process has used up its turn (`LoopBudget`).
- Nothing notes which message is being handled: the watchdog reads it from the running frame.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from inspect import isawaitable
from operator import length_hint
from time import monotonic
from types import AsyncGeneratorType, GeneratorType
from typing import Any, Final

from ._checkpoints import LeaseProgress
from ._decoding import AnyBatch, AnyColumns, columns_in
from ._errors import HandlerFailedError
from ._handler_times import HandlerTimes
from ._handling import Handling, Kind, cause_of, failed_offset
from ._leaving import is_ours
from ._loop_budget import LoopBudget
from ._message import Handler, Message
from ._tracing import Tracing

_MAX_SLICE: Final = 128  # bounds how long a handler that suddenly turns slow can hold the loop
_MAX_BATCH: Final = 1000  # messages that `handle_batch` or `handle_columns` gets at once
_QUICK_SLICE_S: Final = 0.001
_SLOW_SLICE_S: Final = 0.002

_QUICK_HANDLER_S: Final = 0.0001
"""An awaited handler that takes longer is counted by itself (`_Run`)."""


class Dispatcher:
    """Calls one partition's handler with one message after another."""

    def __init__(
        self,
        topic: str,
        partition: int,
        progress: LeaseProgress,
        budget: LoopBudget,
        times: HandlerTimes,
        tracing: Tracing | None = None,
    ) -> None:
        self._topic = topic
        self._partition = partition
        self._progress = progress
        self._budget = budget
        self._times = times
        self._tracing = tracing
        self._frames: deque[AnyBatch] = deque()
        self._columns: AnyColumns | None = None  # the frame from which slices are taken
        self._position = 0  # the next one in it
        self._current: list[Message] = []
        self._remaining: Iterator[Message] = iter(self._current)
        self._rest: list[Message] = []  # what was left of a slice when `hold` was called
        self._held = False
        self._stopped = False
        self._news = asyncio.Event()
        self._slice = 1
        self._task: asyncio.Task[object] | None = None
        self._awaited: int | None = None  # the offset whose handler is awaited
        self.waiting = 0
        """Messages whose frame was not taken up yet."""
        self.idle = asyncio.Event()
        """Set while no handler runs and none will be called: nothing waits, or the dispatcher is held."""
        self.room = asyncio.Event()
        """Set whenever a frame was taken up, and by `hold`."""

    @property
    def held(self) -> bool:
        """Whether `hold` was called and `release` was not."""
        return self._held

    @property
    def next_offset(self) -> int | None:
        """Offset of the first message that a held dispatcher has not handled; None: none waits."""
        if self._rest:
            return self._rest[0].offset
        if self._columns is not None and self._position < self._columns.count:
            return self._columns.offset(self._position)
        return self._frames[0].first_offset if self._frames else None

    @property
    def working_on(self) -> int | None:
        """Offset of the message whose handler runs, as far as that can be told. May be asked in any thread."""
        if self._awaited is not None:
            return self._awaited
        current = self._current
        index = len(current) - length_hint(self._remaining) - 1
        return current[index].offset if 0 <= index < len(current) else None

    def put(self, batch: AnyBatch, count: int) -> None:
        """Queue a frame of ``count`` messages. After `stop` it is dropped: another lease gets its messages."""
        if not self._stopped and count:
            self._frames.append(batch)
            self.waiting += count
            self.idle.clear()
            self._news.set()

    def hold(self) -> None:
        """Call no handler until `release`. A handler that runs goes on; messages that wait keep their order."""
        if self._held or self._stopped:
            return
        self._held = True
        # Added to an earlier rest: there is one when `release` and `hold` came while one async handler runs.
        self._rest += self._current[len(self._current) - length_hint(self._remaining) :]
        self._current.clear()
        self.room.set()

    def release(self) -> None:
        """Call handlers again after `hold`."""
        if self._held and not self._stopped:
            self._held = False
            self.idle.clear()
            self._news.set()

    def drop(self) -> None:
        """Forget the messages that wait: they come again."""
        self._frames.clear()
        self._columns = None
        self._current.clear()
        self._rest.clear()
        self.waiting = 0
        self.room.set()

    def stop(self) -> None:
        """Call no handler any more. A handler that runs goes on, and `run` returns after it."""
        self._stopped = True
        self.drop()
        self._news.set()

    async def run(self, handling: Handling) -> None:
        """Call the lambda's method until `stop`. Raises ``HandlerFailedError`` when it raised; nothing follows."""
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        tracing = self._tracing
        if tracing is not None and handling.kind is Kind.EACH:
            handling = handling._replace(call=tracing.handler(handling.call))
        run_frame = self._run_frame if handling.kind is Kind.EACH else self._run_batches
        try:
            await self._budget.begin(loop)
            while not self._stopped:
                if self._held or not self._frames:
                    await self._stand(loop)
                    continue
                self._columns = columns_in(self._frames.popleft(), self._topic, self._partition)
                self._position = 0
                self.waiting -= self._columns.count
                self.room.set()
                with nullcontext() if tracing is None else tracing.frame(self._columns):
                    await run_frame(handling, loop)
        finally:
            self._stopped = True
            self._current = []
            self.idle.set()

    async def _run_batches(self, handling: Handling, loop: asyncio.AbstractEventLoop) -> None:
        """Hand over the messages of a frame in batches, which grow while they are quick or are awaited."""
        whole = handling.kind is Kind.COLUMNS
        # `drop` takes the frame away.
        while (columns := self._columns) is not None and self._position < columns.count:
            if self._held:
                await self._stand(loop)
                continue
            start, end = self._position, min(self._position + self._slice, columns.count)
            self._position = end
            batch = columns.columns(start, end) if whole else columns.messages(start, end)
            began = monotonic()
            awaited = await self._hand_over(handling.call, batch, columns.offset(start), columns.offset(end - 1))
            now = monotonic()
            self._times.add(end - start, now - began)
            if awaited or now - began < _QUICK_SLICE_S:
                self._slice = min(_MAX_BATCH, self._slice * 2)
            elif now - began > _SLOW_SLICE_S:
                self._slice = max(1, self._slice // 2)
            if self._budget.over(loop, now) or self._progress.urgent:
                await self._budget.wait(loop)
        self._columns = None

    async def _hand_over(self, call: Callable[[Any], Any], batch: object, first: int, last: int) -> bool:
        """Call the lambda with a batch. Returns whether it was awaited."""
        self._awaited = first
        pending: Awaitable[object] | None = None
        try:
            result = call(batch)
            if isawaitable(result):
                pending = result
                await pending
            else:
                refuse_generator(result)
        except BaseException as error:
            # Where nothing is awaited, a CancelledError does not cancel this task: the lambda ran into it.
            if pending is not None and is_ours(error, self._task):
                raise
            raise HandlerFailedError(failed_offset(error, first, last)) from cause_of(error)
        finally:
            self._awaited = None
        self._progress.handled = last
        return pending is not None

    async def _run_frame(self, handling: Handling, loop: asyncio.AbstractEventLoop) -> None:
        handler, message_kind = handling.call, handling.message_kind
        began = monotonic()
        # `drop` takes the frame away.
        while self._columns is not None and self._position < self._columns.count:
            if self._held:
                await self._stand(loop)
                began = monotonic()
                continue
            messages = self._columns.messages(self._position, self._position + self._slice, message_kind)
            self._position += self._slice
            await self._run_slice(handler, messages, loop)
            now = monotonic()
            if now - began < _QUICK_SLICE_S:
                self._slice = min(_MAX_SLICE, self._slice * 2)
            elif now - began > _SLOW_SLICE_S:
                self._slice = max(1, self._slice // 2)
            # The sidecar may wait for this checkpoint before it sends more. A turn is long enough for a whole window.
            if self._budget.over(loop, now) or self._progress.urgent:
                await self._budget.wait(loop)
                now = monotonic()
            began = now
        self._columns = None

    async def _run_slice(self, handler: Handler, messages: list[Message], loop: asyncio.AbstractEventLoop) -> None:
        while messages:
            self._current = messages
            remaining = self._remaining = iter(messages)
            run = _Run(self._times, messages, remaining)
            before = run.began
            while (last := call_each(handler, remaining, self._progress)) is not None:
                await self._finish(*last)
                now = monotonic()
                if now - before > _QUICK_HANDLER_S:
                    run.took_long(before, now)
                before = now
                if self._budget.over(loop, now):
                    run.ends(now)
                    await self._budget.wait(loop)
                    before = run.began = monotonic()
            run.ends(monotonic())
            while self._rest and self._held:
                await self._stand(loop)
            messages, self._rest = self._rest, []

    async def _stand(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait until something changed; the caller looks what it was."""
        self.idle.set()
        self._news.clear()
        await self._news.wait()
        await self._budget.begin(loop)

    async def _finish(self, message: Message, pending: Awaitable[object]) -> None:
        """Await what the handler returned for this message."""
        self._awaited = message.offset
        try:
            await pending
        except BaseException as error:
            if is_ours(error, self._task):
                raise
            raise HandlerFailedError(message.offset) from error
        finally:
            self._awaited = None
        self._progress.handled = message.offset


class _Run:
    """The handlers of some messages one after another, whose time is counted: each counts as the mean of all.

    An awaited handler that took long ends the run, and counts by itself. The messages between it and the awaited one
    before it, whose handlers were not awaited, count as quick: they belong to the run.
    """

    __slots__ = ("_left", "_messages", "_remaining", "_times", "began")

    def __init__(self, times: HandlerTimes, messages: list[Message], remaining: Iterator[Message]) -> None:
        """``remaining``: of ``messages``, those whose handler is not called yet."""
        self.began = monotonic()
        self._times = times
        self._messages = messages
        self._remaining = remaining
        self._left = len(messages)

    def took_long(self, before: float, now: float) -> None:
        """The last message was awaited, until ``now``; the awaited one before it ended at ``before``."""
        self._count(before, 1)
        self._times.add(1, now - before)
        self.began = now

    def ends(self, now: float) -> None:
        """All messages up to here belong to the run."""
        self._count(now, 0)
        self.began = now

    def _count(self, until: float, but: int) -> None:
        """Count the messages since the last call, except the last ``but`` ones."""
        if not self._messages:
            return  # `hold` or `drop` emptied the list: how many of them were handled is not known any more
        left = length_hint(self._remaining)
        count, self._left = self._left - left - but, left
        if count:
            self._times.add(count, until - self.began)


def call_each(
    handler: Handler, messages: Iterator[Message], progress: LeaseProgress
) -> tuple[Message, Awaitable[object]] | None:
    """Call ``handler`` with each message until it returns an awaitable; returns None when no message is left."""
    message: Message | None = None
    try:
        for message in messages:
            result = handler(message)
            if result is not None:
                if isawaitable(result):
                    return message, result
                refuse_generator(result)
    except BaseException as error:
        # Nothing is awaited here. So a CancelledError does not cancel this task: the handler ran into it.
        if message is None:
            raise
        raise HandlerFailedError(message.offset) from error
    if message is not None:
        progress.handled = message.offset
    return None


def refuse_generator(result: object) -> None:
    """Raise ``TypeError`` when the handler made a generator, whose code nobody would run."""
    if isinstance(result, AsyncGeneratorType | GeneratorType):
        raise TypeError(
            f"the handler returned {result!r}, and nothing of it has run: take `yield` out of it, or loop over it"
        )
