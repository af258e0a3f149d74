"""When a round of checkpoints begins."""

import math

from hypothesis import given, strategies as st

from sidecar.consuming.rounds import Rounds
from sidecar.partitions.vocabulary import Lane, TopicPartition

A, B = (Lane(TopicPartition("t", partition), 0, 1) for partition in (0, 1))


def begun(rounds: Rounds, *lanes: Lane, at: float, took: float = 0.02) -> None:
    """A round of these lanes, begun at this time and answered."""
    for lane in lanes:
        rounds.add(lane, at, hurries=False)
    rounds.begin(lanes, at)
    rounds.answered(at + took)


def test_nothing_begins_without_a_checkpoint() -> None:
    rounds = Rounds(0.1)
    assert rounds.begins_at(others_are_expected=False) == math.inf
    rounds.add(A, 1.0, hurries=False)
    rounds.drop([A, B])
    assert rounds.begins_at(others_are_expected=False) == math.inf
    assert not rounds.something_waits


def test_without_others_it_begins_at_once() -> None:
    rounds = Rounds(0.1)
    rounds.add(A, 1.0, hurries=False)
    assert rounds.begins_at(others_are_expected=False) <= 1.0


def test_one_that_hurries_waits_for_nobody() -> None:
    rounds = Rounds(0.1)
    rounds.add(A, 1.0, hurries=False)
    rounds.add(B, 1.0, hurries=True)
    assert rounds.begins_at(others_are_expected=True) <= 1.0
    rounds.begin([A, B], 1.0)
    rounds.add(A, 2.0, hurries=False)
    assert rounds.begins_at(others_are_expected=True) > 2.0, "the next one is another"


def test_lanes_of_the_last_round_and_those_with_records_are_expected() -> None:
    rounds = Rounds(0.1)
    begun(rounds, A, at=1.0)
    rounds.add(B, 1.03, hurries=False)
    assert [rounds.expects(lane, has_records=False) for lane in (A, B)] == [True, False]
    assert not rounds.expects(B, has_records=True), "it waits already"
    begun(rounds, B, at=1.1)
    assert [rounds.expects(lane, has_records=False) for lane in (A, B)] == [False, True]
    assert rounds.expects(A, has_records=True)


def test_a_round_begins_half_an_interval_after_the_last_one() -> None:
    rounds = Rounds(0.1)
    begun(rounds, A, B, at=1.0, took=0.01)
    rounds.add(A, 1.02, hurries=False)
    assert rounds.begins_at(others_are_expected=True) == 1.05


def test_on_a_slow_machine_a_round_waits_for_others_as_long_as_the_last_one_took() -> None:
    rounds = Rounds(0.1)
    begun(rounds, A, B, at=1.0, took=0.04)
    rounds.add(A, 1.08, hurries=False)
    assert math.isclose(rounds.begins_at(others_are_expected=True), 1.12)
    begun(rounds, A, B, at=2.0, took=3.0)
    rounds.add(A, 5.0, hurries=False)
    assert rounds.begins_at(others_are_expected=True) == 5.05


@given(interval=st.floats(0.002, 10), took=st.floats(0, 1), hop=st.floats(0, 1))
def test_a_record_waits_for_no_longer_than_the_interval_and_its_two_rounds(
    interval: float, took: float, hop: float
) -> None:
    """A lane sends a checkpoint; a record that just missed it goes with its next one, sent after the answer."""
    rounds = Rounds(interval)
    begun(rounds, A, B, at=0.0, took=took)
    sent = took + hop  # the lane's checkpoint after that answer; the record comes now
    rounds.add(A, sent, hurries=False)
    first = max(sent, rounds.begins_at(others_are_expected=True))
    rounds.begin([A, B], first)
    rounds.answered(first + took)
    again = first + took + hop
    rounds.add(A, again, hurries=False)
    visible = max(again, rounds.begins_at(others_are_expected=True)) + took
    assert visible - sent <= interval + 2 * took + hop + 1e-6
