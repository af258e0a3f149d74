"""Lambda processes by hand that take partitions and then are as good as paused: no Closed, no checkpoint.

All of them live in one event loop. What they were given and lost is kept, to be tried with a dead lease.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc

from sdk_python.protocol import lambda_pb2 as pb, lambda_pb2_grpc
from tests.integration.harness import NAME, PATIENCE

_SPARES = 3
"""Processes of each kind of which each has one stream to spare."""


@dataclass(eq=False)
class Held:
    """One lease, and how it went."""

    sidecar: str
    partition: int
    lease: str
    call: Any
    delivered: int = -1
    """The last offset that came; a living lease may checkpoint it."""

    async def say_closed(self) -> None:
        """Closed with that as the last checkpoint, if the stream is still there."""
        last = pb.CheckpointEntry(offset=self.delivered)
        closed = pb.Closed(reason=pb.CLOSED_REASON_REVOKED, last_checkpoint=last)
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self.call.write(pb.LambdaFrame(closed=closed))


@dataclass
class Paused:
    """What all paused processes together have and had."""

    holders: dict[int, Held] = field(default_factory=dict)
    """The latest lease of each partition."""
    replaced: list[tuple[Held, Held]] = field(default_factory=list)
    """Dead leases with those of their partition's next owner, who is living; taken out by the test."""

    def took(self, held: Held) -> None:
        """A partition came to a stream."""
        before = self.holders.get(held.partition)
        self.holders[held.partition] = held
        if before is not None and before.delivered >= 0:
            self.replaced.append((before, held))


class PausedProcesses:
    """Some processes at one sidecar: a stream for each partition that comes, and a few to spare. Cancel-safe."""

    def __init__(self, name: str, address: str, paused: Paused) -> None:
        self.name = name
        self._channel = grpc.aio.insecure_channel(address.replace("unix://", "unix:"))
        self.stub: Any = lambda_pb2_grpc.LambdaHostStub(self._channel)  # type: ignore[no-untyped-call]
        self._paused = paused
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Offer; each stream that is taken is followed by another."""
        for _ in range(_SPARES):
            self._offer(uuid.uuid4().hex)

    async def stop(self) -> None:
        """All streams end, as they do when processes die."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """The end of it."""
        await self.stop()
        await self._channel.close()

    async def checkpoint(self, entries: list[tuple[str, int]]) -> list[int]:
        """The outcome of each lease's checkpoint."""
        request = pb.CheckpointRequest(
            entries=[pb.CheckpointEntry(lease=who, offset=offset) for who, offset in entries]
        )
        response: pb.CheckpointResponse = await self.stub.Checkpoint(request, timeout=PATIENCE)
        return [result.outcome for result in response.results]

    async def error(self, lease: str, last: int, action: pb.ErrorAction) -> int:
        """The outcome of an error with a last checkpoint."""
        entry = pb.CheckpointEntry(offset=last)
        request = pb.ErrorRequest(lease=lease, action=action, offset=last + 1, message="late", last_checkpoint=entry)
        response: pb.ErrorResponse = await self.stub.Error(request, timeout=PATIENCE)
        return int(response.outcome)

    def _offer(self, process_id: str) -> None:
        task = asyncio.create_task(self._serve(process_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, process_id: str) -> None:
        call = self.stub.Serve()
        held: Held | None = None
        try:
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await call.write(
                    pb.LambdaFrame(offer=pb.Offer(lambda_name=NAME, process_id=process_id, protocol_version=1))
                )
                async for frame in call:
                    match frame.WhichOneof("frame"):
                        case "welcome":
                            await call.write(pb.LambdaFrame(available=pb.Available()))
                        case "assigned":
                            self._offer(process_id)
                            held = Held(self.name, frame.assigned.partition, frame.assigned.lease, call)
                            self._paused.took(held)
                            await call.write(pb.LambdaFrame(ready=pb.Ready(lease=held.lease)))
                        case "batch" if held is not None:
                            held.delivered = frame.batch.first_offset + len(frame.batch.values) - 1
                        case _:  # Revoked: a process that is paused hears nothing
                            pass
        finally:
            call.cancel()
        if held is None:
            await asyncio.sleep(0.05)
            self._offer(process_id)
