"""Error: what it carries, and what follows it."""

from __future__ import annotations

import grpc

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.case import case
from sidecar.conformance.stage import Stage
from sidecar.conformance.stream import Stream


async def _failing(stage: Stage, last: int = 4) -> tuple[Stream, pb.ErrorRequest]:
    """Deliver records 0 to ``last``; returns the stream, and the Error that came."""
    stream = await stage.running()
    await stream.records(*range(last + 1))
    return stream, await stage.failed()


async def _closed_with_error(stage: Stage, stream: Stream) -> None:
    closed = await stage.closed(stream, 25)
    stage.check(closed.reason == pb.CLOSED_REASON_ERROR, "Closed has another reason than ERROR", 25)
    stage.check(not closed.last_checkpoint.HasField("offset"), "Closed has a checkpoint, after an Error", 24)


@case("error-restart", 27, "A recoverable error: RESTART with its offset and message; then Closed, and a new spare.",
      do="fail=2:restart checkpoint=1")  # fmt: skip
async def error_restart(stage: Stage) -> None:
    stream, request = await _failing(stage)
    stage.check(request.action == pb.ERROR_ACTION_RESTART, "Error.action is not RESTART")
    stage.check(request.HasField("offset") and request.offset == 2, f"Error.offset is {request.offset}, not 2")
    stage.check("planned" in request.message, f"Error.message is {request.message!r}, not the lambda's own text")
    await _closed_with_error(stage, stream)
    stage.check(stream.life.accepted == 1, f"the last checkpoint is {stream.life.accepted}, not 1", 21)
    await stage.spare()


@case("error-critical", 27, "A critical error: CRITICAL, with its offset.", do="fail=2:critical checkpoint=1")
async def error_critical(stage: Stage) -> None:
    stream, request = await _failing(stage)
    stage.check(request.action == pb.ERROR_ACTION_CRITICAL, "Error.action is not CRITICAL")
    stage.check(request.offset == 2, f"Error.offset is {request.offset}, not 2")
    await _closed_with_error(stage, stream)


@case(
    "handler-fails",
    27,
    "A handler that fails by itself is critical at its record, and offset 0 is one.",
    do="fail=0:raise",
)
async def handler_fails(stage: Stage) -> None:
    stream, request = await _failing(stage)
    stage.check(request.action == pb.ERROR_ACTION_CRITICAL, "Error.action is not CRITICAL")
    stage.check(request.HasField("offset") and request.offset == 0, "Error.offset is not 0")
    await _closed_with_error(stage, stream)


@case("error-carries-last", 21, "The checkpoint before the error travels in Error.", do="fail=3:restart checkpoint=1")
async def error_carries_last(stage: Stage) -> None:
    stage.host.checkpoints.by_hand()  # none is answered, so the last one is not known to have arrived
    stream, request = await _failing(stage)
    stage.check(request.HasField("last_checkpoint"), "Error has no last_checkpoint")
    stage.check(request.last_checkpoint.offset == 2, f"last_checkpoint is {request.last_checkpoint.offset}, not 2")
    stage.host.checkpoints.by_rule()
    await _closed_with_error(stage, stream)


@case("error-without-offset", 21, "An error without an offset carries what was checkpointed before it.",
      do="fail=3:lost checkpoint=1")  # fmt: skip
async def error_without_offset(stage: Stage) -> None:
    stage.host.checkpoints.by_hand()
    stream, request = await _failing(stage)
    stage.check(not request.HasField("offset"), "Error has an offset, and the lambda named none", 27)
    stage.check(request.last_checkpoint.offset == 2, f"last_checkpoint is {request.last_checkpoint.offset}, not 2")
    stage.host.checkpoints.by_rule()
    await _closed_with_error(stage, stream)


@case("error-below-offset", 23, "A checkpoint beyond the failing record does not count: it is not in Error.",
      do="ahead=0:9 fail=2:restart", ahead=True)  # fmt: skip
async def error_below_offset(stage: Stage) -> None:
    stage.host.checkpoints.by_hand()
    stream, request = await _failing(stage)
    has = request.last_checkpoint.HasField("offset")
    stage.check(not has or request.last_checkpoint.offset < 2, "last_checkpoint is not below the failing offset")
    stage.host.checkpoints.by_rule()
    await _closed_with_error(stage, stream)


@case(
    "nothing-after-error",
    24,
    "After the error no handler begins and no checkpoint follows.",
    do="fail=2:restart checkpoint=1 copy=out",
)
async def nothing_after_error(stage: Stage) -> None:
    stage.host.errors.by_hand()
    stream = await stage.running()
    await stream.records(*range(5))
    call, request = await stage.error()
    await stream.records(5, 6)
    await stage.trace.until(lambda: False, 1.2)  # more than `LATE_S`: from here on the invariants do not forgive
    await stage.never(lambda: stage.asked("out") > 2, "a handler has begun after the error", 13)
    stage.check(stream.life.told <= 1, f"checkpoint {stream.life.told} after an error at 2")
    call.answer(pb.ErrorResponse(outcome=pb.ERROR_OUTCOME_RESTARTING))
    await _closed_with_error(stage, stream)
    stage.check(request.offset == 2, f"Error.offset is {request.offset}, not 2", 27)


@case("closed-waits-for-error", 25, "Closed waits for the response to Error.", do="fail=0:restart")
async def closed_waits_for_error(stage: Stage) -> None:
    stage.host.errors.by_hand()
    stream = await stage.running()
    await stream.records(0)
    call, _ = await stage.error()
    await stage.never(lambda: stream.waiting, "a frame before the response to Error", timeout=1.5)
    call.answer(pb.ErrorResponse(outcome=pb.ERROR_OUTCOME_RESTARTING))
    await _closed_with_error(stage, stream)


@case("error-unanswered", 26, "Error gets no response: the stream breaks instead of closing; another Offer follows.",
      do="fail=0:restart", time_limit=60)  # fmt: skip
async def error_unanswered(stage: Stage) -> None:
    stage.host.errors.rule = lambda call: call.fail(grpc.StatusCode.UNAVAILABLE)
    stream = await stage.running()
    await stream.records(0)
    await stage.until(lambda: stream.life.over or stream.waiting, "the end of the stream", timeout=40)
    stage.check(not stream.waiting, "a frame came on the stream of a lambda whose Error got no response")
    await stage.spare()


@case(
    "report", 27, "A report ends nothing: the lambda goes on, and so do its checkpoints.", do="report=1 checkpoint=1"
)
async def report(stage: Stage) -> None:
    stream, request = await _failing(stage)
    stage.check(request.action == pb.ERROR_ACTION_REPORT, "Error.action is not REPORT")
    stage.check(request.offset == 1, f"Error.offset is {request.offset}, not 1")
    await stage.checkpointed(stream, 4, 16)
    await stream.records(5)
    await stage.checkpointed(stream, 5, 16)


@case("others-go-on", 9, "An error of one partition leaves the others alone.", do="fail=7:raise checkpoint=1")
async def others_go_on(stage: Stage) -> None:
    failing = await stage.running(0)
    other = await stage.running(1)
    await other.records(0)
    await failing.records(7)
    await _closed_with_error(stage, failing)
    await other.records(1)
    await stage.checkpointed(other, 1)
    stage.check(not other.life.over, "the stream of another partition is over")
