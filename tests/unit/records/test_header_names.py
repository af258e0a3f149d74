"""A name is bytes to Kafka: whatever is in it, the native rows have all of it."""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.records.dead_letter_headers import own_headers
from sidecar.records.records import Frame
from tests.servers.c_producer import produce_headers
from tests.unit.records.mock_kafka import Log, log

NAMES = [b"a\0b", b"a", b"\0", b"", b"a\0", b"\0a", b"a\0\0b", b"\xff\0\xfe", "größe\0☃".encode(), b"\0" * 200]
VALUES = [b"v", None, b"", b"v\0w", b"\0"]
Headers = list[tuple[bytes, bytes | None]]


@pytest.fixture(scope="module")
def shared() -> Iterator[Log]:
    with log() as made:
        yield made


def read(shared: Log, headers: Headers, key: bytes | None = b"k", value: bytes | None = b"v") -> pb.Batch:
    """The frame of a record that was written so; each way to read it says the same."""
    produce_headers(shared.address, "t", headers, key=key, value=value)
    shared.end += 1
    shared.read(1)
    record = shared.rows.first()
    assert (record.key, record.value, record.headers) == (key, value, headers)
    frame = shared.rows.frame(1, 1 << 20, 1 << 30)
    assert isinstance(frame, Frame)
    shared.rows.truncate(0)
    batch = pb.HostFrame.FromString(frame.data).batch
    assert [*batch.header_counts] == ([len(headers)] if headers else [])
    assert [*batch.header_names] == [name for name, _ in headers]
    assert [*batch.header_values] == [value or b"" for _, value in headers]
    assert [*batch.null_header_values] == [index for index, (_, value) in enumerate(headers) if value is None]
    return batch


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", VALUES)
def test_a_header_name_is_read_completely(shared: Log, name: bytes, value: bytes | None) -> None:
    read(shared, [(name, value)])


def test_all_header_names_in_one_record_are_read_completely(shared: Log) -> None:
    read(shared, [(name, value) for name in NAMES for value in VALUES])


@pytest.mark.parametrize("value", [None, b"", b"v" * 8_192])
def test_header_names_of_every_varint_length_are_read(shared: Log, value: bytes | None) -> None:
    """Kafka writes a length below 64 in one byte, below 8,192 in two; protobuf below 128 and 16,384."""
    lengths = [0, 1, 62, 63, 64, 65, 127, 128, 129, 8_191, 8_192, 16_383, 16_384, 100_000]
    assert all(one < other for one, other in pairwise(lengths))
    read(shared, [(b"n" * (length // 2) + b"\0" * (length - length // 2), value) for length in lengths])


def test_keys_and_values_may_have_nuls_too(shared: Log) -> None:
    batch = read(shared, [], key=b"\0k\0", value=b"\0v\0")
    assert ([*batch.keys], [*batch.values]) == ([b"\0k\0"], [b"\0v\0"])


def test_a_topic_with_a_nul_is_refused_and_not_cut(shared: Log) -> None:
    with pytest.raises(ValueError, match="null character"):
        shared.source.lead(("t\0u", 0))


@pytest.mark.parametrize("name", [b"a\0b", b"\0", b"a\0"])
def test_a_header_name_that_the_binding_would_cut_is_refused_for_dead_letters(name: bytes) -> None:
    with pytest.raises(ValueError, match="NUL"):
        own_headers([(b"fine", b"v"), (name, b"v")])
