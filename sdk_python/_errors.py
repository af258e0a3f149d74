"""What the SDK raises, and how an exception becomes the fields of the wire's Error."""

import traceback
from collections.abc import Sequence
from typing import Final, Literal

MAX_MESSAGE_BYTES: Final = 8 * 1024
MAX_TYPE_BYTES: Final = 256
MAX_STACK_BYTES: Final = 32 * 1024


class SdkError(Exception):
    """Base class of the exceptions that the SDK raises.

    ::

        SdkError
        ├── PluginError     a plugin cannot be loaded, or does not fit the interfaces
        ├── SettingsError   a setting, an option or a config file cannot be used
        ├── RefusedError    the sidecar refuses this process
        ├── ProduceError    a record was not written
        └── NotCommittedError    an offset is not known to be committed
    """


class PluginError(SdkError):
    """A plugin cannot be loaded, or what it returned does not fit the interfaces."""


class SettingsError(SdkError):
    """A setting, a command line option or a config file cannot be used."""


class RefusedError(SdkError):
    """The sidecar refused the Offer: unknown lambda, protocol too old, bad token.

    Attributes:
        code: the name of the gRPC status, such as ``"NOT_FOUND"``.
        details: the text of the sidecar, which says what to do.
    """

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"the sidecar refused this process ({code}): {details}")
        self.code = code
        self.details = details


ProduceFailure = Literal["failed", "too_large", "not_allowed", "stale_lease", "too_much_held"]


class ProduceError(SdkError):
    """A record was not written, or is not known to be. Awaiting what ``context.produce`` returned raises it.

    Attributes:
        kind: ``"too_large"``: the broker or the sidecar refuses the record's size, and will refuse it again.
            ``"not_allowed"``: the lambda's ``produce`` in the sidecar's config does not list the topic.
            ``"stale_lease"``: this lambda does not have the partition any more, or its transaction was aborted.
            ``"too_much_held"``: with exactly-once, more than the sidecar holds waits for a checkpoint. ``"failed"``:
            anything else; the record may have been written all the same.
        reason: why, in words.
        topic: the topic of the record.
        results: of ``produce_many``: a `Produced` or an exception for each record, in their order; otherwise empty.
    """

    def __init__(self, text: str, topic: str, kind: ProduceFailure) -> None:
        super().__init__(f"not written to {topic} ({kind}): {text}")
        self.reason = text
        self.topic = topic
        self.kind: ProduceFailure = kind
        self.results: Sequence[object] = ()


class NotCommittedError(SdkError):
    """An offset is not known to be committed in Kafka. Awaiting ``context.committed`` raises it.

    The lease ended before the sidecar told of it, or the sidecar does not tell of commits. The offset may be
    committed all the same, or soon be.

    Attributes:
        offset: the offset that was awaited.
        reason: why, in words.
    """

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"offset {offset} is not known to be committed: {reason}")
        self.offset = offset
        self.reason = reason


class FailedAt(Exception):  # noqa: N818  named for what it says
    """Raised by ``handle_batch`` or ``handle_columns`` to name the message that failed.

    ::

        raise FailedAt(message.offset) from error

    It is reported with that offset and, if there is one, with the error that it was raised from. A batch that fails
    with another exception fails as a whole: then no message can be skipped or become a dead letter.
    """

    def __init__(self, offset: int) -> None:
        super().__init__(f"the message at offset {offset} failed")
        self.offset = offset


class HandlerFailedError(Exception):
    """A handler raised, or the awaitable that it returned did. ``__cause__`` is that exception, of whatever kind."""

    def __init__(self, offset: int | None) -> None:
        """``offset``: of the message; None: one of a batch, and nobody knows which."""
        super().__init__("the handler failed" if offset is None else f"the handler failed at offset {offset}")
        self.offset = offset


def clip(text: str, limit: int, *, keep_end: bool = False) -> str:
    """Cut ``text`` to at most ``limit`` bytes of UTF-8; what cannot be encoded is escaped."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > limit:
        data = data[-limit:] if keep_end else data[:limit]
    return data.decode("utf-8", "ignore")


def message_of(error: BaseException | str) -> str:
    """Return an error's text for people. Never raises, whatever the exception's ``__str__`` does."""
    try:
        text = str(error) or repr(error)
    except BaseException:  # noqa: BLE001, RUF100  a broken __str__ must not hide the failure itself
        text = f"<{type(error).__name__} without a readable text>"
    return clip(text, MAX_MESSAGE_BYTES)


def type_of(error: BaseException | str) -> str:
    """Return the qualified name of the exception's type; empty for a text."""
    if isinstance(error, str):
        return ""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return clip(name, MAX_TYPE_BYTES)


def stack_of(error: BaseException | str) -> str:
    """Return the traceback with its causes. If it is too long, its end is kept, where the raise is."""
    if isinstance(error, str):
        return ""
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001, RUF100  as above
        text = "".join(traceback.format_tb(error.__traceback__))
    return clip(text, MAX_STACK_BYTES, keep_end=True)
