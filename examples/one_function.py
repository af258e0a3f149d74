"""A lambda that is one function: counts the words of every message.

python -m sdk_python.serve words examples.one_function
"""

from collections import Counter

from sdk_python import IContext, Message, partition_lambda

words: Counter[bytes] = Counter()


@partition_lambda
def handle(message: Message, context: IContext) -> None:
    words.update((message.value or b"").split())
    if message.offset % 1000 == 0:
        print(words.most_common(3))
    context.checkpoint(message.offset)
