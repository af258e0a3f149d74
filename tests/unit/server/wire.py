"""A real server, a real client, and a script that answers letters instead of the consumer threads."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.config import FrameConfig, LambdaConfig, ServerConfig, WindowConfig
from sidecar.mail import letters
from sidecar.partitions.vocabulary import CheckpointOutcome, Lease, Progress, StreamId, TopicPartition
from sidecar.server.lambda_host import SERVICE

from .bench import PATIENCE, Bench, Call, Deliver, Desk, Metadata

HOST = f"/{SERVICE}"
P0 = TopicPartition("words", 0)

Answering = Callable[[list[tuple[Lease, Progress]]], list[tuple[CheckpointOutcome, int | None]]]


class Script(Desk):
    """A fake of one lambda's consumer thread: it keeps its letters and answers those with a reply."""

    def __init__(self, deliver: Deliver) -> None:
        super().__init__(deliver)
        self.checkpoints: list[list[tuple[Lease, Progress]]] = []
        self.answer_checkpoints: Answering = lambda entries: [(CheckpointOutcome.ACCEPTED, None)] * len(entries)
        self.answers: dict[type[letters.Letter], object] = {}

    def put(self, letter: letters.Letter, *, rings: bool = True) -> None:
        """Keep a letter; the answer is sent in the loop's next turn."""
        match letter:
            case letters.Checkpoints(entries, reply):
                self.checkpoints.append(entries)
                self.say(letters.Answer(reply, self.answer_checkpoints(entries)))
                return
            case letters.Failed() | letters.Resume() | letters.Pause() | letters.Seek() | letters.Inspect():
                answer = self.answers[type(letter)]
                if isinstance(answer, Exception):
                    self.say(letters.Answer(letter.reply, error=answer))
                else:
                    self.say(letters.Answer(letter.reply, answer))
        super().put(letter, rings=rings)

    def say(self, *items: letters.Delivery) -> None:
        asyncio.get_running_loop().call_soon(self._deliver, list(items))


class Client:
    """A lambda process, or any other client."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel

    def process(self, metadata: Metadata = ()) -> Call:
        return Call(self.channel, metadata)

    async def unary(self, method: str, request: Any, metadata: Metadata = ()) -> bytes:
        data = request if isinstance(request, bytes) else request.SerializeToString()
        path = method if method.startswith("/") else f"{HOST}/{method}"
        multicallable: Any = self.channel.unary_unary(path)
        answer: bytes = await multicallable(data, metadata=metadata, timeout=PATIENCE)
        return answer

    async def refused(self, method: str, request: Any = b"", metadata: Metadata = ()) -> tuple[grpc.StatusCode, str]:
        """The status and the text with which a call is refused."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.unary(method, request, metadata)
        return caught.value.code(), caught.value.details() or ""

    async def checkpoint(self, *entries: pb.CheckpointEntry) -> list[pb.CheckpointResult]:
        data = await self.unary("Checkpoint", pb.CheckpointRequest(entries=entries))
        return list(pb.CheckpointResponse.FromString(data).results)


class Wire(Bench[Script]):
    """The server with the lambdas `deli` and `scribe`."""

    def __init__(self, config: ServerConfig) -> None:
        super().__init__(config, {name: lambda_config(name) for name in ("deli", "scribe")}, Script)

    @asynccontextmanager
    async def client(self, credentials: grpc.ChannelCredentials | None = None) -> AsyncIterator[Client]:
        async with self.dial(credentials) as channel:
            yield Client(channel)

    async def available(self, client: Client, name: str = "deli", **fields: Any) -> tuple[Call, StreamId]:
        """A stream after Available; ``fields`` are of its Offer."""
        call = client.process()
        await self.offered(call, name, **fields)
        return call, call.id

    async def assigned(
        self, client: Client, lease: Lease, name: str = "deli", **fields: Any
    ) -> tuple[Call, StreamId]:
        """A stream after Assigned and Ready; ``fields`` are of its Offer."""
        call, stream = await self.available(client, name, **fields)
        await self.given(call, name, lease, P0, 17, 2)
        return call, stream

    async def works(self, client: Client) -> None:
        """Check that the server works: a whole handshake on a new stream."""
        call, stream = await self.available(client)
        await call.half_close()
        assert await self.deli.expect(letters.StreamLost) == letters.StreamLost(stream)
        assert (await call.ended())[0] is grpc.StatusCode.OK


def lambda_config(name: str) -> LambdaConfig:
    return LambdaConfig(
        topics=("words",),
        group=f"{name}-group",
        settings={"name": name, "nested": {"numbers": [1, 2.5, None]}},
        window=WindowConfig(messages=77, bytes=7_000),
        frame=FrameConfig(bytes=5_000),
    )


def entry(lease: str, offset: int | None = None, **fields: Any) -> pb.CheckpointEntry:
    return pb.CheckpointEntry(lease=lease, offset=offset, **fields)


@asynccontextmanager
async def running(**server: Any) -> AsyncIterator[Wire]:
    """A started server on a free port."""
    wire = Wire(ServerConfig(**{"listen": "127.0.0.1:0", **server}))
    await wire.server.start()
    try:
        yield wire
    finally:
        await wire.server.stop(0.0)
