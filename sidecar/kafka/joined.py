"""A frame of large values, put together from the values themselves.

protobuf copies each value into an arena, that into a buffer which doubles as it grows, and that into the result. Its
binding for Python also gives all free memory of the process back to the kernel after every 10,000 blocks it frees,
which large values soon make: whatever is used next has to be faulted in again, by Kafka's client and gRPC too. Joined
instead, a value is copied once. With small values the work per record is what counts, and protobuf's is less.
"""

from collections.abc import Mapping, Sequence

from sdk_python.protocol import lambda_pb2 as pb

_LENGTH_DELIMITED = 2
"""The wire type of strings, bytes and messages: a tag, the length as a varint, so many bytes."""

_KEPT_BELOW = 1 << 14


def joined(columns: Mapping[str, object], values: Sequence[bytes]) -> bytes:
    """The serialized ``HostFrame`` with a ``Batch`` of these ``columns``, which are all but ``values``.

    Raises ``TypeError`` when a value is None.
    """
    head = pb.Batch(**columns).SerializeToString()  # type: ignore[arg-type]
    lengths = [*map(len, values)]
    prefixes = [*map(_VALUE.__getitem__, lengths)]
    size = len(head) + sum(lengths) + sum(map(len, prefixes))
    parts = [_BATCH + _varint(size), head, *values, *values]
    parts[2::2] = prefixes
    parts[3::2] = values
    return b"".join(parts)


class _Prefixes(dict[int, bytes]):
    """What stands before a value of this length. Made when first asked for, and kept where many are as long."""

    def __missing__(self, length: int) -> bytes:
        made = _ONE_OF_VALUES + _varint(length)
        if length < _KEPT_BELOW:
            self[length] = made
        return made


def _tag(message: type[pb.Batch | pb.HostFrame], field: str) -> bytes:
    return _varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | _LENGTH_DELIMITED)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that another follows."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_BATCH = _tag(pb.HostFrame, "batch")
_ONE_OF_VALUES = _tag(pb.Batch, "values")
_VALUE = _Prefixes()
