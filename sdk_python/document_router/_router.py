"""The lambda of one partition that gives each document a lambda of its own."""

import asyncio
import heapq
import logging
from collections.abc import Callable, Hashable, Iterator, Mapping
from itertools import count, islice
from time import monotonic
from types import MappingProxyType
from typing import Any, Final

from sdk_python._checkpoints import MAX_NAMES
from sdk_python._errors import message_of
from sdk_python._interfaces import CloseReason, IContext, IPartitionLambdaFactory
from sdk_python._message import Message
from sdk_python._place import Place

from ._document import Document
from ._keys import DocumentMessage, KeyFunction, ids_of, name_of
from ._ledger import Lane, Ledger, size_of
from ._options import Options

log = logging.getLogger("kafka_sidecar.sdk")

REPORT_SPACING_S: Final = 1.0
"""Seconds between two reports of errors that many documents may have at once, such as a database that is away."""
_CANCEL_GRACE_S: Final = 0.5

Clock = Callable[[], float]
_new: Final = tuple.__new__


class Router:
    """The lambda of one partition. Everything happens on the event loop, and `handler` never waits for a document."""

    _message_kind: Final = DocumentMessage
    """What the SDK makes each message as, see `Handling`."""

    def __init__(
        self,
        context: IContext,
        factory: IPartitionLambdaFactory,
        settings: Mapping[str, Any],
        key: KeyFunction,
        options: Options,
        clock: Clock | None = None,
    ) -> None:
        self.context = context
        self.factory = factory
        self.activity_timeout = options.activity_timeout
        self.held = False
        self.failed = False
        self.working = 0
        self._where = str(Place(context.topic, context.partition, context.lane, context.lanes))
        self._settings = settings
        self._key = key
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._clock: Clock = clock or monotonic  # as the loop's own time, without a Python call
        self._ledger = Ledger()
        self._documents: dict[Hashable, Document] = {}
        self._closing: dict[Hashable, asyncio.Task[None]] = {}
        self._stalled: dict[Document, None] = {}
        self._corrupt: dict[Document, None] = {}
        self._corrupt_names: tuple[str, ...] = ()
        self._skipped_by_lambdas = 0
        self._homeless = False  # whether the log says that there are messages without a document
        self._sleepers: set[asyncio.Future[None]] = set()
        self._ended = False
        self._checkpoint = context.checkpoint
        self._told_done = -1
        self._told_count = self._told_size = self._told_skipped = 0
        self._replayed_to = -1  # messages up to here may come twice, after a pause
        self._next_report = self._clock()
        # The times at which the router looks whether a document is idle. A message does not move them: a document
        # that is looked at too early is put in again. So a message costs nothing here, and nothing looks at all
        # documents.
        self._idle_at: list[tuple[float, int, Document]] = []
        self._numbers = count()
        self._timer = self._loop.call_later(options.activity_check_interval, self._check_again)

    # --------------------------------------------------------------------------------------------- messages

    def handler(self, message: Message) -> None:
        """Route one message. This is synchronous: a slow document holds up no other."""
        if self.held:
            if self.failed:
                return  # no document gets a message any more
            self._release()
        ledger = self._ledger
        offset = message.offset
        if offset <= ledger.head:
            self._came_before(offset)
            return
        routed = message if type(message) is DocumentMessage else _new(DocumentMessage, message)
        key = self._key(routed)
        if key is None:
            if not self._homeless:
                self._homeless = True
                log.info("%s, offset %d: of no document, and skipped, as all such will be", self._where, offset)
            ledger.skip(offset, size_of(message))
            self._publish()
            return
        document = self._documents.get(key)
        if document is None:
            document = self._open(key)
        else:
            document.deadline = self._clock() + document.timeout
        if document.corrupt:
            document.lane.head = document.lane.acknowledged = offset
            ledger.skip(offset, size_of(message))
            self._publish()
            return
        ledger.begin(document.lane, offset, routed)
        try:
            document.take(routed)
        finally:
            if ledger.lone is not None:
                ledger.keep()

    def acknowledge(self, lane: Lane, offset: int) -> None:
        """Note that a document's messages up to ``offset`` are done."""
        if self._ledger.acknowledge(lane, offset):
            self._told_done = offset
            self._checkpoint(offset)
        else:
            self._publish()

    def unfinished(self, lane: Lane, start: int = 0) -> Iterator[Message]:
        """Return a document's unfinished messages from offset ``start`` on."""
        return self._ledger.unfinished(lane, start)

    def config_of(self, key: Hashable) -> Mapping[str, Any]:
        """Return the lambda's settings with the document's ids, named as in Fluid Framework's kafka-service."""
        tenant, document = ids_of(key)
        return MappingProxyType({**self._settings, "tenantId": tenant, "documentId": document})

    def _open(self, key: Hashable) -> Document:
        document = self._documents[key] = Document(self, key, self._closing.get(key))
        self.schedule(document, document.timeout)
        return document

    def _publish(self) -> None:
        ledger = self._ledger
        count, size = ledger.beyond_count, ledger.beyond_size
        if count != self._told_count or size != self._told_size:
            self._told_count, self._told_size = count, size
            self.context.completed_beyond(count, size)
        if ledger.skipped != self._told_skipped:
            self._tell_skipped()
        done = ledger.done
        if done != self._told_done:
            self._told_done = done
            self.context.checkpoint(done)

    def _came_before(self, offset: int) -> None:
        if offset > self._replayed_to:
            log.warning("%s: offset %d comes after %d: dropped", self._where, offset, self._ledger.head)

    # ---------------------------------------------------------------------------------------------- pausing

    def pause(self, reason: str, retry_after: float | None) -> None:
        """Pause the partition: if one document's lambda misses a database, the others will miss it too.

        Only the last message is asked for again, and only to notice the end of the pause: a context does not tell of
        it, but the next handler call does, so a message has to come. All messages that wait are here.
        """
        ledger = self._ledger
        again = ledger.head if ledger.pending else None
        self.context.pause(reason, retry_after, again)
        self.held = True
        self._replayed_to = ledger.head

    def stall(self, document: Document) -> None:
        """Wake the document at the end of the pause: its messages wait for it."""
        self._stalled[document] = None

    def _release(self) -> None:
        self.held = False
        stalled, self._stalled = self._stalled, {}
        for document in stalled:
            document.wake()

    # ---------------------------------------------------------------------------------------------- failing

    def give_up(self, document: Document, error: BaseException | str, offset: int | None) -> None:
        """Fail the partition at ``offset``, or skip all messages of the document, as the setting says."""
        skips = self._options.corrupt_documents == "skip"
        where = self._where if offset is None else f"{self._where}, offset {offset}"
        then = "all its messages are skipped" if skips else "the partition fails there"
        # A partition that fails logs the cause with its traceback itself.
        cause = error if skips and isinstance(error, BaseException) else None
        text = "%s: document %r is corrupt, %s: %s"
        log.error(text, where, document.name, then, message_of(error), exc_info=cause)
        if not skips:
            # No await lies between this and the end of the lease. Checkpoints of other documents do not count from
            # here on, and another document that fails meanwhile fails again in the next lease.
            self.held = self.failed = True
            self.context.error(_named(document.key, error), False, offset)
            return
        document.corrupt = True
        self._corrupt[document] = None
        self.report(document.key, error, offset, often=False)
        self._ledger.give_up(document.lane)
        self._corrupt_changed()
        self._publish()

    def leave(self, error: BaseException, offset: int | None) -> None:
        """End the process, as a lambda asks for. Nothing more is begun, and the message at ``offset`` comes again."""
        self.held = self.failed = True
        self.context.error(error, True, offset)

    def skip(self, count: int) -> None:
        """Count messages that a document's lambda has skipped by itself."""
        self._skipped_by_lambdas += count
        self._tell_skipped()

    def _corrupt_changed(self) -> None:
        self._corrupt_names = tuple(document.name for document in islice(reversed(self._corrupt), MAX_NAMES))[::-1]
        self._tell_skipped()

    def _tell_skipped(self) -> None:
        self._told_skipped = self._ledger.skipped
        count = self._told_skipped + self._skipped_by_lambdas
        self.context.skipped(count, self._corrupt_names, len(self._corrupt))

    # ---------------------------------------------------------------------------------------------- reports

    def report(self, key: Hashable, error: BaseException | str, offset: int | None, *, often: bool) -> None:
        """Report to the operators, with the document's name; ``often``: at most one in `REPORT_SPACING_S`."""
        if often:
            now = self._clock()
            if now < self._next_report:
                return
            self._next_report = now + REPORT_SPACING_S
        self.context.report(_named(key, error), offset)

    # ------------------------------------------------------------------------------------------------- time

    async def rest(self, seconds: float) -> None:
        """Sleep for so many seconds, or until `close`."""
        if self._ended:
            return
        wake = self._loop.create_future()
        timer = self._loop.call_later(seconds, _wake, wake)
        self._sleepers.add(wake)
        try:
            await wake
        finally:
            timer.cancel()
            self._sleepers.discard(wake)

    def schedule(self, document: Document, seconds_from_now: float) -> None:
        """Let the document become idle at that time, unless a message comes."""
        document.deadline = self._clock() + seconds_from_now
        self._look_at(document, document.deadline)

    def _look_at(self, document: Document, time: float) -> None:
        if document.scheduled is None or time < document.scheduled:
            document.scheduled = time
            heapq.heappush(self._idle_at, (time, next(self._numbers), document))

    def close_idle(self) -> None:
        """Close the idle documents. A document with unfinished work is not idle."""
        now = self._clock()
        busy = []
        while self._idle_at and self._idle_at[0][0] < now:
            time, _, document = heapq.heappop(self._idle_at)
            if document.scheduled != time or self._documents.get(document.key) is not document:
                continue  # it was closed, or looked at earlier since its deadline was moved
            document.scheduled = None
            if document.busy:
                busy.append(document)
            elif document.deadline >= now:
                self._look_at(document, document.deadline)
            else:
                self._close_document(document)
        for document in busy:
            self._look_at(document, max(document.deadline, now))

    def _close_document(self, document: Document) -> None:
        key = document.key
        del self._documents[key]
        if document.corrupt:
            del self._corrupt[document]
            self._corrupt_changed()
        task = document.end(CloseReason.IDLE)
        if task is not None:
            self._closing[key] = task
            task.add_done_callback(lambda _: self._closed(key, task))

    def _closed(self, key: Hashable, task: asyncio.Task[None]) -> None:
        if self._closing.get(key) is task:
            del self._closing[key]

    def _check_again(self) -> None:
        self._timer = self._loop.call_later(self._options.activity_check_interval, self._check_again)
        self.close_idle()

    # -------------------------------------------------------------------------------------------------- end

    async def close(self, reason: CloseReason) -> None:
        """Close all documents at the same time, each after its running handler or ``create``.

        Handlers have `Options.drain_timeout` to end, and are cancelled then. They are cancelled at once when the
        lease is gone, since another process may have the partition already, and their checkpoints would not count.
        """
        self._ended = True
        self._timer.cancel()
        for wake in list(self._sleepers):
            _wake(wake)
        tasks = dict.fromkeys(self._closing.values(), None)
        ending = [(document, document.end(reason)) for document in self._documents.values()]
        workers = {task: document for document, task in ending if task is not None}
        tasks.update(dict.fromkeys(workers))
        try:
            if tasks:
                await self._wait_for(tasks, workers, reason)
        finally:
            for task in tasks:
                task.cancel()
            self._documents.clear()
            self._ledger.clear()
            self._idle_at.clear()

    async def _wait_for(
        self,
        tasks: Mapping[asyncio.Task[None], None],
        workers: Mapping[asyncio.Task[None], Document],
        reason: CloseReason,
    ) -> None:
        at_once = reason is CloseReason.ERROR
        _, running = await asyncio.wait(tasks, timeout=0 if at_once else self._options.drain_timeout)
        while running:
            for task in running:
                if task in workers and workers[task].interruptible:
                    task.cancel()
            # The time of ``close`` is bounded by the partition's own deadline. A task that ignores its cancellation
            # is cancelled again.
            _, running = await asyncio.wait(running, timeout=_CANCEL_GRACE_S)


def _named(key: Hashable, error: BaseException | str) -> BaseException | str:
    """Return the error with the document's name added."""
    name = f"document {name_of(key)}"
    if isinstance(error, str):
        return f"{name}: {message_of(error)}"
    if name not in getattr(error, "__notes__", ()):
        error.add_note(name)  # the error's type and text stay what they are
    return error


def _wake(wake: asyncio.Future[None]) -> None:
    if not wake.done():
        wake.set_result(None)
