"""The lambda of the measurements: it notes when a partition got its lambda, and checkpoints each message at once.

Settings: ``log`` (a file, to which all processes append a line of JSON for each lambda that is created);
``served_us`` (so many microseconds pass for each record of the process, without CPU time; default: none).
"""

import json
import os
import time
from collections.abc import Mapping
from typing import Any

from sdk_python import IContext, Message


class _Pace:
    """A server that needs a fixed time for each record: it keeps its schedule, also if a sleep takes too long."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._free = 0.0

    def serve(self) -> None:
        now = time.perf_counter()
        self._free = max(self._free, now) + self._seconds
        if self._free - now > 0.002:  # shorter sleeps would be mostly overhead
            time.sleep(self._free - now)


class _Lambda:
    def __init__(self, context: IContext) -> None:
        self._context = context

    def handler(self, message: Message) -> None:
        self._context.checkpoint(message.offset)


class _PacedLambda(_Lambda):
    def __init__(self, context: IContext, pace: _Pace) -> None:
        super().__init__(context)
        self._pace = pace

    def handler(self, message: Message) -> None:
        self._pace.serve()
        super().handler(message)


class _Factory:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self._log = os.open(config["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        served = float(config.get("served_us", 0))
        self._pace = _Pace(served / 1e6) if served else None

    async def create(self, _: Mapping[str, Any], context: IContext) -> _Lambda:
        line = {"partition": context.partition, "at": time.monotonic(), "pid": os.getpid()}
        os.write(self._log, json.dumps(line).encode() + b"\n")
        return _Lambda(context) if self._pace is None else _PacedLambda(context, self._pace)

    async def dispose(self) -> None:
        os.close(self._log)


class _Plugin:
    async def create(self, config: Mapping[str, Any]) -> _Factory:
        return _Factory(config)


plugin = _Plugin()
