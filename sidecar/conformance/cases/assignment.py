"""Streams, from Offer to Ready."""

from __future__ import annotations

import asyncio

from sdk_python.protocol import lambda_pb2 as pb
from sdk_python.protocol.names import name_of
from sidecar.conformance.case import case
from sidecar.conformance.events import Kind
from sidecar.conformance.stage import PATIENCE_S, Stage


@case("one-process-id", 1, "Three streams have one process_id; another start has another.", ends=False)
async def one_process_id(stage: Stage) -> None:
    for partition in range(2):
        await stage.running(partition)
    spare = await stage.spare()
    first = spare.life.offer
    stage.terminate()
    await stage.exited()
    await stage.program.start()
    again = await stage.spare()
    second = again.life.offer
    assert first is not None
    assert second is not None
    stage.check(first.process_id != second.process_id, "a second start has the process_id of the first")


@case("offer", 2, "Offer comes at once, names lambda and process, and tells a version of 1 or higher.")
async def offer(stage: Stage) -> None:
    spare = await stage.spare()
    told = spare.life.offer
    assert told is not None
    stage.check(told.protocol_version >= 1, f"Offer.protocol_version is {told.protocol_version}")
    opened = next(stage.trace.of(Kind.OPENED)).at
    came = next(stage.trace.of(Kind.FRAME)).at
    stage.check(came - opened < 5, f"Offer came {came - opened:.1f} s after the stream was opened")


@case("loads-first", 3, "Available waits for the resources, and they are loaded once.", do="load=700")
async def loads_first(stage: Stage) -> None:
    await stage.until(lambda: stage.last(Kind.SENT), "an Offer", 2)
    welcomed = next(stage.trace.of(Kind.SENT)).at
    spare = await stage.spare()
    available = next(e for e in stage.trace.of(Kind.FRAME, spare.number) if _is(e.message, "available"))
    stage.check(available.at - welcomed > 0.6, "Available came before the resources were loaded (load=700)")
    await stage.running()
    began = stage.trace.now
    await stage.spare()
    stage.check(stage.trace.now - began < 0.6, "the second stream has loaded the resources again")


def _is(message: object, kind: str) -> bool:
    return isinstance(message, pb.LambdaFrame) and message.WhichOneof("frame") == kind


@case("one-spare", 4, "One spare stream waits; the next is opened when it is assigned.")
async def one_spare(stage: Stage) -> None:
    await stage.spare()
    await stage.never(lambda: len(stage.streams) > 1, "a second stream was opened while the first is spare")
    for partition in range(3):
        await stage.running(partition)
        await stage.spare()
    await stage.never(lambda: len(stage.streams) > 4, "a stream was opened beside the spare one")


@case(
    "assigned-at-once",
    5,
    "Assigned may follow Welcome at once, and Batch may follow Ready at once.",
    do="checkpoint=1",
)
async def assigned_at_once(stage: Stage) -> None:
    stream = await stage.assign()
    await stream.expect("ready", 5, PATIENCE_S)
    await stream.records(0)
    await stage.checkpointed(stream, 0)


@case("slow-create", 5, "While one lambda is created, other partitions run.", do="create=1500 checkpoint=1")
async def slow_create(stage: Stage) -> None:
    first = await stage.assign(0)
    second = await stage.assign(1)
    began = stage.trace.now
    await asyncio.gather(first.expect("ready", 5, PATIENCE_S), second.expect("ready", 5, PATIENCE_S))
    stage.check(stage.trace.now - began < 2.8, "two lambdas were created one after the other (create=1500)")


@case(
    "create-fails",
    27,
    "A creation that failed is told by Error, then Closed(ERROR); the process goes on.",
    do="fail-create=1",
)
async def create_fails(stage: Stage) -> None:
    stream = await stage.assign()
    request = await stage.failed()
    restarts = (pb.ERROR_ACTION_RESTART, pb.ERROR_ACTION_CRITICAL)
    stage.check(request.action in restarts, "Error.action is neither RESTART nor CRITICAL")
    stage.check(request.lease == stream.lease, "Error has another lease")
    stage.check(not request.HasField("offset"), "Error has an offset, though no record has failed")
    closed = await stage.closed(stream, 25)
    stage.check(closed.reason == pb.CLOSED_REASON_ERROR, "Closed has another reason than ERROR", 25)
    await stage.running(attempt=2)


@case("revoked-in-create", 14, "Revoked before Ready: the lambda is closed, or declined.", do="create=1500")
async def revoked_in_create(stage: Stage) -> None:
    stream = await stage.assign()
    await stream.revoke(pb.REVOKE_REASON_HAND_OVER, 8_000)
    frame = await stream.frame(14, "Closed", 8)
    if frame.WhichOneof("frame") == "ready":  # it crossed Revoked
        frame = await stream.frame(14, "Closed", 8)
    reason = frame.closed.reason
    right = (pb.CLOSED_REASON_REVOKED, pb.CLOSED_REASON_DECLINED)
    stage.check(reason in right, f"Closed has the reason {name_of(pb.ClosedReason, reason)}")


@case(
    "old-one-first",
    6,
    "A partition comes back while its old lambda still closes: Ready waits.",
    do="close=1200 checkpoint=1",
)
async def old_one_first(stage: Stage) -> None:
    old = await stage.running(3)
    await old.records(0)
    await stage.checkpointed(old, 0)
    await old.revoke(pb.REVOKE_REASON_HAND_OVER, 10_000)
    new = await stage.assign(3, 1)
    await new.expect("ready", 5, PATIENCE_S)
    stage.check(old.life.closed is not None, "Ready came before Closed of the old lambda")
    await new.records(1)
    await stage.checkpointed(new, 1)


@case(
    "old-one-after-break",
    8,
    "The stream breaks: the old lambda is closed before the process offers.",
    do="close=900 checkpoint=1",
)
async def old_one_after_break(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await stage.checkpointed(stream, 0)
    await stage.spare()
    count = len(stage.streams)
    began = stage.trace.now
    stage.front.cut()
    await stage.until(lambda: len(stage.streams) > count, "a new stream after all broke", 45)
    stage.check(stage.trace.now - began > 0.8, "the process offered while the lambda was still closing (close=900)")


@case("settings", 51, "The settings of Welcome reach the lambda; the environment overrides one.",
      do="setting=text:out checkpoint=1", settings={"text": "from the sidecar", "other": 1})  # fmt: skip
async def settings(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await stage.checkpointed(stream, 0)
    stage.check(stage.written("out") == [b"from the sidecar"], f"the setting `text` is {stage.written('out')!r}")


@case("settings-overridden", 51, "KAFKA_SIDECAR_SET_name overrides a setting.",
      do="setting=text:out checkpoint=1", settings={"text": "from the sidecar"},
      environment={"KAFKA_SIDECAR_SET_text": "from the environment"})  # fmt: skip
async def settings_overridden(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await stage.checkpointed(stream, 0)
    stage.check(stage.written("out") == [b"from the environment"], f"the setting `text` is {stage.written('out')!r}")


@case(
    "closed-is-last",
    7,
    "Frames come in their order; a half-close follows Closed, and nothing else.",
    do="checkpoint=1",
)
async def closed_is_last(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await stage.checkpointed(stream, 0)
    await stream.revoke(pb.REVOKE_REASON_PAUSED)
    await stream.expect("closed", 14, PATIENCE_S)
    await stage.until(lambda: stream.life.half_closed, "a half-close after Closed", timeout=6)
    stage.check(not stream.waiting, "a frame came after Closed")
