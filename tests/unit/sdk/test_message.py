"""Columns to messages and back."""

from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st

from sdk_python import CREATE_TIME, LOG_APPEND_TIME, NO_TIMESTAMP, Message
from sdk_python._message import _NAMES, Columns, FrameError, batch_of, check_batch
from sdk_python.protocol import lambda_pb2 as pb

nullable = st.none() | st.binary(max_size=5)
# What UTF-8 with surrogateescape can say: any bytes at all.
names = st.binary(max_size=5).map(lambda name: name.decode("utf-8", "surrogateescape"))
headers = st.lists(st.tuples(names, nullable), max_size=3).map(tuple)


def messages_of(batch: pb.Batch, topic: str, partition: int) -> list[Message]:
    """All messages of a frame, in uneven slices: where they are cut must not show."""
    columns = Columns(batch, topic, partition)
    cut = columns.count // 3
    return columns.messages(0, cut) + columns.messages(cut, columns.count + 5)


@st.composite
def frames(draw: st.DrawFn) -> list[Message]:
    kind = draw(st.sampled_from([NO_TIMESTAMP, CREATE_TIME, LOG_APPEND_TIME]))
    stamps = st.none() if kind == NO_TIMESTAMP else st.none() | st.integers(0, 2**62)
    offsets = sorted(draw(st.sets(st.integers(0, 2**62) | st.integers(0, 20), min_size=1, max_size=8)))
    rows = [(draw(stamps), draw(nullable), draw(nullable), draw(headers)) for _ in offsets]
    return [
        Message("topic", 3, offset, stamp, kind, key, value, names_and_values)
        for offset, (stamp, key, value, names_and_values) in zip(offsets, rows, strict=True)
    ]


@given(frames())
def test_messages_are_the_same_after_encoding_and_decoding(messages: list[Message]) -> None:
    batch = pb.Batch.FromString(batch_of(messages).SerializeToString())
    assert check_batch(batch) == (len(messages), messages[0].offset, messages[-1].offset)
    again = messages_of(batch, "topic", 3)
    assert again == messages
    assert all(type(message) is Message for message in again)


def test_equally_many_headers_on_each_with_more_names_than_are_kept() -> None:
    messages = [
        Message("t", 0, n, None, NO_TIMESTAMP, None, b"", ((f"name-{n}", b"1"), ("long" * 100, None), ("same", b"2")))
        for n in range(2_500)
    ]
    batch = pb.Batch.FromString(batch_of(messages).SerializeToString())
    assert messages_of(batch, "t", 0) == messages
    assert len(_NAMES) <= 1_000
    assert max(map(len, _NAMES)) <= 200


def test_a_plain_frame_needs_only_values() -> None:
    batch = pb.Batch(first_offset=7, values=[b"a", b""])
    assert messages_of(batch, "t", 0) == [
        Message("t", 0, 7, None, NO_TIMESTAMP, None, b"a", ()),
        Message("t", 0, 8, None, NO_TIMESTAMP, None, b"", ()),
    ]


def test_a_kind_of_timestamp_without_timestamps_loses_no_message() -> None:
    batch = pb.Batch(first_offset=7, values=[b"a"], timestamp_type=pb.TIMESTAMP_TYPE_CREATE_TIME)
    assert messages_of(batch, "t", 0) == [Message("t", 0, 7, None, CREATE_TIME, None, b"a", ())]
    assert Columns(batch, "t", 0).columns(0, 1).timestamps is None


def test_messages_are_immutable() -> None:
    (message,) = messages_of(pb.Batch(first_offset=0, values=[b"a"]), "t", 0)
    with pytest.raises(AttributeError):
        message.value = b"b"  # type: ignore[misc]


REFUSED = [
    (pb.Batch(values=[b"a", b"b"], keys=[b"k"]), "keys"),
    (pb.Batch(values=[b"a"], timestamps=[1, 2]), "timestamps"),
    (pb.Batch(values=[b"a", b"b"], offsets=[0]), "offsets"),
    (pb.Batch(values=[b"a", b"b"], offsets=[0, 0]), "offsets"),
    (pb.Batch(values=[b"a", b"b"], offsets=[1, 2]), "offsets"),
    (pb.Batch(values=[b"a"], null_values=[1]), "null_values"),
    (pb.Batch(values=[b"a"], null_keys=[0]), "null_keys"),
    (pb.Batch(values=[b"a"], header_counts=[2], header_names=[b"h"], header_values=[b""]), "header_counts"),
    (pb.Batch(values=[b"a"], header_names=[b"h"], header_values=[b""]), "header_counts"),
    (pb.Batch(values=[b"a"], header_counts=[1], header_names=[b"h"]), "header_values"),
    (pb.Batch(values=[b"a"], null_header_values=[0]), "null_header_values"),
    (pb.Batch(values=[b"a"], first_offset=-1), "first_offset"),
]
"""Batches that break the contract, each with the field that does."""


@pytest.mark.parametrize(("batch", "field"), REFUSED)
def test_a_frame_that_does_not_fit_is_refused_with_the_field(batch: pb.Batch, field: str) -> None:
    with pytest.raises(FrameError, match=field):
        check_batch(batch)


def test_wire_numbers_are_the_public_constants() -> None:
    numbers: Sequence[int] = (
        pb.TIMESTAMP_TYPE_UNSPECIFIED,
        pb.TIMESTAMP_TYPE_CREATE_TIME,
        pb.TIMESTAMP_TYPE_LOG_APPEND_TIME,
    )
    assert numbers == (NO_TIMESTAMP, CREATE_TIME, LOG_APPEND_TIME)
