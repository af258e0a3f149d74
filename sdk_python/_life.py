"""One lease's life in this process, from Assigned to Closed.

It consists of four tasks on the event loop:

- The *reader* always reads ahead, so that Revoked never waits for a slow handler.
- The *dispatcher* calls the handler.
- The *writer* (`Outbox.write_out`) writes Pause, Resume and Progress in their order.
- `Life.run` owns the life. It writes Ready and then starts the writer; it writes Closed when the writer has ended. So
  only one of the two writes at a time. The writer ends at the life's end, when its queue is empty.

A life ends once, for the first of four reasons: it is `Revoked` by the sidecar; the lambda has a `Failure`; the
process has `Stopped`; the stream is `Lost`. The code that notices the reason sets ``ending`` and stops the dispatcher
in the same step; for a failure it also seals the checkpoints. No await lies between, so no handler call and no
checkpoint can slip in. Later reasons only change how much of the end can still be told to the sidecar.

How it ends, by reason:

=========  ============================  ==========================  =================================
reason     running handler               close(reason)               told to the sidecar
=========  ============================  ==========================  =================================
Revoked    may finish until 70 % of the  REBALANCED, or STOPPED      Closed{REVOKED, last checkpoint}
           deadline, then is cancelled   (shutdown, seek, halted,
                                         paused), ERROR (aborted)
Stopped    the same with the drain time  STOPPED                     Closed{STOPPED, last checkpoint}
Failure    the same                      ERROR                       Error, then Closed{ERROR}
Lost       is cancelled at once          ERROR                       nothing can be; checkpoints are void
=========  ============================  ==========================  =================================

A paused life ends like any other: a dispatcher that stands still ends at once. Revoked with the reason LOST, SEEK or
ABORTED says that the lease is dead already: checkpoints are void, and what was produced is given up.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from logging import DEBUG, ERROR, INFO, WARNING
from typing import Any, Final

from google.protobuf.message import DecodeError

from ._awaiting import Deadline, awaited, finished
from ._checkpoints import LeaseProgress
from ._commits import Commits
from ._committing import Committing
from ._connection import LinkError
from ._context import PartitionContext, Speaking
from ._decoding import AnyBatch, Frame, count_of, frame_of
from ._dispatch import Dispatcher
from ._ending import WHY_REVOKED, Ending, Lost, Revoked, Stopped, close_reason
from ._errors import (
    HandlerFailedError,
    NotCommittedError,
    ProduceError,
    RefusedError,
    message_of,
    type_of,
)
from ._fitting import checked_lambda
from ._handling import Handling, handling_of
from ._host import Host, Link
from ._interfaces import AnyLambda, CloseReason
from ._leaving import exit_in, is_ours
from ._life_signs import LifeSigns
from ._log import logger_for
from ._marks import Marks
from ._message import FrameError
from ._outbox import Outbox
from ._outcomes import Outcomes
from ._pause_gate import PauseGate
from ._place import Place
from ._produce import Producing
from ._reporting import Failure, Reporting
from ._shared_memory import MappedMemory, MemoryVoidError, fetched
from ._tracing import tracing_of
from .protocol import lambda_pb2 as pb
from .protocol.names import name_of

# Shares of the time from the end's beginning to its deadline, after which the next step begins.
_HANDLER_SHARE: Final = 0.7
_CANCEL_SHARE: Final = 0.8
_CLOSE_SHARE: Final = 0.85
_WRITTEN_SHARE: Final = 0.9  # then Closed is sent: later it might not arrive in time
_END_TIMEOUT_S: Final = 5.0
_LINK_ERRORS: Final = (LinkError, RefusedError, FrameError)


@dataclass(frozen=True, slots=True)
class _Left:
    """What left ``factory.create``."""

    error: BaseException


class Life:
    """One lease. `run` it in a task of its own; it ends when the lambda is closed and the stream is over."""

    def __init__(self, assigned: pb.Assigned, link: Link, host: Host) -> None:
        self.place = Place.of(assigned)
        self.log = logger_for(host.lambda_name, self.place, assigned.lease)
        terms = host.terms
        self.progress = LeaseProgress(
            assigned.lease, terms.window, assigned.start_offset, host.sink, terms.max_state_bytes, terms.window_bytes
        )
        tracing = tracing_of(host.lambda_name, assigned.topic, assigned.partition)
        self.dispatcher = Dispatcher(
            assigned.topic, assigned.partition, self.progress, host.budget, host.times, tracing
        )
        self.outbox = Outbox()
        self.gate = PauseGate(self.progress, self.dispatcher, self.outbox, terms.window, self.log)
        self._life_signs = LifeSigns(self.outbox)
        self._commits = Commits(terms.tells_commits)
        self.producing = self._producing(assigned.lease, host)
        self.outcomes = self.producing.outcomes
        """Of what the lambda produces: no checkpoint passes a failure that nobody received."""
        self._link_over = asyncio.Event()
        self._reporting = Reporting(self.progress, host.calls, self._link_over, self.log, host.counters)
        self.context = PartitionContext(
            self.place,
            assigned,
            terms,
            Speaking(
                self.progress, self.gate, self.producing, self._reporting, self._life_signs, self._commits, tracing
            ),
            self._on_failure,
        )
        self.ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self.cut = ""
        """What still ran when its time was over, in words; empty: nothing."""
        self.stuck = False
        """True when that did not end when it was cancelled either."""
        self._host = host
        self._link = link
        self._offered_memory = assigned.shared_memory if assigned.HasField("shared_memory") else None
        self._memory: MappedMemory | None = None
        self._ready = False
        self._writer: asyncio.Task[None] | None = None
        self._final: pb.CheckpointEntry | None = None

    def stop(self) -> None:
        """End in order (SIGTERM): the running handler may finish, then come close and Closed."""
        self._end(Stopped())

    def left_behind(self, *, late: bool) -> str:
        """What of this life did not end in time, in words; empty: nothing."""
        if not late and not self.cut:
            return ""
        offset = self.dispatcher.working_on
        what = self.cut or ("its close" if offset is None else f"the handler at offset {offset}")
        return f"{self.place}: {what}"

    async def run(self, after: Collection[asyncio.Task[None]] = ()) -> None:
        """Live. ``after``: earlier lives of the same place here, whose close is awaited before this one begins.

        The lease fences the checkpoints of the old lambda, but not what it still writes to a database.
        """
        reader = asyncio.create_task(self._read())
        closing: asyncio.Task[None] | None = None
        try:
            closing = await self._live(after)
            await self._finish_stream(reader)
        finally:
            self.progress.seal()
            self.producing.end("the partition's lambda has ended")
            self._commits.end("the lease has ended")
            helpers = [reader, *self._reporting.tasks] + ([] if self._writer is None else [self._writer])
            for helper in helpers:
                helper.cancel()
            self._link.close()
            await asyncio.gather(*helpers, return_exceptions=True)
            if self._memory is not None:
                self._memory.close()
        if closing is not None and not closing.done():
            await self._insist(closing)
        if after:
            # This life may have ended while one before it still closes.
            await asyncio.wait(after)

    # ------------------------------------------------------------------------------------ what ends a life

    def _end(self, ending: Ending) -> None:
        """End for this reason, unless there is one already. No await lies between it and the stop of the handlers."""
        if self.ending.done():
            return
        self.gate.end()
        self._life_signs.end()
        self.outbox.end()
        self._reporting.end()
        if isinstance(ending, Lost | Failure) or (isinstance(ending, Revoked) and ending.is_dead):
            self._commits.end("the lease has ended")
        self.ending.set_result(ending)

    def _on_failure(self, failure: Failure) -> None:
        """Take what the lambda said by ``context.error``."""
        if self.ending.done():
            self.log.info("an error after the end of the lease is not reported: %s", message_of(failure.error))
        elif isinstance(failure.error, BaseException):
            # It may be an exit that somebody caught and passes on, as the document router does.
            self._left(failure.error, failure)
        else:
            self._fail(failure)

    def _producing(self, lease: str, host: Host) -> Producing:
        call, fill, limits, counters = host.calls.produce, self.gate.fill, host.terms.limits, host.counters
        if host.terms.exactly_once:
            marks = Marks(self._not_received)
            return Committing(lease, call, fill, marks, limits, counters, self.progress, self._produce_broke)
        outcomes = Outcomes(self.progress.passed, self._not_received)
        return Producing(lease, call, fill, outcomes, limits, counters, self._first_produced)

    def _produce_broke(self, why: str) -> None:
        """Fail: nobody knows what became of a call that produced."""
        if not self.ending.done():
            self._fail(Failure(why, pb.ERROR_ACTION_RESTART, None, "produce_failed"))

    def _first_produced(self) -> None:
        """From now on, checkpoints wait for the outcomes of what was produced before them."""
        self.progress.outcomes = self.outcomes

    def _not_received(self, error: BaseException) -> None:
        """Fail: what the lambda produced was not written, and nobody awaited its outcome."""
        if isinstance(error, ProduceError):
            told = ProduceError(f"{error.reason}; nobody awaited its outcome", error.topic, error.kind)
            told.__cause__ = error
            error = told
        if self.ending.done():
            self.log.error("no checkpoint that was called after it is told: %s", message_of(error))
        else:
            self._fail(Failure(error, pb.ERROR_ACTION_RESTART, None, "produce_failed"))

    def _fail(self, failure: Failure) -> None:
        cause = failure.error if isinstance(failure.error, BaseException) else None
        where = "" if failure.offset is None else f" at offset {failure.offset}"
        what = "recoverable" if failure.action == pb.ERROR_ACTION_RESTART else "critical"
        level = WARNING if failure.action == pb.ERROR_ACTION_RESTART else ERROR
        self.log.log(
            level, "%s error%s (%s): %s", what, where, failure.code, message_of(failure.error), exc_info=cause
        )
        if self.ending.done():
            # The partition is being taken back or stopped. The sidecar gives the message to the next owner, which
            # meets the same failure and can report it with its lease. Nothing at or above it may count as done.
            self._final = self.progress.seal(failure.offset)
            return
        self._request = self._reporting.error_request(failure)
        self._end(failure)

    async def _read(self) -> None:
        """Read ahead until the stream ends."""
        try:
            while (frame := await self._link.read()) is not None:
                if isinstance(frame, pb.HostFrame) and frame.HasField("shared"):
                    frame = self._frame_in_memory(frame.shared)
                if not isinstance(frame, pb.HostFrame):
                    await self._take(frame)
                    continue
                match frame.WhichOneof("frame"):
                    case "batch":
                        await self._take(frame.batch)
                    case "committed":
                        self._commits.reached(frame.committed.offset)
                    case "resumed":
                        self.gate.resumed(frame.resumed)
                    case "revoked":
                        revoked = frame.revoked
                        why = WHY_REVOKED.get(revoked.reason, "")
                        level = WARNING if why else INFO
                        self.log.log(level, "revoked: %s%s", name_of(pb.RevokeReason, revoked.reason), why)
                        self._end(Revoked(revoked.reason, Deadline(revoked.deadline_ms / 1000)))
                    case _:  # a kind of frame of a newer contract
                        pass
            self._lose("the sidecar ended the stream")
        except _LINK_ERRORS as error:
            self._lose(str(error))
        finally:
            # By a cancelled call, or an error of ours. There is no life without a reader.
            self._lose("reading it ended")

    async def _take(self, batch: AnyBatch) -> None:
        counters = self._host.counters
        counters.frames += 1
        counters.records += count_of(batch)
        await self.gate.take(batch)

    def _frame_in_memory(self, shared: pb.SharedFrame) -> Frame:
        """Read a frame that is not on the stream. Raises FrameError or LinkError."""
        if self._memory is None:
            raise FrameError("SharedFrame: this stream shares no memory")
        try:
            data = self._memory.copy(shared)
        except MemoryVoidError:
            raise LinkError("the sidecar ended the stream") from None
        try:
            return frame_of(data)
        except DecodeError as error:
            raise FrameError(f"HostFrame in shared memory cannot be parsed: {error}") from None

    def _lose(self, why: str) -> None:
        self._link_over.set()
        self._end(Lost(why))

    # ------------------------------------------------------------------------------------------ the life

    async def _live(self, after: Collection[asyncio.Task[None]]) -> asyncio.Task[None] | None:
        """Create, dispatch and close the lambda; returns the task of ``close`` when that outlived its time."""
        await self._share_memory()
        lambda_ = await self._create(after)
        running: asyncio.Task[None] | None = None
        if lambda_ is not None and not self.ending.done():
            self._ready = await self._write(pb.LambdaFrame(ready=self._ready_frame()))
            if self._ready:
                self.log.info("ready (start offset %s, attempt %s)", self.context.start_offset, self.context.attempt)
                self._writer = asyncio.create_task(self.outbox.write_out(self._write))
                running = asyncio.create_task(self._dispatch(handling_of(lambda_)))
        ending = await asyncio.shield(self.ending)
        deadline = self._deadline(ending)
        if isinstance(ending, Lost):
            self.progress.seal()
            self.producing.end("the stream to the sidecar broke")
            self.log.warning("the stream broke, this lambda ends: %s", ending.why)
        elif isinstance(ending, Revoked) and ending.is_dead:
            self.progress.seal()
            self.producing.end("the lease is over")
        elif isinstance(ending, Failure) and self._host.terms.exactly_once:
            self.producing.end("the lambda has failed, and what is held is dropped")
        told = asyncio.create_task(self._tell(ending))
        if running is not None:
            await self._let_finish(running, deadline, at_once=isinstance(ending, Lost))
        acknowledged = await told
        closing = asyncio.create_task(self._close(lambda_, close_reason(ending)))
        in_time = await finished(closing, deadline.left(_CLOSE_SHARE))
        # What it produced has to arrive before another lambda gets the partition.
        await finished(asyncio.create_task(self.producing.drained()), deadline.left(_WRITTEN_SHARE))
        held = self.producing.end("the partition's lambda has ended")
        self._commits.end("the lease has ended")
        if held and acknowledged and not isinstance(ending, Failure):
            what = "what was produced before the checkpoint at offset %d is not known to be written: it is not told"
            self.log.error(what, held[-1])
        if acknowledged:
            await self._say_closed(ending)
        return None if in_time else closing

    async def _share_memory(self) -> None:
        if self._offered_memory is not None and self._host.socket_path:
            self._memory = await fetched(self._host.socket_path, self._offered_memory)

    def _ready_frame(self) -> pb.Ready:
        return pb.Ready(lease=self.progress.lease, shared_memory=self._memory is not None)

    def _deadline(self, ending: Ending) -> Deadline:
        """When the lambda has to be closed."""
        if isinstance(ending, Revoked):
            return ending.deadline
        if isinstance(ending, Failure):  # the sidecar waits for Closed only so long, which begins now
            return Deadline(min(self._host.drain_timeout, self._host.terms.limits.close_timeout))
        return Deadline(self._host.drain_timeout)

    async def _create(self, after: Collection[asyncio.Task[None]]) -> AnyLambda | None:
        """Create the lambda; None when that failed (it is reported as recoverable), or when the life ended before."""
        for earlier in after:
            if not earlier.done() and not self.ending.done():
                self.log.info("waits for an earlier lambda of %s here to close", self.place)
                await self._until_ending(earlier)
        if self.ending.done():
            return None
        task = asyncio.create_task(self._make())
        await self._until_ending(task)
        if not task.done():
            ending = self.ending.result()
            deadline = self._deadline(ending)
            await self._let_finish(task, deadline, at_once=isinstance(ending, Lost))
        if not task.done() or task.cancelled():
            return None  # we cancelled it at the end of its time
        made = task.result()
        if isinstance(made, _Left):
            self._left(made.error, Failure(made.error, pb.ERROR_ACTION_RESTART, None, "create_failed"))
            return None
        return made

    def _left(self, error: BaseException, failure: Failure) -> None:
        """Take what left the lambda's code: a failure, or a request to end the process."""
        leaving = exit_in(error)
        if leaving is None:
            self._fail(failure)
            return
        where = "" if failure.offset is None else f" at offset {failure.offset}"
        self.log.warning("%s%s: this process drains and ends", type_of(leaving), where, exc_info=error)
        # What was checkpointed before this counts. The message itself comes again unless it was checkpointed.
        self._host.leave(leaving)
        self.stop()

    async def _until_ending(self, task: asyncio.Task[Any]) -> None:
        both: set[asyncio.Future[Any]] = {task, self.ending}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)

    async def _make(self) -> "AnyLambda | _Left":
        try:
            made = await awaited(self._host.factory.create(self._host.config, self.context))
            return checked_lambda(made)
        except BaseException as error:
            if is_ours(error, asyncio.current_task()):
                raise
            return _Left(error)  # not raised: a task that ends with SystemExit ends the event loop with it

    async def _dispatch(self, handling: Handling) -> None:
        try:
            await self.dispatcher.run(handling)
        except HandlerFailedError as failed:
            cause = failed.__cause__ or failed
            if isinstance(cause, NotCommittedError) and self.ending.done():
                self.log.info("the handler at offset %s did not wait longer: %s", failed.offset, cause)
                return
            self._left(cause, Failure(cause, pb.ERROR_ACTION_CRITICAL, failed.offset, "handler_failed"))
        except Exception:
            self.log.exception("a fault of the SDK, not of the lambda")
        finally:
            # However it ended, tell the sidecar: while it believes that this lambda runs, nobody gets the partition.
            if not self.ending.done():
                self._lose("the dispatcher failed")

    async def _let_finish(self, task: asyncio.Task[Any], deadline: Deadline, *, at_once: bool) -> None:
        """Wait for the lambda's code, and cancel it when its share of the time is over."""
        if not at_once and await finished(task, deadline.left(_HANDLER_SHARE)):
            return
        if not task.done():
            offset = self.dispatcher.working_on
            what = "create" if offset is None else f"the handler at offset {offset}"
            level = DEBUG if at_once else WARNING
            self.log.log(level, "cancelled %s: it was still running when its time was over", what)
            if not at_once:
                self.cut = what
            task.cancel()
            # Wait a little in any case: a task that was cancelled has to run to notice it.
            if not await finished(task, max(deadline.left(_CANCEL_SHARE), 0.1)):
                self.log.error("the running handler ignores its cancellation")
                self.stuck = True

    async def _close(self, lambda_: AnyLambda | None, reason: CloseReason) -> None:
        close = getattr(lambda_, "close", None)
        if close is None:
            return
        try:
            await awaited(close(reason))
        except BaseException as error:
            if is_ours(error, asyncio.current_task()):
                raise
            self.log.exception("close(%s) failed", reason)
            if (leaving := exit_in(error)) is not None:
                self._host.leave(leaving)

    async def _insist(self, closing: asyncio.Task[None]) -> None:
        """Wait for a ``close`` that outlived its deadline.

        The sidecar was told that the lambda is closed. This process still waits, so that no second lambda of the
        partition works beside the first.
        """
        self.log.warning("close is still running after its deadline")
        if not await finished(closing, self._host.drain_timeout):
            closing.cancel()
            if not await finished(closing, 1.0):
                self.log.error("close ignores its cancellation and is left behind")

    # ------------------------------------------------------------------------- what the sidecar is told

    async def _tell(self, ending: Ending) -> bool:
        """Send Error for a failure; returns whether Closed may follow.

        It may not after an Error that did not arrive: then the stream breaks instead of closing, and that makes the
        sidecar start the lambda again.
        """
        if isinstance(ending, Failure):
            return await self._reporting.send_error(self._request)
        return not isinstance(ending, Lost)

    async def _say_closed(self, ending: Ending) -> None:
        """Send Closed with the last checkpoint, which may have been made in ``close``."""
        entry = self._final or self.progress.seal()
        if isinstance(ending, Failure):
            reason = pb.CLOSED_REASON_ERROR
        elif isinstance(ending, Revoked):
            reason = pb.CLOSED_REASON_REVOKED
        else:
            reason = pb.CLOSED_REASON_STOPPED if self._ready else pb.CLOSED_REASON_DECLINED
        if self._writer is not None:
            await self._writer
        closed = pb.Closed(reason=reason, last_checkpoint=entry)
        if await self._write(pb.LambdaFrame(closed=closed)):
            last = entry.offset if entry is not None else None
            self.log.info("closed: %s, last checkpoint %s", pb.ClosedReason.Name(reason), last)

    async def _finish_stream(self, reader: asyncio.Task[None]) -> None:
        if not self._link_over.is_set():
            await self._link.half_close()
            await finished(reader, _END_TIMEOUT_S)

    async def _write(self, frame: pb.LambdaFrame) -> bool:
        try:
            await self._link.write(frame)
        except (LinkError, RefusedError) as error:
            self._lose(str(error))
            return False
        return True
