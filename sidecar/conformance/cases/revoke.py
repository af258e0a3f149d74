"""Revoked: what is dropped, what may finish, and until when."""

from __future__ import annotations

import asyncio

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.case import case
from sidecar.conformance.records import Rec, batch_of
from sidecar.conformance.stage import Stage
from sidecar.conformance.stream import Stream

_FOREVER = "take=0:120000"
"""The handler may not end at all, where code that waits cannot be stopped: then the process does not either."""


async def _revoked(
    stage: Stage, stream: Stream, reason: pb.RevokeReason, deadline_ms: int
) -> tuple[pb.Closed, float]:
    """Revoke; returns Closed, and after how many milliseconds it came."""
    began = stage.trace.now
    await stream.revoke(reason, deadline_ms)
    closed = await stage.closed(stream, 14, deadline_ms / 1000 + 10)
    return closed, (stream.life.closed_at - began) * 1000


@case("revoked-idle", 14, "Nothing runs: Closed(REVOKED) comes at once.", do="checkpoint=1")
async def revoked_idle(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await stage.checkpointed(stream, 0)
    closed, took = await _revoked(stage, stream, pb.REVOKE_REASON_REBALANCE, 8_000)
    stage.check(closed.reason == pb.CLOSED_REASON_REVOKED, "Closed has another reason than REVOKED")
    stage.check(took < 4_000, f"Closed took {took:.0f} ms, and nothing was running")


@case("running-handler-finishes", 14, "The handler that runs may finish, and its checkpoint counts.",
      do="take=0:1000 checkpoint=1")  # fmt: skip
async def running_handler_finishes(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0, 1, 2)
    await _begun(stage)
    _, took = await _revoked(stage, stream, pb.REVOKE_REASON_HAND_OVER, 10_000)
    stage.check(took < 9_000, f"Closed took {took:.0f} ms")
    stage.check(stream.life.accepted == 0, f"the last checkpoint is {stream.life.accepted}, not 0", 21)


async def _begun(stage: Stage) -> None:
    """Give a handler time to begin: no message tells that it has."""
    await stage.trace.until(lambda: False, 0.4)


@case("not-begun-is-dropped", 13, "After Revoked no handler begins; the next owner gets what waits.",
      do="take=each:500 copy=out checkpoint=1")  # fmt: skip
async def not_begun_is_dropped(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(*range(6))
    await stage.until(lambda: stage.asked("out") == 1, "the copy of record 0", 28)
    await _revoked(stage, stream, pb.REVOKE_REASON_HAND_OVER, 10_000)
    stage.check(stage.asked("out") <= 3, f"{stage.asked('out')} handlers ran; Revoked came when the first had ended")
    stage.check(stream.life.accepted < 3, f"the checkpoint is {stream.life.accepted}", 16)


@case(
    "handler-cancelled",
    14,
    "A handler that does not end is told at 70% of the deadline; Closed comes at 90%.",
    do=_FOREVER,
    ends=False,
)
async def handler_cancelled(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0, 1)
    await _begun(stage)
    _, took = await _revoked(stage, stream, pb.REVOKE_REASON_HAND_OVER, 3_000)
    stage.check(took < 2_950, f"Closed took {took:.0f} ms of 3000")
    stage.check(took > 1_500, f"Closed took {took:.0f} ms of 3000: the handler had no time to finish", 14)


@case("short-deadline", 14, "A deadline of one second is kept too.", do=_FOREVER + " close=100", ends=False)
async def short_deadline(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await _begun(stage)
    _, took = await _revoked(stage, stream, pb.REVOKE_REASON_REBALANCE, 1_000)
    stage.check(took < 1_000, f"Closed took {took:.0f} ms of 1000")


@case(
    "slow-close",
    14,
    "The lambda closes slowly: Closed keeps the deadline all the same.",
    do="close=6000 checkpoint=1",
)
async def slow_close(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await stage.checkpointed(stream, 0)
    _, took = await _revoked(stage, stream, pb.REVOKE_REASON_HAND_OVER, 2_000)
    stage.check(took < 2_000, f"Closed took {took:.0f} ms of 2000")


@case("read-ahead", 11, "Revoked is read while a handler blocks and frames wait.", do="take=0:3000 checkpoint=1")
async def read_ahead(stage: Stage) -> None:
    stream = await stage.running()
    for offset in range(20):
        await stream.send(batch=_big(offset))
    await _begun(stage)
    _, took = await _revoked(stage, stream, pb.REVOKE_REASON_HAND_OVER, 2_000)
    stage.check(took < 2_000, f"Closed took {took:.0f} ms of 2000")


def _big(offset: int) -> pb.Batch:
    return batch_of([Rec(offset, b"k", bytes(200_000))])


@case("outcome-before-closed", 29, "Closed has no checkpoint whose outputs are not known to be written.",
      do="send=out checkpoint=1")  # fmt: skip
async def outcome_before_closed(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(0, 1)
    await stage.produce()
    closed, took = await _revoked(stage, stream, pb.REVOKE_REASON_HAND_OVER, 2_000)
    stage.check(took < 2_000, f"Closed took {took:.0f} ms of 2000", 14)
    stage.check(not closed.last_checkpoint.HasField("offset"), "Closed has a checkpoint; what was produced before it "
                "has no outcome")  # fmt: skip


@case("outcome-in-time", 21, "The outcome comes before the deadline: Closed has the checkpoint that waited for it.",
      do="send=out checkpoint=1")  # fmt: skip
async def outcome_in_time(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(0)
    await stage.produce()
    await stream.revoke(pb.REVOKE_REASON_HAND_OVER, 8_000)
    await stage.trace.until(lambda: stream.waiting, 0.5)
    stage.host.produces.by_rule()
    await stage.closed(stream, 14)
    stage.check(
        stream.life.accepted == 0, "the checkpoint of record 0 is lost, though its output was written in time"
    )


@case(
    "lost",
    15,
    "REVOKE_REASON_LOST: Closed comes within 10 s, and no checkpoint follows.",
    do="take=each:100 checkpoint=1",
)
async def lost(stage: Stage) -> None:
    await _no_checkpoint_after(stage, pb.REVOKE_REASON_LOST)


@case("seek", 15, "REVOKE_REASON_SEEK: likewise.", do="take=each:100 checkpoint=1")
async def seek(stage: Stage) -> None:
    await _no_checkpoint_after(stage, pb.REVOKE_REASON_SEEK)


async def _no_checkpoint_after(stage: Stage, reason: pb.RevokeReason) -> None:
    stream = await stage.running()
    await stream.records(*range(100))
    await stage.checkpointed(stream, 1)
    began = stage.trace.now
    await stream.revoke(reason, 0)
    await stage.closed(stream, 15, 11)
    took = stream.life.closed_at - began
    stage.check(took < 10, f"Closed took {took:.1f} s")
    again = await stage.running(0, 50)
    await again.records(50)
    await stage.checkpointed(again, 50)


@case(
    "lost-while-busy",
    15,
    "LOST while a handler does not end: it is cancelled, and Closed comes.",
    do=_FOREVER,
    ends=False,
)
async def lost_while_busy(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await _begun(stage)
    await stream.revoke(pb.REVOKE_REASON_LOST, 0)
    await stage.closed(stream, 15, 10)


@case("revoke-one-of-two", 9, "A partition that is revoked takes no other with it.", do="checkpoint=1")
async def revoke_one_of_two(stage: Stage) -> None:
    first, second = await stage.running(0), await stage.running(1)
    await _revoked(stage, first, pb.REVOKE_REASON_PAUSED, 5_000)
    await second.records(0)
    await stage.checkpointed(second, 0)
    stage.check(not second.life.over, "the stream of another partition is over")


@case(
    "revoke-all", 14, "Eight partitions are revoked at once; each is closed in time.", do="take=each:300 checkpoint=1"
)
async def revoke_all(stage: Stage) -> None:
    streams = [await stage.running(partition) for partition in range(8)]
    for stream in streams:
        await stream.records(0, 1, 2, 3)
    for stream in streams:
        await stream.revoke(pb.REVOKE_REASON_SHUTDOWN, 5_000)
    await asyncio.gather(*(stage.closed(stream, 14, 6) for stream in streams))
    late = [s.life.closed_at - s.life.revoked_at for s in streams if s.life.closed_at - s.life.revoked_at > 5]
    stage.check(not late, f"{len(late)} streams were closed after their deadline")


@case("unknown-reason", 50, "A reason with an unknown number revokes as any other.", do="checkpoint=1")
async def unknown_reason(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await stage.checkpointed(stream, 0)
    await stream.send(pb.HostFrame.FromString(bytes([0x22, 5, 0x08, 77, 0x10, 0x88, 0x27])))  # reason 77, 5000 ms
    closed = await stage.closed(stream, 50)
    stage.check(closed.reason == pb.CLOSED_REASON_REVOKED, "Closed has another reason than REVOKED")
