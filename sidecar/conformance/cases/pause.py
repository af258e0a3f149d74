"""Pause and Resume: numbers, what is void, and what counts."""

from __future__ import annotations

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.case import case
from sidecar.conformance.records import Rec
from sidecar.conformance.stage import PATIENCE_S, Stage
from sidecar.conformance.stream import Stream


def _valued(*offsets: int) -> list[Rec]:
    return [Rec(offset, b"k", str(offset).encode()) for offset in offsets]


async def _paused(stage: Stage, *offsets: int) -> tuple[Stream, pb.Pause]:
    """Deliver records, and wait for Pause."""
    stream = await stage.running()
    await stream.records(*_valued(*offsets))
    pause = await stream.expect("pause", 37, PATIENCE_S)
    assert isinstance(pause, pb.Pause)
    return stream, pause


def _check_written(stage: Stage, wanted: list[int], rule: int) -> None:
    values = [int(value or b"-1") for value in stage.written("out")]
    stage.check(values == wanted, f"the handler has seen {values}, not {wanted}", rule)


@case(
    "pause",
    39,
    "Records that came before Resumed wait, and are handled once, after it.",
    do="pause=1:0 copy=out checkpoint=1",
)
async def pause(stage: Stage) -> None:
    stream, told = await _paused(stage, 0, 1, 2)
    stage.check(not told.HasField("offset"), "Pause has an offset, and the lambda named none")
    stage.check(told.reason == "planned", f"Pause.reason is {told.reason!r}, not the lambda's own")
    stage.check(told.retry_after_ms == 0, "Pause ends by itself, and the lambda named no time")
    await stream.records(*_valued(3))
    await stage.checkpointed(stream, 1)
    await stage.never(lambda: len(stage.written("out")) > 2, "a handler has begun during the pause")
    await stream.resumed(told.number, 4)
    await stream.records(*_valued(4))
    await stage.checkpointed(stream, 4)
    _check_written(stage, [0, 1, 2, 3, 4], 39)


@case("pause-again", 38, "With an offset, what came is dropped, also what was under way, and comes again.",
      do="pause=1:0:again copy=out checkpoint=1")  # fmt: skip
async def pause_again(stage: Stage) -> None:
    stream, told = await _paused(stage, 0, 1, 2)
    stage.check(told.HasField("offset") and told.offset == 1, "Pause.offset is not 1")
    await stream.records(*_valued(3, 4))  # they were under way: void
    await stream.resumed(told.number, 1)
    await stream.records(*_valued(1, 2, 3))
    await stage.checkpointed(stream, 3)
    _check_written(stage, [0, 1, 2, 3], 38)


@case(
    "pause-at-zero", 38, "Offset 0 comes again too: the field is present.", do="pause=0:0:again copy=out checkpoint=1"
)
async def pause_at_zero(stage: Stage) -> None:
    stream, told = await _paused(stage, 0, 1)
    stage.check(told.HasField("offset") and told.offset == 0, "Pause.offset is not there, and should be 0")
    await stream.resumed(told.number, 0)
    await stream.records(*_valued(0, 1))
    await stage.checkpointed(stream, 1)
    _check_written(stage, [0, 1], 38)


@case("old-resumed", 38, "A Resumed with another number belongs to another pause, and ends nothing.",
      do="pause=1:0:again copy=out checkpoint=1")  # fmt: skip
async def old_resumed(stage: Stage) -> None:
    stream, told = await _paused(stage, 0, 1, 2)
    await stream.resumed(told.number - 1, 1)
    await stream.records(*_valued(1, 2))  # void: the pause goes on
    await stage.never(lambda: len(stage.written("out")) > 1, "a handler has begun; Resumed had an earlier number")
    await stream.resumed(told.number, 1)
    await stream.records(*_valued(1, 2))
    await stage.checkpointed(stream, 2)
    _check_written(stage, [0, 1, 2], 38)


@case("pause-for-a-time", 37, "The time of a pause travels in Pause; the sidecar ends it.",
      do="pause=0:700 copy=out checkpoint=1")  # fmt: skip
async def pause_for_a_time(stage: Stage) -> None:
    stream, told = await _paused(stage, 0, 1)
    stage.check(told.retry_after_ms == 700, f"Pause.retry_after_ms is {told.retry_after_ms}, not 700")
    await stage.never(lambda: len(stage.written("out")) > 1, "a handler has begun before Resumed", 39, 1.2)
    await stream.resumed(told.number, 2)
    await stage.checkpointed(stream, 1)
    _check_written(stage, [0, 1], 39)


@case("resume", 37, "The lambda ends its pause: Resume, and the records flow after Resumed.",
      do="pause=0:0 resume=300 copy=out checkpoint=1")  # fmt: skip
async def resume(stage: Stage) -> None:
    stream, told = await _paused(stage, 0, 1)
    await stream.expect("resume", 37, PATIENCE_S)
    await stream.resumed(told.number, 2)
    await stage.checkpointed(stream, 1)
    _check_written(stage, [0, 1], 39)


@case("checkpoints-in-pause", 39, "Checkpoints go on during a pause.", do="pause=2:0 checkpoint=1")
async def checkpoints_in_pause(stage: Stage) -> None:
    stream, _ = await _paused(stage, 0, 1, 2)
    await stage.checkpointed(stream, 2)


@case("revoked-in-pause", 40, "Revoked ends a pause: Closed, without a Resumed.", do="pause=1:0 checkpoint=1")
async def revoked_in_pause(stage: Stage) -> None:
    stream, _ = await _paused(stage, 0, 1, 2)
    await stage.checkpointed(stream, 1)
    await stream.revoke(pb.REVOKE_REASON_HAND_OVER, 8_000)
    closed = await stage.closed(stream, 40)
    stage.check(closed.reason == pb.CLOSED_REASON_REVOKED, "Closed has another reason than REVOKED")
    stage.check(stream.life.accepted == 1, f"the last checkpoint is {stream.life.accepted}, not 1", 21)


@case(
    "stopped-in-pause",
    41,
    "SIGTERM in a pause: Closed(STOPPED), and the end.",
    do="pause=0:0 checkpoint=1",
    ends=False,
)
async def stopped_in_pause(stage: Stage) -> None:
    stream, _ = await _paused(stage, 0, 1)
    stage.terminate()
    closed = await stage.closed(stream)
    stage.check(closed.reason == pb.CLOSED_REASON_STOPPED, "Closed has another reason than STOPPED")
    stage.check(await stage.exited() == 0, "the process did not end with 0")
