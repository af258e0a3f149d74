"""What the tests of pauses share: a plugin that remembers, and a partition that is watched."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from sdk_python import CloseReason, IContext, Message
from sdk_python._client import Client
from sdk_python._decoding import AnyBatch, Frame
from sdk_python._life import Life
from sdk_python.protocol import lambda_pb2 as pb

from .host import PATIENCE, Host, HostStream, running_client


class Pausing:
    """A plugin whose handler does what the test says, and that remembers everything."""

    def __init__(self, on_message: Callable[[Message, IContext], Awaitable[None] | None] | None = None) -> None:
        self.on_message = on_message
        self.on_create: Callable[[IContext], None] = lambda _: None
        self.handled: list[int] = []
        self.closed: list[CloseReason] = []
        self.context: Any = None
        self.moved = asyncio.Event()

    async def create(self, _: Any, context: IContext | None = None) -> Any:
        if context is not None:
            self.context = context
            self.on_create(context)
        return self

    async def dispose(self) -> None: ...

    def handler(self, message: Message) -> Awaitable[None] | None:
        self.handled.append(message.offset)
        self.moved.set()
        return self.on_message(message, self.context) if self.on_message is not None else None

    def close(self, reason: CloseReason) -> None:
        self.closed.append(reason)
        self.moved.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that happened here made ``condition`` true."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.moved.clear()
                await self.moved.wait()


@asynccontextmanager
async def serving(host: Host, plugin: Pausing, window: int = 1000) -> AsyncIterator[tuple[Client, HostStream, Life]]:
    """A client with one partition; each frame that it reads and queues lets `Pausing.until` look again."""
    async with running_client(host, plugin) as client:
        stream = await host.offered()
        await stream.assign(window=window)
        (life,) = client._lives.values()
        link, put = life._link, life.dispatcher.put

        class Watched:
            async def read(self) -> Frame | None:
                plugin.moved.set()
                return await link.read()

            def __getattr__(self, name: str) -> Any:
                return getattr(link, name)

        def watched_put(batch: AnyBatch, count: int) -> None:
            put(batch, count)
            plugin.moved.set()

        life._link = cast("Any", Watched())
        life.dispatcher.put = watched_put  # type: ignore[method-assign]
        yield client, stream, life


def resumed(stream: HostStream, number: int, from_offset: int) -> None:
    stream.send(resumed=pb.Resumed(number=number, from_offset=from_offset))


def pausing_at(where: int, **arguments: Any) -> Callable[[Message, IContext], None]:
    """A sync handler that pauses once."""
    pauses = [where]

    def handle(message: Message, context: IContext) -> None:
        if pauses and message.offset == pauses[0]:
            pauses.clear()
            context.pause(**arguments)

    return handle
