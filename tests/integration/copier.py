"""A lambda process that copies records by the raw protocol, with exactly-once: it needs no SDK.

`python -m tests.integration.copier ADDRESS LAMBDA OUT HOW`. Each copy has the value `PARTITION:OFFSET:LANE:NUMBER`,
as those of `sdk_copier`, and goes to the partition of OUT with the number of its source. HOW says by which calls:

- `commit`: the copies of a batch and its last offset in one call
- `held`: the copies in calls without a checkpoint, and then a Checkpoint call
- `sources`: the copies of two batches at once, each with its source, and checkpoints that cover them one by one
- `closed`: as `held`, but the last checkpoint of a drain comes in Closed
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import grpc

from sdk_python.protocol import lambda_pb2 as pb, lambda_pb2_grpc

PART = 500
"""Records of one call."""

CALL_S = 60.0


class Copier:
    """All streams of one process."""

    def __init__(self, address: str, name: str, out: str, how: str) -> None:
        target = address.replace("unix://", "unix:")
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._streams: Any = lambda_pb2_grpc.LambdaHostStub(grpc.aio.insecure_channel(target, options=options))  # type: ignore[no-untyped-call]
        self._calls: Any = lambda_pb2_grpc.LambdaHostStub(grpc.aio.insecure_channel(target, options=options))  # type: ignore[no-untyped-call]
        self._name, self._out, self._how = name, out, how
        self._process = uuid.uuid4().hex
        self._lives: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Offer streams for ever."""
        while True:
            assigned = asyncio.Event()
            life = asyncio.create_task(self._live(assigned))
            self._lives.add(life)
            life.add_done_callback(self._lives.discard)
            waits = asyncio.create_task(assigned.wait())
            await asyncio.wait([life, waits], return_when=asyncio.FIRST_COMPLETED)
            waits.cancel()
            if life.done() and not assigned.is_set():
                await asyncio.sleep(0.05)

    async def _live(self, assigned: asyncio.Event) -> None:
        try:
            with suppress(asyncio.InvalidStateError):  # the stream ended before we wrote to it
                await self._serve(assigned)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:  # the sidecar is not there yet, or not any more
                print(error.code().name, error.details(), flush=True)

    async def _serve(self, assigned: asyncio.Event) -> None:
        call = self._streams.Serve()
        offer = pb.Offer(
            lambda_name=self._name, process_id=self._process, protocol_version=1, capabilities=["exactly-once"]
        )
        await call.write(pb.LambdaFrame(offer=offer))
        await call.write(pb.LambdaFrame(available=pb.Available()))
        batches: asyncio.Queue[Sequence[int] | None] = asyncio.Queue()
        lease = _Lease(self._calls, self._out, self._how)
        worker: asyncio.Task[None] | None = None
        try:
            async for frame in _frames(call):
                kind = frame.WhichOneof("frame")
                if kind == "assigned":
                    assigned.set()
                    lease.begin(frame.assigned)
                    await call.write(pb.LambdaFrame(ready=pb.Ready(lease=lease.lease)))
                    worker = asyncio.create_task(lease.work(batches))
                elif kind == "batch":
                    batches.put_nowait(_offsets(frame.batch))
                elif kind == "revoked":
                    batches.put_nowait(None)
                    if frame.revoked.deadline_ms and worker is not None:
                        await worker
                    elif worker is not None:
                        worker.cancel()
                    await call.write(pb.LambdaFrame(closed=lease.closed(alive=bool(frame.revoked.deadline_ms))))
                    await call.done_writing()
        finally:
            if worker is not None:
                worker.cancel()


async def _frames(call: Any) -> AsyncIterator[pb.HostFrame]:
    while (frame := await call.read()) is not grpc.aio.EOF:
        yield frame


def _offsets(batch: pb.Batch) -> Sequence[int]:
    return [*batch.offsets] or range(batch.first_offset, batch.first_offset + len(batch.values))


class _Lease:
    """One partition's life: batches one after the other."""

    def __init__(self, calls: Any, out: str, how: str) -> None:
        self._calls, self._out, self._how = calls, out, how
        self.lease = ""
        self._partition = 0
        self._lane = 0
        self._count = 0
        """Of the records that were copied; the state."""
        self._last: int | None = None

    def begin(self, assigned: pb.Assigned) -> None:
        self.lease, self._partition, self._lane = assigned.lease, assigned.partition, assigned.lane
        self._count = int(assigned.state or b"0")

    def closed(self, *, alive: bool) -> pb.Closed:
        last = None
        if alive and self._last is not None:
            last = pb.CheckpointEntry(offset=self._last, state=b"%d" % self._count)
        return pb.Closed(reason=pb.CLOSED_REASON_REVOKED, last_checkpoint=last)

    async def work(self, batches: asyncio.Queue[Sequence[int] | None]) -> None:
        """Copy until there is no more, or the lease has ended."""
        while (batch := await batches.get()) is not None:
            if self._how == "sources" and not batches.empty():
                further = await batches.get()
                if further is not None:
                    if not await self._sources([*batch, *further]):
                        return
                    continue
                batches.put_nowait(None)
            if not await self._copy(batch):
                return

    async def _copy(self, batch: Sequence[int]) -> bool:
        parts = [batch[first : first + PART] for first in range(0, len(batch), PART)]
        for part in parts:
            commit = part[-1] if self._how in ("commit", "sources") else None
            if not await self._produce(part, commit):
                return False
        self._last = batch[-1]
        if self._how == "held":
            entry = pb.CheckpointEntry(lease=self.lease, offset=batch[-1], state=b"%d" % self._count)
            answer = await self._calls.Checkpoint(pb.CheckpointRequest(entries=[entry]), timeout=CALL_S)
            return answer.results[0].outcome in (1, 2)
        return True

    async def _sources(self, offsets: Sequence[int]) -> bool:
        """All copies at once with the first half's checkpoint; then the second half's, without records."""
        for first in range(0, len(offsets), PART):
            part = offsets[first : first + PART]
            if not await self._produce(part, part[len(part) // 2], sources=part):
                return False
            if part[-1] != part[len(part) // 2] and not await self._produce([], part[-1]):
                return False
        self._last = offsets[-1]
        return True

    async def _produce(self, part: Sequence[int], commit: int | None, sources: Sequence[int] = ()) -> bool:
        numbered = [*enumerate(part, self._count + 1)]
        request = pb.ProduceRequest(
            lease=self.lease,
            topics=[self._out] if part else [],
            values=[b"%d:%d:%d:%d" % (self._partition, offset, self._lane, number) for number, offset in numbered],
            partitions=[self._partition] * len(part),
            sources=sources,
        )
        if commit is not None:
            request.commit.offset = commit
            state = part.index(commit) + 1 if part else 0
            request.commit.state = b"%d" % (self._count + state)
        self._count += len(part)
        answer = await self._calls.Produce(request, timeout=CALL_S)
        if commit is None:
            return all(outcome == pb.PRODUCE_OUTCOME_HELD for outcome in answer.outcomes)
        return answer.commit.outcome in (1, 2)


async def main() -> None:
    """Until the process is killed. A channel belongs to the loop in which it is made."""
    await Copier(*sys.argv[1:5]).run()


if __name__ == "__main__":
    asyncio.run(main())
