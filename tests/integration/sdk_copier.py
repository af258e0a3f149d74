"""A lambda of the Python SDK that copies records, for the tests of exactly-once.

Its settings: ``out``, the topic; ``how``: ``plain``, ``awaited`` (each record is awaited), or ``overlapping`` (tasks
that end in any order, each record with its source). Each copy has the key of its record and the value
`PARTITION:OFFSET:LANE:NUMBER`. The state counts the records of the lane, and NUMBER is that count.

Other languages have the same program (tests/clients), but for ``overlapping``.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import deque
from collections.abc import Mapping
from typing import Any

from sdk_python import IContext, Message, serve


class Copier:
    """The lambda of one partition."""

    def __init__(self, context: IContext, out: str) -> None:
        self.context = context
        self.out = out
        self.count = int(context.state or b"0")
        self.under_way: deque[tuple[int, asyncio.Task[None]]] = deque()

    def copy(self, message: Message) -> Any:
        """Produce the copy, and count it."""
        self.count += 1
        value = f"{message.partition}:{message.offset}:{self.context.lane}:{self.count}"
        return self.context.produce(self.out, value, partition=message.partition, key=message.key)

    def checkpoint(self, offset: int) -> None:
        """Checkpoint with the count."""
        self.context.checkpoint(offset, b"%d" % self.count)


class Plain(Copier):
    """Neither waits for anything."""

    def handler(self, message: Message) -> None:
        """Copy a record."""
        self.copy(message)
        self.checkpoint(message.offset)


class Awaited(Copier):
    """Waits for each record."""

    async def handler(self, message: Message) -> None:
        """Copy a record."""
        await self.copy(message)
        self.checkpoint(message.offset)


class Overlapping(Copier):
    """Copies ten records at a time, which are produced in any order, and checkpoints them in theirs."""

    async def handler(self, message: Message) -> None:
        """Begin to copy a record."""
        self.under_way.append((message.offset, asyncio.create_task(self.later(message))))
        if len(self.under_way) >= 10:
            await asyncio.wait({self.under_way[0][1]})

    async def later(self, message: Message) -> None:
        """Copy a record after a while."""
        await asyncio.sleep(random.random() / 1000)
        value = f"{message.partition}:{message.offset}:{self.context.lane}:0"
        self.context.produce(self.out, value, partition=message.partition, source=message.offset)
        await asyncio.sleep(0)
        while self.under_way and (self.under_way[0][1].done() or self.under_way[0][0] == message.offset):
            offset, _ = self.under_way.popleft()
            self.context.checkpoint(offset)


class Factory:
    """Makes one of them for each partition."""

    async def create(self, config: Mapping[str, Any], context: IContext) -> Any:
        """Make the lambda."""
        kinds = {"plain": Plain, "awaited": Awaited, "overlapping": Overlapping}
        return kinds[config["how"]](context, config["out"])

    async def dispose(self) -> None:
        """Nothing is held."""


class Plugin:
    """What `serve` loads."""

    async def create(self, config: Mapping[str, Any]) -> Factory:
        """Make the factory."""
        del config
        return Factory()


plugin = Plugin()

if __name__ == "__main__":
    sys.exit(serve.main([sys.argv[1], "tests.integration.sdk_copier"]))
