"""Records in, frames out: every field survives, and every limit holds."""

from typing import Any, cast

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, TIMESTAMP_NOT_AVAILABLE, Message
from hypothesis import given, settings, strategies as st

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.records.fallback.encode import encode
from sidecar.records.records import Frame, Record, Undeliverable
from tests.unit.records.arriving import read

SOFT, HARD = 1 << 20, 4 << 20

Row = tuple[int, int, int, bytes | None, bytes | None, tuple[tuple[bytes, bytes | None], ...]]
"""Offset, timestamp type, timestamp, key, value, headers."""

blobs = st.none() | st.binary(max_size=20)
large = st.none() | st.integers(400, 20_000).map(lambda size: b"v" * size)
headers = st.lists(st.tuples(st.text(max_size=5), blobs), max_size=3)
kinds = st.sampled_from([TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, TIMESTAMP_NOT_AVAILABLE])


@st.composite
def records(draw: st.DrawFn) -> list[Message]:
    """Records of one partition: gaps between their offsets, and now and then something rare."""
    made, offset = [], draw(st.integers(0, 1 << 40))
    values = draw(st.sampled_from([blobs, large, blobs | large]))
    for _ in range(draw(st.integers(1, 30))):
        offset += draw(st.sampled_from([1, 1, 1, 2, 50]))
        kind = draw(st.sampled_from([TIMESTAMP_CREATE_TIME] * 5) | kinds)
        stamp = draw(st.integers(0, 1 << 42)) if kind != TIMESTAMP_NOT_AVAILABLE else 0
        made.append(record(offset, draw(values), draw(blobs), draw(st.just([]) | headers), (kind, stamp)))
    return made


def record(
    offset: int,
    value: bytes | None = b"value",
    key: bytes | None = b"key",
    headers: list[tuple[str, bytes | None]] | None = None,
    timestamp: tuple[int, int] = (TIMESTAMP_CREATE_TIME, 1_700_000_000_000),
) -> Message:
    """What Kafka's client would hand over."""
    return Message(
        topic="t",
        partition=0,
        offset=offset,
        key=key,
        value=value,
        headers=cast("Any", headers or None),
        timestamp=timestamp,
    )


def rows_of(frame: Frame) -> list[Row]:
    """The frame as a reader of the contract understands it."""
    batch = pb.HostFrame.FromString(frame.data).batch
    count = len(batch.values)
    assert count == frame.count
    offsets = [*batch.offsets] or [*range(batch.first_offset, batch.first_offset + count)]
    assert (offsets[0], offsets[-1]) == (frame.first, frame.last) == (batch.first_offset, offsets[-1])
    keys: list[bytes | None] = [*batch.keys] or [None] * count
    for index in batch.null_keys:
        assert keys[index] == b""
        keys[index] = None
    values: list[bytes | None] = [*batch.values]
    for index in batch.null_values:
        assert values[index] == b""
        values[index] = None
    flat: list[bytes | None] = [*batch.header_values]
    for index in batch.null_header_values:
        flat[index] = None
    pairs = iter(zip(batch.header_names, flat, strict=True))
    counts = [*batch.header_counts] or [0] * count
    split = [tuple(next(pairs) for _ in range(number)) for number in counts]
    assert next(pairs, None) is None
    kind = batch.timestamp_type
    return [
        (offset, kind, stamp, key, value, some)
        for offset, stamp, key, value, some in zip(offsets, batch.timestamps, keys, values, split, strict=True)
    ]


def expected(message: Message) -> Row:
    """The same row, read from the message."""
    kind, stamp = message.timestamp()
    some = tuple((name.encode(), value) for name, value in map(_header, message.headers() or ()))
    return (
        message.offset() or 0,
        {TIMESTAMP_CREATE_TIME: 1, TIMESTAMP_LOG_APPEND_TIME: 2}.get(kind, 0),
        stamp if kind != TIMESTAMP_NOT_AVAILABLE else -1,
        message.key(),
        message.value(),
        some,
    )


def _header(pair: object) -> tuple[str, bytes | None]:
    assert isinstance(pair, tuple)
    return pair


def encoded(messages: list[Message], soft: int, hard: int) -> Frame | Undeliverable:
    """The first frame."""
    records: list[Record] = [*map(read, messages)]
    return encode(records, soft, hard)


def frames_of(messages: list[Message], soft: int = SOFT, hard: int = HARD) -> list[Frame]:
    """All frames that it takes."""
    frames = []
    while messages:
        frame = encoded(messages, soft, hard)
        assert isinstance(frame, Frame)
        frames.append(frame)
        messages = messages[frame.count :]
    return frames


@given(records())
@settings(deadline=None, max_examples=50)
def test_every_field_of_every_record_arrives(messages: list[Message]) -> None:
    assert [row for frame in frames_of(messages) for row in rows_of(frame)] == [*map(expected, messages)]


@given(records(), st.integers(1, 2_000))
@settings(deadline=None, max_examples=50)
def test_no_frame_is_larger_than_the_soft_limit_but_for_a_record_alone(messages: list[Message], soft: int) -> None:
    frames = frames_of(messages, soft)
    assert all(len(frame.data) <= soft or frame.count == 1 for frame in frames)
    assert [row for frame in frames for row in rows_of(frame)] == [*map(expected, messages)]


def test_a_frame_ends_where_the_timestamp_type_changes() -> None:
    kinds_in_order = [TIMESTAMP_CREATE_TIME] * 2 + [TIMESTAMP_LOG_APPEND_TIME] * 3 + [TIMESTAMP_CREATE_TIME]
    messages = [record(n, timestamp=(kind, 7)) for n, kind in enumerate(kinds_in_order)]
    assert [frame.count for frame in frames_of(messages)] == [2, 3, 1]


def test_consecutive_offsets_are_left_out_and_others_are_not() -> None:
    (frame,) = frames_of([record(5), record(6)])
    assert frame.offsets is None
    (frame,) = frames_of([record(5), record(7)])
    assert frame.offsets == [5, 7]


def test_keys_that_are_all_null_take_no_bytes() -> None:
    (frame,) = frames_of([record(n, key=None) for n in range(3)])
    batch = pb.HostFrame.FromString(frame.data).batch
    assert (len(batch.keys), len(batch.null_keys)) == (0, 0)


def test_a_record_over_the_hard_limit_is_undeliverable_and_what_comes_before_it_is_not() -> None:
    messages = [record(0), record(1, value=b"x" * 5_000), record(2)]
    frame = encoded(messages, 1_000, 2_000)
    assert isinstance(frame, Frame)
    assert frame.count == 1
    bad = encoded(messages[1:], 1_000, 2_000)
    assert isinstance(bad, Undeliverable)
    assert bad.offset == 1
    assert "more than the lambda process accepts (2000)" in bad.reason


def test_a_small_hard_limit_splits_what_would_fit_the_soft_one() -> None:
    frames = frames_of([record(n, value=b"x" * 100) for n in range(50)], SOFT, 1_024)
    assert all(len(frame.data) <= 1_024 for frame in frames)
    assert sum(frame.count for frame in frames) == 50
