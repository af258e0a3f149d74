"""A joined frame is the one that protobuf would have made."""

import pytest
from hypothesis import given, strategies as st

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.kafka.joined import joined

AROUND_EACH_LENGTH_OF_A_VARINT = [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152]


@given(st.lists(st.binary(max_size=200), max_size=50), st.lists(st.binary(max_size=20), max_size=50))
def test_it_parses_to_what_went_in(values: list[bytes], keys: list[bytes]) -> None:
    columns = {"first_offset": 7, "timestamps": range(len(values)), "keys": keys}
    expected = pb.HostFrame(batch=pb.Batch(first_offset=7, timestamps=range(len(values)), keys=keys, values=values))
    assert pb.HostFrame.FromString(joined(columns, values)) == expected


@pytest.mark.parametrize("size", AROUND_EACH_LENGTH_OF_A_VARINT)
def test_it_is_as_long_as_protobufs_own(size: int) -> None:
    values = [b"x" * size, b"", b"y" * size]
    frame = pb.HostFrame(batch=pb.Batch(first_offset=1, values=values))
    data = joined({"first_offset": 1}, values)
    assert pb.HostFrame.FromString(data) == frame
    assert len(data) == frame.ByteSize()


def test_a_null_is_refused() -> None:
    with pytest.raises(TypeError):
        joined({}, [b"x", None])  # type: ignore[list-item]
