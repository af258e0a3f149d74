"""What may be produced, and how much at a time."""

from __future__ import annotations

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.case import case
from sidecar.conformance.cases.produce import valued, written
from sidecar.conformance.records import topics_of
from sidecar.conformance.stage import Stage


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
    await stream.records(*valued(0, 2))
    call, request = await stage.produce()
    if len(request.topics) == 1:  # the first record has left alone
        call.answer(written(request))
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
