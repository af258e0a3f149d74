"""What is sent again under the same lease: the window after a rewind, against a plain list."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings, strategies as st

from sidecar.partitions.vocabulary import Limits
from sidecar.partitions.window import Window

WIDE = Limits(window_messages=10**9, window_bytes=10**12, window_span=10**12)
EACH = 10
"""Bytes of a record."""


@dataclass
class Naive:
    """Every record that was sent and is not void, one by one."""

    start: int
    records: list[int] = field(default_factory=list)
    checkpoint: int | None = None
    beyond: int = 0
    furthest: int | None = None

    @property
    def low(self) -> int:
        return self.start if self.checkpoint is None else self.checkpoint + 1

    @property
    def left(self) -> list[int]:
        return [offset for offset in self.records if offset >= self.low]

    @property
    def delivered(self) -> int | None:
        return self.left[-1] if self.left else self.checkpoint


GAPS = st.lists(st.sampled_from([0, 0, 0, 1, 5]), min_size=1, max_size=8)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), GAPS),
        st.tuples(st.just("checkpoint"), st.floats(0, 1)),
        st.tuples(st.just("beyond"), st.integers(0, 12)),
        st.tuples(st.just("rewind"), st.floats(0, 1)),
    ),
    max_size=40,
)


def follow(window: Window, naive: Naive, step: tuple[object, ...]) -> None:
    match step:
        case ("send", list(gaps)):
            offset = naive.start - 1 if naive.delivered is None else naive.delivered
            offsets = []
            for gap in gaps:
                offset += gap + 1
                offsets.append(offset)
            consecutive = offsets[-1] - offsets[0] + 1 == len(offsets)
            size = EACH * len(offsets)
            window.sent(offsets[0], offsets[-1], len(offsets), size, None if consecutive else offsets, 0.0)
            naive.records += offsets
            naive.furthest = max(naive.furthest or 0, offsets[-1])
        case ("checkpoint", float(part)) if naive.left:
            naive.checkpoint = naive.low + round(part * (naive.left[-1] - naive.low))
            naive.beyond = 0
            window.checkpoint(naive.checkpoint)
        case ("beyond", int(count)):
            naive.beyond = min(count, len(naive.left))
            window.completed(count, EACH * count)
        case ("rewind", float(part)) if naive.left:
            # As its caller does: not below the checkpoint, not beyond what is under way.
            offset = naive.low + round(part * (naive.left[-1] - naive.low))
            before = len(naive.left)
            naive.records = [one for one in naive.records if one < offset]
            naive.beyond = max(0, naive.beyond - (before - len(naive.left)))
            window.rewind(offset)
        case _:
            pass


@given(STEPS, st.integers(0, 50))
@settings(max_examples=300, deadline=None)
def test_counts_match_a_list_of_single_records(steps: list[tuple[object, ...]], start: int) -> None:
    window, naive = Window(WIDE, start), Naive(start)
    for step in steps:
        follow(window, naive, step)
        assert window.records == len(naive.left)
        assert window.outstanding == len(naive.left) - naive.beyond
        assert window.outstanding_bytes == EACH * (len(naive.left) - naive.beyond)
        assert window.furthest == naive.furthest
        if naive.left or step[0] == "rewind":
            assert window.delivered == naive.delivered


@given(STEPS, st.integers(1, 9), st.integers(1, 30))
@settings(max_examples=150, deadline=None)
def test_room_keeps_every_limit(steps: list[tuple[object, ...]], messages: int, span: int) -> None:
    limits = Limits(window_messages=messages, window_bytes=10**6, window_span=span)
    window, naive = Window(limits, 0), Naive(0)
    for step in steps:
        follow(window, naive, step)
        outstanding = len(naive.left) - naive.beyond
        if outstanding == 0:
            assert window.room() >= 1
        elif naive.left[-1] - naive.low >= span:
            assert window.room() == 0
        else:
            assert window.room() == max(0, messages - outstanding)


@pytest.mark.parametrize(
    ("offset", "records", "size", "delivered"),
    [(0, 0, 0, None), (1, 1, 10, 0), (4, 3, 30, 3), (5, 3, 30, 3), (10, 4, 40, 9), (11, 5, 50, 10), (12, 5, 50, 10)],
)
def test_a_rewind_cuts_frames_of_both_kinds(offset: int, records: int, size: int, delivered: int | None) -> None:
    window = Window(WIDE, 0)
    window.sent(0, 1, 2, 20, None, 0.0)
    window.sent(3, 9, 2, 20, [3, 9], 0.0)
    window.sent(10, 13, 3, 30, [10, 12, 13], 0.0)
    window.rewind(offset)
    assert (window.records, window.outstanding_bytes, window.delivered) == (records, size, delivered)


def test_what_is_sent_again_counts_again() -> None:
    window = Window(Limits(window_messages=10), 0)
    window.sent(0, 9, 10, 100, None, 0.0)
    window.rewind(4)
    assert window.room() == 6
    window.sent(4, 9, 6, 60, None, 0.0)
    assert (window.room(), window.outstanding) == (0, 10)
    window.checkpoint(9)
    assert (window.records, window.outstanding_bytes) == (0, 0)
