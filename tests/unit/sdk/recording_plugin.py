"""A plugin that remembers what the SDK did with it, for tests over gRPC."""

import asyncio
from collections.abc import Mapping
from typing import Any

from sdk_python import CloseReason, IContext, Message


class Recording:
    """A plugin that is its own factory and remembers everything."""

    def __init__(self) -> None:
        self.config: Mapping[str, Any] | None = None
        self.plugins_created = 0
        self.contexts: list[IContext] = []
        self.handled: list[int] = []
        self.closed: list[CloseReason] = []
        self.disposed = 0
        self.allow_close = asyncio.Event()
        self.allow_close.set()
        self.checkpoint_in_close: int | None = None
        self.fail_create: Exception | None = None
        self.on_message: Any = None
        self.seen = asyncio.Condition()

    async def create(self, config: Mapping[str, Any], context: IContext | None = None) -> Any:
        if context is None:
            self.plugins_created += 1
            self.config = config
            return self
        if self.fail_create is not None:
            raise self.fail_create
        self.contexts.append(context)
        return _Lambda(self, context)

    async def dispose(self) -> None:
        self.disposed += 1

    async def until_handled(self, count: int) -> None:
        async with self.seen:
            await self.seen.wait_for(lambda: len(self.handled) >= count)


class _Lambda:
    def __init__(self, owner: Recording, context: IContext) -> None:
        self.owner = owner
        self.context = context

    async def handler(self, message: Message) -> None:
        if self.owner.on_message is not None:
            result = self.owner.on_message(message, self.context)
            if result is not None:
                await result
        self.owner.handled.append(message.offset)
        async with self.owner.seen:
            self.owner.seen.notify_all()

    async def close(self, reason: CloseReason) -> None:
        await self.owner.allow_close.wait()
        if self.owner.checkpoint_in_close is not None:
            self.context.checkpoint(self.owner.checkpoint_in_close)
        self.owner.closed.append(reason)
