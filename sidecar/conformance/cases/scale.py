"""Many partitions, many records, and readers that are slow."""

from __future__ import annotations

import asyncio

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.case import case
from sidecar.conformance.records import Rec
from sidecar.conformance.stage import Stage
from sidecar.conformance.stream import Stream


@case("many-partitions", 43, "100 partitions: at most 64 streams share a connection, and all work.",
      do="checkpoint=1", time_limit=60)  # fmt: skip
async def many_partitions(stage: Stage) -> None:
    await _all_work(stage, 100)


@case("512-partitions", 43, "512 partitions in one process, revoked at once and closed in time.",
      do="checkpoint=1", time_limit=120, ends=True)  # fmt: skip
async def five_hundred_partitions(stage: Stage) -> None:
    streams = await _all_work(stage, 512)
    for stream in streams:
        await stream.revoke(pb.REVOKE_REASON_SHUTDOWN, 10_000)
    closing = (stage.closed(stream, 14, 11) for stream in streams)
    await asyncio.gather(*closing)


async def _all_work(stage: Stage, count: int) -> list[Stream]:
    streams = [await stage.running(partition) for partition in range(count)]
    for stream in streams:
        await stream.records(0, 1)
    await stage.until(lambda: all(stream.life.accepted == 1 for stream in streams), "a checkpoint of each", 17, 30)
    return streams


@case(
    "slow-reader",
    11,
    "A handler that is slow for one partition does not slow the others.",
    do="take=0:4000 checkpoint=1",
)
async def slow_reader(stage: Stage) -> None:
    slow, quick = await stage.running(0), await stage.running(1)
    await slow.records(*(Rec(offset, b"k", bytes(50_000)) for offset in range(60)))
    began = stage.trace.now
    await quick.records(1, 2, 3)
    await stage.checkpointed(quick, 3)
    stage.check(stage.trace.now - began < 3, "another partition waited for the slow one", 9)


@case("spare-is-read", 11, "The empty frames of a spare stream are read and ignored.", time_limit=30)
async def spare_is_read(stage: Stage) -> None:
    spare = await stage.spare()
    for _ in range(200):
        await spare.send(pb.HostFrame())
    await stage.running()


@case(
    "a-window-of-records", 12, "A whole window of records in one frame.", do="send=out checkpoint=1000", window=4000
)
async def a_window_of_records(stage: Stage) -> None:
    stream = await stage.running()
    await stream.records(*range(4000))
    await stage.checkpointed(stream, 3999)
    stage.check(len(stage.written("out")) == 4000, f"{len(stage.written('out'))} of 4000 records were handled")
