"""Records as a list of Python objects: slower than rows, and simple enough to be their oracle."""

from bisect import bisect_left
from operator import attrgetter

from sidecar.records.fallback.encode import encode, size_of
from sidecar.records.records import Frame, Record, Undeliverable
from sidecar.shared_memory.memory import SharedMemory

MEMORY_OVERHEAD_BYTES = 300
"""Bytes of memory that a record takes beside its key, value and headers: Python objects and list entries."""


class ListedRecords:
    """See `Records`."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self.size = 0

    def __len__(self) -> int:
        return len(self._records)

    @property
    def next_offset(self) -> int:
        """See `Records`."""
        return self._records[-1].offset + 1

    def append(self, record: Record) -> None:
        """Add a record after the others."""
        self._records.append(record)
        self.size += _memory_of(record)

    def offset(self, index: int) -> int:
        """See `Records`."""
        return self._records[index].offset

    def before(self, offset: int) -> int:
        """See `Records`."""
        return bisect_left(self._records, offset, key=attrgetter("offset"))

    def first(self) -> Record:
        """See `Records`."""
        return self._records[0]

    def drop(self, count: int) -> None:
        """See `Records`."""
        self._remove(slice(count))

    def truncate(self, count: int) -> None:
        """See `Records`."""
        self._remove(slice(count, None))

    def remove(self, index: int, count: int = 1, /) -> None:
        """See `Records`."""
        self._remove(slice(index, index + count))

    def frame(
        self, most: int, soft_limit: int, hard_limit: int, _: SharedMemory | None = None
    ) -> Frame | Undeliverable:
        """See `Records`. All frames go on the stream: they are not large."""
        return encode(self._records[:most], soft_limit, hard_limit)

    def _remove(self, which: slice) -> None:
        self.size -= sum(map(_memory_of, self._records[which]))
        del self._records[which]


def _memory_of(record: Record) -> int:
    return size_of(record) + MEMORY_OVERHEAD_BYTES
