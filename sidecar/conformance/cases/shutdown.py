"""The end of a process."""

from __future__ import annotations

import asyncio

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.case import case
from sidecar.conformance.stage import Stage


async def _ended(stage: Stage) -> None:
    code = await stage.exited()
    stage.check(code == 0, f"after SIGTERM the process ended with {code}, not with 0", 41)


@case("sigterm-idle", 42, "SIGTERM without a partition: the spare stream ends, and the process with 0.", ends=False)
async def sigterm_idle(stage: Stage) -> None:
    spare = await stage.spare()
    stage.terminate()
    await stage.over(spare, "the end of the spare stream", 42, 6)
    await _ended(stage)


@case("sigterm-with-partitions", 41, "SIGTERM: Closed(STOPPED) with the last checkpoint on each stream.",
      do="copy=out closing=1", ends=False)  # fmt: skip
async def sigterm_with_partitions(stage: Stage) -> None:
    streams = [await stage.running(partition) for partition in range(3)]
    for stream in streams:
        await stream.records(0, 1)
    await stage.until(lambda: len(stage.written("out")) == 6, "the copies of six records", 28)
    spare = await stage.spare()
    stage.terminate()
    for closed in await asyncio.gather(*map(stage.closed, streams)):
        stage.check(closed.reason == pb.CLOSED_REASON_STOPPED, "Closed has another reason than STOPPED")
    lasts = [stream.life.accepted for stream in streams]
    stage.check(lasts == [1, 1, 1], f"the last checkpoints are {lasts}; each is 1", 21)
    await stage.over(spare, "the end of the spare stream", 42, 9)
    await _ended(stage)


@case("sigterm-in-a-handler", 41, "SIGTERM while a handler runs: it finishes, and its checkpoint counts.",
      do="take=0:1500 checkpoint=1", ends=False)  # fmt: skip
async def sigterm_in_a_handler(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0, 1)
    await stage.trace.until(lambda: False, 0.4)  # the handler has begun; no message tells
    stage.terminate()
    await stage.closed(stream)
    stage.check(stream.life.accepted == 0, f"the last checkpoint is {stream.life.accepted}, not 0", 21)
    await _ended(stage)


@case("sigterm-while-loading", 41, "SIGTERM while the resources load: the process ends.", do="load=2000", ends=False)
async def sigterm_while_loading(stage: Stage) -> None:
    await stage.until(lambda: stage.streams and stage.streams[0].life.offer, "an Offer", 2)
    await stage.trace.until(lambda: False, 0.4)
    stage.terminate()
    await stage.exited()


@case("sigterm-in-create", 41, "SIGTERM while a lambda is created: its stream is closed, and the process ends.",
      do="create=1500", ends=False)  # fmt: skip
async def sigterm_in_create(stage: Stage) -> None:
    stream = await stage.assign()
    await stage.trace.until(lambda: False, 0.4)
    stage.terminate()
    await stage.over(stream, "the end of the stream")
    closed = stream.life.closed
    right = (pb.CLOSED_REASON_STOPPED, pb.CLOSED_REASON_DECLINED)
    stage.check(closed is not None and closed.reason in right, "no Closed(DECLINED) or Closed(STOPPED)")
    await _ended(stage)


@case(
    "sigterm-without-sidecar", 41, "SIGTERM while nobody listens: the process ends with 0 all the same.", ends=False
)
async def sigterm_without_sidecar(stage: Stage) -> None:
    await stage.spare()
    stage.front.refuse()
    stage.front.cut()
    await stage.trace.until(lambda: False, 0.5)
    stage.terminate()
    await _ended(stage)


@case("sigterm-with-outputs", 41, "SIGTERM while outputs are under way: they are awaited, and the checkpoint counts.",
      do="send=out checkpoint=1", ends=False)  # fmt: skip
async def sigterm_with_outputs(stage: Stage) -> None:
    stage.host.produces.by_hand()
    stream = await stage.running()
    await stream.records(0)
    await stage.produce()
    stage.terminate()
    await stage.trace.until(lambda: stream.waiting, 0.5)
    stage.host.produces.by_rule()
    await stage.closed(stream)
    stage.check(stream.life.accepted == 0, "the checkpoint of record 0 is lost, though its output was written", 21)
    await _ended(stage)


@case(
    "sigterm-and-revoked",
    41,
    "SIGTERM after Revoked: one Closed, and the end.",
    do="take=0:1000 checkpoint=1",
    ends=False,
)
async def sigterm_and_revoked(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(0)
    await stage.trace.until(lambda: False, 0.3)
    await stream.revoke(pb.REVOKE_REASON_REBALANCE, 6_000)
    stage.terminate()
    await stage.closed(stream)
    await _ended(stage)
