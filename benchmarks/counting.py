"""The lambda of the benchmarks: does nothing with a record but count it, and checkpoints every thousand.

Settings: ``total`` (records until it is done), ``warm`` (records before the clock starts), ``result`` (a file for the
figures as JSON), ``checkpoint`` (false: never).
"""

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdk_python import IContext, Message

LOOK = 0.002
"""Seconds between looks at the count: the resolution of the clock."""


class Counter:
    """One partition's lambda."""

    def __init__(self, context: IContext, *, checkpoints: bool) -> None:
        self.first = self.last = -1
        self.count = 0
        self._checkpoint = context.checkpoint
        self._every = 1000 if checkpoints else 1 << 62

    def handler(self, message: Message) -> None:
        """Count."""
        offset = message.offset
        self.last = offset
        self.count += 1
        if not self.count % self._every:
            self._checkpoint(offset)


class CountingFactory:
    """Makes the counters and watches them."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._counters: list[tuple[IContext, Counter]] = []
        self._watch = asyncio.ensure_future(self._report()) if "result" in config else None

    async def create(self, _: Mapping[str, Any], context: IContext) -> Counter:
        counter = Counter(context, checkpoints=bool(self._config.get("checkpoint", True)))
        self._counters.append((context, counter))
        return counter

    async def dispose(self) -> None:
        """Nothing to close."""

    async def _report(self) -> None:
        total, warm = int(self._config["total"]), int(self._config["warm"])
        began = 0.0
        while True:
            await asyncio.sleep(LOOK)
            count = sum(counter.count for _, counter in self._counters)
            if not began and count >= warm:
                began, warm = time.perf_counter(), count
            if count >= total:
                break
        seconds = time.perf_counter() - began
        for context, counter in self._counters:
            if counter.count:
                context.checkpoint(counter.last)
        result = {"seconds": seconds, "measured": count - warm, "records": count}
        await asyncio.to_thread(Path(self._config["result"]).write_text, json.dumps(result))


class CountingPlugin:
    """The plugin."""

    async def create(self, config: Mapping[str, Any]) -> CountingFactory:
        return CountingFactory(config)


plugin = CountingPlugin()
