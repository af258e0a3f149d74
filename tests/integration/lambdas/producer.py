"""Copies each message to other topics, and checkpoints it when the copies are written.

| setting | meaning; default |
| --- | --- |
| `out` | the topics that each message is copied to. A message with a header `out` goes to that topic instead |
| `same_partition` | a copy goes to the message's partition, not by its key; false. A header `to` names another |
| `times` | how many copies each topic gets; 1 |
| `tolerates` | the kinds of `ProduceError` that are only recorded, as `failing`; none. Others restart the lambda |
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

from sdk_python import CloseReason, IPartitionLambdaFactory, Message, Produced, ProduceError
from tests.integration.lambdas.recorder import Factory, Recorder


class Copier(Recorder):
    """The lambda of one partition. A handler returns at once; a task of each message awaits its copies, in order."""

    _latest: asyncio.Task[None] | None = None

    def handler(self, message: Message) -> None:
        headers = [(name, value) for name, value in message.headers]
        orders = dict(headers)
        partition = message.partition if self.config.get("same_partition") else None
        if to := orders.get("to"):
            partition = int(to)
        out = orders.get("out")
        copies = [
            self.context.produce(topic, message.value, message.key, headers, partition)
            for topic in ([out.decode()] if out else self.config["out"])
            for _ in range(self.config.get("times", 1))
        ]
        self._latest = asyncio.ensure_future(self._finish(message, copies, self._latest))

    async def _finish(
        self, message: Message, copies: list[Awaitable[Produced]], before: asyncio.Task[None] | None
    ) -> None:
        found = await asyncio.gather(*copies, return_exceptions=True)
        for error in found:
            if isinstance(error, ProduceError):
                reason = f"{error.kind}: {error}"
                where = {"partition": message.partition, "offset": message.offset}
                self.history.write("failing", lease=self.lease, reason=reason, **where)
                if error.kind not in self.config.get("tolerates", ()):
                    self.context.error(error, restart=True)
                    return
        if before is not None:
            await before
        super().handler(message)

    async def close(self, reason: CloseReason) -> None:
        if self._latest is not None and reason is not CloseReason.ERROR:
            await self._latest  # so that these messages are checkpointed too
        await super().close(reason)


async def create(config: Mapping[str, Any]) -> IPartitionLambdaFactory:
    """The plugin is this module."""
    return Factory(config, Copier)
