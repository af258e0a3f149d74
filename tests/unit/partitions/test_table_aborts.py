"""Aborted transactions (exactly-once): which lanes start again, and what becomes of a refused dead letter."""

from __future__ import annotations

import pytest

from sidecar.partitions.vocabulary import ErrorAction, Lane, Limits, Place, Policy, State, WaitsFor
from sidecar.partitions.waiting import waits_for

from .lab import LANE0, P0, Lab

EXACT = Limits(policy=Policy.DEAD_LETTER, exactly_once=True)
WHY = "too large"


def aborted(lab: Lab, *refused: tuple[Lane, int], settled: bool = True, culprit: bool = False) -> None:
    said = {lane: (offset, WHY) for lane, offset in refused}
    lab.table.aborted(P0, "aborted", lab.now, culprit=culprit, refused=said, is_settled=settled)


def resolved(lab: Lab, at: int = 0) -> None:
    lab.table.resolved(P0, at, lab.now, committed=True)


def begin(limits: Limits = EXACT) -> Lab:
    lab = Lab(limits)
    lab.run()
    lab.send(0, 9)
    return lab


def refused_at(lab: Lab, lane: Lane = LANE0) -> list[int]:
    return [offset for offset, letter in lab.table.lanes[lane].dead.items() if letter.refused == WHY]


def test_only_the_lane_of_a_refused_dead_letter_keeps_it() -> None:
    lab = Lab(Limits(policy=Policy.DEAD_LETTER, exactly_once=True, lanes=2))
    lab.own(P0)
    first, second = (Lane(P0, number, 2) for number in range(2))
    aborted(lab, (second, 5))
    resolved(lab)
    assert (refused_at(lab, first), refused_at(lab, second)) == ([], [5])
    assert {lane.state for lane in lab.table.lanes.values()} == {State.WAITING}


@pytest.mark.parametrize("settled", [True, False])
def test_a_dead_letter_that_is_not_tried_again_counts_as_no_failure(settled: bool) -> None:
    lab = begin(Limits(policy=Policy.DEAD_LETTER, exactly_once=True, max_restarts=0))
    aborted(lab, (LANE0, 5), settled=settled)
    resolved(lab)
    assert lab.state() is (State.WAITING if settled else State.HALTED)
    assert lab.partition().trouble.failures == (0 if settled else 1)


def test_the_first_refused_one_is_kept_over_other_aborts() -> None:
    lab = begin()
    for refused, expected in (([5], 5), ([], 5), ([7], 5), ([2], 2)):
        aborted(lab, *((LANE0, offset) for offset in refused))
        resolved(lab)
        assert refused_at(lab) == [expected]


def test_a_lane_that_keeps_one_does_not_wait_for_it() -> None:
    """It was given to the dead-letter thread before, which has answered."""
    lab = begin()
    lab.table.records.waits_for_dead_letter(LANE0, 5)
    aborted(lab, (LANE0, 5))
    resolved(lab)
    lab.run(stream=2, process="another")
    assert waits_for(lab.partition(), has_leader=True, end=10) is not WaitsFor.DEAD_LETTER


def test_it_is_forgotten_where_kafka_has_its_record_as_done() -> None:
    """The commit that got no answer was carried out."""
    lab = begin()
    aborted(lab, (LANE0, 5))
    resolved(lab, at=6)
    assert lab.partition().dead == {}


def test_a_resume_or_a_seek_forgets_it() -> None:
    for seeks in (False, True):
        lab = begin()
        aborted(lab, (LANE0, 5))
        resolved(lab)
        if seeks:
            lab.table.operator.seek(P0, 3, lab.now)
        else:
            lab.table.operator.pause(P0, "", 1.0, lab.now)
            lab.table.operator.resume(P0, lab.now, skip=False)
        assert lab.partition().dead == {}


def test_a_letter_that_was_decided_upon_is_void_after_an_abort() -> None:
    """Its answer may come before Kafka has said where the partition is. Its record comes again."""
    lab = begin()
    lab.fail("L1", ErrorAction.CRITICAL, offset=5)
    letter = lab.partition().dead[5]
    aborted(lab, settled=False)
    assert not lab.table.records.dead_lettered(LANE0, 5, letter, "", 1.0, lab.now)
    lab.table.resolved(P0, 0, lab.now, committed=True, places=[Place(0)])
    assert (lab.partition().dead, lab.partition().skip) == ({}, set())
