"""The same as the extension `_quick`, in Python: for where it was not built.

The classes hold what the extension's methods read. Their docstrings are at the classes that begin with them.
"""

import contextvars
from typing import Any


class Counted:
    """The first part of `Outcomes`."""

    __slots__ = ("put", "under_way")


class Source:
    """The first part of `_outcome.Source`, and of a batch."""

    __slots__ = (
        *("called", "counting", "is_wide", "keyed", "keys", "outcomes", "owner", "settled", "size"),
        *("sources", "topic", "values"),
    )


class Outcome:
    """The first part of `_outcome.Outcome`: what is called for each record where code looks at it."""

    __slots__ = ("call", "context", "index", "kept", "more", "source")

    def done(self: Any) -> bool:
        """Whether the outcome is known, or the await of it was cancelled."""
        return bool(self.source.settled if self.kept is None else self._is_done())

    def cancelled(self: Any) -> bool:
        """Whether the await of it was cancelled. What was produced is written all the same."""
        return self.kept is not None and self._is_cancelled()

    def exception(self: Any) -> BaseException | None:
        """The failure; None: it is written. Raises ``InvalidStateError`` when the outcome is not known yet."""
        return None if self.kept is None and self.source.settled else self._receive()

    def add_done_callback(self: Any, call: Any, *, context: contextvars.Context | None = None) -> None:
        """Call this with the outcome, soon after it is known."""
        self._add_done_callback(call, context=context)


class Queue:
    """The first part of `Producing`."""

    def put(self: Any, *arguments: Any, **named: Any) -> Any:
        """Write a record to Kafka: every record as `Producing.produce` does."""
        return self.produce(*arguments, **named)
