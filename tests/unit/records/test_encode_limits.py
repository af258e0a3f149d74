"""The limits of a frame at their edges: nothing that could be sent is refused."""

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE, Message
from hypothesis import given, settings, strategies as st

from sidecar.records.fallback.encode import encode
from sidecar.records.records import Frame
from tests.unit.records.arriving import read

LARGE = 1 << 30

payloads = st.none() | st.integers(0, 300).map(bytes)
Headers = list[tuple[str, str | bytes | None]]
names = st.text(max_size=2)
headers: st.SearchStrategy[Headers] = st.lists(st.tuples(names, st.none() | st.integers(0, 9).map(bytes)), max_size=4)


@st.composite
def records(draw: st.DrawFn) -> list[Message]:
    """Few records, so that what a frame costs by itself counts."""
    offset, made = draw(st.integers(0, 1 << 40)), []
    timestamp = draw(st.sampled_from([(TIMESTAMP_CREATE_TIME, 1 << 41), (TIMESTAMP_NOT_AVAILABLE, 0)]))
    for _ in range(draw(st.integers(1, 6))):
        offset += draw(st.sampled_from([1, 3]))
        made.append(
            Message(
                topic="t",
                partition=0,
                offset=offset,
                key=draw(payloads),
                value=draw(payloads),
                headers=draw(headers) or None,
                timestamp=timestamp,
            )
        )
    return made


def alone(record: Message) -> int:
    """Bytes of the frame with only this record."""
    frame = encode([read(record)], LARGE, LARGE)
    assert isinstance(frame, Frame)
    return len(frame.data)


# What a frame costs beside its records counts too, or two records whose frame is a few bytes over the hard limit
# would be taken for one that never fits.
def test_two_records_just_over_the_hard_limit_go_one_by_one() -> None:
    messages = [
        Message(
            topic="t",
            partition=0,
            offset=(1 << 40) + 3 * number,
            key=bytes(200),
            value=bytes(288),
            timestamp=(TIMESTAMP_CREATE_TIME, 1_700_000_000_000),
        )
        for number in range(2)
    ]
    assert alone(messages[0]) < 600
    frame = encode([*map(read, messages)], LARGE, 1_024)
    assert isinstance(frame, Frame)
    assert frame.count == 1


@given(records(), st.integers(0, 40))
@settings(deadline=None, max_examples=300)
def test_a_record_that_fits_alone_is_never_undeliverable(messages: list[Message], spare: int) -> None:
    hard = max(alone(message) for message in messages) + spare
    while messages:
        frame = encode([*map(read, messages)], LARGE, hard)
        assert isinstance(frame, Frame)
        assert len(frame.data) <= hard
        messages = messages[frame.count :]


@given(records(), st.integers(1, 700))
@settings(deadline=None, max_examples=200)
def test_only_a_record_that_does_not_fit_alone_is_undeliverable(messages: list[Message], hard: int) -> None:
    while messages:
        frame = encode([*map(read, messages)], LARGE, hard)
        if not isinstance(frame, Frame):
            assert frame.offset == messages[0].offset()
            assert alone(messages[0]) > hard
            messages = messages[1:]
        else:
            assert len(frame.data) <= hard
            messages = messages[frame.count :]


def test_the_soft_limit_never_refuses_anything() -> None:
    record = Message(topic="t", partition=0, offset=0, value=bytes(5_000), timestamp=(TIMESTAMP_CREATE_TIME, 1))
    frame = encode([read(record), read(record)], 1, LARGE)
    assert isinstance(frame, Frame)
    assert frame.count == 1
