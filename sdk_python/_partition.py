"""One partition's life in this process, from Assigned to Closed.

Four tasks, all on the event loop: the *reader* reads ahead always, so that Revoked never waits behind a slow handler;
the *dispatcher* calls the handler; `Partition.run` owns the life; the *writer* (`Flow.write_out`) writes Pause and
Resume, in their order. One of them writes at a time: `run` writes Ready and then starts the writer, and writes Closed
when the writer has ended, which it does at the life's end when its queue is empty.

A life ends once, for the first of four reasons: `Revoked` by the sidecar, `Failure` of the lambda, `Stopped` by the
process, `Lost` with the stream. Whoever notices sets `_ending`, in one step with stopping the dispatcher (and for a
failure with sealing the checkpoints): no handler call and no checkpoint can slip in between, since no await lies
between. What comes later changes only how much of the end can still be told to the sidecar.

How it ends, by reason:

=========  ============================  ==========================  =================================
reason     running handler               close(reason)               told to the sidecar
=========  ============================  ==========================  =================================
Revoked    may finish until 70 % of the  REBALANCED, or STOPPED      Closed{REVOKED, last checkpoint}
           deadline, then is cancelled   (shutdown, seek, halted)
Stopped    the same with the drain time  STOPPED                     Closed{STOPPED, last checkpoint}
Failure    the same                      ERROR                       Error, then Closed{ERROR}
Lost       is cancelled at once          ERROR                       nothing can be; checkpoints are void
=========  ============================  ==========================  =================================

A paused life ends like any other: a dispatcher that stands still ends at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from logging import DEBUG, ERROR, INFO, WARNING
from typing import Any, Final, Protocol

from ._awaiting import Deadline, finished, settle
from ._checkpoints import Sink
from ._connection import LinkError
from ._context import Failure, PartitionContext, Pause
from ._dispatch import Dispatcher, Handler, HandlerFailedError
from ._errors import ProduceError, RefusedError, message_of, stack_of, type_of
from ._fitting import checked_lambda
from ._flow import Flow
from ._interfaces import CloseReason, IPartitionLambda, IPartitionLambdaFactory
from ._leaving import exit_in, is_ours
from ._limits import Limits
from ._log import logger_for
from ._message import FrameError
from ._outcomes import Outcomes
from ._produce import Producing, Put
from ._turns import Turns
from .protocol import lambda_pb2 as pb

_HANDLER_SHARE: Final = 0.7
_CANCEL_SHARE: Final = 0.8
_CLOSE_SHARE: Final = 0.9
_WRITTEN_SHARE: Final = 0.95
_END_TIMEOUT: Final = 5.0
_MAX_REPORTS: Final = 100
_ERROR_RETRIES: Final = (0.0, 0.1, 0.3, 1.0)
_LINK_ERRORS: Final = (LinkError, RefusedError, FrameError)

_STOPPING_REVOKES: Final = frozenset(
    {pb.REVOKE_REASON_SHUTDOWN, pb.REVOKE_REASON_SEEK, pb.REVOKE_REASON_HALTED, pb.REVOKE_REASON_PAUSED}
)


class Link(Protocol):
    """The partition's stream. A small interface, so that a test needs no gRPC (`sdk_python.testing`)."""

    async def read(self) -> pb.HostFrame | None:
        """The next frame; None: ended in order. Raises LinkError, RefusedError or FrameError."""
        ...

    async def write(self, frame: pb.LambdaFrame) -> None:
        """Send a frame. Raises LinkError or RefusedError."""
        ...

    async def half_close(self) -> None:
        """Nothing more will be sent."""
        ...

    def close(self) -> None:
        """End the stream now."""
        ...


@dataclass(frozen=True, slots=True)
class Host:
    """What a partition needs of its process beside the stream."""

    lambda_name: str
    factory: IPartitionLambdaFactory
    config: Mapping[str, Any]
    sink: Sink
    error: Callable[[pb.ErrorRequest], Awaitable[pb.ErrorResponse]]
    produce: Callable[[pb.ProduceRequest], Awaitable[pb.ProduceResponse]]
    turns: Turns
    window: int
    limits: Limits
    drain_timeout: float
    leave: Callable[[BaseException], None]
    """The lambda's code asks for the end of the process (``sys.exit``): drain, and then end with this."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """The sidecar takes the partition back; ``deadline`` in seconds from its coming."""

    reason: int
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class Stopped:
    """The process ends in order."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The stream is gone."""

    why: str


@dataclass(frozen=True, slots=True)
class _Left:
    """What left ``factory.create``."""

    error: BaseException


Ending = Revoked | Failure | Stopped | Lost


class Partition:
    """One lease. `run` it in a task of its own; it ends when the lambda is closed and the stream is over."""

    def __init__(self, assigned: pb.Assigned, link: Link, host: Host) -> None:
        self.place = (assigned.topic, assigned.partition)
        self.log = logger_for(host.lambda_name, assigned.topic, assigned.partition, assigned.lease)
        self.context = PartitionContext(assigned, host.window, host.sink, self)
        self.dispatcher = Dispatcher(assigned.topic, assigned.partition, self.context, host.turns)
        self.flow = Flow(self.context, self.dispatcher, host.window, self.log)
        self.outcomes = Outcomes(self.context.passed, self._not_received)
        """Of what it produces: no checkpoint passes a failure that nobody received."""
        self.producing = Producing(assigned.lease, host.produce, self.flow, self.outcomes, host.limits)
        self.on_produce: Put = self.producing.put
        """``context.produce``."""
        self.ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self.cut = ""
        """What ran on when its time was over."""
        self.stuck = False
        """That did not end when it was cancelled either."""
        self._host = host
        self._link = link
        self._link_over = asyncio.Event()
        self._ready = False
        self._writer: asyncio.Task[None] | None = None
        self._final: pb.CheckpointEntry | None = None
        self._reports: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """End in order (SIGTERM): the running handler may finish, then close and Closed."""
        self._end(Stopped())

    def left_behind(self, *, late: bool) -> str:
        """What of it did not end in time, in words; empty: nothing."""
        if not late and not self.cut:
            return ""
        topic, partition = self.place
        offset = self.dispatcher.working_on
        what = self.cut or ("its close" if offset is None else f"the handler at offset {offset}")
        return f"{topic}/{partition}: {what}"

    async def run(self, after: asyncio.Task[None] | None = None) -> None:
        """Live. ``after`` is an earlier life of the same partition here: its close is awaited before ours begins.

        A lease fences checkpoints, but not what an old lambda still writes to a database.
        """
        reader = asyncio.create_task(self._read())
        closing: asyncio.Task[None] | None = None
        try:
            closing = await self._live(after)
            await self._finish_stream(reader)
        finally:
            self.context.seal()
            self.producing.end("the partition's lambda has ended")
            helpers = [reader, *self._reports] + ([] if self._writer is None else [self._writer])
            for helper in helpers:
                helper.cancel()
            self._link.close()
            await asyncio.gather(*helpers, return_exceptions=True)
        if closing is not None and not closing.done():
            await self._insist(closing)

    # ------------------------------------------------------------------------------------ what ends a life

    def _end(self, ending: Ending) -> None:
        """The first reason wins; no await between it and the stop of the handlers."""
        if self.ending.done():
            return
        self.flow.end()
        self.ending.set_result(ending)

    def on_error(self, failure: Failure) -> None:
        """``context.error`` and ``context.report``."""
        if self.ending.done():
            self.log.info("an error after the end of the lease is not reported: %s", message_of(failure.error))
        elif failure.action != pb.ERROR_ACTION_REPORT:
            # An exit that somebody caught and passes on, as the document router does, is still one.
            cause = failure.error
            if isinstance(cause, BaseException):
                self._left(cause, failure)
            else:
                self._fail(failure)
        elif len(self._reports) < _MAX_REPORTS:
            task = asyncio.create_task(self._send_report(failure))
            self._reports.add(task)
            task.add_done_callback(self._reports.discard)
        else:
            self.log.warning("too many reports under way, not sent: %s", message_of(failure.error))

    def on_pause(self, pause: Pause) -> None:
        """``context.pause``."""
        if self.ending.done():
            self.log.debug("a pause after the end of the lease is ignored: %s", pause.reason)
        else:
            self.flow.pause(pause)

    def on_resume(self) -> None:
        """``context.resume``."""
        if self.ending.done():
            self.log.debug("a resume after the end of the lease is ignored")
        else:
            self.flow.resume()

    def _not_received(self, error: BaseException) -> None:
        """What the lambda produced was not written, and nobody awaited its outcome."""
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
            # Being taken back or stopped: the sidecar gives the message to the next owner, who will meet the same
            # failure with a lease that can tell it. Nothing at or above it may count as done.
            self._final = self.context.seal(failure.offset)
            return
        self._request = self._error_request(failure)
        self._end(failure)

    async def _read(self) -> None:
        """Read ahead until the stream ends."""
        try:
            while (frame := await self._link.read()) is not None:
                match frame.WhichOneof("frame"):
                    case "batch":
                        await self.flow.take(frame.batch)
                    case "resumed":
                        self.flow.resumed(frame.resumed)
                    case "revoked":
                        revoked = frame.revoked
                        self.log.info("revoked: %s", pb.RevokeReason.Name(revoked.reason))
                        self._end(Revoked(revoked.reason, Deadline(revoked.deadline_ms / 1000)))
                    case _:  # an arm of a newer contract
                        pass
            self._lose("the sidecar ended the stream")
        except _LINK_ERRORS as error:
            self._lose(str(error))
        finally:
            self._lose("reading it ended")  # by a cancelled call, or an error of ours: no life without a reader

    def _lose(self, why: str) -> None:
        self._link_over.set()
        self._end(Lost(why))

    # ------------------------------------------------------------------------------------------ the life

    async def _live(self, after: asyncio.Task[None] | None) -> asyncio.Task[None] | None:
        """Create, dispatch, close; answers the task of ``close`` when it outlived its time."""
        lambda_ = await self._create(after)
        running: asyncio.Task[None] | None = None
        if lambda_ is not None and not self.ending.done():
            self._ready = await self._write(pb.LambdaFrame(ready=pb.Ready(lease=self.context.lease)))
            if self._ready:
                self.log.info("ready (start offset %s, attempt %s)", self.context.start_offset, self.context.attempt)
                self._writer = asyncio.create_task(self.flow.write_out(self._write))
                running = asyncio.create_task(self._dispatch(lambda_.handler))
        ending = await asyncio.shield(self.ending)
        deadline = ending.deadline if isinstance(ending, Revoked) else Deadline(self._host.drain_timeout)
        if isinstance(ending, Lost):
            self.context.seal()
            self.producing.end("the stream to the sidecar broke")
            self.log.warning("the stream broke, this lambda ends: %s", ending.why)
        told = asyncio.create_task(self._tell(ending))
        if running is not None:
            await self._let_finish(running, deadline, at_once=isinstance(ending, Lost))
        acknowledged = await told
        closing = asyncio.create_task(self._close(lambda_, _close_reason(ending)))
        in_time = await finished(closing, deadline.left(_CLOSE_SHARE))
        # What it produced has to arrive before the partition is another's.
        await finished(asyncio.create_task(self.producing.drained()), deadline.left(_WRITTEN_SHARE))
        held = self.producing.end("the partition's lambda has ended")
        if held and acknowledged and not isinstance(ending, Failure):
            what = "what was produced before the checkpoint at offset %d is not known to be written: it is not told"
            self.log.error(what, held[-1])
        if acknowledged:
            await self._say_closed(ending)
        return None if in_time else closing

    async def _create(self, after: asyncio.Task[None] | None) -> IPartitionLambda | None:
        """The lambda; None when creating it failed, which is reported as recoverable, or the life ended before."""
        if after is not None and not after.done():
            self.log.info("waits for the partition's earlier lambda here to close")
            await self._until_ending(after)
        if self.ending.done():
            return None
        task = asyncio.create_task(self._make())
        await self._until_ending(task)
        if not task.done():
            ending = self.ending.result()
            deadline = ending.deadline if isinstance(ending, Revoked) else Deadline(self._host.drain_timeout)
            await self._let_finish(task, deadline, at_once=isinstance(ending, Lost))
        if not task.done() or task.cancelled():
            return None  # it was cancelled by us, at the end of its time
        made = task.result()
        if isinstance(made, _Left):
            self._left(made.error, Failure(made.error, pb.ERROR_ACTION_RESTART, None, "create_failed"))
            return None
        return made

    def _left(self, error: BaseException, failure: Failure) -> None:
        """Something left the lambda's code: it has failed, unless it asks for the end of the process."""
        leaving = exit_in(error)
        if leaving is None:
            self._fail(failure)
            return
        where = "" if failure.offset is None else f" at offset {failure.offset}"
        self.log.warning("%s%s: this process drains and ends", type_of(leaving), where, exc_info=error)
        # What was checkpointed before it counts, the message itself too where it was; otherwise that comes again.
        self._host.leave(leaving)
        self.stop()

    async def _until_ending(self, task: asyncio.Task[Any]) -> None:
        both: set[asyncio.Future[Any]] = {task, self.ending}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)

    async def _make(self) -> "IPartitionLambda | _Left":
        try:
            made = await settle(self._host.factory.create(self._host.config, self.context))
            return checked_lambda(made)
        except BaseException as error:
            if is_ours(error, asyncio.current_task()):
                raise
            return _Left(error)  # not raised: a task that ends with SystemExit ends the event loop with it

    async def _dispatch(self, handler: Handler) -> None:
        try:
            await self.dispatcher.run(handler)
        except HandlerFailedError as failed:
            cause = failed.__cause__ or failed
            self._left(cause, Failure(cause, pb.ERROR_ACTION_CRITICAL, failed.offset, "handler_failed"))
        except Exception:
            self.log.exception("a fault of the SDK, not of the lambda")
        finally:
            # However it ended: while the sidecar believes that this lambda runs, nobody else gets the partition.
            if not self.ending.done():
                self._lose("the dispatcher failed")

    async def _let_finish(self, task: asyncio.Task[Any], deadline: Deadline, *, at_once: bool) -> None:
        """Wait for user code; cancel it when its share of the time is over."""
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
            # The next loop turn at least: a task that was cancelled has to be let run to notice.
            if not await finished(task, max(deadline.left(_CANCEL_SHARE), 0.1)):
                self.log.error("the running handler ignores its cancellation")
                self.stuck = True

    async def _close(self, lambda_: IPartitionLambda | None, reason: CloseReason) -> None:
        close = getattr(lambda_, "close", None)
        if close is None:
            return
        try:
            await settle(close(reason))
        except BaseException as error:
            if is_ours(error, asyncio.current_task()):
                raise
            self.log.exception("close(%s) failed", reason)
            if (leaving := exit_in(error)) is not None:
                self._host.leave(leaving)

    async def _insist(self, closing: asyncio.Task[None]) -> None:
        """A close that outlived its deadline: the sidecar was told, but this process waits, so that no second
        lambda of this partition works beside it."""
        self.log.warning("close is still running after its deadline")
        if not await finished(closing, self._host.drain_timeout):
            closing.cancel()
            if not await finished(closing, 1.0):
                self.log.error("close ignores its cancellation and is left behind")

    # ------------------------------------------------------------------------------ words to the sidecar

    async def _tell(self, ending: Ending) -> bool:
        """Error for a failure; whether Closed may follow."""
        if isinstance(ending, Lost):
            return False
        if not isinstance(ending, Failure):
            return True
        response = await self._call_error(self._request)
        if response is None:
            return False  # the stream breaks instead of closing: that makes the sidecar start the lambda again
        self.log.log(INFO, "the sidecar's answer: %s", pb.ErrorOutcome.Name(response.outcome))
        return True

    def _error_request(self, failure: Failure) -> pb.ErrorRequest:
        """Seals the checkpoints in the same step: what the lambda did after its error does not count."""
        request = pb.ErrorRequest(
            lease=self.context.lease,
            action=failure.action,
            offset=failure.offset,
            code=failure.code,
            message=message_of(failure.error),
            type=type_of(failure.error),
            stack=stack_of(failure.error),
        )
        if failure.action != pb.ERROR_ACTION_REPORT:
            entry = self.context.seal(failure.offset)
            if entry is not None:
                request.last_checkpoint.CopyFrom(entry)
        return request

    async def _call_error(self, request: pb.ErrorRequest) -> pb.ErrorResponse | None:
        for pause in _ERROR_RETRIES:
            if pause:
                await asyncio.sleep(pause)
            if self._link_over.is_set():
                return None
            try:
                return await self._host.error(request)
            except (LinkError, RefusedError) as error:
                self.log.warning("the error could not be reported: %s", error)
        return None

    async def _send_report(self, failure: Failure) -> None:
        self.log.warning("reported: %s", message_of(failure.error))
        try:
            await self._host.error(self._error_request(failure))
        except (LinkError, RefusedError) as error:
            self.log.warning("the report did not come through: %s", error)

    async def _say_closed(self, ending: Ending) -> None:
        """Closed with the last checkpoint, those made in ``close`` too."""
        entry = self._final or self.context.seal()
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
            await finished(reader, _END_TIMEOUT)

    async def _write(self, frame: pb.LambdaFrame) -> bool:
        try:
            await self._link.write(frame)
        except (LinkError, RefusedError) as error:
            self._lose(str(error))
            return False
        return True


def _close_reason(ending: Ending) -> CloseReason:
    if isinstance(ending, Stopped):
        return CloseReason.STOPPED
    if isinstance(ending, Revoked):
        return CloseReason.STOPPED if ending.reason in _STOPPING_REVOKES else CloseReason.REBALANCED
    return CloseReason.ERROR
