"""A lambda that reads every order, and finds no fault with any."""

from __future__ import annotations

from sdk_python import IContext, Message, partition_lambda

__version__ = "2.0.1"


@partition_lambda
def handle(message: Message, context: IContext) -> None:
    context.checkpoint(message.offset)
