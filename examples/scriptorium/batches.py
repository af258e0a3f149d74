"""The waiting operations, the batch in flight, and how far the partition is stored. Pure.

One batch is in flight; operations that arrive meanwhile make the next one (SC-3, SC-4). So a slow database gets
larger batches, and nobody has to choose a size.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from examples.scriptorium.operations import Document, Operation


@dataclass(slots=True)
class Batch:
    """The operations of a run of records, by document."""

    first: int
    """The offset of the first record."""
    last: int
    """The offset of the last record."""
    documents: dict[Document, list[Operation]] = field(default_factory=dict)
    count: int = 0
    """How many operations."""

    def add(self, offset: int, operations: Iterable[Operation]) -> None:
        """Add a record."""
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
        """How many operations wait for the batch in flight."""
        return 0 if self._pending is None else self._pending.count

    @property
    def first(self) -> int | None:
        """The offset of the first record that is not known to be stored; None: all are stored."""
        oldest = self._under_way or self._pending
        return None if oldest is None else oldest.first

    def add(self, offset: int, operations: Sequence[Operation]) -> int | None:
        """A record was handled. Returns the offset to checkpoint, if it moves already.

        A record without operations needs no insert: it is done as soon as the records before it are. Without this
        rule such a record at the partition's end would show as a lag (SC-11).
        """
        if not operations and self.first is None:
            return offset
        if self._pending is None:
            self._pending = Batch(offset, offset)
        self._pending.add(offset, operations)
        return None

    def take(self) -> Batch | None:
        """The next batch to store, which is in flight from now on; None: one is in flight, or no operation waits."""
        if self._under_way is not None:
            return None
        self._under_way, self._pending = self._pending, None
        return self._under_way

    def stored(self) -> int:
        """The whole batch in flight is stored. Returns the offset to checkpoint (SC-6)."""
        if self._under_way is None:
            raise RuntimeError("no batch is under way")
        reached, self._under_way = self._under_way.last, None
        return reached

    def drop_pending(self) -> None:
        """Forget the waiting operations: they are delivered again."""
        self._pending = None

    def clear(self) -> None:
        """Forget all operations: they are delivered again."""
        self._pending = self._under_way = None
