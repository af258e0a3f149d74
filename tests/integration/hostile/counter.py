"""A lambda that only counts records, in a file that the test can read at any time.

Setting `count`: the path of the file. Its first eight bytes are the number of records that were handled.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdk_python import CloseReason, IContext, IPartitionLambda, IPartitionLambdaFactory, Message

NUMBER = struct.Struct("Q")


class Counter:
    """The lambda of one partition."""

    def __init__(self, context: IContext, factory: Factory) -> None:
        self._context = context
        self._factory = factory

    def handler(self, message: Message) -> None:
        self._factory.count_one()
        self._context.checkpoint(message.offset)

    async def close(self, reason: CloseReason) -> None:
        pass


class Factory:
    """Creates the lambdas of the process, and counts for all of them."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), NUMBER.size)
        self._count = 0

    def count_one(self) -> None:
        self._count += 1
        NUMBER.pack_into(self._memory, 0, self._count)

    async def create(self, config: Mapping[str, Any], context: IContext) -> IPartitionLambda:
        del config  # the same as the plugin's
        return Counter(context, self)

    async def dispose(self) -> None:
        pass


async def create(config: Mapping[str, Any]) -> IPartitionLambdaFactory:
    """The plugin is this module."""
    return Factory(Path(config["count"]))
