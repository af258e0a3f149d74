"""The extension of ``native/quick.c``: first parts of classes, with what is called for each record that is produced.

A method does what is usual. For all else it calls the method of the class that is named with it.
"""

import contextvars
from collections.abc import Callable
from typing import Any

from . import _batch, _outcome

class Counted:
    """The first part of `Outcomes`."""

    put: int
    """How many records were produced."""
    under_way: int
    """How many records have no outcome yet."""

class Source:
    """The first part of `_outcome.Source`. All but the first two are of a batch, and unset in other sources."""

    settled: bool
    called: list[Any]
    topic: str
    values: list[bytes | None]
    keys: list[bytes | None]
    outcomes: list[Any]
    sources: list[int] | None
    owner: Any
    counting: list[Any] | None
    size: int
    keyed: bool
    is_wide: bool

class Outcome:
    """The first part of `_outcome.Outcome`."""

    source: Any
    index: int
    kept: Any
    call: Callable[[Any], object] | None
    context: contextvars.Context | None
    more: list[tuple[Callable[[Any], object], contextvars.Context]] | None

    def done(self) -> bool:
        """Whether the outcome is known, or the await of it was cancelled (`_is_done`)."""

    def cancelled(self) -> bool:
        """Whether the await of it was cancelled (`_is_cancelled`). What was produced is written all the same."""

    def exception(self) -> BaseException | None:
        """The failure; None: it is written (`_receive`). Raises ``InvalidStateError``: it is not known yet."""

    def add_done_callback(
        self, call: Callable[[Any], object], /, *, context: contextvars.Context | None = None
    ) -> None:
        """Call this with the outcome, soon after it is known (`_add_done_callback`)."""

class Queue:
    """The first part of `Producing`."""

    counting: Any
    """What counts the next record."""
    _open: Any
    """The batch that takes more records, or None."""
    _kind: type[Any]
    """The class of outcomes."""
    _bytes: int
    _records: int
    """What waits or is under way."""
    _usual_bytes: int
    _usual_records: int
    """A record is usual while no more than so many bytes, and fewer than so many records, wait with it."""

    def put(
        self,
        topic: str,
        value: bytes | str | None,
        key: bytes | str | None = None,
        headers: Any = (),
        partition: int | None = None,
        source: int | None = None,
    ) -> _outcome.Outcome[_batch.Produced]:
        """Write a record to Kafka, as `IContext.produce` describes (`produce`)."""
