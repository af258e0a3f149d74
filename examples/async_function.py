"""Saves that overlap: the lambda takes the next messages while a store still saves the last ones.

Saves end in any order; the checkpoint is the message before the oldest save that is still running.

    python -m sdk_python.serve saver examples.async_function
"""

import asyncio
from collections import deque

from sdk_python import IContext, Message, partition_lambda

AT_ONCE = 100
saves: dict[IContext, deque[tuple[int, asyncio.Task[None]]]] = {}


async def save(message: Message) -> None:
    await asyncio.sleep(0.01, message)  # your database here


@partition_lambda
async def handle(message: Message, context: IContext) -> None:
    under_way = saves.setdefault(context, deque())
    task = asyncio.create_task(save(message))
    under_way.append((message.offset, task))
    task.add_done_callback(lambda _: advance(context))
    if len(under_way) >= AT_ONCE:
        await asyncio.wait({under_way[0][1]})


def advance(context: IContext) -> None:
    under_way = saves[context]
    while under_way and under_way[0][1].done():
        offset, task = under_way.popleft()
        if not task.cancelled() and (error := task.exception()):
            return context.error(error, restart=True, offset=offset)
        context.checkpoint(offset)
    return None
