"""The common part of the labs: a real server, and fake mailboxes for its letters to the consumer threads."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.config import LambdaConfig, ServerConfig
from sidecar.mail import letters
from sidecar.mail.boxes import Mailbox
from sidecar.partitions.vocabulary import Assign, Lane, Lease, StreamId, TopicPartition
from sidecar.producing.lambda_producer import LambdaProducer
from sidecar.server.admin import Admin
from sidecar.server.lambda_host import SERVICE, LambdaHost
from sidecar.server.runtime import LambdaRuntime
from sidecar.server.server import Server
from sidecar.server.snapshots import Snapshots

PATIENCE = 60.0
"""Seconds after which a waiting test fails; nothing takes that long."""

BROKER = "broker:9092"

L = TypeVar("L", bound=letters.Letter)
Deliver = Callable[[list[letters.Delivery]], None]
Metadata = Sequence[tuple[str, str]]


class Desk(Mailbox):
    """A fake mailbox of one lambda's consumer thread: the test waits on the loop for its letters."""

    def __init__(self, deliver: Deliver) -> None:
        super().__init__()
        self._deliver = deliver
        self._rings = asyncio.Event()
        self.silent: list[letters.Letter] = []
        """Those that did not ring."""

    def put(self, letter: letters.Letter, *, rings: bool = True) -> None:
        super().put(letter, rings=rings)
        if not rings:
            self.silent.append(letter)
        self._rings.set()

    async def expect(self, kind: type[L]) -> L:
        """The next letter, which is of this kind."""
        async with asyncio.timeout(PATIENCE):
            while (letter := self.take()) is None:
                self._rings.clear()
                await self._rings.wait()
        assert isinstance(letter, kind), f"expected {kind.__name__}, got {letter}"
        return letter

    def answer(self, letter: Any, value: object = None, error: Exception | None = None) -> None:
        """Answer a letter's reply, at once."""
        self._deliver([letters.Answer(letter.reply, value, error)])


DeskT = TypeVar("DeskT", bound=Desk)


class Call:
    """One `Serve` call, seen from the lambda; bytes out, frames in."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Metadata = ()) -> None:
        self._call: Any = channel.stream_stream(f"/{SERVICE}/Serve")(metadata=metadata)
        self.id: StreamId = 0
        """The sidecar's number of the stream, known after `Bench.offered`."""

    async def send(self, frame: pb.LambdaFrame | bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._call.write(frame if isinstance(frame, bytes) else frame.SerializeToString())

    async def say(self, **frame: Any) -> None:
        await self.send(pb.LambdaFrame(**frame))

    async def half_close(self) -> None:
        await self._call.done_writing()

    def cancel(self) -> None:
        self._call.cancel()

    async def read(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            data = await self._call.read()
            assert isinstance(data, bytes), f"the stream ended: {await self._call.code()}"
        return data

    async def expect(self, kind: str) -> Any:
        """The next frame, which is of this kind."""
        frame = pb.HostFrame.FromString(await self.read())
        assert frame.WhichOneof("frame") == kind, frame
        return getattr(frame, kind)

    async def ended(self) -> tuple[grpc.StatusCode, str]:
        """Wait for the end of the stream, without further frames. Returns the status and its text."""
        async with asyncio.timeout(PATIENCE):
            try:
                assert await self._call.read() is grpc.aio.EOF, "there was one more frame"
            except grpc.aio.AioRpcError as error:
                return error.code(), error.details() or ""
            return await self._call.code(), await self._call.details() or ""


class Bench(Generic[DeskT]):
    """A server with these lambdas, and a desk for each."""

    def __init__(
        self, config: ServerConfig, lambdas: Mapping[str, LambdaConfig], desk: Callable[[Deliver], DeskT]
    ) -> None:
        self.desks = {name: desk(self._deliver) for name in lambdas}
        self.hosted = {
            name: LambdaRuntime(one, self.desks[name], LambdaProducer(name, {})) for name, one in lambdas.items()
        }
        self.health: list[bool] = []
        self.exits: list[tuple[str, str]] = []
        self.stuck: list[tuple[str, int]] = []
        self.host = LambdaHost(
            self.hosted,
            self.health.append,
            exit=lambda *why: self.exits.append(why),
            stuck=lambda *which: self.stuck.append(which),
        )
        self.snapshots = Snapshots(self.hosted, self.host, BROKER)
        self.server = Server(config, self.host, Admin(self.hosted, self.snapshots))

    @property
    def deli(self) -> DeskT:
        return self.desks["deli"]

    def _deliver(self, items: list[letters.Delivery]) -> None:
        self.host.deliver(items)  # looked up late: the host is made with the desks

    def dial(self, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
        options = [
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),  # each channel has a connection of its own
        ]
        if credentials is None:
            return grpc.aio.insecure_channel(self.server.address, options=options)
        return grpc.aio.secure_channel(self.server.address, credentials, options=options)

    async def offered(self, call: Call, name: str, **fields: Any) -> None:
        """Carry out the handshake until Available; ``fields`` are of its Offer."""
        await call.say(offer=offer(lambda_name=name, **fields))
        await call.expect("welcome")
        await call.say(available=pb.Available())
        call.id = (await self.desks[name].expect(letters.Available)).stream

    async def given(
        self, call: Call, name: str, lease: Lease, where: TopicPartition, start: int, generation: int
    ) -> None:
        """Carry out the handshake from Assigned to Ready."""
        self.host.deliver([Assign(call.id, lease, Lane(where), start, generation)])
        assert (await call.expect("assigned")).lease == lease
        await call.say(ready=pb.Ready(lease=lease))
        assert await self.desks[name].expect(letters.Ready) == letters.Ready(call.id, lease)


def offer(**fields: Any) -> pb.Offer:
    """A valid Offer, unless ``fields`` make it invalid."""
    return pb.Offer(**{"lambda_name": "deli", "process_id": "p1", "protocol_version": 1, **fields})
