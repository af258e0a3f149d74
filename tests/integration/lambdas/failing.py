"""A recorder that fails at one record, or at several.

| setting | meaning; default |
| --- | --- |
| `fail_partition` | the partition of the record; 0 |
| `fail_offset` | the offset of the record; it is not handled |
| `fail_records` | instead of these two: several records, each as [partition, offset] |
| `fail_how` | `raise` (critical) or `restart` (recoverable); `raise` |
| `fail_named` | a `restart` names the record's offset; false |
| `fail_once` | a process fails only once at each record; false |
| `fail_attempts` | the last attempt that fails; 1000 |
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
