"""A scripted client of the real sidecar: it sends what a case of the kit expects of a client, and keeps a trace."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from sdk_python.protocol import lambda_pb2 as pb, lambda_pb2_grpc
from sidecar.commands import client as admin
from sidecar.commands.offset_spec import parse_offset_spec
from sidecar.commands.target import Target
from sidecar.conformance.events import Event, Kind
from sidecar.conformance.host_side import HostSide
from sidecar.conformance.invariants import Invariants
from sidecar.conformance.lives import Life, offsets_of
from tests.servers import topics
from tests.servers.topics import Record

PATIENCE_S = 60.0
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 64 * 1024 * 1024))

R = TypeVar("R", bound=Message)


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


class Client:
    """A process that serves one lambda."""

    def __init__(self, address: str, token: str, name: str, topic: str, broker: str) -> None:
        self.name = name
        self.topic = topic
        self.trace = Trace(name)
        self._address = address
        self._token = token
        self._broker = broker
        self._metadata = (("authorization", f"Bearer {token}"),)
        target = address.replace("unix://", "unix:")
        self._channels = [grpc.aio.insecure_channel(target, options=_OPTIONS) for _ in range(2)]
        self._stub: Any = lambda_pb2_grpc.LambdaHostStub(self._channels[1])  # type: ignore[no-untyped-call]
        self._numbers = itertools.count(1)
        self._calls = itertools.count(1)
        self.streams: list[Stream] = []

    async def leave(self) -> None:
        """End everything without a word."""
        for stream in self.streams:
            if not stream.reading.done():
                await stream.cancel()
        for channel in self._channels:
            await channel.close()

    # --- streams ----------------------------------------------------------------------------------------------

    def open(self, metadata: Any = None) -> Stream:
        """Open a stream without a word."""
        serve: Any = self._channels[0].stream_stream("/kafka_sidecar.v1.LambdaHost/Serve")
        number = next(self._numbers)
        self.trace.add(Kind.OPENED, stream=number, connection=1)
        stream = Stream(number, serve(metadata=self._metadata if metadata is None else metadata), self.trace)
        self.streams.append(stream)
        return stream

    async def offer(self, stream: Stream | None = None, **fields: Any) -> tuple[Stream, pb.Welcome]:
        """Open a stream, send Offer, read Welcome and send Available."""
        stream = stream or self.open()
        offered = {"lambda_name": self.name, "process_id": "process-of-the-mirror", "protocol_version": 1, **fields}
        await stream.say(offer=pb.Offer(**offered))
        welcome: pb.Welcome = await stream.hear("welcome")
        await stream.say(available=pb.Available())
        return stream, welcome

    async def running(self, **fields: Any) -> Stream:
        """A stream with a partition, ready."""
        stream, _ = await self.offer(**fields)
        await stream.ready()
        return stream

    # --- calls ------------------------------------------------------------------------------------------------

    async def _call(self, method: Callable[..., Awaitable[R]], request: Message) -> R:
        number = next(self._calls)
        self.trace.add(Kind.CALL, request, call=number, connection=2)
        try:
            response = await method(request, timeout=PATIENCE_S, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            self.trace.add(Kind.ANSWERED, call=number, note=error.code().name)
            raise
        self.trace.add(Kind.ANSWERED, response, call=number)
        return response

    async def checkpoint(self, stream: Stream, offset: int | None, **fields: Any) -> pb.CheckpointResult:
        """Call Checkpoint for one lease; returns its result."""
        entry = pb.CheckpointEntry(lease=stream.lease, offset=offset, **fields)
        request = pb.CheckpointRequest(entries=[entry])
        response: pb.CheckpointResponse = await self._call(self._stub.Checkpoint, request)
        [result] = response.results
        return result

    async def accepted(self, stream: Stream, offset: int) -> None:
        """Checkpoint, and assert that it is accepted."""
        result = await self.checkpoint(stream, offset)
        assert result.outcome == pb.CHECKPOINT_OUTCOME_ACCEPTED, result

    async def checkpoints(self, *entries: pb.CheckpointEntry) -> pb.CheckpointResponse:
        """Call Checkpoint with these entries."""
        response: pb.CheckpointResponse = await self._call(
            self._stub.Checkpoint, pb.CheckpointRequest(entries=entries)
        )
        return response

    async def error(
        self, stream: Stream, action: pb.ErrorAction, offset: int | None = None, last: int | None = None
    ) -> pb.ErrorResponse:
        """Call Error."""
        entry = None if last is None else pb.CheckpointEntry(offset=last)
        request = pb.ErrorRequest(
            lease=stream.lease, action=action, offset=offset, message="planned", last_checkpoint=entry
        )
        response: pb.ErrorResponse = await self._call(self._stub.Error, request)
        return response

    async def produce(self, stream: Stream, *values: bytes, **fields: Any) -> pb.ProduceResponse:
        """Call Produce, to the topic `out` of this lambda unless ``topics`` says otherwise."""
        made = {"topics": [f"{self.topic}-out"], "values": values, **fields}
        request = pb.ProduceRequest(lease=stream.lease, **made)
        response: pb.ProduceResponse = await self._call(self._stub.Produce, request)
        return response

    # --- Kafka and the operator -------------------------------------------------------------------------------

    async def fill(self, *records: Record | int, partition: int = 0) -> None:
        """Write records to the lambda's topic; a number stands for so many short ones."""
        rows = [
            one._replace(partition=partition)
            for some in records
            for one in ([Record(b"k", b"%d" % n) for n in range(some)] if isinstance(some, int) else [some])
        ]
        await asyncio.to_thread(topics.produce, self._broker, self.topic, rows)

    @property
    def _target(self) -> Target:
        return Target(self.name, self.topic, 0)

    async def operator_pauses(self) -> None:
        """An operator pauses partition 0; returns when it stands still."""
        await asyncio.to_thread(admin.pause, self._address, self._token, self._target, "planned")

    async def operator_resumes(self, *, skip: bool = False) -> None:
        """An operator lets partition 0 go on."""
        await asyncio.to_thread(admin.resume, self._address, self._token, self._target, skip)

    async def operator_seeks(self, offset: int) -> None:
        """An operator moves partition 0."""
        spec = parse_offset_spec(str(offset))
        await asyncio.to_thread(admin.seek, self._address, self._token, self._target, spec)
