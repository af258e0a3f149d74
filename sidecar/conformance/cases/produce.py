"""Produce: order, outcomes, and what a checkpoint waits for."""

from __future__ import annotations

import grpc

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance import answers
from sidecar.conformance.case import case
from sidecar.conformance.records import Rec
from sidecar.conformance.stage import Stage

_BUSY_MS = 300


def valued(first: int, count: int) -> list[Rec]:
    """Records whose values are their offsets."""
    return [Rec(offset, b"k", str(offset).encode()) for offset in range(first, first + count)]


def written(request: pb.ProduceRequest) -> pb.ProduceResponse:
    """The response when all were written."""
    count = len(request.values)
    return pb.ProduceResponse(
        outcomes=[pb.PRODUCE_OUTCOME_WRITTEN] * count, partitions=[0] * count, offsets=range(count)
    )


def _not_written(request: pb.ProduceRequest, outcome: pb.ProduceOutcome, text: str) -> pb.ProduceResponse:
    return answers.nothing_written(len(request.values), outcome, text)


@case(
    "produce-in-order",
    28,
    "What comes while a call is under way goes with the next one, in order.",
    do="send=out checkpoint=1",
)
async def produce_in_order(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(*valued(0, 1))
    call, request = await stage.produce()
    await stream.records(*valued(1, 200))
    await stage.never(lambda: stage.host.produces.waiting, "a second call of Produce while one is under way")
    call.answer(written(request))
    values = [*request.values]
    stage.host.produces.by_rule()
    await stage.checkpointed(stream, 200, 29)
    values += [value or b"" for value in stage.written("out")]
    stage.check(values == [str(n).encode() for n in range(201)], "the records were not produced once and in order")
    stage.check(len(stage.writes()) <= 3, f"{len(stage.writes())} calls: what waited did not go with one", 28)


@case(
    "checkpoint-waits",
    29,
    "A checkpoint waits for the outcome of what was produced before it.",
    do="send=out checkpoint=1",
)
async def checkpoint_waits(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(*valued(0, 3))
    call, request = await stage.produce()
    await stage.never(lambda: stream.life.told >= 0, "a checkpoint, and what was produced before it has no outcome")
    call.answer(written(request))
    stage.host.produces.by_rule()
    await stage.checkpointed(stream, 2)


@case("awaited-failure", 29, "An awaited record is not written: Error at its offset, and no checkpoint of it.",
      do="copy=out checkpoint=1")  # fmt: skip
async def awaited_failure(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(*valued(0, 3))
    call, request = await stage.produce()
    call.answer(written(request))
    call, request = await stage.produce()
    call.answer(_not_written(request, pb.PRODUCE_OUTCOME_FAILED, "the broker is away"))
    error = await stage.failed(30)
    stage.check(error.action == pb.ERROR_ACTION_RESTART, "Error.action is not RESTART", 27)
    stage.check(error.offset == 1, f"Error.offset is {error.offset}, not 1", 27)
    await stage.closed(stream, 25)
    stage.check(stream.life.told <= 0 and stream.life.accepted == 0, "a checkpoint of the record that failed")


@case("unawaited-failure", 30, "Nobody takes the failure: Error RESTART with topic and reason, and no checkpoint.",
      do="send=out checkpoint=1")  # fmt: skip
async def unawaited_failure(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(*valued(0, 2))
    call, request = await stage.produce()
    call.answer(_not_written(request, pb.PRODUCE_OUTCOME_FAILED, "the broker is away"))
    stage.host.produces.by_rule()
    error = await stage.failed(30)
    stage.check(error.action == pb.ERROR_ACTION_RESTART, "Error.action is not RESTART")
    for word in ("out", "the broker is away"):
        stage.check(word in error.message, f"Error.message is {error.message!r}, without {word!r}")
    await stage.closed(stream, 25)
    stage.check(stream.life.accepted < 0, f"checkpoint {stream.life.accepted}, after a record that was not written")


@case("taken-failure", 29, "A failure that the lambda has taken holds back no checkpoint.", do="try=out checkpoint=1")
async def taken_failure(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(*valued(0, 1))
    call, request = await stage.produce()
    call.answer(_not_written(request, pb.PRODUCE_OUTCOME_TOO_LARGE, "the broker takes no such record"))
    await stage.checkpointed(stream, 0)
    stage.check(not stage.errors(), "an Error, though the lambda has taken the failure")


@case(
    "never-answered",
    34,
    "A call breaks without an answer: it has failed, and is not sent again.",
    do="send=out checkpoint=1",
)
async def never_answered(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(*valued(0, 1))
    call, _ = await stage.produce()
    call.fail(grpc.StatusCode.UNAVAILABLE)
    stage.host.produces.by_rule()
    await stage.until(lambda: stage.errors() or stage.asked("out") > 1, "a call of Error", 30)
    stage.check(stage.asked("out") == 1, "a call that ended without an answer was sent again")
    stage.check(stage.errors()[0].action == pb.ERROR_ACTION_RESTART, "Error.action is not RESTART", 30)
    await stage.closed(stream, 25)
    stage.check(stream.life.accepted < 0, "a checkpoint, and what was produced before it has no outcome", 29)


@case("unknown-produce-outcome", 50, "An outcome with an unknown number is a failure.", do="send=out checkpoint=1")
async def unknown_produce_outcome(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(*valued(0, 1))
    call, _ = await stage.produce()
    # Outcome 99, in partition 0 at offset 7.
    call.answer(pb.ProduceResponse.FromString(b"\x0a\x01\x63\x12\x01\x00\x1a\x01\x07"))
    await stage.failed(50)
    await stage.closed(stream, 25)
    stage.check(stream.life.accepted < 0, "outcome 99 was taken for success")


@case(
    "busy-once",
    32,
    "BUSY: the same records again after the time that it names, once, in order.",
    do="send=out checkpoint=1",
)
async def busy_once(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(*valued(0, 3))
    call, first = await stage.produce()
    answered = stage.trace.now
    call.answer(answers.nothing_written(len(first.values), pb.PRODUCE_OUTCOME_BUSY, "busy", _BUSY_MS))
    await stream.records(*valued(3, 3))
    call, again = await stage.produce("the records after BUSY", 32)
    waited = stage.trace.now - answered
    stage.check(waited > _BUSY_MS / 1000 * 0.8, f"sent again after {waited:.2f} s; retry_after_ms is {_BUSY_MS}")
    same = again.values[: len(first.values)] == first.values
    stage.check(same, f"{[*first.values]!r} was BUSY, and {[*again.values]!r} came next")
    call.answer(written(again))
    values = [*again.values]
    stage.host.produces.by_rule()
    await stage.checkpointed(stream, 5, 29)
    values += [value or b"" for value in stage.written("out")]
    stage.check(values == [str(n).encode() for n in range(6)], f"the records were written as {values!r}")


@case(
    "busy-twice",
    32,
    "BUSY again and again: no record is lost, doubled or passed by another.",
    do="copy=out checkpoint=1",
)
async def busy_twice(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(*valued(0, 2))
    for _ in range(4):
        call, request = await stage.produce()
        stage.check(stream.life.told < 0, "a checkpoint, and what was produced before it has no outcome", 29)
        call.answer(answers.nothing_written(len(request.values), pb.PRODUCE_OUTCOME_BUSY, "busy", 20))
    stage.host.produces.by_rule()
    await stage.checkpointed(stream, 1)
    stage.check(stage.written("out") == [b"0", b"1"], f"written: {stage.written('out')!r}")
