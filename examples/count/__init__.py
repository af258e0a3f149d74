"""Counts the records of each key and minute, exactly once. README.md says how."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sdk_python import IContext, Message

_STATE_BYTES: Final = 2048
"""Of all lanes of a partition together: as much goes with its checkpoint."""
_MINUTE_MS: Final = 60_000


class Counts:
    """The counts of one partition or lane that are not written yet. They are the state of its checkpoints."""

    def __init__(self, context: IContext, output: str) -> None:
        self._context = context
        self._output = output
        self._room = _STATE_BYTES // context.lanes
        self._minute, counts = json.loads(context.state) if context.state else (0, {})
        self._counts = Counter(counts)

    def handle_batch(self, messages: Sequence[Message]) -> None:
        """Count these messages, and checkpoint them together with the counts."""
        for message in messages:
            minute = (message.timestamp or 0) // _MINUTE_MS
            if minute != self._minute:
                self._write()
                self._minute = minute
            self._counts[(message.key or b"").decode(errors="replace")] += 1
        state = self._state()
        if len(state) > self._room:
            self._write()
            state = self._state()
        self._context.checkpoint(messages[-1].offset, state)

    def _state(self) -> bytes:
        return json.dumps([self._minute, self._counts], separators=(",", ":")).encode()

    def _write(self) -> None:
        """Write the counts as records that whoever reads them adds up, and begin at 0."""
        minute = datetime.fromtimestamp(self._minute * 60, UTC).isoformat(timespec="minutes")
        for key, count in self._counts.items():
            value = json.dumps({"minute": minute, "key": key, "count": count})
            self._context.produce(self._output, value, f"{minute} {key}")
        self._counts.clear()


class Factory:
    """Makes the lambda of each partition or lane."""

    def __init__(self, output: str) -> None:
        self._output = output

    async def create(self, config: Mapping[str, Any], context: IContext) -> Counts:  # noqa: ARG002
        """Make the lambda of one partition or lane."""
        return Counts(context, self._output)

    async def dispose(self) -> None:
        """There is nothing to close."""


class Plugin:
    """Reads the setting ``output``, the topic of the counts."""

    async def create(self, config: Mapping[str, Any]) -> Factory:
        """Make the factory."""
        return Factory(config["output"])


plugin = Plugin()
