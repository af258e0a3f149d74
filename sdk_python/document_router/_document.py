"""One document of one partition: its lambda, the messages that wait for it, and its life.

A document at rest is this object and no task. A message for a lambda that is free is handled at once, in the router's
own call. Whatever takes longer (making the lambda, an async handler, closing it, a back-off) is done by one task, the
worker, which ends when nothing is left to do. While there is a worker, messages wait; so handlers of one document
never overlap, and are never called while its lambda is made or closed.

The worker looks at what is wanted, in this order, and nothing else decides:

- a handler that runs is awaited;
- ``_reason``: the document ends. Its lambda is closed, with this reason;
- the partition failed: nothing is begun, the end comes soon;
- ``_broken``: its lambda cannot go on. It is closed with ERROR; a document that is not corrupt gets a new one after a
  back-off, and its unfinished messages again, which the ledger has kept;
- there is no lambda: it is made;
- messages wait: the next one is handled.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from inspect import isawaitable
from typing import Any, Final

from sdk_python._awaiting import settle
from sdk_python._dispatch import refuse_generator
from sdk_python._errors import message_of
from sdk_python._fitting import checked_lambda
from sdk_python._interfaces import CloseReason, IContext, IPartitionLambda
from sdk_python._leaving import exit_in, is_ours
from sdk_python._message import Message
from sdk_python._watchdog import calls_handlers

from ._context import DocumentContext
from ._host import Router
from ._keys import name_of
from ._ledger import Entry, Lane

log = logging.getLogger("kafka_sidecar.sdk")

FIRST_BACKOFF: Final = 0.5
MOST_BACKOFF: Final = 30.0
_TURN: Final = 0.005
"""Seconds that sync handlers may hold the event loop in a row, as in the SDK's dispatcher: those of all documents of
a partition together. Were it those of each, then what a hundred busy ones produce would wait half a second in each
turn of the loop, and it takes several turns until a call is out and its answer is in."""


class Document:
    """See the module."""

    __slots__ = (
        *("_after", "_attempt", "_broken", "_context", "_handler", "_lambda", "_reason", "_router", "_running"),
        *(
            "_skipped",
            "_waiting",
            "corrupt",
            "deadline",
            "interruptible",
            "key",
            "lane",
            "scheduled",
            "timeout",
            "worker",
        ),
    )

    def __init__(self, router: Router, key: Hashable, after: asyncio.Task[None] | None = None) -> None:
        """``after``: an earlier lambda of the same document closes; it is awaited before the new one is made."""
        self.key = key
        self.lane = Lane()
        self.corrupt = False
        """Its messages are skipped as they come, until it is forgotten: at idleness, or with the lease."""
        self.timeout = router.activity_timeout
        self.deadline = 0.0
        """When it is idle."""
        self.scheduled: float | None = None
        """When that is looked at; the router's."""
        self.worker: asyncio.Task[None] | None = None
        self.interruptible = False
        """The worker is in a handler or in ``create``."""
        self._router = router
        self._lambda: IPartitionLambda | None = None
        self._handler: Callable[[Message], Any] | None = None
        self._context: DocumentContext | None = None
        self._waiting: deque[Message] | None = None  # an empty deque has 600 bytes, and most documents rest
        self._running: tuple[int, Awaitable[object]] | None = None
        self._attempt = 0  # of lambdas since the last checkpoint
        self._skipped = 0  # as the present lambda told
        self._broken = False
        self._after = after
        self._reason: CloseReason | None = None

    @property
    def partition(self) -> IContext:
        """The context of the partition."""
        return self._router.context

    @property
    def name(self) -> str:
        """For people."""
        return name_of(self.key)

    @property
    def busy(self) -> bool:
        """Whether it has anything to do or waits for anything to be done."""
        return self.worker is not None or self.lane.first is not None or bool(self._waiting)

    # ------------------------------------------------------------------------------------- from the router

    def take(self, message: Message) -> None:
        """A message came, and the ledger has it."""
        if self.worker is None and self._handler is not None and not self._waiting:
            self._call(message)
            return
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(message)
        self.wake()

    def wake(self) -> None:
        """There is something to do: have a worker."""
        if self.worker is None:
            self.worker = asyncio.create_task(self._work())

    def end(self, reason: CloseReason) -> asyncio.Task[None] | None:
        """Handle nothing more and close the lambda; the task that does, None: it is done."""
        self._reason = reason
        if self.worker is None:
            # Most documents are at rest and close at once: 100,000 tasks for them would be slow.
            closing = self._begin_close(reason)
            if closing is not None:
                self.worker = asyncio.create_task(self._finish_close(closing))
        return self.worker

    # ------------------------------------------------------------------------------------- from the lambda

    def on_checkpoint(self, offset: int) -> None:
        """``context.checkpoint``."""
        lane = self.lane
        if offset > lane.head:
            self._warn("checkpoint(%d) is above its last message, %d: ignored", offset, lane.head)
        elif offset > lane.acknowledged:
            self._attempt = 0
            self._router.acknowledge(lane, offset)

    def on_skipped(self, count: int) -> None:
        """``context.skipped``."""
        more, self._skipped = count - self._skipped, max(count, self._skipped)
        if more > 0:
            self._router.skip(more)

    def on_error(self, error: BaseException | str, restart: bool, offset: int | None) -> None:
        """``context.error``."""
        if restart:
            self._break(error, offset)
        elif offset is None:
            self._router.report(self.key, error, None, often=False)
        elif any(message.offset == offset for message in self.lane.unfinished(offset)):
            self._corrupt(error, offset)
        else:
            # Were it told, the record of another document could become a dead letter.
            self._warn("error(offset=%d) names none of its unfinished messages", offset)
            self._corrupt(error, None)

    def on_report(self, error: BaseException | str, offset: int | None) -> None:
        """``context.report``."""
        self._router.report(self.key, error, offset, often=False)

    def on_pause(self, reason: str, retry_after: float | None, offset: int | None) -> None:
        """``context.pause``: the whole partition; what comes again is taken from the ledger and not from Kafka."""
        if offset is not None:
            lane = self.lane
            if not lane.acknowledged < offset <= lane.head:
                raise ValueError(
                    f"pause(offset={offset}): not between the document's checkpoint, {lane.acknowledged}, and its "
                    f"last message, {lane.head}"
                )
        self._router.pause(reason, retry_after)
        if offset is not None:
            first = min(offset, self._waiting[0].offset) if self._waiting else offset
            self._waiting = deque(self.lane.unfinished(first))
            self._router.stall(self)

    def on_activity(self, seconds_from_now: float | None) -> None:
        """``context.update_activity_time``."""
        self._router.schedule(self, self.timeout if seconds_from_now is None else seconds_from_now)

    # --------------------------------------------------------------------------------------------- handling

    def _call(self, message: Message) -> None:
        handler = self._handler
        assert handler is not None
        try:
            pending = handler(message)
            if pending is None:
                return
            if not isawaitable(pending):
                refuse_generator(pending)
                return
        except BaseException as error:
            if exit_in(error) is not None:
                raise  # whoever called knows whom to tell
            # Nothing is awaited here, so a cancellation is none of this task: it is one that the handler came upon.
            self._failed(error, message.offset)
            return
        self._running = (message.offset, pending)
        self.wake()

    def _call_next(self, waiting: deque[Message]) -> None:
        message = waiting.popleft()
        if message.offset > self.lane.acknowledged:  # else its lambda has said that it knows it
            try:
                self._call(message)
            except BaseException as error:  # noqa: BLE001, RUF100
                # Not raised: a task that ends with SystemExit ends the event loop with it, undrained.
                self._router.leave(error, message.offset)

    async def _finish_running(self, offset: int, pending: Awaitable[object]) -> None:
        self.interruptible = True
        try:
            await pending
        except asyncio.CancelledError as error:
            if not self._interrupted():
                self._failed(error, offset)  # something inside the handler was cancelled
        except BaseException as error:
            if is_ours(error, self.worker):
                raise
            if exit_in(error) is not None:
                self._router.leave(error, offset)
            else:
                self._failed(error, offset)
        finally:
            self.interruptible = False

    def _failed(self, error: BaseException, offset: int) -> None:
        if self._broken:
            log.info("document %r failed at offset %d after its error: %s", self.key, offset, message_of(error))
        else:
            self._corrupt(error, offset)

    def _interrupted(self) -> bool:
        """Whether a cancellation is the router's, so that the worker goes on to ``close``.

        Called while it is handled: one of the worker itself, as at the event loop's end, is raised again.
        """
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            return False
        if self._reason is None:
            raise  # noqa: PLE0704  the caller is handling it
        self._warn("cancelled: it was still running when its time was over")
        return True

    # ---------------------------------------------------------------------------------------------- failing

    def _corrupt(self, error: BaseException | str, offset: int | None) -> None:
        """It cannot process the message at ``offset``: its lambda is done with, and the router does what is set."""
        if self.corrupt or self._reason is not None or self._router.failed:
            # Of a partition that is taken away or has failed nothing is left out: whoever has it next meets the same
            # failure, since this message is not done.
            log.info("document %r failed at offset %s at its end: %s", self.key, offset, message_of(error))
            if self._context is not None:
                self._context.end()
            return
        self._stop_lambda()
        self._router.give_up(self, error, offset)

    def _break(self, error: BaseException | str, offset: int | None) -> None:
        """The lambda cannot go on: another takes its place, and its unfinished messages come again."""
        self._warn("its lambda is made again: %s", message_of(error))
        self._stop_lambda()
        self._router.report(self.key, error, offset, often=True)

    def _stop_lambda(self) -> None:
        self._broken = True
        self._handler = None
        self._waiting = None
        if self._context is not None:
            self._context.end()
        self.wake()

    # ------------------------------------------------------------------------------------------- the worker

    async def _work(self) -> None:
        router = self._router
        clock = asyncio.get_running_loop().time
        began = clock()
        router.working += 1
        try:
            while True:
                if self._running is not None:
                    running, self._running = self._running, None
                    await self._finish_running(*running)
                    began = clock()
                elif self._reason is not None:
                    _forget_cancellations()
                    await self._close(self._reason)
                    return
                elif router.failed:
                    return
                elif self._broken:
                    await self._recover()
                elif not self._waiting:
                    self._waiting = None
                    return
                elif self._handler is None:
                    await self._create()
                    began = clock()
                elif router.held:
                    router.stall(self)
                    return
                else:
                    self._call_next(self._waiting)
                    if clock() - began > _TURN / router.working:
                        await asyncio.sleep(0)
                        began = clock()
        except Exception as error:
            # A fault of ours. Standing still without a word would be the worst answer to it.
            log.exception("document %r: a fault of the router, not of the lambda", self.key)
            self.partition.error(error, restart=True)
        finally:
            router.working -= 1
            self.worker = None

    async def _recover(self) -> None:
        await self._close(CloseReason.ERROR)
        self._broken = False
        if self.corrupt:
            return
        self._waiting = deque(self.lane.unfinished())
        # At random, or all documents whose database was away would come back at the same moment.
        delay = min(MOST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(max(self._attempt - 1, 0), 10))
        await self._router.rest(delay * random.uniform(0.5, 1.0))  # noqa: S311  no secret
        # What came meanwhile stands after the others: the worker was there, so `take` only queued it.

    async def _create(self) -> None:
        first = self.lane.first
        self._attempt += 1
        context = self._context = DocumentContext(self, None if first is None else first.offset, self._attempt)
        self._skipped = 0
        self.interruptible = True
        try:
            if self._after is not None:
                await asyncio.wait({self._after})
                self._after = None
            made = checked_lambda(
                await settle(self._router.factory.create(self._router.config_of(self.key), context))
            )
            handler = made.handler
            own = getattr(made, "activity_timeout", None)
            timeout = self._router.activity_timeout if own is None else float(own)
        except asyncio.CancelledError as error:
            if not self._interrupted():
                self._create_failed(error, first)
            return
        except BaseException as error:
            if is_ours(error, self.worker):
                raise
            self._create_failed(error, first)
            return
        finally:
            self.interruptible = False
        self._lambda = made
        if not self._broken:
            self._handler = handler
            if timeout != self.timeout:
                self.timeout = timeout
                self._router.schedule(self, timeout)

    def _create_failed(self, error: BaseException, first: Entry | None) -> None:
        if exit_in(error) is not None:
            self._router.leave(error, None)
        elif self._broken:
            log.info("create of document %r failed after its error: %s", self.key, message_of(error))
        elif getattr(error, "corrupt", False) is True:
            unfinished = self.lane.first  # `create` may have made a checkpoint
            self._corrupt(error, None if unfinished is None else unfinished.offset)
        else:
            # Not corrupt, whatever it is: a database that is away, or a deploy, is no reason to skip messages.
            self._break(error, None if first is None else first.offset)

    # ---------------------------------------------------------------------------------------------- closing

    async def _close(self, reason: CloseReason) -> None:
        closing = self._begin_close(reason)
        if closing is not None:
            await self._finish_close(closing)

    def _begin_close(self, reason: CloseReason) -> Awaitable[object] | None:
        """Call ``close``; what is to be awaited of it."""
        lambda_, context = self._lambda, self._context
        self._lambda = self._handler = self._waiting = None
        if context is not None and reason is CloseReason.ERROR:
            context.end()
        close = getattr(lambda_, "close", None)
        pending = None
        if close is not None:
            try:
                pending = close(reason)
            except BaseException as error:  # noqa: BLE001, RUF100  as in `_call`
                self._close_failed(error)
        if pending is not None and isawaitable(pending):
            return pending
        if context is not None:
            context.end()
        return None

    async def _finish_close(self, closing: Awaitable[object]) -> None:
        context = self._context
        try:
            await closing
        except BaseException as error:
            if is_ours(error, self.worker):
                raise
            self._close_failed(error)
        finally:
            if context is not None:
                context.end()

    def _close_failed(self, error: BaseException) -> None:
        log.error("document %r: close failed", self.key, exc_info=error)
        if exit_in(error) is not None:
            self._router.leave(error, None)

    def _warn(self, text: str, *arguments: object) -> None:
        where = (self.partition.topic, self.partition.partition, self.name)
        log.warning("%s/%d: document %r: %s", *where, text % arguments)


def _forget_cancellations() -> None:
    # They were for a handler or ``create``; timeouts and task groups in ``close`` would take them for theirs.
    task = asyncio.current_task()
    while task is not None and task.uncancel():
        pass


calls_handlers(Document._call.__code__)  # noqa: SLF001  our own
