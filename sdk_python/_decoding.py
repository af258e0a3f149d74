"""The bytes of a stream as frames, and the records of a batch as columns.

The decoder in C (``native/``), where it was built, reads a batch in the form in which protobuf libraries write one.
It reads records where they lie in the frame, and makes a message when its slice is due. Protobuf parses all other
frames, and all of them where there is no decoder. So a frame that breaks the contract is refused with the same error.
"""

from collections.abc import Sequence
from typing import TypeAlias, Union

from ._message import Columns, Header, Message, MessageColumns, check_batch
from ._native import IS_ON
from .protocol import lambda_pb2 as pb

try:
    from . import _decoder
except ImportError:  # no compiler was there, or it is not built for this interpreter
    _decode = None
else:
    _decode = _decoder.decode

if not IS_ON:
    _decode = None


class DecodedColumns:
    """As `Columns`, of a batch that the decoder has read."""

    __slots__ = ("_batch", "_partition", "_topic", "count")

    def __init__(self, batch: "_decoder.Batch", topic: str, partition: int) -> None:
        self.count = batch.count
        self._batch = batch
        self._topic = topic
        self._partition = partition

    def offset(self, index: int) -> int:
        """Return the offset of the record at ``index``."""
        return self._batch.offset(index)

    def first_headers(self, limit: int) -> Sequence[tuple[Header, ...]]:
        """Return the headers of each of the first ``limit`` records; nothing where no record of the frame has any."""
        return self._batch.first_headers(limit)

    def columns(self, start: int, stop: int) -> MessageColumns:
        """Return the columns of the messages from index ``start`` up to ``stop``, which may be after the end."""
        return MessageColumns(self._topic, self._partition, *self._batch.columns(start, stop))

    def messages(self, start: int, stop: int, kind: type[Message] = Message) -> list[Message]:
        """Make the messages from index ``start`` up to ``stop``, which may be after the end; in offset order.

        ``kind``: what they are made as.
        """
        return self._batch.messages(kind, self._topic, self._partition, start, stop)


Frame: TypeAlias = Union[pb.HostFrame, "_decoder.Batch"]
"""What came on a stream: a batch that the decoder has read, or a message of protobuf."""

AnyBatch: TypeAlias = Union[pb.Batch, "_decoder.Batch"]
AnyColumns: TypeAlias = Columns | DecodedColumns


def frame_of(data: bytes) -> Frame:
    """Read a serialized HostFrame.

    Raises ``google.protobuf.message.DecodeError`` when it cannot be parsed.
    """
    batch = None if _decode is None else _decode(data)
    return pb.HostFrame.FromString(data) if batch is None else batch


def count_of(batch: AnyBatch) -> int:
    """Return how many records a batch has."""
    return len(batch.values) if isinstance(batch, pb.Batch) else batch.count


def extent(batch: AnyBatch) -> tuple[int, int, int]:
    """Return the number of records and the first and last offset of a batch. Raises as `check_batch` does."""
    if isinstance(batch, pb.Batch):
        return check_batch(batch)
    return batch.count, batch.first_offset, batch.last_offset  # the decoder has checked it


def size_of(batch: AnyBatch) -> int:
    """Return the bytes of a batch, about."""
    return batch.ByteSize() if isinstance(batch, pb.Batch) else batch.size


def columns_in(batch: AnyBatch, topic: str, partition: int) -> AnyColumns:
    """Return the columns of a batch that `extent` has accepted."""
    if isinstance(batch, pb.Batch):
        return Columns(batch, topic, partition)
    return DecodedColumns(batch, topic, partition)
