"""Produce: order, outcomes, and what a checkpoint waits for."""

from __future__ import annotations

import grpc

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance import answers
from sidecar.conformance.case import case
from sidecar.conformance.records import Rec, topics_of
from sidecar.conformance.stage import Stage

_BUSY_MS = 300


def _valued(first: int, count: int) -> list[Rec]:
    return [Rec(offset, b"k", str(offset).encode()) for offset in range(first, first + count)]


def _written(request: pb.ProduceRequest) -> pb.ProduceResponse:
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
    await stream.records(*_valued(0, 1))
    call, request = await stage.produce()
    await stream.records(*_valued(1, 200))
    await stage.never(lambda: stage.host.produces.waiting, "a second call of Produce while one is under way")
    call.answer(_written(request))
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
    await stream.records(*_valued(0, 3))
    call, request = await stage.produce()
    await stage.never(lambda: stream.life.told >= 0, "a checkpoint, and what was produced before it has no outcome")
    call.answer(_written(request))
    stage.host.produces.by_rule()
    await stage.checkpointed(stream, 2)


@case("awaited-failure", 29, "An awaited record is not written: Error at its offset, and no checkpoint of it.",
      do="copy=out checkpoint=1")  # fmt: skip
async def awaited_failure(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(*_valued(0, 3))
    call, request = await stage.produce()
    call.answer(_written(request))
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
    await stream.records(*_valued(0, 2))
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
    await stream.records(*_valued(0, 1))
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
    await stream.records(*_valued(0, 1))
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
    await stream.records(*_valued(0, 1))
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
    await stream.records(*_valued(0, 3))
    call, first = await stage.produce()
    answered = stage.trace.now
    call.answer(answers.nothing_written(len(first.values), pb.PRODUCE_OUTCOME_BUSY, "busy", _BUSY_MS))
    await stream.records(*_valued(3, 3))
    call, again = await stage.produce("the records after BUSY", 32)
    waited = stage.trace.now - answered
    stage.check(waited > _BUSY_MS / 1000 * 0.8, f"sent again after {waited:.2f} s; retry_after_ms is {_BUSY_MS}")
    same = again.values[: len(first.values)] == first.values
    stage.check(same, f"{[*first.values]!r} was BUSY, and {[*again.values]!r} came next")
    call.answer(_written(again))
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
    await stream.records(*_valued(0, 2))
    for _ in range(4):
        call, request = await stage.produce()
        stage.check(stream.life.told < 0, "a checkpoint, and what was produced before it has no outcome", 29)
        call.answer(answers.nothing_written(len(request.values), pb.PRODUCE_OUTCOME_BUSY, "busy", 20))
    stage.host.produces.by_rule()
    await stage.checkpointed(stream, 1)
    stage.check(stage.written("out") == [b"0", b"1"], f"written: {stage.written('out')!r}")


@case(
    "never-fits",
    31,
    "A record that can never fit fails at once, and is not sent.",
    do="try=out checkpoint=1 size=2000000",
)
async def never_fits(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await stage.checkpointed(stream, 0)
    stage.check(not stage.writes(), "a record that can never fit was sent")


@case(
    "fits-just", 31, "A record close to the limit fits, and is sent alone.", do="copy=out checkpoint=1 size=1044000"
)
async def fits_just(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0, 1)
    await stage.checkpointed(stream, 1)
    stage.check(len(stage.written("out")) == 2, "two records close to the limit were not written")


@case(
    "many-bytes",
    31,
    "Many records that wait are sent in requests that each fit.",
    do="send=out checkpoint=1 size=100000",
)
async def many_bytes(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(0)
    await stage.produce()
    await stream.records(*range(1, 30))
    await stage.never(lambda: stage.host.produces.waiting, "a second call of Produce while one is under way", 28)
    stage.host.produces.by_rule()
    await stage.checkpointed(stream, 29)
    stage.check(len(stage.written("out")) == 30, f"{len(stage.written('out'))} of 30 records were written")


@case("lower-limits", 31, "The limits of Welcome are kept, also where they are lower than today's.",
      do="send=out checkpoint=1", limits={"max_produce_records": 7, "max_checkpoint_entries": 2})  # fmt: skip
async def lower_limits(stage: Stage) -> None:
    stage.host.produces.by_hand()
    streams = [await stage.running(partition) for partition in range(4)]
    await streams[0].records(0)
    await stage.produce()
    await streams[0].records(*range(1, 40))
    await stage.never(lambda: stage.host.produces.waiting, "a second call of Produce while one is under way", 28)
    stage.host.produces.by_rule()
    for stream in streams[1:]:
        await stream.records(*range(40))
    for stream in streams:
        await stage.checkpointed(stream, 39)
    most = max(len(request.values) for request in stage.writes())
    stage.check(most <= 7, f"a request has {most} records; max_produce_records is 7")
    entries = [
        len(c.request.entries) for c in stage.host.checkpoints.calls if isinstance(c.request, pb.CheckpointRequest)
    ]
    stage.check(max(entries) <= 2, f"a request has {max(entries)} entries; max_checkpoint_entries is 2")


@case("not-allowed", 30, "A topic that is not allowed: the record has failed, and is not asked for again.",
      do="send=forbidden checkpoint=1")  # fmt: skip
async def not_allowed(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    error = await stage.failed()
    stage.check("forbidden" in error.message, f"Error.message is {error.message!r}, without the topic")
    await stage.closed(stream, 25)
    stage.check(stage.asked("forbidden") <= 2, "a record whose topic is not allowed was sent again and again")
    stage.check(stream.life.accepted < 0, "a checkpoint, after a record that was not written")


@case("others-allowed", 33, "One topic of several is not allowed: the records of the others are sent again.",
      do="send=out try=forbidden checkpoint=1")  # fmt: skip
async def others_allowed(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(*_valued(0, 2))
    call, request = await stage.produce()
    if len(request.topics) == 1:  # the first record has left alone
        call.answer(_written(request))
    stage.host.produces.by_rule()
    await stage.checkpointed(stream, 1)
    out = stage.asked("out")
    stage.check(out >= 2, f"{out} of 2 records to the other topic were sent")
    answered = len(stage.written("out")) + (len(request.topics) == 1 and topics_of(request).count("out"))
    stage.check(answered == 2, f"{answered} of 2 records to the other topic were written")


@case("back-pressure", 36, "While 4 MiB wait to be written, no handler is called.",
      do="send=out size=400000 report=60", advice=True)  # fmt: skip
async def back_pressure(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(*range(100))
    await stage.produce()
    await stage.never(stage.errors, "the handler of record 60 was called while 24 MB wait to be written", timeout=2.0)
    stage.host.produces.by_rule()
    await stage.until(lambda: len(stage.written("out")) == 100, "the records that waited")
    stage.check(len(stage.errors()) == 1, "an Error beside the report of record 60")
