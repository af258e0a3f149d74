"""How a lambda takes its messages: one at a time, as a list, or as columns."""

from collections.abc import Callable
from enum import Enum
from typing import Any, Final, NamedTuple

from ._errors import FailedAt
from ._message import Handler, Message, MessageColumns


class Kind(Enum):
    """What a lambda's method takes; the value is its name."""

    EACH = "handler"
    BATCH = "handle_batch"
    COLUMNS = "handle_columns"


METHODS: Final = tuple(kind.value for kind in Kind)


class Handling(NamedTuple):
    """A lambda's method, and what it takes."""

    call: Callable[[Any], Any]
    kind: Kind
    message_kind: type[Message] = Message
    """What each message is made as. The document router has its own: to make a second message of each costs more."""


def handling_of(lambda_: object) -> Handling:
    """How this lambda, which `checked_lambda` has accepted, takes its messages."""
    kind = next(kind for kind in Kind if getattr(lambda_, kind.value, None) is not None)
    return Handling(getattr(lambda_, kind.value), kind, getattr(lambda_, "_message_kind", Message))


def one_at_a_time(lambda_: object) -> Handler:
    """A handler of one message for any lambda, for those who have the messages one at a time."""
    call, kind, _ = handling_of(lambda_)
    match kind:
        case Kind.EACH:
            return call
        case Kind.BATCH:
            return lambda message: call([message])
        case Kind.COLUMNS:
            return lambda message: call(columns_of(message))


def columns_of(message: Message) -> MessageColumns:
    """The columns of one message."""
    return MessageColumns(
        message.topic,
        message.partition,
        [message.offset],
        [message.timestamp],
        message.timestamp_type,
        [message.key],
        [message.value],
        [message.headers],
    )


def cause_of(error: BaseException) -> BaseException:
    """What to report of an exception that a lambda raised: for a `FailedAt`, the error that it was raised from."""
    return error.__cause__ or error if isinstance(error, FailedAt) else error


def failed_offset(error: BaseException, first: int, last: int) -> int | None:
    """The offset of the message of a batch that failed; None: nobody knows.

    The lambda may name it (`FailedAt`). A batch of one message has no other.
    """
    if isinstance(error, FailedAt) and first <= error.offset <= last:
        return error.offset
    return first if first == last else None
