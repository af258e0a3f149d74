"""One stream of the scripted client, and the trace that the kit's invariants and `HostSide` read."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.events import Event, Kind
from sidecar.conformance.host_side import HostSide
from sidecar.conformance.invariants import Invariants
from sidecar.conformance.lives import Life, offsets_of

PATIENCE_S = 60.0


class Trace:
    """The events as the client has seen them, and what is wrong about them."""

    def __init__(self, name: str) -> None:
        self.faults: list[str] = []
        self.client = Invariants(name, ahead=True)
        self.host = HostSide()
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self.restarted()

    def add(self, kind: Kind, message: Message | None = None, **fields: Any) -> None:
        """Record an event."""
        event = Event(self._loop.time() - self._began, kind, message=message, **fields)
        self.faults += [str(broken) for broken in self.client.see(event)]
        self.faults += self.host.see(event)

    def add_signal(self) -> None:
        """The process is told to end."""
        self.add(Kind.SIGNALLED)

    def restarted(self) -> None:
        """Another process begins."""
        self.add(Kind.STARTED)

    def finish(self) -> None:
        """Find what only the end can tell."""
        self.faults += [str(broken) for broken in self.client.finish(self._loop.time() - self._began)]


class Stream:
    """One Serve stream. A task reads ahead; frames wait here."""

    def __init__(self, number: int, call: Any, trace: Trace) -> None:
        self.number = number
        self.status: grpc.StatusCode | None = None
        self.details = ""
        self.empty = 0
        """How many empty frames came."""
        self._call = call
        self._trace = trace
        self._frames: asyncio.Queue[pb.HostFrame | None] = asyncio.Queue()
        self.reading = asyncio.create_task(self._read())

    @property
    def life(self) -> Life:
        """What is true of it."""
        return self._trace.client.lives.streams[self.number]

    @property
    def lease(self) -> str:
        """Its lease."""
        return self.life.lease

    async def say(self, **arm: Any) -> None:
        """Send a frame."""
        frame = pb.LambdaFrame(**arm)
        self._trace.add(Kind.FRAME, frame, stream=self.number)
        await self._call.write(frame.SerializeToString())

    async def say_bytes(self, data: bytes) -> None:
        """Send bytes that are a frame of no version so far."""
        await self._call.write(data)

    async def hear(self, kind: str) -> Any:
        """The next frame that is not empty, which must be of this kind."""
        async with asyncio.timeout(PATIENCE_S):
            frame = await self._frames.get()
        assert frame is not None, f"the stream ended with {self.status}: {self.details}, and {kind} was to come"
        came = frame.WhichOneof("frame")
        assert came == kind, f"{came} came, not {kind}"
        return getattr(frame, kind)

    async def records(self, count: int) -> list[int]:
        """Wait for so many records; returns their offsets."""
        offsets: list[int] = []
        while len(offsets) < count:
            offsets += offsets_of(await self.hear("batch"))
        return offsets

    async def quiet(self, seconds: float = 0.6) -> None:
        """Assert that no frame comes for a while, but for empty ones."""
        await asyncio.sleep(seconds)
        assert self._frames.empty(), f"a frame came: {self._frames.get_nowait()}"

    async def ready(self) -> pb.Assigned:
        """Wait for Assigned and answer Ready."""
        assigned: pb.Assigned = await self.hear("assigned")
        await self.say(ready=pb.Ready(lease=assigned.lease))
        return assigned

    async def close(self, reason: pb.ClosedReason, last: int | None = None) -> None:
        """Send Closed and the half-close; the sidecar answers with OK."""
        entry = None if last is None else pb.CheckpointEntry(offset=last)
        await self.say(closed=pb.Closed(reason=reason, last_checkpoint=entry))
        self._trace.add(Kind.HALF_CLOSED, stream=self.number)
        await self._call.done_writing()
        assert await self.ended() is grpc.StatusCode.OK, self.details

    async def ended(self) -> grpc.StatusCode:
        """Wait for the stream's end; returns the status."""
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait([self.reading])
        assert self.status is not None
        return self.status

    async def cancel(self) -> None:
        """Break the stream."""
        self._trace.add(Kind.BROKE, stream=self.number)
        self._call.cancel()
        self.reading.cancel()
        await asyncio.wait([self.reading])

    async def _read(self) -> None:
        try:
            while (data := await self._call.read()) is not grpc.aio.EOF:
                frame = pb.HostFrame.FromString(data)
                self._trace.add(Kind.SENT, frame, stream=self.number)
                if frame.WhichOneof("frame") is None:
                    self.empty += 1
                else:
                    self._frames.put_nowait(frame)
            self.status = await self._call.code()
            self.details = await self._call.details() or ""
        except grpc.aio.AioRpcError as error:
            self.status, self.details = error.code(), error.details() or ""
        self._trace.add(Kind.ENDED, stream=self.number, note=self.status.name)
        self._frames.put_nowait(None)
