"""The lambda of the benchmarks: it only counts records, and checkpoints all the time.

Settings: ``total`` (records until it is done), ``warm`` and ``lambdas`` (records handled, and partitions with a
lambda, before the clock starts), ``result`` (a file for the figures as JSON), ``warmed`` (a file that appears when
the clock starts), ``scores``, ``process`` and ``processes`` (the processes that share the records;
`benchmarks.scores`); and for some rows ``eager`` (a partition begins at once, and not when all have their lambda),
``working`` (work as `benchmarks.busy` for each record), ``headers`` (how many each record has), ``taking`` (`batch`:
the records come as lists; `columns`: as columns).
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.busy import work
from benchmarks.clock import Clock
from benchmarks.scores import Scores
from sdk_python import CloseReason, IContext, Message, MessageColumns

LOOK = 0.002
"""Seconds between two checks of the counts: the resolution of the clock, and the interval of checkpoints."""


class Counter:
    """One partition's lambda."""

    def __init__(self, context: IContext, headers: int = 0) -> None:
        self._context = context
        self._headers = headers
        self._last: Message | None = None
        self._done: Message | None = None
        self.open = True
        self.start = context.start_offset or 0
        self.count = 0

    def handler(self, message: Message) -> None:
        """Count."""
        self.count += 1
        self._last = message

    def checkpoint(self) -> None:
        """Checkpoint all counted records. Raises ``RuntimeError`` when a record was missed or came twice.

        The topics have no gaps, so ``count`` says the offset of the last record. To check that now and then costs the
        handler less than to compare each record.
        """
        if self._last is self._done or self._last is None:
            return
        self._done = self._last
        if self._last.offset != self.start + self.count - 1 or len(self._last.headers) != self._headers:
            raise RuntimeError(f"after {self.count} records from offset {self.start} on: {self._last}")
        self._context.checkpoint(self._last.offset)

    def close(self, _: CloseReason) -> None:
        """Checkpoint: another process continues after it."""
        self.checkpoint()
        self.open = False

    def piece(self) -> list[int]:
        """The counted records: partition, first offset, number."""
        return [self._context.partition, self.start, self.count]


class WorkingCounter(Counter):
    """Works for each record before it counts it."""

    def handler(self, message: Message) -> None:
        work()
        self.count += 1
        self._last = message


class BatchCounter(Counter):
    """Takes lists."""

    handler = None  # type: ignore[assignment]  # a lambda has one method for its messages

    def handle_batch(self, messages: Sequence[Message]) -> None:
        """Count."""
        self.count += len(messages)
        self._last = messages[-1]


class ColumnsCounter(Counter):
    """Takes columns."""

    handler = None  # type: ignore[assignment]

    def handle_columns(self, columns: MessageColumns) -> None:
        """Count."""
        self.count += len(columns)
        none = Message(columns.topic, columns.partition, columns.last_offset, None, 0, None, None, ())
        self._last = none


_COUNTERS: Mapping[str, type[Counter]] = {"": Counter, "batch": BatchCounter, "columns": ColumnsCounter}


class CountingFactory:
    """Creates the counters and watches them."""

    def __init__(self, config: Mapping[str, Any], scores: Scores) -> None:
        self._config = config
        self._scores = scores
        self._counters: list[Counter] = []
        self._begin = asyncio.Event()
        if config.get("eager"):
            self._begin.set()
        self._watch = asyncio.ensure_future(self._report())

    async def create(self, _: Mapping[str, Any], context: IContext) -> Counter:
        kind = WorkingCounter if self._config.get("working") else _COUNTERS[self._config.get("taking", "")]
        counter = kind(context, int(self._config.get("headers", 0)))
        self._counters.append(counter)
        await self._begin.wait()
        return counter

    async def dispose(self) -> None:
        """Nothing to close."""
        self._scores.close()

    async def _report(self) -> None:
        try:
            result: Mapping[str, object] = await self._result()
        except RuntimeError as error:
            result = {"strange": str(error)}
            note(self._config, "warmed")  # the runner waits for this one first
        note(self._config, "result", result)

    async def _result(self) -> Mapping[str, object]:
        total = int(self._config["total"])
        clock = Clock(int(self._config["warm"]), int(self._config["lambdas"]))
        count = 0
        while count < total:
            await asyncio.sleep(LOOK)
            self._checkpoint()
            self._scores.put(sum(counter.count for counter in self._counters), len(self._counters))
            count, lambdas = self._scores.all()
            if lambdas >= int(self._config["lambdas"]):
                self._begin.set()
            if clock.look(time.perf_counter(), count, lambdas):
                note(self._config, "warmed")
        result = clock.result(time.perf_counter(), count)
        self._checkpoint()
        return {**result, "pieces": [counter.piece() for counter in self._counters if counter.count]}

    def _checkpoint(self) -> None:
        for counter in self._counters:
            if counter.open:
                counter.checkpoint()


class CountingPlugin:
    """The plugin."""

    async def create(self, config: Mapping[str, Any]) -> CountingFactory:
        return CountingFactory(config, Scores.of(config))


def note(config: Mapping[str, Any], setting: str, what: object = True) -> None:
    """Write the file that the setting names, atomically: the runner waits for it."""
    file = Path(config[setting])
    part = file.with_suffix(".part")
    part.write_text(json.dumps(what))
    part.rename(file)


plugin = CountingPlugin()
