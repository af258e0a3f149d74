"""The lambda of the benchmarks: does nothing with a record but count it, and checkpoints all the time.

Settings: ``total`` (records until it is done), ``warm`` (records before the clock starts), ``result`` (a file for the
figures as JSON).
"""

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdk_python import IContext, Message

LOOK = 0.002
"""Seconds between looks at the counts: the resolution of the clock, and how often every partition checkpoints."""


class Counter:
    """One partition's lambda."""

    def __init__(self, context: IContext) -> None:
        self._context = context
        self._start = context.start_offset or 0
        self.count = 0

    def handler(self, _: Message) -> None:
        """Count."""
        self.count += 1

    def checkpoint(self) -> None:
        """All that was counted is done; the topics of the benchmarks have no gaps."""
        if self.count:
            self._context.checkpoint(self._start + self.count - 1)


class CountingFactory:
    """Makes the counters and watches them."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._counters: list[Counter] = []
        self._watch = asyncio.ensure_future(self._report())

    async def create(self, _: Mapping[str, Any], context: IContext) -> Counter:
        counter = Counter(context)
        self._counters.append(counter)
        return counter

    async def dispose(self) -> None:
        """Nothing to close."""

    async def _report(self) -> None:
        total, warm = int(self._config["total"]), int(self._config["warm"])
        began = 0.0
        while True:
            await asyncio.sleep(LOOK)
            for counter in self._counters:
                counter.checkpoint()
            count = sum(counter.count for counter in self._counters)
            if not began and count >= warm:
                began, warm = time.perf_counter(), count
            if count >= total:
                break
        seconds = time.perf_counter() - began
        for counter in self._counters:
            counter.checkpoint()
        result = {"seconds": seconds, "measured": count - warm, "records": count}
        await asyncio.to_thread(Path(self._config["result"]).write_text, json.dumps(result))


class CountingPlugin:
    """The plugin."""

    async def create(self, config: Mapping[str, Any]) -> CountingFactory:
        return CountingFactory(config)


plugin = CountingPlugin()
