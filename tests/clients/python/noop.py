"""A lambda that counts records and checkpoints each: ``python -m tests.clients.python.noop NAME``."""

import sys

from sdk_python import IContext, Message, partition_lambda, serve

handled = 0


@partition_lambda
def handle(message: Message, context: IContext) -> None:
    global handled  # noqa: PLW0603  what a lambda of one function has
    handled += 1
    context.checkpoint(message.offset)


if __name__ == "__main__":
    sys.exit(serve.main([sys.argv[1], "tests.clients.python.noop"]))
