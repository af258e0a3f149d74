"""The lambda of the chaos runs: it records all its calls, and fails at records that ask for it.

``python -m tests.chaos.recorder NAME`` serves it. Other languages have the same program (tests/clients).

| setting | meaning |
| --- | --- |
| `folder` | the folder of the histories |
| `label` | the name of this process, a new one for each start |
| `slot` | the slot of the sidecar that it dials |
| `every` | the number of messages between checkpoints; 10 |
| `idle` | seconds after the last message before the last checkpoint; 0.05 |

A record's value is JSON. `{"fail": "raise"}` makes the handler raise, `{"fail": "restart"}` calls ``context.error``
with restart. With `"attempts": n` that happens n times in all processes together, otherwise always.

The state of each checkpoint is its offset.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdk_python import CloseReason, IContext, IPartitionLambda, IPartitionLambdaFactory, Message, serve
from tests.chaos.journal import Journal


class Recorder:
    """The lambda of one partition."""

    def __init__(self, config: Mapping[str, Any], context: IContext, journal: Journal, lease: str) -> None:
        self._context = context
        self._journal = journal
        self._lease = lease
        self._every = int(config.get("every", 10))
        self._idle = float(config.get("idle", 0.05))
        self._failures = Path(config["folder"]) / "failures"
        self._last = -1
        self._since = 0
        self._timer: asyncio.TimerHandle | None = None
        where: dict[str, Any] = {"partition": context.partition, "start": context.start_offset}
        where |= {"lane": context.lane, "state": context.state.decode()}
        journal.write("created", lease=lease, slot=config["slot"], attempt=context.attempt, **where)

    def handler(self, message: Message) -> None:
        record = json.loads(message.value or b"{}")
        if record.get("fail") and self._fails(record, message.offset):
            return
        self._note("handled", offset=message.offset)
        self._last = message.offset
        self._since += 1
        if self._timer is not None:
            self._timer.cancel()
        if self._since >= self._every:
            self._checkpoint()
        else:
            self._timer = asyncio.get_running_loop().call_later(self._idle, self._checkpoint)

    async def close(self, reason: CloseReason) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._note("closing", reason=str(reason))
        # Checkpoint the last batch in half of the cases only: an end without it must be correct too.
        if reason is not CloseReason.ERROR and self._last % 2 == 0:
            self._checkpoint()
        self._note("closed")

    def _checkpoint(self) -> None:
        if self._since == 0:
            return
        self._since = 0
        # Written first, so that the sidecar never knows more than the history.
        self._note("checkpointed", offset=self._last)
        self._context.checkpoint(self._last, state=b"%d" % self._last)

    def _fails(self, record: Mapping[str, Any], offset: int) -> bool:
        attempts = record.get("attempts")
        if attempts is not None and self._counted(offset) > attempts:
            return False
        critical = record["fail"] == "raise"
        self._note("failed", offset=offset, critical=critical)
        if critical:
            raise ValueError(f"record {offset} asks for it")
        self._context.error(ConnectionError(f"record {offset} asks for it"), restart=True, offset=offset)
        return True

    def _counted(self, offset: int) -> int:
        """The number of attempts at this record in all processes, this one included."""
        file = os.open(
            self._failures / f"{self._context.partition}-{offset}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
        )
        try:
            os.write(file, b".")
            return os.fstat(file).st_size
        finally:
            os.close(file)

    def _note(self, kind: str, **fields: Any) -> None:
        self._journal.write(kind, lease=self._lease, partition=self._context.partition, **fields)


class Factory:
    """The factory, one per process."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._label = str(config["label"])
        self._journal = Journal(Path(config["folder"]) / "history" / f"lambda-{self._label}.jsonl")
        self._made = 0
        self._journal.write("started", pid=os.getpid())

    async def create(self, config: Mapping[str, Any], context: IContext) -> IPartitionLambda:
        self._made += 1
        return Recorder(config, context, self._journal, f"{self._label}.{self._made}")

    async def dispose(self) -> None:
        self._journal.write("disposed")


async def create(config: Mapping[str, Any]) -> IPartitionLambdaFactory:
    """The plugin is this module."""
    return Factory(config)


if __name__ == "__main__":
    sys.exit(serve.main([sys.argv[1], "tests.chaos.recorder"]))
