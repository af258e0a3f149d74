"""The extension of `sidecar/records/native`. All but ``Source.wake`` belongs to the thread that owns the consumer."""

from typing import final

@final
class Records:
    """The rows of one partition. Once the source is closed there are none."""

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
        """The data, the first and the last offset, how many, and the offsets where they are not consecutive."""

@final
class Source:
    """The records of the consumer that this thread has just made, with this module's file as a plugin of it."""

    def __init__(self, most: int) -> None:
        """``most``: records of one read. Raises ``RuntimeError`` when there is no such consumer, or it is in no
        group."""
    def lead(self, partition: tuple[str, int], /) -> Records:
        """Lead a partition's records here, from before it is assigned. Again, for one that is here: the same.
        Raises ``RuntimeError`` when the client has no queue for it."""
    def read(
        self,
    ) -> tuple[list[tuple[tuple[str, int], int]], list[tuple[str, int, int, int, str]], list[tuple[str, int, int]]]:
        """What is there: each partition that got records, with how many; topic, partition, offset, code and text of
        each error (what the client itself complains of has no topic); topic, partition and offset of records that
        were not read, the first of each run of them, because nobody has led their partition. Raises ``RuntimeError``
        when the client refuses, ``MemoryError``."""
    def wait(self, seconds: float, /) -> None:
        """Until there may be something to read or to poll, or `wake` was called since the last wait."""
    def wake(self) -> None:
        """End a wait. From any thread."""
    def close(self) -> None:
        """Before the consumer is closed."""
