"""The extension of `sidecar/records/native`. It belongs to the consumer's thread, except ``Source.wake``."""

from typing import final

@final
class Records:
    """The rows of one partition. After the source is closed there are none."""

    def __len__(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def next_offset(self) -> int: ...
    def offset(self, index: int, /) -> int: ...
    def before(self, offset: int, /) -> int: ...
    def drop(self, count: int, /) -> None: ...
    def truncate(self, count: int, /) -> None: ...
    def remove(self, index: int, /) -> None: ...
    def first(self) -> tuple[int, bytes | None, bytes | None, list[tuple[bytes, bytes | None]], int, int]:
        """Offset, value, key, headers, timestamp type, timestamp."""
    def frame(self, most: int, limit: int, /) -> tuple[bytes, int, int, int, list[int] | None]:
        """The data, the first and the last offset, the number of records, and their offsets (None: consecutive)."""

@final
class Source:
    """The records of the consumer that this thread has just made with this module's file as a plugin."""

    def __init__(self, most: int) -> None:
        """``most``: the maximum number of records of one read.

        Raises ``RuntimeError`` when there is no such consumer, or it is in no group."""
    def lead(self, partition: tuple[str, int], /) -> Records:
        """Lead a partition's records here; to be called before it is assigned. Another call returns the same object.

        Raises ``RuntimeError`` when the client has no queue for the partition."""
    def read(
        self,
    ) -> tuple[list[tuple[tuple[str, int], int]], list[tuple[str, int, int, int, str]], list[tuple[str, int, int]]]:
        """Read without waiting. Returns three lists: the partitions that got records, with their number; the topic,
        partition, offset, code and text of each error (errors of the client itself have no topic); the topic,
        partition and offset of misrouted records, which were dropped because their partition is not led (the first of
        each run).

        Raises ``RuntimeError`` when the client refuses, ``MemoryError`` when memory runs out."""
    def wait(self, seconds: float, /) -> None:
        """Wait until there may be something to read or to poll, or `wake` was called since the last wait."""
    def wake(self) -> None:
        """End a wait. May be called from any thread."""
    def close(self) -> None:
        """End reading; to be called before the consumer is closed."""
