"""Checkpoints: which offset, when, and in how many calls."""

from __future__ import annotations

import grpc

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance import answers
from sidecar.conformance.case import case
from sidecar.conformance.records import Rec
from sidecar.conformance.stage import Stage


@case("checkpoint-zero", 16, "Offset 0 is an offset: it is checkpointed, and present on the wire.", do="checkpoint=1")
async def checkpoint_zero(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await stage.checkpointed(stream, 0)


@case("checkpoints-asked-for", 16, "Only offsets that the lambda has checkpointed are sent.", do="checkpoint=4")
async def checkpoints_asked_for(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(*range(3))
    await stage.never(lambda: stream.life.told >= 0, "a checkpoint was sent, and the lambda has made none")
    await stream.records(*range(3, 7))
    await stage.checkpointed(stream, 3)
    await stage.never(lambda: stream.life.told > 3, "a checkpoint above 3, which the lambda has not made")


@case(
    "one-checkpoint-call",
    17,
    "While a call is under way the next waits, and then has the latest offset.",
    do="checkpoint=1",
)
async def one_checkpoint_call(stage: Stage) -> None:
    stage.host.checkpoints.by_hand()
    stream = await stage.running()
    await stream.records(0)
    call, request = await stage.checkpoint()
    await stream.records(*range(1, 50))
    await stage.never(lambda: stage.host.checkpoints.waiting, "a second call of Checkpoint while one is under way")
    call.answer(answers.checkpoints(request, stage.trace.lives, stage.trace.now))
    stage.host.checkpoints.by_rule()
    await stage.checkpointed(stream, 49)
    calls = len(stage.host.checkpoints.calls)
    stage.check(calls <= 4, f"{calls} calls: the next one has not had the latest offset")


@case("all-leases-in-one-call", 17, "One call carries all leases that moved.", do="checkpoint=1")
async def all_leases_in_one_call(stage: Stage) -> None:
    stage.host.checkpoints.by_hand()
    streams = [await stage.running(partition) for partition in range(4)]
    await streams[0].records(0)
    call, request = await stage.checkpoint()
    for stream in streams[1:]:
        await stream.records(0, 1)
    await stage.never(lambda: stage.host.checkpoints.waiting, "a second call of Checkpoint while one is under way")
    call.answer(answers.checkpoints(request, stage.trace.lives, stage.trace.now))
    _, request = await stage.checkpoint()
    leases = {entry.lease for entry in request.entries}
    # The first lease may be told again, with a new `handled`.
    stage.check(leases >= {s.lease for s in streams[1:]}, f"the next call has {len(leases)} leases, and 3 have moved")
    stage.host.checkpoints.by_rule()


@case("calls-are-spaced", 18, "A record each 2 ms does not make a call each.", do="checkpoint=1", advice=True)
async def calls_are_spaced(stage: Stage) -> None:
    stream = await stage.running()
    began = stage.trace.now
    for offset in range(200):
        await stream.records(offset)
        await stage.trace.until(lambda: False, 0.002)
    await stage.checkpointed(stream, 199)
    calls, seconds = len(stage.host.checkpoints.calls), stage.trace.now - began
    stage.check(calls < seconds * 250 + 5, f"{calls} calls of Checkpoint in {seconds:.2f} s")


@case("window-of-one", 18, "With a window of one record each checkpoint is sent without delay.",
      do="checkpoint=1", window=1)  # fmt: skip
async def window_of_one(stage: Stage) -> None:
    stream = await stage.running()
    for offset in range(20):
        await stream.records(offset)
        await stage.checkpointed(stream, offset)


@case("window-fills", 18, "The window is full: its checkpoint comes, and makes room.", do="checkpoint=1", window=40)
async def window_fills(stage: Stage) -> None:
    stream = await stage.running()
    for first in range(0, 400, 40):
        await stream.records(*range(first, first + 40))
        await stage.checkpointed(stream, first + 39)


@case("checkpoint-again", 19, "A call of Checkpoint fails: its offset is sent again.", do="checkpoint=1")
async def checkpoint_again(stage: Stage) -> None:
    stage.host.checkpoints.by_hand()
    stream = await stage.running()
    await stream.records(0)
    for _ in range(2):
        call, _ = await stage.checkpoint("another call after the one that failed", 19)
        call.fail(grpc.StatusCode.UNAVAILABLE)
    stage.host.checkpoints.by_rule()
    await stage.checkpointed(stream, 0)


@case("stale-lease", 10, "After STALE_LEASE no checkpoint of the lease follows.", do="checkpoint=1 close=1")
async def stale_lease(stage: Stage) -> None:
    stage.host.checkpoints.by_hand()
    stream = await stage.running()
    await stream.records(0)
    call, _ = await stage.checkpoint()
    call.answer(pb.CheckpointResponse(results=[pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_STALE_LEASE)]))
    await stage.trace.until(lambda: False, 1.2)  # more than `LATE_S`: from here on the invariants do not forgive
    await stream.records(1, 2)
    await stage.never(lambda: stream.life.told > 0, "a checkpoint with a lease that was told to be dead")
    stage.host.checkpoints.by_rule()


@case("beyond-delivered", 20, "A checkpoint beyond what was delivered is sent again with each Batch.",
      do="ahead=0:4", ahead=True)  # fmt: skip
async def beyond_delivered(stage: Stage) -> None:
    stream = await stage.running()
    for offset in range(5):
        await stream.records(offset)
        await stage.checkpointed(stream, offset)


@case("far-beyond", 20, "The sidecar says how far was delivered; the client goes on with each Batch.",
      do="ahead=2:100", ahead=True)  # fmt: skip
async def far_beyond(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0, 1, 2)
    await stage.checkpointed(stream, 2)
    await stream.records(Rec(50), Rec(90))
    await stage.checkpointed(stream, 90)
    await stream.records(Rec(100), Rec(101))
    await stage.checkpointed(stream, 100)
    await stage.never(lambda: stream.life.accepted > 100, "a checkpoint above 100, which the lambda has not made")


@case("last-in-closed", 21, "The last checkpoint, made while closing, travels in Closed.", do="copy=out closing=1")
async def last_in_closed(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0, 1, 2)
    await stage.until(lambda: len(stage.written("out")) == 3, "three copies", 28)
    await stream.revoke(pb.REVOKE_REASON_HAND_OVER)
    closed = await stage.closed(stream)
    stage.check(
        closed.HasField("last_checkpoint"), "Closed has no last_checkpoint; the lambda made one while closing"
    )
    stage.check(closed.last_checkpoint.offset == 2, f"Closed has checkpoint {closed.last_checkpoint.offset}, not 2")


@case("handled-is-told", 52, "Without any checkpoint, operators hear how far the handlers are.", advice=True)
async def handled_is_told(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0, 1, 2)
    await stage.until(lambda: stream.life.entry is not None and stream.life.entry.handled == 2, "`handled` 2")
    stage.check(stream.life.told < 0, "a checkpoint was sent, and the lambda has made none", 16)


@case(
    "completed-beyond", 22, "Records after one that is not done are told, and 0 when it has caught up.", do="hold=0:5"
)
async def completed_beyond(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(*(Rec(offset, b"12", b"345") for offset in range(5)))
    await stage.until(lambda: _beyond(stream.life.entry) == (4, 20), "completed_beyond 4 with 20 bytes")
    stage.check(stream.life.told < 0, "a checkpoint was sent while record 0 is not done")
    await stream.records(5)
    await stage.checkpointed(stream, 5)
    await stage.until(lambda: _beyond(stream.life.entry) == (0, 0), "completed_beyond 0 after the checkpoint")


def _beyond(entry: pb.CheckpointEntry | None) -> tuple[int, int] | None:
    return None if entry is None else (entry.completed_beyond, entry.completed_beyond_bytes)
