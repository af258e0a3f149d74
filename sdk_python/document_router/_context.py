"""The `IContext` of one document's lambda."""

import asyncio
from collections.abc import Awaitable, Hashable, Iterable, Sequence
from typing import Protocol

from sdk_python._checkpoints import checked_skipped
from sdk_python._context import check_error, check_offset, check_seconds
from sdk_python._errors import ProduceError
from sdk_python._interfaces import IContext
from sdk_python._outcomes import Outcome, Outcomes
from sdk_python._produce import Headers, Produced, Record, put_all

from ._keys import ids_of


class IDocumentContext(IContext, Protocol):
    """An `IContext` whose partition is one document's part of it. Offsets are those of the partition.

    What differs: `pause` pauses the whole partition; ``error(restart=True)`` makes this document's lambda anew and
    the others go on; ``error(restart=False)`` is reported, and with ``offset`` the document is corrupt, as when its
    handler raises; `completed_beyond` does nothing, since the router counts itself, and `skipped` counts for the
    partition, without its names; a checkpoint above the document's last message is ignored with a warning.
    """

    @property
    def tenant_id(self) -> str:
        """The document's tenant; empty where keys have none."""
        ...

    @property
    def document_id(self) -> str:
        """The document."""
        ...

    def update_activity_time(self, seconds_from_now: float | None = None) -> None:
        """The document is idle so many seconds from now on; None: after its usual time, as if a message had come.

        Raises:
            TypeError: it is no number.
            ValueError: it is negative or not finite.
        """
        ...


class Owner(Protocol):
    """Whose lambda it is. Only the latest context of a document, while its lambda lives, reaches it."""

    @property
    def key(self) -> Hashable:
        """The document's key."""
        ...

    @property
    def partition(self) -> IContext:
        """The context of the partition."""
        ...

    def on_checkpoint(self, offset: int) -> None:
        """``context.checkpoint``."""
        ...

    def on_skipped(self, count: int) -> None:
        """``context.skipped``."""
        ...

    def on_error(self, error: BaseException | str, restart: bool, offset: int | None) -> None:
        """``context.error``."""
        ...

    def on_report(self, error: BaseException | str, offset: int | None) -> None:
        """``context.report``."""
        ...

    def on_pause(self, reason: str, retry_after: float | None, offset: int | None) -> None:
        """``context.pause``. Raises ValueError when the offset cannot be."""
        ...

    def on_activity(self, seconds_from_now: float | None) -> None:
        """``context.update_activity_time``."""
        ...


class DocumentContext:
    """Checks what the lambda says, and passes it on until `end`: what comes late from an ended lambda is ignored."""

    __slots__ = ("_ended", "_outcomes", "_owner", "attempt", "start_offset")

    def __init__(self, owner: Owner, start_offset: int | None, attempt: int) -> None:
        self.start_offset = start_offset
        self.attempt = attempt
        self._owner = owner
        self._ended = False
        self._outcomes: Outcomes | None = None  # of what it produces; most documents produce nothing

    def __repr__(self) -> str:
        return f"<context of document {self._owner.key!r} in {self.topic}/{self.partition}>"

    def end(self) -> None:
        """The lambda is over: nothing that it says counts from now on."""
        self._ended = True
        if self._outcomes is not None:
            self._outcomes.end()

    @property
    def topic(self) -> str:
        """See `IContext.topic`."""
        return self._owner.partition.topic

    @property
    def partition(self) -> int:
        """See `IContext.partition`."""
        return self._owner.partition.partition

    @property
    def lease(self) -> str:
        """See `IContext.lease`: that of the partition."""
        return self._owner.partition.lease

    @property
    def tenant_id(self) -> str:
        """See `IDocumentContext.tenant_id`."""
        return ids_of(self._owner.key).tenant_id

    @property
    def document_id(self) -> str:
        """See `IDocumentContext.document_id`."""
        return ids_of(self._owner.key).document_id

    def checkpoint(self, offset: int) -> None:
        """See `IContext.checkpoint`."""
        if type(offset) is not int or offset < 0:
            check_offset(_int(offset))
        if not self._ended and (self._outcomes is None or self._outcomes.admits(offset)):
            self._owner.on_checkpoint(offset)

    def completed_beyond(self, count: int, size: int) -> None:
        """See `IDocumentContext`: checked, and nothing else."""
        if min(_int(count), _int(size)) < 0:
            raise ValueError(f"completed_beyond(count, size): numbers are not negative, got {count}, {size}")

    def skipped(self, count: int, skipping: Sequence[str] = (), skipping_count: int | None = None) -> None:
        """See `IDocumentContext`: the document's own count is one part of the partition's."""
        count, _, _ = checked_skipped(count, skipping, skipping_count)
        if not self._ended:
            self._owner.on_skipped(count)

    def error(self, error: BaseException | str, restart: bool, offset: int | None = None) -> None:
        """See `IDocumentContext`."""
        check_error(error, offset)
        if not isinstance(restart, bool):
            raise TypeError(f"error(error, restart): restart is True or False, got {type(restart).__name__}")
        if not self._ended:
            self._owner.on_error(error, restart, offset)

    def report(self, error: BaseException | str, offset: int | None = None) -> None:
        """See `IContext.report`."""
        check_error(error, offset)
        if not self._ended:
            self._owner.on_report(error, offset)

    def pause(self, reason: str = "", retry_after: float | None = None, offset: int | None = None) -> None:
        """See `IDocumentContext`."""
        if not isinstance(reason, str):
            raise TypeError(f"pause(reason): a text, got {type(reason).__name__}")
        check_seconds(retry_after)
        check_offset(offset)
        if not self._ended:
            self._owner.on_pause(reason, retry_after, offset)

    def produce(
        self,
        topic: str,
        value: bytes | str | None,
        key: bytes | str | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> Awaitable[Produced]:
        """See `IContext.produce`."""
        outcomes = self._own_outcomes()
        if not self._ended:
            produced = self._owner.partition.produce(topic, value, key, headers, partition)
            outcomes.adopt(produced)
            return produced
        outcome: Outcome[Produced] = Outcome(loop=asyncio.get_running_loop())
        outcomes.add(outcome)
        outcome.set_exception(ProduceError("the document's lambda has ended", topic, "stale_lease"))
        return outcome

    def produce_many(self, topic: str, records: Iterable[Record]) -> Awaitable[list[Produced]]:
        """See `IContext.produce_many`."""
        return put_all(self.produce, topic, records, self._own_outcomes())

    def _own_outcomes(self) -> Outcomes:
        """What the document produced, which holds back its own checkpoints and fails itself alone."""
        if self._outcomes is None:
            self._outcomes = Outcomes(self._owner.on_checkpoint, lambda error: self.error(error, restart=True))
            if self._ended:
                self._outcomes.end()
        return self._outcomes

    def resume(self) -> None:
        """See `IContext.resume`."""
        if not self._ended:
            self._owner.partition.resume()

    def update_activity_time(self, seconds_from_now: float | None = None) -> None:
        """See `IDocumentContext.update_activity_time`."""
        if seconds_from_now != 0:
            check_seconds(seconds_from_now)
        if not self._ended:
            self._owner.on_activity(seconds_from_now)


def _int(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"an offset or a count is an int, got {type(value).__name__}")
    return value
