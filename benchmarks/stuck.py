"""A lambda that checkpoints every record, except in one partition, or in all, where it never does.

The setting ``stuck`` names the partition by its number, or is "all".
"""

from collections.abc import Mapping
from typing import Any

from sdk_python import IContext, Message


class _Lambda:
    def __init__(self, context: IContext, *, stuck: bool) -> None:
        self._context = context
        self._stuck = stuck

    def handler(self, message: Message) -> None:
        if not self._stuck:
            self._context.checkpoint(message.offset)


class _Factory:
    async def create(self, config: Mapping[str, Any], context: IContext) -> _Lambda:
        return _Lambda(context, stuck=config["stuck"] in (context.partition, "all"))

    async def dispose(self) -> None:
        """Nothing to close."""


class _Plugin:
    async def create(self, _: Mapping[str, Any]) -> _Factory:
        return _Factory()


plugin = _Plugin()
