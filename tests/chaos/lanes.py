"""The facts of a run with lanes, told as those of a run whose partitions are the lanes. Pure.

A lane is for its lambda what a partition is without lanes: its records come in order and without a gap, each lambda
begins at the lane's place, with the state that belongs to it. So the checks are the same. But other lanes' records
lie between those of a lane, and its place may be at any of them. So each offset is replaced by a number: how many of
the lane's records are before it. Lane ``l`` of partition ``p`` becomes partition ``p * lanes + l``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from tests.chaos.facts import Checkpointed, Commit, Facts, Failed, Generation, Handled, Lease, Seek

E = TypeVar("E", Handled, Checkpointed, Failed)


def split(facts: Facts, lanes: int, lane_of: Mapping[int, Sequence[int]]) -> Facts:
    """The facts of the lanes.

    Args:
        facts: of the partitions; their commits have the places of the lanes.
        lanes: how many each partition has.
        lane_of: the lane of each record of ``facts.records``, by partition.
    """
    numbers = _Numbers(facts, lanes, lane_of)
    return facts.but(
        records={virtual: tuple(range(len(offsets))) for virtual, offsets in numbers.offsets.items()},
        acknowledged=frozenset(numbers.of_record(*one) for one in facts.acknowledged),
        dead_letters=frozenset(numbers.of_record(*one) for one in facts.dead_letters),
        leases=tuple(map(numbers.lease, facts.leases)),
        handled=tuple(numbers.events(facts, facts.handled)),
        checkpoints=tuple(numbers.events(facts, facts.checkpoints)),
        failures=tuple(numbers.events(facts, facts.failures)),
        commits=tuple(_moves(numbers, facts.commits)),
        generations=tuple(_owners(one, lanes) for one in facts.generations),
        seeks=tuple(one for seek in facts.seeks for one in numbers.seeks(seek)),
        end=replace(
            facts.end,
            committed={
                v: numbers.place(v, offset) for p, offset in facts.end.committed.items() for v in numbers.of(p)
            },
            ends={v: numbers.place(v, offset) for p, offset in facts.end.ends.items() for v in numbers.of(p)},
        ),
    )


class _Numbers:
    """The numbers of offsets in their lanes."""

    def __init__(self, facts: Facts, lanes: int, lane_of: Mapping[int, Sequence[int]]) -> None:
        self.lanes = lanes
        self.offsets: dict[int, list[int]] = {v: [] for p in facts.partitions for v in self.of(p)}
        """The offsets of the records of each lane."""
        self._of_record: dict[tuple[int, int], tuple[int, int]] = {}
        for partition, offsets in facts.records.items():
            for offset, lane in zip(offsets, lane_of[partition], strict=True):
                virtual = partition * lanes + lane
                self._of_record[partition, offset] = virtual, len(self.offsets[virtual])
                self.offsets[virtual].append(offset)

    def of(self, partition: int) -> range:
        """The lanes of a partition, as partitions."""
        return range(partition * self.lanes, (partition + 1) * self.lanes)

    def place(self, virtual: int, offset: int) -> int:
        """How many of the lane's records are before an offset."""
        return bisect_left(self.offsets.get(virtual, []), offset)

    def of_record(self, partition: int, offset: int) -> tuple[int, int]:
        """The lane and the number of a record. One that is not in the log has a number below 0, and so is found."""
        return self._of_record.get((partition, offset), (partition * self.lanes, -1 - offset))

    def lease(self, lease: Lease) -> Lease:
        """The lease of a lane, as one of a partition. Its state is the offset of a record of its lane."""
        virtual = lease.partition * self.lanes + lease.lane
        start = None if lease.start is None else self.place(virtual, lease.start)
        state = lease.state and str(self.place(virtual, int(lease.state)))
        return replace(lease, partition=virtual, start=start, state=state)

    def events(self, facts: Facts, events: Iterable[E]) -> Iterator[E]:
        """The events of lambdas. A record that is not of the lambda's lane has a number below 0, and so is found."""
        for event in events:
            virtual = event.partition * self.lanes + facts.lease[event.lease].lane
            of, number = self.of_record(event.partition, event.offset)
            yield event._replace(partition=virtual, offset=number if of == virtual else -1 - event.offset)

    def seeks(self, seek: Seek) -> Iterator[Seek]:
        """A seek of a partition moves all of its lanes."""
        for virtual in self.of(seek.partition):
            yield replace(seek, partition=virtual, target=self.place(virtual, seek.target))


def _moves(numbers: _Numbers, commits: Iterable[Commit]) -> Iterator[Commit]:
    """The commits of lanes. One that repeats a lane's place says nothing: it was made for another lane's sake."""
    last: dict[int, int] = {}
    for commit in commits:
        places = commit.places or (commit.offset,) * numbers.lanes
        if commit.offset < 0:
            places = (commit.offset,) * numbers.lanes
        for virtual, offset in zip(numbers.of(commit.partition), places, strict=True):
            place = offset if offset < 0 else numbers.place(virtual, offset)
            if last.get(virtual) != place:
                last[virtual] = place
                yield Commit(commit.position, commit.at, virtual, place)


def _owners(generation: Generation, lanes: int) -> Generation:
    owners = {p * lanes + lane: owner for p, owner in generation.owners.items() for lane in range(lanes)}
    return generation._replace(owners=owners)
