"""The lambda of this project's own path: counts, and checkpoints what it has counted every few milliseconds."""

import asyncio
from collections.abc import Mapping
from typing import Any

from benchmarks.counting import LOOK
from benchmarks.peers.tally import Tally
from sdk_python import IContext, Message


class Counter:
    """One partition's lambda."""

    def __init__(self, tally: Tally, context: IContext) -> None:
        self._tally = tally
        self._context = context

    def handler(self, message: Message) -> None:
        """Count."""
        self._tally.one(message.partition, message.offset)

    def checkpoint(self) -> None:
        """All that was counted is done; the topics of the benchmarks have no gaps."""
        count = self._tally.counts[self._context.partition]
        if count:
            self._context.checkpoint(count - 1)


class CountingFactory:
    """Makes the counters and lets them checkpoint."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._tally = Tally(int(config["total"]), int(config["warm"]))
        self._counters: list[Counter] = []
        self._checkpoints = asyncio.ensure_future(self._checkpoint())

    async def create(self, _: Mapping[str, Any], context: IContext) -> Counter:
        counter = Counter(self._tally, context)
        self._counters.append(counter)
        return counter

    async def dispose(self) -> None:
        """Nothing to close."""

    async def _checkpoint(self) -> None:
        finished = False
        while not finished:
            await asyncio.sleep(LOOK)
            finished = self._tally.finished
            for counter in self._counters:
                counter.checkpoint()


class CountingPlugin:
    """The plugin."""

    async def create(self, config: Mapping[str, Any]) -> CountingFactory:
        return CountingFactory(config)


plugin = CountingPlugin()
