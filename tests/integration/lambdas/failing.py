"""A recorder that fails at one offset of one partition, or at several records.

| setting | meaning; default |
| --- | --- |
| `fail_partition` | where; 0 |
| `fail_offset` | at which message, before its handler is done |
| `fail_records` | instead of both: at each of these, as [partition, offset] |
| `fail_how` | `raise` (critical) or `restart` (recoverable); `raise` |
| `fail_named` | a `restart` names the message's offset; false |
| `fail_once` | it fails once at each record, in the life of the process; false |
| `fail_attempts` | it fails while the attempt is not above this; 1000 |
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

from sdk_python import IContext, IPartitionLambdaFactory, Message
from tests.integration.lambdas.recorder import Factory, Recorder
from tests.integration.lambdas.writer import HistoryWriter

__version__ = "failing-7"

_passed: set[tuple[int, int]] = set()


class Failing(Recorder):
    """The lambda of one partition."""

    def __init__(self, config: Mapping[str, Any], context: IContext, history: HistoryWriter) -> None:
        super().__init__(config, context, history)
        records = config.get("fail_records") or [(config.get("fail_partition", 0), config["fail_offset"])]
        self.failing = {(partition, offset) for partition, offset in records}

    def handler(self, message: Message) -> Awaitable[None] | None:
        config = self.config
        record = (message.partition, message.offset)
        if (
            record not in self.failing
            or self.context.attempt > config.get("fail_attempts", 1000)
            or record in _passed
        ):
            return super().handler(message)
        if config.get("fail_once"):
            _passed.add(record)
        self.history.write("failing", lease=self.lease, partition=message.partition, offset=message.offset)
        if config.get("fail_how", "raise") == "raise":
            raise ValueError(f"cannot read message {message.offset}")
        named = message.offset if config.get("fail_named") else None
        self.context.error(ConnectionError("the store is away"), restart=True, offset=named)
        return None


async def create(config: Mapping[str, Any]) -> IPartitionLambdaFactory:
    """The plugin is this module."""
    return Factory(config, Failing)
