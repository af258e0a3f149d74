"""Progress: signs of life of long work."""

from __future__ import annotations

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.case import case
from sidecar.conformance.events import Kind
from sidecar.conformance.stage import Stage
from sidecar.conformance.stream import Stream


def _told(stage: Stage, stream: Stream) -> list[tuple[float, str]]:
    """When each Progress came, and its text."""
    return [
        (event.at, event.message.progress.text)
        for event in stage.trace.of(Kind.FRAME, stream.number)
        if isinstance(event.message, pb.LambdaFrame) and event.message.HasField("progress")
    ]


@case("progress", 56, "Many signs of life: the first goes at once, then one a second with the latest text.",
      section="progress", do="progress=0:25:100 checkpoint=1")  # fmt: skip
async def progress(stage: Stage) -> None:
    stream = await stage.running()
    sent = stage.trace.now
    await stream.records(0)
    await stage.until(lambda: _told(stage, stream), "Progress")
    first, text = _told(stage, stream)[0]
    stage.check(text == "1" and first - sent < 0.9, f"the first Progress says {text!r} after {first - sent:.2f} s")
    await stage.checkpointed(stream, 0)
    await stage.until(lambda: _told(stage, stream)[-1][1] == "25", "Progress with the latest text")
    told = _told(stage, stream)
    stage.check(3 <= len(told) <= 5, f"{len(told)} frames Progress in 2.5 s")
    numbers = [int(text) for _, text in told]
    stage.check(numbers == sorted(set(numbers)), f"the texts are {numbers}, in this order")


@case("progress-latest", 56, "Three signs of life in a row: the first and the last are sent.",
      section="progress", do="progress=0:3:100 checkpoint=1")  # fmt: skip
async def progress_latest(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await stage.until(lambda: len(_told(stage, stream)) == 2, "a second Progress, a second after the first")
    texts = [text for _, text in _told(stage, stream)]
    stage.check(texts == ["1", "3"], f"the texts are {texts}")
    await stage.never(lambda: len(_told(stage, stream)) > 2, "a third Progress, and nothing is new", timeout=1.5)


@case("progress-of-each", 56, "Each lease has its own Progress.",
      section="progress", do="progress=0:1:0 checkpoint=1")  # fmt: skip
async def progress_of_each(stage: Stage) -> None:
    streams = [await stage.running(partition) for partition in range(3)]
    for stream in streams:
        await stream.records(0)
    began = stage.trace.now
    await stage.until(lambda: all(_told(stage, stream) for stream in streams), "Progress of each of three partitions")
    took = stage.trace.now - began
    stage.check(took < 0.9, f"Progress of three partitions took {took:.2f} s: one waits for the others")


@case("progress-in-drain", 56, "Revoked with DEADLINE while a handler works: the drain is as any other.",
      section="progress", do="progress=0:15:100 checkpoint=1")  # fmt: skip
async def progress_in_drain(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await stage.until(lambda: _told(stage, stream), "Progress")
    await stream.revoke(pb.REVOKE_REASON_DEADLINE)
    closed = await stage.closed(stream, 14)
    stage.check(closed.reason == pb.CLOSED_REASON_REVOKED, "Closed has another reason than REVOKED", 14)
    stage.check(stream.life.accepted == 0, "the handler that ran has finished, and its checkpoint is lost", 21)
