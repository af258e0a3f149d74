"""A plugin whose `factory.create` always raises. Each attempt is an event `failing` in the history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdk_python import IContext, IPartitionLambda, IPartitionLambdaFactory
from tests.integration.lambdas.writer import HistoryWriter


class Factory:
    """Creates no lambda."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.history = HistoryWriter(config)

    async def create(self, _: Mapping[str, Any], context: IContext) -> IPartitionLambda:
        self.history.write("failing", topic=context.topic, partition=context.partition)
        raise ConnectionError("the store is away")

    async def dispose(self) -> None:
        """Nothing to close."""


async def create(config: Mapping[str, Any]) -> IPartitionLambdaFactory:
    """The plugin is this module."""
    return Factory(config)
