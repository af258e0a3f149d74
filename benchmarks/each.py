"""The cheapest lambda that checkpoints each message at once, for a partition or, with the router, for a document.

Settings: ``total`` (records until it is done), ``warm`` (records before the clock starts), ``lambdas`` (lambdas that
must be there before the clock starts), ``result`` and ``warmed`` (files, as for `benchmarks.counting`).
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.clock import Clock
from benchmarks.counting import LOOK, note
from sdk_python import IContext, Message


class _Lambda:
    """Counts for all lambdas together: adding up 100,000 counts every few milliseconds would dominate the figures."""

    __slots__ = ("_context", "_factory")

    def __init__(self, factory: "_Factory", context: IContext) -> None:
        self._factory = factory
        self._context = context

    def handler(self, message: Message) -> None:
        self._factory.count += 1
        self._context.checkpoint(message.offset)


class _Factory:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self.count = 0
        self._lambdas = 0
        self._config = config
        self._watch = asyncio.ensure_future(self._report())

    async def create(self, _: Mapping[str, Any], context: IContext) -> _Lambda:
        self._lambdas += 1
        return _Lambda(self, context)

    async def dispose(self) -> None:
        """Nothing to close."""

    async def _report(self) -> None:
        total, warm, lambdas = (int(self._config[name]) for name in ("total", "warm", "lambdas"))
        clock = Clock(warm, lambdas)
        while self.count < total:
            await asyncio.sleep(LOOK)
            if clock.look(time.perf_counter(), self.count, self._lambdas):
                note(self._config, "warmed")
        result = clock.result(time.perf_counter(), self.count)
        note(self._config, "result", {**result, "lambdas": self._lambdas})


class _Plugin:
    async def create(self, config: Mapping[str, Any]) -> _Factory:
        return _Factory(config)


plugin = _Plugin()
