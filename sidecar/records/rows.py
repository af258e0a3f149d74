"""Records as rows of the native extension.

It keeps values, keys and headers in the form in which they are sent, so a frame takes a few copies of large pieces of
memory, made without the interpreter's lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.records.records import Frame, Record, Undeliverable, shared_frame, too_large

if TYPE_CHECKING:
    from sidecar.records import _native
    from sidecar.shared_memory.memory import SharedMemory


class RowRecords:
    """See `Records`. After the source is closed there are no records."""

    def __init__(self, rows: _native.Records) -> None:
        self._rows = rows
        self.offset = rows.offset
        self.before = rows.before
        self.drop = rows.drop
        self.truncate = rows.truncate
        self.remove = rows.remove

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def size(self) -> int:
        """See `Records`."""
        return self._rows.size

    @property
    def next_offset(self) -> int:
        """See `Records`."""
        return self._rows.next_offset

    def first(self) -> Record:
        """See `Records`."""
        return Record(*self._rows.first())

    def frame(
        self, most: int, soft_limit: int, hard_limit: int, memory: SharedMemory | None = None
    ) -> Frame | Undeliverable:
        """See `Records`."""
        limit = min(soft_limit, hard_limit)
        if memory is not None and (size := self._rows.frame_size(most, limit)) <= hard_limit:
            position = memory.place(size)
            if position is not None:
                at = memory.at(position)
                size, first, last, count, offsets = self._rows.frame_into(most, limit, memory.memory, at)
                return Frame(shared_frame(position, size), first, last, count, offsets, size)
        data, first, last, count, offsets = self._rows.frame(most, limit)
        if len(data) > hard_limit:
            return too_large(first, len(data), hard_limit)
        return Frame(data, first, last, count, offsets, len(data))
