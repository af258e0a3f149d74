"""A run with lanes is checked as one whose partitions are the lanes."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from tests.chaos import checker, lanes, story
from tests.chaos.facts import Checkpointed, Commit, Facts, Handled, Seek

E = TypeVar("E", Handled, Checkpointed)

LANES = 2
"""Of each partition of a story, in which even offsets are of lane 0, and odd ones of lane 1."""


def merged(facts: Facts) -> Facts:
    """The partitions 0 and 1 of a story, as the lanes of partition 0: what the recorders and Kafka would tell."""

    def offset(partition: int, number: int) -> int:
        return number * LANES + partition

    moved = {}
    for lease in facts.leases:
        start = None if lease.start is None else offset(lease.partition, lease.start)
        state = lease.state and str(offset(lease.partition, int(lease.state)))
        moved[lease.name] = replace(lease, partition=0, lane=lease.partition, start=start, state=state)

    def event(one: E) -> E:
        return one._replace(partition=0, offset=offset(one.partition, one.offset))

    places, commits = [0, 1], []
    for commit in facts.commits:
        places[commit.partition] = offset(commit.partition, commit.offset)
        commits.append(Commit(commit.position, commit.at, 0, min(places), tuple(places)))
    end = max(len(offsets) for offsets in facts.records.values()) * LANES
    return facts.but(
        records={0: tuple(sorted(offset(p, o) for p, offsets in facts.records.items() for o in offsets))},
        acknowledged=frozenset((0, offset(p, o)) for p, o in facts.acknowledged),
        leases=tuple(moved.values()),
        handled=tuple(map(event, facts.handled)),
        checkpoints=tuple(map(event, facts.checkpoints)),
        commits=tuple(commits),
        generations=tuple(one._replace(owners={0: one.owners[0]}) for one in facts.generations),
        seeks=(),
        end=replace(facts.end, committed={0: end}, ends={0: end}),
    )


def one_owner() -> Facts:
    """Two lanes in one sidecar; a process dies, and another goes on from each lane's own place."""
    made = story.Story()
    made.sidecar("a-1")
    made.group(a_1=[0, 1])
    made.lease("a1-1.1", 0, 0)
    made.lease("a1-1.2", 1, 0)
    made.handles("a1-1.1", 0, 29, every=10)
    made.handles("a1-1.2", 0, 3, every=4)
    made.handles("a1-1.1", 30, 34)
    made.lease("a2-1.1", 0, 30)
    made.lease("a2-1.2", 1, 4)
    made.passes(0.5)
    made.handles("a2-1.1", 30, 49, every=10)
    made.handles("a2-1.2", 4, 49, every=23)
    return made.facts()


def split(facts: Facts) -> Facts:
    return lanes.split(facts, LANES, {0: [offset % LANES for offset in facts.records[0]]})


def test_the_lanes_are_again_what_was_merged() -> None:
    told = one_owner()
    found = split(merged(told))
    assert found.records == told.records
    assert [replace(one, lane=0) for one in found.leases] == [*told.leases]
    assert found.handled == told.handled
    assert found.checkpoints == told.checkpoints
    assert [one for one in found.commits if one.offset] == [*told.commits]
    assert found.end == told.end
    assert checker.check(found) == []


def names(facts: Facts) -> set[str]:
    return {breach.check for breach in checker.check(split(facts))}


def test_a_record_in_the_wrong_lane_is_found() -> None:
    facts = merged(one_owner())
    wrong = facts.handled[5]._replace(offset=facts.handled[5].offset + 1)
    assert "unknown" in names(facts.but(handled=(*facts.handled[:5], wrong, *facts.handled[6:])))


def test_a_lane_that_begins_with_the_state_of_another_place_is_found() -> None:
    facts = merged(one_owner())
    leases = tuple(replace(one, state="2") if one.name == "a2-1.1" else one for one in facts.leases)
    assert names(facts.but(leases=leases)) == {"state"}


def test_a_lane_whose_place_goes_back_is_found() -> None:
    facts = merged(one_owner())
    last = facts.commits[-1]
    back = last._replace(position=last.position + 1, offset=20, places=(20, last.places[1]))
    assert names(facts.but(commits=(*facts.commits, back))) == {"commit-back"}


def test_a_seek_moves_all_lanes() -> None:
    facts = merged(one_owner())
    found = split(facts.but(seeks=(Seek(0, 41, 1.0, 2.0, done=True),)))
    assert [(one.partition, one.target) for one in found.seeks] == [(0, 21), (1, 20)]


def test_a_record_that_the_broker_lost_is_found() -> None:
    facts = merged(one_owner())
    assert names(facts.but(acknowledged=facts.acknowledged | {(0, 10_000)})) == {"acknowledged"}
