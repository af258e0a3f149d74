"""One document of one partition: its lambda, the messages that wait for it, and its life.

A document at rest is this object and no task. A message for a lambda that is free is handled at once, in the router's
own call. Whatever takes longer is done by one task, the worker: making the lambda, an async handler, closing it, a
back-off. The worker ends when nothing is left to do. While there is a worker, messages wait. So the handlers of one
document never overlap, and none is called while the lambda is made or closed.

The worker decides by the first of these that holds:

- a handler runs: await it;
- ``_reason`` is set: the document ends. Close its lambda with this reason;
- the partition failed: begin nothing, the end comes soon;
- ``_broken`` is set: the lambda cannot go on. Close it with ERROR. A document that is not corrupt gets a new lambda
  after a back-off, and its unfinished messages again, which the ledger has kept;
- there is no lambda: make it;
- messages wait: handle the next one.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping
from inspect import isawaitable
from typing import Any, Final, Protocol

from sdk_python._awaiting import awaited
from sdk_python._dispatch import refuse_generator
from sdk_python._errors import message_of
from sdk_python._fitting import checked_lambda
from sdk_python._handling import cause_of, one_at_a_time
from sdk_python._interfaces import AnyLambda, CloseReason, IContext, IPartitionLambdaFactory
from sdk_python._leaving import exit_in, is_ours
from sdk_python._loop_budget import TURN_S
from sdk_python._message import Message
from sdk_python._tracing import in_its_trace
from sdk_python._watchdog import calls_handlers

from ._context import DocumentContext
from ._keys import name_of
from ._ledger import Entry, Lane

log = logging.getLogger("kafka_sidecar.sdk")

MIN_BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 30.0


class DocumentHost(Protocol):
    """What a document needs of its partition: its `Router`."""

    context: IContext
    factory: IPartitionLambdaFactory
    activity_timeout: float
    """In seconds."""
    held: bool
    """True while no handler call begins: the partition is paused, or it failed."""
    failed: bool
    """True when the partition's lambda has said that it cannot go on. It is closed soon, and nothing is begun."""
    working: int
    """How many documents of the partition have a worker; they share the event loop."""

    def config_of(self, key: Hashable) -> Mapping[str, Any]:
        """Return the settings for the lambda of this document."""
        ...

    def acknowledge(self, lane: Lane, offset: int) -> None:
        """Note that the document's messages up to ``offset`` are done."""
        ...

    def unfinished(self, lane: Lane, start: int = 0) -> Iterator[Message]:
        """Return the document's unfinished messages from offset ``start`` on."""
        ...

    def skip(self, count: int) -> None:
        """Count messages that a document's lambda has skipped by itself."""
        ...

    def give_up(self, document: "Document", error: BaseException | str, offset: int | None) -> None:
        """Give the document nothing more: it cannot process the record at ``offset``; None: the record is unknown."""
        ...

    def leave(self, error: BaseException, offset: int | None) -> None:
        """End the process, as a lambda asks for (``sys.exit``); ``offset``: the record that it was handling."""
        ...

    def pause(self, reason: str, retry_after: float | None) -> None:
        """Pause the partition."""
        ...

    def stall(self, document: "Document") -> None:
        """Call `Document.wake` at the end of the pause: messages wait for it."""
        ...

    def schedule(self, document: "Document", seconds_from_now: float) -> None:
        """Let the document become idle at that time."""
        ...

    def report(self, key: Hashable, error: BaseException | str, offset: int | None, *, often: bool) -> None:
        """Report to the operators. ``often``: many documents may say the same at once."""
        ...

    async def rest(self, seconds: float) -> None:
        """Sleep, but no longer than the partition's lambda lives."""
        ...


class Document:
    """One document, as the module describes."""

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

    def __init__(self, router: DocumentHost, key: Hashable, after: asyncio.Task[None] | None = None) -> None:
        """``after``: the task that closes an earlier lambda of this document; the new one is made after it."""
        self.key = key
        self.lane = Lane()
        self.corrupt = False
        """While True, its messages are skipped as they come. It ends when the document is idle or the lease ends."""
        self.timeout = router.activity_timeout
        self.deadline = 0.0
        """Time at which it becomes idle."""
        self.scheduled: float | None = None
        """Time at which the router looks whether it is idle; None: it does not."""
        self.worker: asyncio.Task[None] | None = None
        self.interruptible = False
        """True while the worker is in a handler or in ``create``."""
        self._router = router
        self._lambda: AnyLambda | None = None
        self._handler: Callable[[Message], Any] | None = None
        self._context: DocumentContext | None = None
        self._waiting: deque[Message] | None = None  # an empty deque has 600 bytes, and most documents rest
        self._running: tuple[int, Awaitable[object]] | None = None
        self._attempt = 0  # lambdas since the last checkpoint
        self._skipped = 0  # messages, as the present lambda told
        self._broken = False
        self._after = after
        self._reason: CloseReason | None = None

    @property
    def partition(self) -> IContext:
        """The context of the partition."""
        return self._router.context

    @property
    def name(self) -> str:
        """The document's name for people."""
        return name_of(self.key)

    @property
    def busy(self) -> bool:
        """Whether it has something to do or waits for something to be done."""
        return self.worker is not None or self.lane.first is not None or bool(self._waiting)

    # ------------------------------------------------------------------------------------- from the router

    def take(self, message: Message) -> None:
        """Take a message that the ledger has already."""
        handler = self._handler
        if handler is not None and self.worker is None and not self._waiting:
            self._call(handler, message)
            return
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(message)
        self.wake()

    def wake(self) -> None:
        """Make sure that there is a worker, since there is something to do."""
        if self.worker is None:
            self.worker = asyncio.create_task(self._work())

    def end(self, reason: CloseReason) -> asyncio.Task[None] | None:
        """Handle nothing more and close the lambda; returns the task that does so, or None when it is done."""
        self._reason = reason
        if self.worker is None:
            # Most documents are at rest and close at once: 100,000 tasks for them would be slow.
            closing = self._begin_close(reason)
            if closing is not None:
                self.worker = asyncio.create_task(self._finish_close(closing))
        return self.worker

    # ------------------------------------------------------------------------------------- from the lambda

    def on_checkpoint(self, offset: int) -> None:
        """Take a checkpoint of the document."""
        lane = self.lane
        if offset > lane.head:
            self._warn("checkpoint(%d) is above its last message, %d: ignored", offset, lane.head)
        elif offset > lane.acknowledged:
            self._attempt = 0
            self._router.acknowledge(lane, offset)

    def on_skipped(self, count: int) -> None:
        """Take the number of messages that the lambda has skipped so far."""
        more, self._skipped = count - self._skipped, max(count, self._skipped)
        if more > 0:
            self._router.skip(more)

    def on_error(self, error: BaseException | str, restart: bool, offset: int | None) -> None:
        """End the lambda: make it again, or find the document corrupt."""
        if restart:
            self._break(error, offset)
        elif offset is None:
            self._router.report(self.key, error, None, often=False)
        elif any(message.offset == offset for message in self._router.unfinished(self.lane, offset)):
            self._corrupt(error, offset)
        else:
            # Not passed on: the record of another document could become a dead letter.
            self._warn("error(offset=%d) names none of its unfinished messages", offset)
            self._corrupt(error, None)

    def on_report(self, error: BaseException | str, offset: int | None) -> None:
        """Report an error of the document."""
        self._router.report(self.key, error, offset, often=False)

    def on_pause(self, reason: str, retry_after: float | None, offset: int | None) -> None:
        """Pause the whole partition. Messages that come again are taken from the ledger and not from Kafka."""
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
            self._waiting = deque(self._router.unfinished(self.lane, first))
            self._router.stall(self)

    def on_activity(self, seconds_from_now: float | None) -> None:
        """Let the document become idle in so many seconds; None: after its usual time."""
        self._router.schedule(self, self.timeout if seconds_from_now is None else seconds_from_now)

    # --------------------------------------------------------------------------------------------- handling

    def _call(self, handler: Callable[[Message], Any], message: Message) -> None:
        try:
            pending = handler(message)
            if pending is None:
                return
            if not isawaitable(pending):
                refuse_generator(pending)
                return
        except BaseException as error:
            if exit_in(error) is not None:
                raise  # the caller knows whom to tell
            # Nothing is awaited here. So a CancelledError does not cancel this task: the handler ran into it.
            self._failed(error, message.offset)
            return
        self._running = (message.offset, pending)
        self.wake()

    def _call_next(self, handler: Callable[[Message], Any], waiting: deque[Message]) -> None:
        message = waiting.popleft()
        if message.offset > self.lane.acknowledged:  # otherwise its lambda has said that it is done
            try:
                self._call(handler, message)
            except BaseException as error:  # noqa: BLE001, RUF100
                # Not raised: a task that ends with SystemExit ends the event loop too, undrained.
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

    def _failed(self, raised: BaseException, offset: int) -> None:
        error = cause_of(raised)
        if self._broken:
            log.info("document %r failed at offset %d after its error: %s", self.name, offset, message_of(error))
        else:
            self._corrupt(error, offset)

    def _interrupted(self) -> bool:
        """Whether the router cancelled the worker, which then goes on to ``close``.

        Call it in an ``except`` block: a cancellation that is not the router's, as at the event loop's end, is raised
        again.
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
        """End the lambda, which cannot process the message at ``offset``; the router does what the setting says."""
        if self.corrupt or self._reason is not None or self._router.failed:
            # A partition that is taken away or has failed skips nothing: its next owner gets this unfinished message
            # and meets the same failure.
            log.info("document %r failed at offset %s at its end: %s", self.name, offset, message_of(error))
            if self._context is not None:
                self._context._end()  # noqa: SLF001  two halves of one thing
            return
        self._stop_lambda()
        self._router.give_up(self, error, offset)

    def _break(self, error: BaseException | str, offset: int | None) -> None:
        """End the lambda, which cannot go on: a new one is made and gets its unfinished messages again."""
        self._warn("its lambda is made again: %s", message_of(error))
        self._stop_lambda()
        self._router.report(self.key, error, offset, often=True)

    def _stop_lambda(self) -> None:
        self._broken = True
        self._handler = None
        self._waiting = None
        if self._context is not None:
            self._context._end()  # noqa: SLF001  two halves of one thing
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
                    self._call_next(self._handler, self._waiting)
                    # The documents of a partition share a turn of the event loop. With a turn for each, a hundred
                    # busy ones would hold the loop for half a second in each round, and it takes several rounds
                    # until a call is out and its answer is in. `LoopBudget` would not do: its queue lets a few run
                    # in each round, and a quiet document would wait for the turns of hundreds of busy ones.
                    if clock() - began > TURN_S / router.working:
                        await asyncio.sleep(0)
                        began = clock()
        except Exception as error:
            # A fault of the router. To stand still without a word would be the worst answer to it.
            log.exception("document %r: a fault of the router, not of the lambda", self.name)
            self.partition.error(error, restart=True)
        finally:
            router.working -= 1
            self.worker = None

    async def _recover(self) -> None:
        await self._close(CloseReason.ERROR)
        self._broken = False
        if self.corrupt:
            return
        self._waiting = deque(self._router.unfinished(self.lane))
        # At random, since all documents whose database was away would come back at the same moment otherwise.
        delay = min(MAX_BACKOFF_S, MIN_BACKOFF_S * 2.0 ** min(max(self._attempt - 1, 0), 10))
        await self._router.rest(delay * random.uniform(0.5, 1.0))  # noqa: S311  no secret
        # Messages that came meanwhile are after the others: there was a worker, so `take` only queued them.

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
                await awaited(self._router.factory.create(self._router.config_of(self.key), context))
            )
            handler = in_its_trace(one_at_a_time(made))
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
            log.info("create of document %r failed after its error: %s", self.name, message_of(error))
        elif getattr(error, "corrupt", False) is True:
            unfinished = self.lane.first  # `create` may have made a checkpoint
            self._corrupt(error, None if unfinished is None else unfinished.offset)
        else:
            # Not corrupt, whatever it is: a database that is away or a deployment is no reason to skip messages.
            self._break(error, None if first is None else first.offset)

    # ---------------------------------------------------------------------------------------------- closing

    async def _close(self, reason: CloseReason) -> None:
        closing = self._begin_close(reason)
        if closing is not None:
            await self._finish_close(closing)

    def _begin_close(self, reason: CloseReason) -> Awaitable[object] | None:
        """Call ``close``; returns what has to be awaited of it, or None."""
        lambda_, context = self._lambda, self._context
        self._lambda = self._handler = self._waiting = None
        if context is not None and reason is CloseReason.ERROR:
            context._end()  # noqa: SLF001
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
            context._end()  # noqa: SLF001
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
                context._end()  # noqa: SLF001

    def _close_failed(self, error: BaseException) -> None:
        log.error("document %r: close failed", self.name, exc_info=error)
        if exit_in(error) is not None:
            self._router.leave(error, None)

    def _warn(self, text: str, *arguments: object) -> None:
        where = (self.partition.topic, self.partition.partition, self.name)
        log.warning("%s/%d: document %r: %s", *where, text % arguments)


def _forget_cancellations() -> None:
    # They were meant for a handler or ``create``. Timeouts and task groups in ``close`` would take them for theirs.
    task = asyncio.current_task()
    while task is not None and task.uncancel():
        pass


calls_handlers(Document._call.__code__)  # noqa: SLF001  our own
