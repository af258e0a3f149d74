"""Bills orders. Files in its folder say what is wrong this evening."""

import asyncio
import json
from pathlib import Path

from sdk_python import IContext, Message, partition_lambda

HERE = Path(__file__).parent

if (HERE / "broken").exists():  # a deploy that went wrong
    raise RuntimeError("the tax table is missing")


@partition_lambda
async def handle(message: Message, context: IContext) -> None:
    """Bill one order."""
    order = json.loads(message.value or b"{}")
    if order["amount"] is None and not (HERE / "mended").exists():
        raise ValueError(f"order {order['id']} has no amount")
    # The database does not answer.
    while (HERE / "stuck").exists():  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(0.05)
    context.checkpoint(message.offset)
