"""A real server, a real client, and in the place of the consumer threads a script that answers letters."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
import pytest

from sdk_python.protocol import lambda_pb2 as pb
from sidecar import mail
from sidecar.config import FrameConfig, LambdaConfig, ServerConfig, WindowConfig
from sidecar.kafka.outlet import Outlet
from sidecar.partitions.vocabulary import Assign, CheckpointOutcome, Lease, Progress, StreamId, TopicPartition
from sidecar.server.admin import Admin
from sidecar.server.hosted import Hosted
from sidecar.server.lambda_host import LambdaHost
from sidecar.server.server import Server

PATIENCE = 10.0
"""Seconds until a test that waits for something fails; nothing takes that long."""

HOST = "/kafka_sidecar.v1.LambdaHost"
P0 = TopicPartition("words", 0)

L = TypeVar("L", bound=mail.Letter)
Metadata = Sequence[tuple[str, str]]
Answering = Callable[[list[tuple[Lease, Progress]]], list[tuple[CheckpointOutcome, int | None]]]


class Script(mail.Mailbox):
    """Stands in for one lambda's consumer thread: keeps its letters, and answers those that want an answer."""

    def __init__(self, host: Callable[[], LambdaHost]) -> None:
        super().__init__()
        self._host = host
        self._letters: asyncio.Queue[mail.Letter] = asyncio.Queue()
        self.checkpoints: list[list[tuple[Lease, Progress]]] = []
        self.answer_checkpoints: Answering = lambda entries: [(CheckpointOutcome.ACCEPTED, None)] * len(entries)
        self.answers: dict[type[mail.Letter], object] = {}

    def put(self, letter: mail.Letter) -> None:
        """A letter came; what is to be said to it goes out in the loop's next turn."""
        match letter:
            case mail.Checkpoints(entries, reply):
                self.checkpoints.append(entries)
                self.say(mail.Answer(reply, self.answer_checkpoints(entries)))
            case mail.Failed() | mail.Resume() | mail.Pause() | mail.Seek() | mail.Inspect():
                answer = self.answers[type(letter)]
                if isinstance(answer, Exception):
                    self.say(mail.Answer(letter.reply, error=answer))
                else:
                    self.say(mail.Answer(letter.reply, answer))
                self._letters.put_nowait(letter)
            case _:
                self._letters.put_nowait(letter)

    def say(self, *items: mail.Delivery) -> None:
        asyncio.get_running_loop().call_soon(self._host().deliver, list(items))

    async def expect(self, kind: type[L]) -> L:
        """The next letter, which is of this kind."""
        async with asyncio.timeout(PATIENCE):
            letter = await self._letters.get()
        assert isinstance(letter, kind), f"expected {kind.__name__}, got {letter}"
        return letter

    def nothing(self) -> bool:
        return self._letters.empty()


class Call:
    """One `Process` call of a client; bytes out, frames in."""

    def __init__(self, call: "grpc.aio.StreamStreamCall[bytes, bytes]") -> None:
        self._call = call

    async def send(self, frame: pb.LambdaFrame | bytes) -> None:
        await self._call.write(frame if isinstance(frame, bytes) else frame.SerializeToString())

    async def say(self, **frame: Any) -> None:
        await self.send(pb.LambdaFrame(**frame))

    async def half_close(self) -> None:
        await self._call.done_writing()

    def cancel(self) -> None:
        self._call.cancel()

    async def expect(self, kind: str) -> Any:
        """The next frame, which is of this kind."""
        async with asyncio.timeout(PATIENCE):
            data = await self._call.read()
        assert isinstance(data, bytes), f"expected {kind}, the stream ended: {await self._call.code()}"
        frame = pb.HostFrame.FromString(data)
        assert frame.WhichOneof("frame") == kind
        return getattr(frame, kind)

    async def ended(self) -> tuple[grpc.StatusCode, str]:
        """The status that ends the stream, and its text."""
        async with asyncio.timeout(PATIENCE):
            return await self._call.code(), await self._call.details() or ""


class Client:
    """A lambda process, and whoever else calls."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel

    def process(self, metadata: Metadata = ()) -> Call:
        return Call(self.channel.stream_stream(f"{HOST}/Process")(metadata=metadata))

    async def unary(self, method: str, request: Any, metadata: Metadata = ()) -> bytes:
        data = request if isinstance(request, bytes) else request.SerializeToString()
        path = method if method.startswith("/") else f"{HOST}/{method}"
        multicallable: Any = self.channel.unary_unary(path)
        answer: bytes = await multicallable(data, metadata=metadata, timeout=PATIENCE)
        return answer

    async def refused(self, method: str, request: Any = b"", metadata: Metadata = ()) -> tuple[grpc.StatusCode, str]:
        """The status that a call is refused with, and its text."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.unary(method, request, metadata)
        return caught.value.code(), caught.value.details() or ""

    async def checkpoint(self, *entries: pb.CheckpointEntry) -> list[pb.CheckpointResult]:
        data = await self.unary("Checkpoint", pb.CheckpointRequest(entries=entries))
        return list(pb.CheckpointResponse.FromString(data).results)


class Wire:
    """The server with the lambdas `deli` and `scribe`."""

    def __init__(self, config: ServerConfig) -> None:
        self.scripts = {name: Script(lambda: self.host) for name in ("deli", "scribe")}
        self.hosted = {
            name: Hosted(lambda_config(name), script, Outlet(name, {})) for name, script in self.scripts.items()
        }
        self.health: list[bool] = []
        self.exits: list[tuple[str, str]] = []
        self.host = LambdaHost(self.hosted, self.health.append, exit=lambda *why: self.exits.append(why))
        self.server = Server(config, self.host, Admin(self.hosted, self.host, "kafka:9092"))

    @property
    def deli(self) -> Script:
        return self.scripts["deli"]

    @asynccontextmanager
    async def client(self, credentials: grpc.ChannelCredentials | None = None) -> AsyncIterator[Client]:
        address = self.server.address
        options = [
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),  # each client has a connection of its own
        ]
        if credentials is None:
            channel = grpc.aio.insecure_channel(address, options=options)
        else:
            channel = grpc.aio.secure_channel(address, credentials, options=options)
        async with channel:
            yield Client(channel)

    async def available(self, client: Client, name: str = "deli", **fields: Any) -> tuple[Call, StreamId]:
        """A stream after Available; ``fields`` are of its offer."""
        call = client.process()
        await call.say(offer=offer(lambda_name=name, **fields))
        await call.expect("welcome")
        await call.say(available=pb.Available())
        letter = await self.scripts[name].expect(mail.Available)
        return call, letter.stream

    async def assigned(
        self, client: Client, lease: Lease, name: str = "deli", **fields: Any
    ) -> tuple[Call, StreamId]:
        """A stream after Assigned and Ready; ``fields`` are of its offer."""
        call, stream = await self.available(client, name, **fields)
        self.scripts[name].say(Assign(stream, lease, P0, 17, 2))
        await call.expect("assigned")
        await call.say(ready=pb.Ready(lease=lease))
        assert (await self.scripts[name].expect(mail.Ready)) == mail.Ready(stream, lease)
        return call, stream

    async def works(self, client: Client) -> None:
        """The server is as well as ever: a whole handshake on a new stream."""
        call, stream = await self.available(client)
        await call.half_close()
        assert await self.deli.expect(mail.StreamLost) == mail.StreamLost(stream)
        assert (await call.ended())[0] is grpc.StatusCode.OK


def lambda_config(name: str) -> LambdaConfig:
    return LambdaConfig(
        topics=("words",),
        group=f"{name}-group",
        settings={"name": name, "nested": {"numbers": [1, 2.5, None]}},
        window=WindowConfig(messages=77, bytes=7_000),
        frame=FrameConfig(bytes=5_000),
    )


def offer(**fields: Any) -> pb.Offer:
    """An offer that is taken, unless a field says otherwise."""
    return pb.Offer(**{"lambda_name": "deli", "process_id": "p1", "protocol_version": 1, **fields})


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
