"""Where a record stood still, from times that nobody measured."""

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from benchmarks.stalls.causes import (
    AFTER,
    ASLEEP,
    BUSY,
    FETCH,
    MACHINE,
    NO_FETCH,
    PLACES,
    READING,
    Answer,
    Read,
    Record,
    Span,
    Trace,
    places,
    stalls,
    with_records,
)


def trace(record: Record, answers: list[Answer], waits: list[Span], reads: list[Read], late: list[Span]) -> Trace:
    return Trace([record], answers, waits, reads, late)


def lengths(found: dict[str, int]) -> list[int]:
    assert [*found] == [*PLACES]
    return [*found.values()]


def test_a_record_is_at_each_place_from_its_production_to_its_handling() -> None:
    found = places(
        Trace(
            [],
            [Answer(sent=10, received=30, size=900)],
            [Span(5, 37)],
            [Read(began=40, ended=46, partition=1, end=8)],
        ),
        Record(partition=1, offset=7, produced=3, handled=100),
    )
    assert lengths(found) == [7, 20, 7, 3, 6, 54]


def test_an_answer_that_an_earlier_read_has_read_does_not_count() -> None:
    answers = [Answer(0, 4, 900), Answer(6, 70, 900)]
    reads = [Read(5, 6, 1, 7), Read(71, 72, 1, 8)]
    found = places(Trace([], answers, [Span(6, 71)], reads), Record(1, 7, 3, 73))
    assert lengths(found) == [3, 64, 1, 0, 1, 1]


def test_a_read_of_another_partition_or_of_earlier_records_does_not_deliver() -> None:
    reads = [Read(5, 6, 0, 90), Read(5, 6, 1, 7), Read(50, 60, 1, 8)]
    found = places(Trace([], [Answer(1, 4, 900)], [], reads), Record(1, 7, 3, 61))
    assert found[READING] == 10


def test_a_record_that_no_read_brought_is_not_explained() -> None:
    assert lengths(places(Trace([], [], [], []), Record(1, 7, 3, 61))) == [0, 0, 0, 0, 0, 58]


def test_empty_answers_are_the_smallest() -> None:
    answers = [Answer(0, 1, 400), Answer(1, 2, 700), Answer(2, 3, 400), Answer(3, 4, 500)]
    assert [answer.size for answer in with_records(answers)] == [700, 500]
    assert with_records([]) == []


@pytest.mark.parametrize(
    ("answer", "wait", "read", "late", "cause"),
    [
        (Answer(70, 71, 9), Span(0, 71), (71, 72), Span(0, 3), NO_FETCH),
        (Answer(1, 70, 9), Span(0, 71), (71, 72), Span(0, 3), FETCH),
        (Answer(1, 5, 9), Span(0, 70), (71, 72), Span(0, 3), ASLEEP),
        (Answer(1, 5, 9), Span(0, 5), (71, 72), Span(0, 3), BUSY),
        (Answer(1, 5, 9), Span(0, 5), (5, 72), Span(0, 3), READING),
        (Answer(1, 5, 9), Span(0, 5), (5, 6), Span(0, 3), AFTER),
        (Answer(1, 70, 9), Span(0, 71), (71, 72), Span(20, 60), MACHINE),
        (Answer(1, 70, 9), Span(0, 71), (71, 72), Span(80, 160), FETCH),
    ],
)
def test_the_cause_is_where_most_of_the_time_went(
    answer: Answer, wait: Span, read: tuple[int, int], late: Span, cause: str
) -> None:
    record = Record(0, 0, 0, 75)
    (stall,) = stalls(trace(record, [answer], [wait], [Read(*read, 0, 1)], [late]), 20)
    assert stall.cause == cause
    assert stall.length == 75


def test_records_that_wait_in_the_same_moment_are_one_stall() -> None:
    times = [(0, 70), (10, 71), (60, 72), (73, 74), (80, 150), (200, 203)]
    records = [Record(0, offset, *time) for offset, time in enumerate(times)]
    found = [*stalls(Trace(records, [], [], []), 10)]
    assert [(stall.first.offset, stall.count) for stall in found] == [(0, 3), (4, 1)]


@given(st.lists(st.integers(0, 100), min_size=9, max_size=9), st.integers(0, 100), st.integers(0, 100))
def test_the_places_add_up_to_the_whole_time(times: list[int], produced: int, took: int) -> None:
    one, two, three, *rest = sorted(times)
    spans = [Span(*pair) for pair in pairwise(rest)]
    read = Read(min(max(produced, three), produced + took), produced + took, 0, 1)
    record = Record(0, 0, produced, produced + took)
    found = places(Trace([], [Answer(one, two, 9)], spans, [read]), record)
    assert sum(found.values()) == took
    assert min(found.values()) >= 0
