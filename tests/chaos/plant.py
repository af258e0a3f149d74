"""Faults planted into valid facts, to test that exactly the responsible check finds each of them. Pure.

Each function returns the changed facts, or None if its fault cannot be planted into these facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import TypeVar

from tests.chaos import commit_checks
from tests.chaos.facts import SLACK_S, Checkpointed, Commit, Facts, Handled, Lease, PartitionFacts

Plant = Callable[[Facts, Random], Facts | None]
T = TypeVar("T")


def _any(random: Random, candidates: Iterable[T]) -> T | None:
    found = [*candidates]
    return random.choice(found) if found else None


def _without(events: Sequence[T], one: T) -> tuple[T, ...]:
    return tuple(event for event in events if event is not one)


def _handled_by(facts: Facts) -> dict[tuple[int, int], set[str]]:
    found: dict[tuple[int, int], set[str]] = {}
    for event in facts.handled:
        found.setdefault((event.partition, event.offset), set()).add(event.lease)
    return found


# --- records --------------------------------------------------------------------------------------------------


def loss(facts: Facts, random: Random) -> Facts | None:
    """A lambda's last record, which nobody else handled, was not handled."""
    by = _handled_by(facts)
    last = (run[-1] for run in facts.runs.values() if run)
    event = _any(random, (one for one in last if len(by[one.partition, one.offset]) == 1))
    return None if event is None else facts.but(handled=_without(facts.handled, event))


def invention(facts: Facts, random: Random) -> Facts | None:
    """The last record of a partition was followed by one that is not in the log."""
    ends = {(number, offsets[-1]) for number, offsets in facts.records.items()}
    run = _any(random, (run for run in facts.runs.values() if run and (run[-1].partition, run[-1].offset) in ends))
    if run is None:
        return None
    extra = run[-1]._replace(offset=facts.records[run[-1].partition][-1] + 3)
    handled = [*facts.handled]
    handled.insert(handled.index(run[-1]) + 1, extra)
    return facts.but(handled=tuple(handled))


def broker_loss(facts: Facts, random: Random) -> Facts | None:
    """An acknowledged record is not in the log."""
    number = random.choice([*facts.records])
    return facts.but(acknowledged=facts.acknowledged | {(number, facts.records[number][-1] + 1)})


def false_dead_letter(facts: Facts, random: Random) -> Facts | None:
    """A record that did not fail is a dead letter."""
    event = _any(random, facts.handled)
    return None if event is None else facts.but(dead_letters=facts.dead_letters | {(event.partition, event.offset)})


# --- lambdas --------------------------------------------------------------------------------------------------


def swap(facts: Facts, random: Random) -> Facts | None:
    """Two consecutive records came in the wrong order."""
    pair = _any(random, (pair for run in facts.runs.values() for pair in pairwise(run)))
    if pair is None:
        return None
    exchanged = {
        id(pair[0]): pair[0]._replace(offset=pair[1].offset),
        id(pair[1]): pair[1]._replace(offset=pair[0].offset),
    }
    return facts.but(handled=tuple(exchanged.get(id(event), event) for event in facts.handled))


def hole(facts: Facts, random: Random) -> Facts | None:
    """A lambda did not get one record in the middle; another lambda handled it."""
    by = _handled_by(facts)
    inner = (event for run in facts.runs.values() for event in run[1:-1])
    event = _any(random, (one for one in inner if len(by[one.partition, one.offset]) > 1))
    return None if event is None else facts.but(handled=_without(facts.handled, event))


def late_start(facts: Facts, random: Random) -> Facts | None:
    """A lambda began one record later than it should; another lambda has handled that record."""
    by = _handled_by(facts)

    def fits(lease: Lease) -> bool:
        run, partition = facts.runs[lease.name], facts.partitions[lease.partition]
        if len(run) < 2 or lease.start is None or run[0].offset != lease.start:
            return False
        offset = lease.start + 1
        reached = {c.offset for c in partition.commits} | {s.target for s in partition.seeks}
        others = len(by[lease.partition, lease.start]) > 1
        return others and offset not in reached and not partition.checkpoints_for(offset)

    lease = _any(random, filter(fits, facts.leases))
    if lease is None:
        return None
    assert lease.start is not None
    leases = tuple(replace(one, start=lease.start + 1, state=None) if one is lease else one for one in facts.leases)
    return facts.but(leases=leases, handled=_without(facts.handled, facts.runs[lease.name][0]))


def wrong_state(facts: Facts, random: Random) -> Facts | None:
    """A lambda got an older state than that of its start, or none."""
    lease = _any(random, (lease for lease in facts.leases if lease.state and lease.start))
    if lease is None or lease.start is None:
        return None
    older = {
        str(one.offset)
        for one in facts.partitions[lease.partition].checkpoints
        if any(one.offset < offset < lease.start for offset in facts.records[lease.partition])
    }
    seeks = {seek.target for seek in facts.partitions[lease.partition].seeks}
    state = _any(random, sorted(older | (set() if lease.start in seeks else {""})))
    if state is None:
        return None
    return facts.but(leases=tuple(replace(one, state=state) if one is lease else one for one in facts.leases))


def zombie_handler(facts: Facts, random: Random) -> Facts | None:
    """A lambda handled one more record after its close was called."""
    lease = _any(random, (one for one in facts.leases if one.closing is not None and len(facts.runs[one.name]) > 1))
    if lease is None:
        return None
    before, last = facts.runs[lease.name][-2:]
    closing = (before.at + last.at) / 2
    return facts.but(leases=tuple(replace(one, closing=closing) if one is lease else one for one in facts.leases))


def too_much_again(facts: Facts, random: Random) -> Facts | None:
    """A lambda got more than a window beyond its checkpoint, and the next lambda got all of it again."""

    def fits(pair: tuple[Lease, Lease]) -> bool:
        lease, heir = pair
        run, again = facts.runs[lease.name], facts.runs[heir.name]
        if not run or heir.start is None or facts.late(heir) or run[-1].offset < heir.start - 1:
            return False
        _, strict = commit_checks._tenure(facts, facts.partitions[heir.partition], heir)
        return strict and len(again) > facts.window + 1 and _until(lease, heir) > run[-1].at

    pairs = (pair for one in facts.partitions.values() for pair in pairwise(one.leases))
    pair = _any(random, filter(fits, pairs))
    if pair is None:
        return None
    lease, heir = pair
    last = facts.runs[lease.name][-1]
    more = [e.offset for e in facts.runs[heir.name][: facts.window + 2] if e.offset > last.offset]
    step = (_until(lease, heir) - last.at) / (len(more) + 1)
    extra = [Handled(last.at + step * (i + 1), lease.name, lease.partition, offset) for i, offset in enumerate(more)]
    return facts.but(handled=tuple(sorted([*facts.handled, *extra], key=lambda event: event.at)))


def _until(lease: Lease, heir: Lease) -> float:
    return min(heir.at, lease.closing if lease.closing is not None else heir.at)


# --- commits --------------------------------------------------------------------------------------------------


def _insert(facts: Facts, commit: Commit, *, after: Commit | None = None, before: Commit | None = None) -> Facts:
    commits = [*facts.commits]
    commits.insert(commits.index(after) + 1 if after is not None else commits.index(before or commit), commit)
    return facts.but(commits=tuple(commits))


def unfounded_commit(facts: Facts, random: Random) -> Facts | None:
    """A committed offset had not been checkpointed."""
    candidates = (
        (before, after, offset)
        for partition in facts.partitions.values()
        for before, after in pairwise(partition.commits)
        for offset in range(before.offset + 1, after.offset)
        if not partition.checkpoints_for(offset) and all(seek.target != offset for seek in partition.seeks)
    )
    found = _any(random, candidates)
    if found is None:
        return None
    _, after, offset = found
    return _insert(facts, after._replace(offset=offset), before=after)


def duplicate_commit(facts: Facts, random: Random) -> Facts | None:
    """An earlier commit was repeated after a higher one: 10, 20, 10."""
    pairs = (
        (before, after)
        for partition in facts.partitions.values()
        for before, after in pairwise(partition.commits)
        if 0 < before.offset < after.offset
        and before.offset not in {seek.target for seek in partition.seeks}
        and _owner(facts, before) == _owner(facts, after)
    )
    pair = _any(random, pairs)
    if pair is None:
        return None
    return _insert(facts, pair[1]._replace(offset=pair[0].offset), after=pair[1])


def _owner(facts: Facts, commit: Commit) -> tuple[str, str] | None:
    return commit_checks.owner_at(facts, commit.partition, commit.position)


def stale_commit(facts: Facts, random: Random) -> Facts | None:
    """A checkpoint was committed after a newer lease had begun below it."""
    candidates = []
    for partition in facts.partitions.values():
        for before, after in pairwise(partition.commits):
            for lease, heir in pairwise(partition.leases):
                if heir.at + SLACK_S < after.at and not facts.late(heir) and not facts.late(lease):
                    candidates += _stale(facts, partition, before, after, lease, heir)
    found = _any(random, candidates)
    if found is None:
        return None
    after, checkpoint = found
    return _insert(facts, after._replace(offset=checkpoint.offset + 1), before=after)


def _stale(
    facts: Facts, partition: PartitionFacts, before: Commit, after: Commit, lease: Lease, heir: Lease
) -> list[tuple[Commit, Checkpointed]]:
    owner = _owner(facts, after)
    if heir.start is None or (owner and facts.life_of(heir) not in ("", owner[1])):
        return []
    return [
        (after, one)
        for one in partition.checkpoints
        if one.lease == lease.name
        and heir.start <= one.offset
        and one.at < heir.at
        and before.offset < one.offset + 1 < after.offset
        and all(other.lease == lease.name for other in partition.checkpoints_for(one.offset + 1))
        and all(seek.target != one.offset + 1 for seek in partition.seeks)
    ]


def foreign_commit(facts: Facts, random: Random) -> Facts | None:
    """A sidecar committed a partition again that it had lost to another sidecar."""
    candidates = (
        (before, after)
        for partition in facts.partitions.values()
        for before, after in pairwise(partition.commits)
        if _owner(facts, before) != _owner(facts, after)
        and before.offset > 0
        and before.offset not in {seek.target for seek in partition.seeks}
        and before.offset <= after.offset
        and not any(
            facts.late(lease) or facts.life_of(lease) == (_owner(facts, after) or ("", ""))[1]
            for lease in (facts.lease[one.lease] for one in partition.checkpoints_for(before.offset))
        )
    )
    pair = _any(random, candidates)
    if pair is None:
        return None
    before, after = pair
    return _insert(facts, after._replace(offset=before.offset), before=after)


def withheld_commits(facts: Facts, random: Random) -> Facts | None:
    """A sidecar committed nothing for some seconds, although there was a checkpoint and no fault."""
    for one in random.sample(facts.checkpoints, len(facts.checkpoints)):
        if not commit_checks.must_be_committed(facts, one):
            continue
        commits = facts.partitions[one.partition].commits
        within = commit_checks.in_time(facts, one, commits)
        # The commit before those may include it too: then nobody misses them.
        if commit_checks.committed_by(facts, one, (*commits[: within.start], *commits[within.stop :])):
            continue
        withheld = {*commits[within.start : within.stop]}
        return facts.but(commits=tuple(commit for commit in facts.commits if commit not in withheld))
    return None


# --- the end --------------------------------------------------------------------------------------------------


def backlog(facts: Facts, random: Random) -> Facts | None:
    """One partition was not committed to its end."""
    number = random.choice([*facts.end.ends])
    committed = {**facts.end.committed, number: facts.end.ends[number] - 1}
    return facts.but(end=replace(facts.end, committed=committed))


def leftover(facts: Facts, random: Random) -> Facts | None:
    """A process was left after the run."""
    return facts.but(end=replace(facts.end, left=(f"python {random.random()}",)))


PLANTS: dict[Plant, str] = {
    broker_loss: "acknowledged",
    loss: "lost",
    invention: "unknown",
    false_dead_letter: "dead-letters",
    swap: "order",
    hole: "gap",
    late_start: "start",
    wrong_state: "state",
    zombie_handler: "alone",
    unfounded_commit: "commit-source",
    duplicate_commit: "commit-back",
    stale_commit: "commit-stale",
    foreign_commit: "commit-stale",
    withheld_commits: "commit-overdue",
    too_much_again: "again",
    backlog: "drained",
    leftover: "left",
}
"""Each fault, with the check that must find it."""
