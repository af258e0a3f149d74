"""A real server and the generated stubs; the test itself answers the letters, instead of consumer threads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio

from sdk_python.protocol.admin_pb2_grpc import AdminStub
from sdk_python.protocol.lambda_pb2_grpc import LambdaHostStub
from sidecar.config import LambdaConfig, ServerConfig
from sidecar.partitions.vocabulary import TopicPartition

from .bench import Bench, Call, Desk

LAMBDAS = {
    "deli": LambdaConfig.model_validate(
        {
            "topics": ["raw"],
            "group": "deli-group",
            "settings": {"depth": 3, "name": "größer"},
            "window": {"messages": 77, "bytes": 4096},
            "frame": {"bytes": 2048},
        }
    ),
    "scribe": LambdaConfig(topics=("deltas", "more"), group="scribe-group"),
}


class Lab(Bench[Desk]):
    """A running server, and a channel to it."""

    def __init__(self, config: ServerConfig) -> None:
        super().__init__(config, LAMBDAS, Desk)

    def use(self, channel: grpc.aio.Channel) -> None:
        """Use this channel for all later calls."""
        self.channel = channel
        self.calls: Any = LambdaHostStub(channel)  # type: ignore[no-untyped-call]
        self.admin: Any = AdminStub(channel)  # type: ignore[no-untyped-call]

    def stream(self) -> Call:
        return Call(self.channel)

    async def spare(self, name: str = "deli", **fields: Any) -> Call:
        """A spare stream; ``fields`` are of its Offer."""
        stream = self.stream()
        await self.offered(stream, name, **fields)
        return stream

    async def running(self, name: str = "deli", lease: str = "lease-1", **fields: Any) -> Call:
        """A stream that has a partition and has sent Ready."""
        stream = await self.spare(name, **fields)
        await self.given(stream, name, lease, TopicPartition(LAMBDAS[name].topics[0], 0), 5, 1)
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
