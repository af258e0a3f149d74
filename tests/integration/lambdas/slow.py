"""A recorder whose handler takes long for one message.

| setting | meaning |
| --- | --- |
| `slow_offset` | the offset of the message |
| `slow_for` | how many seconds the handler takes |
| `slow_how` | `await` (the event loop goes on) or `block` (it stands still) |
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from typing import Any

from sdk_python import IPartitionLambdaFactory, Message
from tests.integration.lambdas.recorder import Factory, Recorder


class Slow(Recorder):
    """The lambda of one partition."""

    def handler(self, message: Message) -> Awaitable[None] | None:
        if message.offset != self.config["slow_offset"]:
            return super().handler(message)
        self.history.handled(self.lease, message)
        seconds = float(self.config["slow_for"])
        if self.config["slow_how"] == "await":
            return self._long(message, seconds)
        time.sleep(seconds)
        self.done(message)
        return None

    async def _long(self, message: Message, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.done(message)


async def create(config: Mapping[str, Any]) -> IPartitionLambdaFactory:
    """The plugin is this module."""
    return Factory(config, Slow)
