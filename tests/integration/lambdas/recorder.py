"""Records each event of a lambda. Its settings say when it checkpoints.

| setting | meaning; default |
| --- | --- |
| `every` | checkpoint after so many messages; 1. 0: never |
| `idle` | checkpoint when no message has come for so many seconds; off |
| `at_close` | checkpoint the last message at the end of `close`; false |
| `close_takes` | seconds that `close` takes; 0 |
| `handler_takes` | seconds that an asynchronous handler takes; 0: the handler is synchronous |
| `silent` | partitions that are never checkpointed; none |
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

from sdk_python import CloseReason, IContext, IPartitionLambda, IPartitionLambdaFactory, Message
from tests.integration.lambdas.writer import HistoryWriter


class Recorder:
    """The lambda of one partition."""

    def __init__(self, config: Mapping[str, Any], context: IContext, history: HistoryWriter) -> None:
        self.config = config
        self.context = context
        self.history = history
        self.lease = history.new_lease()
        self.every = int(config.get("every", 1))
        self.idle = float(config.get("idle", 0))
        self.pause = float(config.get("handler_takes", 0))
        self.checkpoints = context.partition not in config.get("silent", ())
        self.last: int | None = None
        self.checkpointed = -1
        self.since = 0
        self._timer: asyncio.TimerHandle | None = None
        where: dict[str, Any] = {"topic": context.topic, "partition": context.partition}
        where |= {"start": context.start_offset, "attempt": context.attempt}
        history.write("created", lease=self.lease, **where)

    def handler(self, message: Message) -> Awaitable[None] | None:
        self.history.handled(self.lease, message)
        if self.pause:
            return self._slowly(message)
        self.done(message)
        return None

    async def _slowly(self, message: Message) -> None:
        await asyncio.sleep(self.pause)
        self.done(message)

    def done(self, message: Message) -> None:
        self.last = message.offset
        self.since += 1
        if self.every and self.since >= self.every:
            self.checkpoint()
        elif self.idle:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(self.idle, self.checkpoint)

    def checkpoint(self) -> None:
        """Checkpoint the last handled message, if it is not checkpointed yet."""
        if self.last is None or self.last <= self.checkpointed or not self.checkpoints:
            return
        self.since = 0
        self.checkpointed = self.last
        # Written first, so that the history has each checkpoint that the sidecar has.
        self.history.write("checkpointed", lease=self.lease, offset=self.last)
        self.context.checkpoint(self.last)

    async def close(self, reason: CloseReason) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.history.write("closing", lease=self.lease, reason=str(reason))
        await asyncio.sleep(float(self.config.get("close_takes", 0)))
        if self.config.get("at_close"):
            self.checkpoint()
        self.history.write("closed", lease=self.lease, reason=str(reason))


class Factory:
    """Creates the lambdas of the process."""

    def __init__(self, config: Mapping[str, Any], kind: type[Recorder] = Recorder) -> None:
        self.history = HistoryWriter(config)
        self.kind = kind

    async def create(self, config: Mapping[str, Any], context: IContext) -> IPartitionLambda:
        return self.kind(config, context, self.history)

    async def dispose(self) -> None:
        self.history.write("disposed")


async def create(config: Mapping[str, Any]) -> IPartitionLambdaFactory:
    """The plugin is this module."""
    print("the recorder is loaded", flush=True)
    return Factory(config)
