"""Lambda processes by hand that take partitions and then do nothing, as if frozen: no Closed, no checkpoint.

All of them run in one event loop. Their lost leases are kept, so that tests can try dead leases.
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
"""Processes of each kind; each has one stream without a partition."""


@dataclass(eq=False)
class Held:
    """One lease and its progress."""

    sidecar: str
    partition: int
    lease: str
    call: Any
    delivered: int = -1
    """The last delivered offset; a living lease may checkpoint it."""

    async def say_closed(self) -> None:
        """Send Closed with that offset as the last checkpoint, if the stream still exists."""
        last = pb.CheckpointEntry(offset=self.delivered)
        closed = pb.Closed(reason=pb.CLOSED_REASON_REVOKED, last_checkpoint=last)
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self.call.write(pb.LambdaFrame(closed=closed))


@dataclass
class Paused:
    """The present and past leases of all these processes."""

    holders: dict[int, Held] = field(default_factory=dict)
    """The latest lease of each partition."""
    replaced: list[tuple[Held, Held]] = field(default_factory=list)
    """Dead leases, each with the living lease of its partition's next owner; the test removes them."""

    def took(self, held: Held) -> None:
        """A partition came to a stream."""
        before = self.holders.get(held.partition)
        self.holders[held.partition] = held
        if before is not None and before.delivered >= 0:
            self.replaced.append((before, held))


class PausedProcesses:
    """Some processes at one sidecar: a stream for each assigned partition, and a few without one. Cancel-safe."""

    def __init__(self, name: str, address: str, paused: Paused) -> None:
        self.name = name
        self._channel = grpc.aio.insecure_channel(address.replace("unix://", "unix:"))
        self.stub: Any = lambda_pb2_grpc.LambdaHostStub(self._channel)  # type: ignore[no-untyped-call]
        self._paused = paused
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Offer streams; when one gets a partition, another is offered."""
        for _ in range(_SPARES):
            self._offer(uuid.uuid4().hex)

    async def stop(self) -> None:
        """End all streams, as when the processes die."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """End the streams and close the channel."""
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
                        case _:  # Revoked: a frozen process does not react
                            pass
        finally:
            call.cancel()
        if held is None:
            await asyncio.sleep(0.05)
            self._offer(process_id)
