"""The lambdas of a shop, which stumble where a record tells them to. The value is JSON: `{"order": 7, "is": "well"}`.

| `is` | the handler |
| --- | --- |
| `well` | processes it |
| `priceless` | raises a ValueError, which is critical |
| `unknown` | raises a KeyError, which is critical |
| `endless` | never finishes it: nothing of the partition is checkpointed from here on |
| `pending` | pauses the partition once: what it needs is down |
"""

from __future__ import annotations

import json

from sdk_python import IContext, Message, partition_lambda

__version__ = "1.4.0"

_stuck: set[tuple[str, int]] = set()
_paused: set[tuple[str, int]] = set()


@partition_lambda
def handle(message: Message, context: IContext) -> None:
    order = json.loads(message.value or b"{}")
    where = (message.topic, message.partition)
    match order["is"]:
        case "priceless":
            raise ValueError(f"order {order['order']} has no amount")
        case "unknown":
            raise KeyError(f"customer-{order['order']}")
        case "endless":
            _stuck.add(where)
        case "pending" if where not in _paused:
            _paused.add(where)
            context.pause("the warehouse's database is away")
            return
    if where not in _stuck:
        context.checkpoint(message.offset)
