"""The window against a naive model: a plain list of every record that was sent."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings, strategies as st

from sidecar.partitions.vocabulary import Limits
from sidecar.partitions.window import Window

WIDE = Limits(window_messages=10**9, window_bytes=10**12, window_span=10**12)


@dataclass
class Sent:
    """A frame as the model keeps it: which offsets, how many bytes."""

    offsets: list[int]
    size: int


@dataclass
class Naive:
    """Everything that was sent and lies above the checkpoint, one by one."""

    frames: list[Sent] = field(default_factory=list)
    checkpoint: int = -1
    beyond: int = 0

    @property
    def records(self) -> list[int]:
        return [offset for frame in self.frames for offset in frame.offsets if offset > self.checkpoint]

    @property
    def outstanding(self) -> int:
        return len(self.records) - self.beyond

    def byte_bounds(self) -> tuple[int, int]:
        """Bytes of the frames that are wholly outstanding, and of those that are in part."""
        whole = sum(frame.size for frame in self.frames if frame.offsets[0] > self.checkpoint)
        part = sum(frame.size for frame in self.frames if frame.offsets[-1] > self.checkpoint)
        return whole, part


# One step: a frame whose offsets have these gaps, or a checkpoint on the way, or a completed-beyond count.
GAPS = st.lists(st.sampled_from([0, 0, 0, 1, 5]), min_size=1, max_size=8)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), GAPS, st.integers(1, 1000)),
        st.tuples(st.just("checkpoint"), st.floats(0, 1), st.just(0)),
        st.tuples(st.just("beyond"), st.integers(0, 12), st.integers(0, 3000)),
    ),
    max_size=40,
)


def send(window: Window, naive: Naive, gaps: list[int], size: int) -> None:
    """A frame after what was sent already, each record after a gap."""
    offset = naive.frames[-1].offsets[-1] if naive.frames else naive.checkpoint
    offsets = []
    for gap in gaps:
        offset += gap + 1
        offsets.append(offset)
    consecutive = offsets[-1] - offsets[0] + 1 == len(offsets)
    window.sent(offsets[0], offsets[-1], len(offsets), size, None if consecutive else offsets, 0.0)
    naive.frames.append(Sent(offsets, size))


def follow(window: Window, naive: Naive, step: tuple[object, ...]) -> None:
    match step:
        case ("send", list(gaps), int(size)):
            send(window, naive, gaps, size)
        case ("checkpoint", float(part), _):
            if naive.frames:
                last = naive.frames[-1].offsets[-1]
                # Any offset from the checkpoint up, in a gap too.
                naive.checkpoint += round(part * (last - naive.checkpoint))
                naive.beyond = 0
                before = window.records
                passed = window.checkpoint(naive.checkpoint)
                assert sum(count for _, count in passed) == before - window.records
        case ("beyond", int(count), int(size)):
            naive.beyond = min(count, len(naive.records))
            window.completed(count, size)


@given(STEPS, st.integers(0, 50))
@settings(max_examples=150, deadline=None)
def test_counts_match_a_list_of_single_records(steps: list[tuple[object, ...]], start: int) -> None:
    window, naive = Window(WIDE, start), Naive(checkpoint=start - 1)
    for step in steps:
        follow(window, naive, step)
        assert window.records == len(naive.records)
        assert window.outstanding == naive.outstanding
        assert 0 <= window.outstanding <= window.records
        assert window.delivered == (naive.frames[-1].offsets[-1] if naive.frames else None)
        whole, part = naive.byte_bounds()
        assert 0 <= window.outstanding_bytes <= part
        if step[0] == "checkpoint":
            assert whole <= window.outstanding_bytes
        if not naive.records:
            assert window.outstanding_bytes == 0


@given(STEPS, st.integers(1, 9), st.integers(1, 2000), st.integers(1, 30))
@settings(max_examples=150, deadline=None)
def test_room_keeps_every_limit(steps: list[tuple[object, ...]], messages: int, size: int, span: int) -> None:
    limits = Limits(window_messages=messages, window_bytes=size, window_span=span)
    window, naive = Window(limits, 0), Naive()
    for step in steps:
        follow(window, naive, step)
        room = window.room()
        if naive.outstanding == 0:
            assert room >= 1
        else:
            assert room == max(0, messages - naive.outstanding) or room == 0
            full = window.outstanding_bytes >= size or naive.frames[-1].offsets[-1] - naive.checkpoint - 1 >= span
            assert (room == 0) == (full or naive.outstanding >= messages)


@given(GAPS, st.integers(1, 50), st.data())
@settings(max_examples=100, deadline=None)
def test_bytes_of_even_records_are_exact_inside_a_frame(gaps: list[int], each: int, data: st.DataObject) -> None:
    window, naive = Window(WIDE, 0), Naive()
    send(window, naive, gaps, each * len(gaps))
    last = naive.frames[0].offsets[-1]
    for offset in sorted(data.draw(st.lists(st.integers(0, last), max_size=5))):
        naive.checkpoint = offset
        window.checkpoint(offset)
        assert window.outstanding_bytes == each * len(naive.records)


def test_gaps_between_offsets_do_not_use_up_the_window() -> None:
    window = Window(Limits(window_messages=3), 0)
    window.sent(0, 4000, 2, 20, [0, 4000], 0.0)
    assert window.room() == 1
    window.sent(9000, 9000, 1, 10, None, 0.0)
    assert window.room() == 0


def test_completed_beyond_makes_room_until_the_next_checkpoint() -> None:
    window = Window(Limits(window_messages=10), 0)
    window.sent(0, 9, 10, 100, None, 0.0)
    assert window.room() == 0
    window.completed(9, 90)
    assert (window.outstanding, window.outstanding_bytes, window.room()) == (1, 10, 9)
    window.completed(4, 40)
    assert window.room() == 4
    window.checkpoint(4)
    assert (window.outstanding, window.room()) == (5, 5)


@pytest.mark.parametrize("limits", [Limits(0, 0, 0), Limits(window_messages=0), Limits(window_bytes=0), Limits(-5)])
def test_no_setting_stops_a_partition_with_nothing_outstanding(limits: Limits) -> None:
    window = Window(limits, 7)
    assert window.room() >= 1
    window.sent(7, 7, 1, 50, None, 0.0)
    assert window.room() == 0
    window.checkpoint(7)
    assert window.room() >= 1


def test_more_completed_than_was_sent_counts_as_all_of_it() -> None:
    window = Window(Limits(window_messages=10), 0)
    window.sent(0, 4, 5, 50, None, 0.0)
    window.completed(1_000_000, 2**60)
    assert (window.outstanding, window.outstanding_bytes) == (0, 0)


def test_the_span_stops_a_window_that_completed_beyond_keeps_open() -> None:
    window = Window(Limits(window_messages=100, window_span=1000), 0)
    window.sent(0, 99, 100, 1000, None, 0.0)
    window.completed(99, 990)
    assert window.room() == 99
    window.sent(100, 1000, 2, 20, [100, 1000], 0.0)
    window.completed(101, 1010)
    assert window.outstanding == 1
    assert window.room() == 0
    window.checkpoint(100)
    assert window.room() > 0


def test_the_span_holds_for_a_client_that_claims_to_have_completed_everything() -> None:
    window = Window(Limits(window_messages=100, window_span=1000), 0)
    window.sent(0, 1000, 2, 20, [0, 1000], 0.0)
    window.completed(2, 20)  # without a checkpoint: all of it would come again after a crash
    assert window.room() <= 1
