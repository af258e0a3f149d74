"""The extension of ``native/``: batches read where they lie, without protobuf's objects."""

from collections.abc import Sequence
from typing import Any, TypeVar, final

_M = TypeVar("_M", bound=tuple[Any, ...])

@final
class Batch:
    """The records of a frame, which is checked. Slices are cheapest in order, each from where the last one ended."""

    @property
    def count(self) -> int: ...
    @property
    def size(self) -> int:
        """Bytes of the frame."""
    @property
    def first_offset(self) -> int: ...
    @property
    def last_offset(self) -> int: ...
    def offset(self, index: int, /) -> int:
        """Return the offset of one record. Raises ``IndexError``."""

    def first_headers(self, limit: int, /) -> Sequence[tuple[tuple[str, bytes | None], ...]]:
        """Return the headers of each of the first ``limit`` records; an empty list where no record has any."""

    def columns(
        self, start: int, stop: int, /
    ) -> tuple[
        Sequence[int],
        Sequence[int | None] | None,
        int,
        Sequence[bytes | None] | None,
        Sequence[bytes | None],
        Sequence[tuple[tuple[str, bytes | None], ...]] | None,
    ]:
        """Return the columns of some records as `MessageColumns` has them, without topic and partition.

        ``stop`` may be after the end. Raises ``IndexError``.
        """

    def messages(self, kind: type[_M], topic: str, partition: int, start: int, stop: int, /) -> list[_M]:
        """Make a message, of type ``kind``, of each record.

        ``stop`` may be after the end. Raises ``IndexError``.
        """

def decode(frame: bytes, /) -> Batch | None:
    """Read a serialized HostFrame. None: it is no Batch, or one that protobuf and `check_batch` have to judge."""
