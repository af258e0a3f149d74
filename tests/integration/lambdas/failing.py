"""A recorder that fails at one offset of one partition.

| setting | meaning; default |
| --- | --- |
| `fail_partition` | where; 0 |
| `fail_offset` | at which message, before its handler is done |
| `fail_how` | `raise` (critical) or `restart` (recoverable); `raise` |
| `fail_attempts` | it fails while the attempt is not above this; 1000 |
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

from sdk_python import IPartitionLambdaFactory, Message
from tests.integration.lambdas.recorder import Factory, Recorder


class Failing(Recorder):
    """The lambda of one partition."""

    def handler(self, message: Message) -> Awaitable[None] | None:
        config = self.config
        if (
            message.partition != config.get("fail_partition", 0)
            or message.offset != config["fail_offset"]
            or self.context.attempt > config.get("fail_attempts", 1000)
        ):
            return super().handler(message)
        self.history.write("failing", lease=self.lease, partition=message.partition, offset=message.offset)
        if config.get("fail_how", "raise") == "raise":
            raise ValueError(f"cannot read message {message.offset}")
        self.context.error(ConnectionError("the store is away"), restart=True)
        return None


async def create(config: Mapping[str, Any]) -> IPartitionLambdaFactory:
    """The plugin is this module."""
    return Factory(config, Failing)
