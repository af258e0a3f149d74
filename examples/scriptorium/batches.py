"""What waits, what is under way, and how far the partition is stored. Pure.

One batch is under way; what comes meanwhile makes the next one (SC-3, SC-4). A slow database so gets larger batches,
and nobody has to choose a size.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from examples.scriptorium.operations import Document, Operation


@dataclass(slots=True)
class Batch:
    """The operations of a run of records, by document."""

    first: int
    """The first record's offset."""
    last: int
    """The last record's."""
    documents: dict[Document, list[Operation]] = field(default_factory=dict)
    count: int = 0
    """How many operations."""

    def add(self, offset: int, operations: Iterable[Operation]) -> None:
        """Another record."""
        self.last = offset
        for operation in operations:
            self.documents.setdefault(operation.document, []).append(operation)
            self.count += 1


def slices(documents: Mapping[Document, Sequence[Operation]], most: int) -> list[Sequence[Operation]]:
    """One insert each: of one document, at most ``most`` operations (SC-5); 0: no limit."""
    return [
        operations[start : start + (most or len(operations))]
        for operations in documents.values()
        for start in range(0, len(operations), most or len(operations))
    ]


class Batches:
    """The batches of one partition."""

    def __init__(self) -> None:
        self._pending: Batch | None = None
        self._under_way: Batch | None = None

    @property
    def pending(self) -> int:
        """How many operations wait for the batch that is under way."""
        return 0 if self._pending is None else self._pending.count

    @property
    def first(self) -> int | None:
        """The first record that is not known to be stored; None: all are."""
        oldest = self._under_way or self._pending
        return None if oldest is None else oldest.first

    def add(self, offset: int, operations: Sequence[Operation]) -> int | None:
        """A record was handled. Answers the offset to checkpoint, if that moves already.

        A record without operations needs no insert: it is done as soon as what was before it is. Without this the
        partition's end would show a lag that is none (SC-11).
        """
        if not operations and self.first is None:
            return offset
        if self._pending is None:
            self._pending = Batch(offset, offset)
        self._pending.add(offset, operations)
        return None

    def take(self) -> Batch | None:
        """The next batch to store, which is under way from now on; None: one is already, or nothing waits."""
        if self._under_way is not None:
            return None
        self._under_way, self._pending = self._pending, None
        return self._under_way

    def stored(self) -> int:
        """The batch that was under way is stored, all of it. Answers the offset to checkpoint (SC-6)."""
        if self._under_way is None:
            raise RuntimeError("no batch is under way")
        reached, self._under_way = self._under_way.last, None
        return reached

    def drop_pending(self) -> None:
        """Forget what waits: it comes again."""
        self._pending = None

    def clear(self) -> None:
        """Forget everything: it comes again."""
        self._pending = self._under_way = None
