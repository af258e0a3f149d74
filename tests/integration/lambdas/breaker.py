"""A recorder with a circuit breaker: while the file `down` exists, its store is away, and it pauses its partition.

| setting | meaning; default |
| --- | --- |
| `down` | the path of the file |
| `again` | the message that found the store away is delivered again; true. false: it counts as done after the pause |
| `retry_after` | seconds after which the pause ends by itself; none: the lambda watches the file, and resumes |
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdk_python import CloseReason, IPartitionLambdaFactory, Message
from tests.integration.lambdas.recorder import Factory, Recorder


class Breaker(Recorder):
    """The lambda of one partition."""

    _looking: asyncio.Task[None] | None = None

    def handler(self, message: Message) -> None:
        config = self.config
        down = Path(config["down"])
        if not down.exists():
            super().handler(message)
            return
        retry_after = config.get("retry_after")
        self.history.write("failing", lease=self.lease, partition=message.partition, offset=message.offset)
        again = bool(config.get("again", True))
        if not again:
            self.history.handled(self.lease, message)
            self.last = message.offset
        self.context.pause("the store is away", retry_after, message.offset if again else None)
        if retry_after is None:
            self._looking = asyncio.create_task(self._look(down))

    async def _look(self, down: Path) -> None:
        while await asyncio.to_thread(down.exists):  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.02)
        self.checkpoint()
        self.context.resume()

    async def close(self, reason: CloseReason) -> None:
        if self._looking is not None:
            self._looking.cancel()
        await super().close(reason)


async def create(config: Mapping[str, Any]) -> IPartitionLambdaFactory:
    """The plugin is this module."""
    return Factory(config, Breaker)
