"""The gRPC side on a bench: a real server and a real client; the test itself plays the consumer threads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
import grpc.aio

from sdk_python.protocol import lambda_pb2 as pb
from sdk_python.protocol.admin_pb2_grpc import AdminStub
from sdk_python.protocol.lambda_pb2_grpc import LambdaHostStub
from sidecar import mail
from sidecar.config import LambdaConfig, ServerConfig
from sidecar.kafka.outlet import Outlet
from sidecar.partitions.vocabulary import Assign, TopicPartition
from sidecar.server.admin import Admin
from sidecar.server.hosted import Hosted
from sidecar.server.lambda_host import SERVICE, LambdaHost
from sidecar.server.server import Server

PATIENCE = 10.0
"""Seconds until a test that waits for something fails; nothing takes that long."""

L = TypeVar("L", bound=mail.Letter)

LAMBDAS: dict[str, dict[str, Any]] = {
    "deli": {
        "topics": ["raw"],
        "group": "deli-group",
        "settings": {"depth": 3, "name": "größer"},
        "window": {"messages": 77, "bytes": 4096},
        "frame": {"bytes": 2048},
    },
    "scribe": {"topics": ["deltas", "more"], "group": "scribe-group"},
}


class _Bell(mail.Mailbox):
    """A mailbox that rings: the test waits on the loop, where the thread would block."""

    def __init__(self) -> None:
        super().__init__()
        self.rings = asyncio.Event()

    def put(self, letter: mail.Letter) -> None:
        super().put(letter)
        self.rings.set()


class Desk:
    """Where the letters to one lambda's consumer thread arrive."""

    def __init__(self, host: LambdaHost) -> None:
        self.mailbox = _Bell()
        self._host = host

    async def next(self) -> mail.Letter:
        async with asyncio.timeout(PATIENCE):
            while (letter := self.mailbox.take()) is None:
                self.mailbox.rings.clear()
                await self.mailbox.rings.wait()
        return letter

    async def expect(self, kind: type[L]) -> L:
        """The next letter, which is of this kind."""
        letter = await self.next()
        assert isinstance(letter, kind), f"expected {kind.__name__}, got {letter}"
        return letter

    async def available(self, process_id: str) -> mail.Available:
        """The letter that this process can take a partition; what came before it is thrown away."""
        while True:
            letter = await self.next()
            if isinstance(letter, mail.Available) and letter.process_id == process_id:
                return letter

    def answer(self, letter: Any, value: object = None, error: Exception | None = None) -> None:
        self._host.deliver([mail.Answer(letter.reply, value, error)])


class LambdaStream:
    """One Process call, seen from the lambda. Bytes pass as they are."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.call: Any = channel.stream_stream(f"/{SERVICE}/Process")()
        self.id = 0
        """The sidecar's number for this stream, known after ``Lab.spare``."""

    async def send(self, **frame: Any) -> None:
        await self.send_raw(pb.LambdaFrame(**frame).SerializeToString())

    async def send_raw(self, data: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.call.write(data)

    async def read(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            data = await self.call.read()
        assert isinstance(data, bytes), "the stream has ended"
        return data

    async def receive(self, kind: str) -> Any:
        """The next frame of the sidecar, which is of this kind."""
        frame = pb.HostFrame.FromString(await self.read())
        assert frame.WhichOneof("frame") == kind, frame
        return getattr(frame, kind)

    async def ended(self) -> tuple[grpc.StatusCode, str]:
        """How the stream ended, with nothing more to read before that."""
        async with asyncio.timeout(PATIENCE):
            try:
                assert await self.call.read() is grpc.aio.EOF, "there was one more frame"
            except grpc.aio.AioRpcError as error:
                return error.code(), error.details() or ""
            return await self.call.code(), await self.call.details()


def offer(name: str = "deli", process_id: str = "p1", **fields: Any) -> pb.Offer:
    fields.setdefault("protocol_version", 1)
    return pb.Offer(lambda_name=name, process_id=process_id, **fields)


class Lab:
    """A running server, a channel to it, and the desks of its lambdas."""

    def __init__(self, config: ServerConfig) -> None:
        self.health: list[bool] = []
        hosted: dict[str, Hosted] = {}
        self.exits: list[tuple[str, str]] = []
        self.host = LambdaHost(hosted, self.health.append, exit=lambda *why: self.exits.append(why))
        self.desks = {name: Desk(self.host) for name in LAMBDAS}
        for name, fields in LAMBDAS.items():
            hosted[name] = Hosted(LambdaConfig.model_validate(fields), self.desks[name].mailbox, Outlet(name, {}))
        self.admin_service = Admin(hosted, self.host, "broker:9092")
        self.server = Server(config, self.host, self.admin_service)
        self.deli = self.desks["deli"]

    def dial(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(
            self.server.address.replace("unix://", "unix:"), options=[("grpc.enable_http_proxy", 0)]
        )

    def use(self, channel: grpc.aio.Channel) -> None:
        """What is called from here on goes through this channel."""
        self.channel = channel
        self.calls: Any = LambdaHostStub(channel)  # type: ignore[no-untyped-call]
        self.admin: Any = AdminStub(channel)  # type: ignore[no-untyped-call]

    def stream(self) -> LambdaStream:
        return LambdaStream(self.channel)

    async def spare(self, name: str = "deli", process_id: str = "p1", **fields: Any) -> LambdaStream:
        """A stream that waits for a partition."""
        stream = self.stream()
        await stream.send(offer=offer(name, process_id, **fields))
        await stream.receive("welcome")
        await stream.send(available=pb.Available())
        stream.id = (await self.desks[name].available(process_id)).stream
        return stream

    async def running(self, name: str = "deli", lease: str = "lease-1", process_id: str = "p1") -> LambdaStream:
        """A stream that has a partition, and said Ready."""
        stream = await self.spare(name, process_id)
        where = TopicPartition(LAMBDAS[name]["topics"][0], 0)
        self.host.deliver([Assign(stream.id, lease, where, 5, 1)])
        assert (await stream.receive("assigned")).lease == lease
        await stream.send(ready=pb.Ready(lease=lease))
        assert await self.desks[name].expect(mail.Ready) == mail.Ready(stream.id, lease)
        return stream


@asynccontextmanager
async def running_lab(**server: Any) -> AsyncIterator[Lab]:
    """A server with this config (`server` in the file), and a channel to it."""
    lab = Lab(ServerConfig.model_validate({"listen": "127.0.0.1:0", **server}))
    await lab.server.start()
    try:
        async with lab.dial() as channel:
            lab.use(channel)
            yield lab
    finally:
        await lab.server.stop(0)
