"""The `IContext` of one document's lambda."""

import asyncio
from collections.abc import Awaitable, Hashable, Iterable, Sequence
from typing import Final, Literal, Protocol

from sdk_python._batch import Produced, refused, refused_many
from sdk_python._checkpoints import checked_skipped
from sdk_python._context import (
    check_error,
    check_offset,
    check_pause,
    check_report,
    check_seconds,
    producing_of,
)
from sdk_python._errors import ProduceError
from sdk_python._interfaces import IContext
from sdk_python._outcomes import Outcomes
from sdk_python._produce import Producing
from sdk_python._record import Columns, Headers, Record

from ._keys import ids_of

_ENDED: Final = "the document's lambda has ended"
_NO_STATE: Final = (
    "a document has no state of its own: Kafka keeps one for the partition's offset, and documents are at different "
    "offsets. Keep the document's state in a database or in a compacted topic"
)
_NOT_COMMITTED: Final = (
    "committed(offset) is not for documents: the partition's offset is committed when all of its documents are done"
)


class CorruptDocument(Exception):  # noqa: N818  named for what it says about the document
    """Raised by ``IPartitionLambdaFactory.create``: this document can never be opened; do not try again.

    The document is corrupt from its first unfinished record on. The setting ``corrupt_documents`` decides what
    follows. Any exception with an attribute ``corrupt = True`` says the same.
    """

    corrupt = True


class IDocumentContext(IContext, Protocol):
    """An `IContext` for one document of a partition. Offsets are those of the partition.

    It differs in this:

    - `pause` pauses the whole partition.
    - ``error(restart=True)`` makes this document's lambda anew; the other documents go on.
    - ``error(restart=False)`` is reported. With ``offset`` the document is corrupt, as when its handler raises.
    - `completed_beyond` does nothing, since the router counts itself.
    - `skipped` counts for the partition; its names are left out.
    - `checkpoint` with an offset above the document's last message is ignored with a warning.
    - There is no `state` and no `committed`, since what is committed is the partition's and not the document's. Both
      raise ``RuntimeError``, and so does `checkpoint` with a state.
    - `progress` is the partition's: work that goes on in one document keeps the partition from its ``deadline``.
    """

    @property
    def tenant_id(self) -> str:
        """The document's tenant; empty where keys have none."""
        ...

    @property
    def document_id(self) -> str:
        """The document's id; the key as text where keys have no tenant."""
        ...

    def update_activity_time(self, seconds_from_now: float | None = None) -> None:
        """Let the document become idle in so many seconds; None: after its usual time, as if a message had come.

        Raises ``TypeError`` when ``seconds_from_now`` is no number, ``ValueError`` when it is negative or not finite.
        """
        ...


class Owner(Protocol):
    """Does what a document does differently from its partition. `Document`, or a test."""

    @property
    def key(self) -> Hashable:
        """The document's key."""
        ...

    @property
    def partition(self) -> IContext:
        """The context of the partition."""
        ...

    def on_checkpoint(self, offset: int) -> None:
        """Take a checkpoint of the document."""
        ...

    def on_skipped(self, count: int) -> None:
        """Take the number of messages that the lambda has skipped so far."""
        ...

    def on_error(self, error: BaseException | str, restart: bool, offset: int | None) -> None:
        """End the document's lambda."""
        ...

    def on_report(self, error: BaseException | str, offset: int | None) -> None:
        """Report an error of the document."""
        ...

    def on_pause(self, reason: str, retry_after: float | None, offset: int | None) -> None:
        """Pause the partition. Raises ``ValueError`` when the offset cannot come again."""
        ...

    def on_activity(self, seconds_from_now: float | None) -> None:
        """Let the document become idle in so many seconds; None: after its usual time."""
        ...


class DocumentContext:
    """Checks what the lambda says and passes it on until `_end`. What an ended lambda says later is ignored."""

    __slots__ = ("_ended", "_outcomes", "_owner", "_producing", "attempt", "start_offset")

    def __init__(self, owner: Owner, start_offset: int | None, attempt: int) -> None:
        self.start_offset = start_offset
        self.attempt = attempt
        self._owner = owner
        self._ended = False
        self._outcomes: Outcomes | None = None  # of what it produces; most documents produce nothing
        self._producing: Producing | None = None

    def __repr__(self) -> str:
        return f"<context of document {self._owner.key!r} in {self.topic}/{self.partition}>"

    def _end(self) -> None:
        """Ignore from now on what the lambda says. Called by the document; no author should see it."""
        self._ended = True
        if self._outcomes is not None:
            self._outcomes.end()

    # ----------------------------------------------------------------------- as the partition's context has it

    @property
    def topic(self) -> str:
        """The topic of the partition."""
        return self._owner.partition.topic

    @property
    def partition(self) -> int:
        """The number of the partition."""
        return self._owner.partition.partition

    @property
    def lease(self) -> str:
        """The lease of the partition."""
        return self._owner.partition.lease

    @property
    def lane(self) -> int:
        """Which lane of the partition the document is in."""
        return self._owner.partition.lane

    @property
    def lanes(self) -> int:
        """How many lanes the partition has."""
        return self._owner.partition.lanes

    @property
    def guarantee(self) -> Literal["at-least-once", "exactly-once"]:
        """That of the partition."""
        return self._owner.partition.guarantee

    def progress(self, text: str = "") -> None:
        """Say that work goes on, as `IDocumentContext` describes."""
        if not self._ended:
            self._owner.partition.progress(text)

    def resume(self) -> None:
        """End a pause of the partition, as `IContext.resume` describes."""
        if not self._ended:
            self._owner.partition.resume()

    # ---------------------------------------------------------------------------- different for a document

    @property
    def tenant_id(self) -> str:
        """The document's tenant; empty where keys have none."""
        return ids_of(self._owner.key).tenant_id

    @property
    def document_id(self) -> str:
        """The document's id."""
        return ids_of(self._owner.key).document_id

    @property
    def state(self) -> bytes:
        """Raise ``RuntimeError``: a document has none."""
        raise RuntimeError(_NO_STATE)

    async def committed(self, offset: int) -> None:
        """Raise ``RuntimeError``: what is committed is the partition's."""
        del offset
        raise RuntimeError(_NOT_COMMITTED)

    def checkpoint(self, offset: int, state: bytes | None = None) -> None:
        """Note that the document's messages up to ``offset`` are processed, as `IContext.checkpoint` describes."""
        if state is not None:
            raise RuntimeError(_NO_STATE)
        if type(offset) is not int or offset < 0:
            check_offset(_int(offset))
        if not self._ended and (self._outcomes is None or self._outcomes.admits(offset)):
            self._owner.on_checkpoint(offset)

    def completed_beyond(self, count: int, size: int) -> None:
        """Check the arguments and do nothing: the router counts itself what is done after the checkpoint."""
        if min(_int(count), _int(size)) < 0:
            raise ValueError(f"completed_beyond(count, size): numbers are not negative, got {count}, {size}")

    def skipped(self, count: int, skipping: Sequence[str] = (), skipping_count: int | None = None) -> None:
        """Add what the document's lambda skipped to the partition's count, without its names."""
        count, _, _ = checked_skipped(count, skipping, skipping_count)
        if not self._ended:
            self._owner.on_skipped(count)

    def error(self, error: BaseException | str, restart: bool, offset: int | None = None) -> None:
        """Say that this document's lambda cannot go on, as `IDocumentContext` describes."""
        check_error(error, restart, offset)
        if not self._ended:
            self._owner.on_error(error, restart, offset)

    def report(self, error: BaseException | str, offset: int | None = None) -> None:
        """Report an error with the document's name, as `IContext.report` describes."""
        check_report(error, offset)
        if not self._ended:
            self._owner.on_report(error, offset)

    def pause(self, reason: str = "", retry_after: float | None = None, offset: int | None = None) -> None:
        """Pause the whole partition. With ``offset``, only this document's messages come again."""
        check_pause(reason, retry_after, offset)
        if not self._ended:
            self._owner.on_pause(reason, retry_after, offset)

    def produce(
        self,
        topic: str,
        value: bytes | str | None,
        key: bytes | str | None = None,
        headers: Headers = (),
        partition: int | None = None,
        source: int | None = None,
    ) -> Awaitable[Produced]:
        """Write a record, as `IContext.produce` describes. A failure that nobody awaits fails only this document."""
        outcomes, producing = self._outcomes or self._own_outcomes(), self._producing
        if self._ended:
            return refused(asyncio.get_running_loop(), outcomes, ProduceError(_ENDED, topic, "stale_lease"))
        if producing is None:  # the context of a test
            return self._owner.partition.produce(topic, value, key, headers, partition, source)
        before, producing.counting = producing.counting, outcomes
        try:
            return self._owner.partition.produce(topic, value, key, headers, partition, source)
        finally:
            producing.counting = before

    def produce_many(
        self, topic: str, records: Iterable[Record] | Columns, source: int | None = None
    ) -> Awaitable[list[Produced]]:
        """Write several records, as `IContext.produce_many` describes."""
        outcomes, producing = self._outcomes or self._own_outcomes(), self._producing
        if self._ended:
            return refused_many(asyncio.get_running_loop(), outcomes, ProduceError(_ENDED, topic, "stale_lease"))
        if producing is None:  # the context of a test
            return self._owner.partition.produce_many(topic, records, source)
        before, producing.counting = producing.counting, outcomes
        try:
            return self._owner.partition.produce_many(topic, records, source)
        finally:
            producing.counting = before

    def update_activity_time(self, seconds_from_now: float | None = None) -> None:
        """Let the document become idle in so many seconds, as `IDocumentContext.update_activity_time` describes."""
        if seconds_from_now != 0:
            check_seconds(seconds_from_now)
        if not self._ended:
            self._owner.on_activity(seconds_from_now)

    def _own_outcomes(self) -> Outcomes:
        """The outcomes of this document's records: they hold back and fail this document alone."""
        if self._outcomes is None:
            self._producing = producing_of(self._owner.partition)
            self._outcomes = Outcomes(self._owner.on_checkpoint, lambda error: self.error(error, restart=True))
            if self._ended:
                self._outcomes.end()
        return self._outcomes


def _int(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"an offset or a count is an int, got {type(value).__name__}")
    return value
