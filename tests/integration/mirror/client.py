"""A scripted client of the real sidecar: it sends what a case of the kit expects of a client."""

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
from sidecar.conformance.events import Kind
from tests.integration.mirror.stream import PATIENCE_S, Stream, Trace
from tests.servers import topics
from tests.servers.topics import Record

_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 64 * 1024 * 1024))

R = TypeVar("R", bound=Message)


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

    async def until_spare_is_known(self) -> None:
        """Wait until the sidecar counts the spare stream: streams are read one beside the other, in no order."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                status = await asyncio.to_thread(admin.status, self._address, self._token)
                mine = next(one for one in status.lambdas if one.name == self.name)
                if any(process.spare for process in mine.processes):
                    return
                await asyncio.sleep(0.05)

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
