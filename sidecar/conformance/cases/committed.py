"""Committed: code that waits until its checkpoint is in Kafka."""

from __future__ import annotations

import grpc

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.case import case
from sidecar.conformance.stage import Stage
from sidecar.conformance.stream import Stream

_WAITS = "checkpoint=1 committed=0:out"


async def _waiting(stage: Stage) -> Stream:
    """A partition whose lambda waits until offset 0 is committed."""
    stream = await stage.running()
    assert stream.life.welcome is not None
    stage.check(
        "committed" in stream.life.welcome.capabilities, "the client does not offer the capability `committed`"
    )
    await stream.records(0)
    await stage.checkpointed(stream, 0)
    text = "the wait is over, and the checkpoint is accepted, not committed"
    await stage.never(lambda: stage.written("out"), text)
    return stream


async def _goes_on(stage: Stage) -> None:
    await stage.until(lambda: stage.written("out"), "the code that waits goes on after Committed")


@case("committed", 55, "Code that waits goes on with Committed, not with the checkpoint's acceptance.",
      section="committed", do=_WAITS)  # fmt: skip
async def committed(stage: Stage) -> None:
    stream = await _waiting(stage)
    await stream.committed(0)
    await _goes_on(stage)


@case("committed-covers", 55, "A Committed below it does not cover it; one above it does.",
      section="committed", do="checkpoint=1 committed=1:out")  # fmt: skip
async def committed_covers(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0, 1)
    await stage.checkpointed(stream, 1)
    await stream.committed(0)
    await stage.never(lambda: stage.written("out"), "the wait for 1 is over with Committed 0")
    again = await stage.running(1)
    await again.records(0, 1)
    await stage.checkpointed(again, 1)
    await again.committed(1)
    await _goes_on(stage)
    await stage.never(
        lambda: len(stage.written("out")) > 1, "the wait is over with the Committed of another partition"
    )
    await stream.committed(1)
    await stage.until(lambda: len(stage.written("out")) == 2, "the code that waits goes on after Committed")


@case("committed-before", 55, "What is committed already needs no wait.",
      section="committed", do="ahead=0:1 take=1:800 committed=1:out", ahead=True)  # fmt: skip
async def committed_before(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0, 1)
    await stage.checkpointed(stream, 1)
    await stream.committed(1)
    await _goes_on(stage)
    # The same offset under another lease is another lane's, or another try: nothing of it is committed.
    other = await stage.running(1)
    await other.records(0, 1)
    await stage.checkpointed(other, 1)
    await stage.never(lambda: len(stage.written("out")) > 1, "the wait is over with the Committed of another lease")
    await other.committed(1)
    await stage.until(lambda: len(stage.written("out")) == 2, "the code that waits goes on after Committed")


@case(
    "committed-in-drain", 55, "Committed is taken while the partition is given back.", section="committed", do=_WAITS
)
async def committed_in_drain(stage: Stage) -> None:
    stream = await _waiting(stage)
    await stream.revoke(pb.REVOKE_REASON_HAND_OVER)
    await stream.committed(0)
    closed = await stage.closed(stream, 14)
    took = stream.life.closed_at - stream.life.revoked_at
    stage.check(took < 5, f"Closed took {took:.1f} s of 10: the handler waited for what had come")
    stage.check(closed.reason == pb.CLOSED_REASON_REVOKED, "Closed has another reason than REVOKED", 14)
    stage.check(len(stage.written("out")) == 1, "the code that waits has not gone on")


@case("committed-never", 55, "The stream breaks: the wait fails, and the lambda is closed.",
      section="committed", do=_WAITS)  # fmt: skip
async def committed_never(stage: Stage) -> None:
    stream = await _waiting(stage)
    await stage.spare()
    stream.end(grpc.StatusCode.UNAVAILABLE)
    again = await stage.running(0, 1, rule=55)  # only after the old lambda has closed
    await again.records(1)
    await stage.checkpointed(again, 1)
    stage.check(not stage.asked("out"), "the wait ended as if the offset were committed")


@case("committed-revoked", 55, "The lease ends before: the wait fails, and holds up no Closed.",
      section="committed", do=_WAITS)  # fmt: skip
async def committed_revoked(stage: Stage) -> None:
    stream = await _waiting(stage)
    await stream.revoke(pb.REVOKE_REASON_LOST, 0)
    await stage.closed(stream, 15, 11)
    again = await stage.running(0, 1, rule=55)
    await again.records(1)
    await stage.checkpointed(again, 1)
    stage.check(not stage.asked("out"), "the wait ended as if the offset were committed")


@case("committed-not-told", 55, "A sidecar without the capability: the wait fails at once.",
      section="committed", do=_WAITS, capabilities=False)  # fmt: skip
async def committed_not_told(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    error = await stage.failed()
    stage.check(error.action == pb.ERROR_ACTION_CRITICAL and error.offset == 0, "the wait has not failed at record 0")
    stage.check("committed" in error.message, f"the failure {error.message!r} does not name the capability")
    await stage.closed(stream, 25)
    stage.check(not stage.asked("out"), "the wait ended as if the offset were committed")
