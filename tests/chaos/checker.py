"""Invariants of a run: its records, its lambdas and its end. `commit_checks` has those of commits. Pure.

Each check is a function from the facts to breaches and is independent of the others: exactly one check is
responsible for each kind of fault.

| check | says |
| --- | --- |
| acknowledged | every record that the broker acknowledged is in its log (otherwise the broker itself lost it) |
| lost | every record was handled, or is a dead letter |
| unknown | only existing records were handled |
| dead-letters | dead letters are exactly the records that failed critically |
| order | each lambda got its records in order |
| gap | ... without a gap, from its start offset on |
| start | each lambda began at an offset that had been reached: see `start` |
| state | each lambda got the state of the checkpoint right before its start, or none where there is none |
| alone | in a process, a partition's lambda is closed before the next is made, and handles nothing afterwards |
| commit-source, commit-back, commit-stale, commit-overdue, again | see `commit_checks` |
| drained | at the end, everything is committed, the group is empty, and all exit codes are 0 |
| left | no process outlived the run |
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from tests.chaos import commit_checks
from tests.chaos.facts import SLACK_S, Breach, Facts, Lease, PartitionFacts

Check = Callable[[Facts], Iterable[Breach]]


def check(facts: Facts) -> list[Breach]:
    """The breaches of all checks; empty when the run was right."""
    return [breach for one in CHECKS.values() for breach in one(facts)]


def some(offsets: Iterable[int], most: int = 5) -> str:
    """The first ``most`` offsets and the number of the others, as a text."""
    every = sorted(offsets)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(map(str, every[:most])) + more


# --- records ------------------------------------------------------------------------------------------------------


def acknowledged(facts: Facts) -> Iterator[Breach]:
    """The broker kept every record that it acknowledged."""
    for number in facts.partitions:
        there = set(facts.records.get(number, ()))
        missing = {offset for partition, offset in facts.acknowledged if partition == number} - there
        if missing:
            yield Breach("acknowledged", f"partition {number}", f"not in the log: {some(missing)}")


def lost(facts: Facts) -> Iterator[Breach]:
    """Every record was handled or is a dead letter."""
    handled = {(event.partition, event.offset) for event in facts.handled}
    for number, offsets in facts.records.items():
        missing = {o for o in offsets if (number, o) not in handled and (number, o) not in facts.dead_letters}
        if missing:
            yield Breach("lost", f"partition {number}", f"never handled: {some(missing)}")


def unknown(facts: Facts) -> Iterator[Breach]:
    """Only existing records were handled."""
    handled = {(event.partition, event.offset) for event in facts.handled}
    for number in sorted({partition for partition, _ in handled}):
        extra = {offset for partition, offset in handled if partition == number} - set(facts.records.get(number, ()))
        if extra:
            yield Breach("unknown", f"partition {number}", f"handled, but not in the log: {some(extra)}")


def dead_letters(facts: Facts) -> Iterator[Breach]:
    """The dead letters are the records that failed critically; with another policy there are none."""
    failed = {(one.partition, one.offset) for one in facts.failures if one.critical}
    wanted = failed if facts.on_critical == "dead-letter" else frozenset()
    for what, records in (
        ("failed critically and is no dead letter", wanted - facts.dead_letters),
        ("is a dead letter and did not fail critically", facts.dead_letters - wanted),
    ):
        for number in sorted({partition for partition, _ in records}):
            offsets = some(offset for partition, offset in records if partition == number)
            yield Breach("dead-letters", f"partition {number}", f"{what}: {offsets}")


# --- lambdas ------------------------------------------------------------------------------------------------------


def order(facts: Facts) -> Iterator[Breach]:
    """Each lambda got its records in order."""
    for name, run in facts.runs.items():
        for before, after in pairwise(run):
            if after.offset <= before.offset:
                yield Breach("order", _where(facts, name), f"{after.offset} was handled after {before.offset}")
                break


def gap(facts: Facts) -> Iterator[Breach]:
    """Each lambda got all records from its start offset to its last one, and none below its start offset."""
    for name, run in facts.runs.items():
        lease = facts.lease.get(name)
        if lease is None:
            yield Breach("gap", name, "handled records, and was never made")
            continue
        if not run:
            continue
        got = {event.offset for event in run}
        start = min(got) if lease.start is None else lease.start
        offsets = facts.records.get(lease.partition, ())
        seen = offsets[bisect_left(offsets, start) : bisect_right(offsets, max(got))]
        wanted = {*seen} - facts.partitions[lease.partition].dead_letters
        if wanted - got:
            yield Breach("gap", _where(facts, name), f"left out {some(wanted - got)} of {start} to {max(got)}")
        if min(got) < start:
            below = some(offset for offset in got if offset < start)
            yield Breach("gap", _where(facts, name), f"began at {start}, and handled {below}")


def start(facts: Facts) -> Iterator[Breach]:
    """Each lambda began at an offset that had been reached, and not below the committed offset.

    Reached offsets are 0, a checkpoint + 1, a commit or a seek's target, and those after passed dead letters; after a
    seek, only offsets reached after it. The committed offset counts only for lambdas of the sidecar that owned the
    partition in Kafka's view: a sidecar that was frozen too long gives out the offset it remembers, and Kafka refuses
    its commits.
    """
    for facts_of in facts.partitions.values():
        for lease in facts_of.leases:
            if lease.start is None:
                continue
            owned = commit_checks.owned(facts, lease)
            if not _reached(facts, facts_of, lease, owned=owned):
                yield Breach("start", _where(facts, lease.name), f"began at {lease.start}, which nobody had reached")
            if not owned or facts.late(lease):
                continue
            before = [commit for commit in facts_of.commits if commit.at < lease.at - SLACK_S]
            # A seek ends the lease at once, and the next lease may begin before the new offset is committed.
            seeking = any(
                seek.target <= lease.start and seek.sent <= lease.at <= seek.answered + commit_checks.SEEK_AFTERMATH_S
                for seek in facts_of.seeks
            )
            if before and before[-1].offset > lease.start and not seeking:
                text = f"began at {lease.start}, when {before[-1].offset} was committed"
                yield Breach("start", _where(facts, lease.name), text)


def _reached(facts: Facts, partition: PartitionFacts, lease: Lease, *, owned: bool) -> bool:
    assert lease.start is not None
    same = partition.same_offsets(lease.start)
    seek = partition.era(lease.at - SLACK_S) if owned else None
    since = float("-inf") if seek is None else seek.sent
    if seek is None and 0 in same:
        return True
    if any(one.target in same and since <= one.sent <= lease.at for one in partition.seeks):
        return True
    if any(c.offset in same and since - SLACK_S <= c.at <= lease.at + SLACK_S for c in partition.commits):
        return True
    return any(
        one.at <= lease.at and facts.lease[one.lease].at >= since for one in partition.checkpoints_for(lease.start)
    )


def state(facts: Facts) -> Iterator[Breach]:
    """The state that a lambda got is exactly as old as the offset where it began.

    Between the checkpoint with which the state came and the start there are only dead letters and gaps in the log.
    Without a state, the same holds from the log's beginning or the target of a seek on. A partition of which some
    lambdas keep no states says nothing: theirs move the offset and leave the state.
    """
    for partition in facts.partitions.values():
        if any(lease.state is None for lease in partition.leases):
            continue
        offsets = [o for o in facts.records.get(partition.number, ()) if o not in partition.dead_letters]
        for lease in partition.leases:
            if lease.start is None:
                continue
            if lease.state:
                places = [int(lease.state) + 1]
            else:
                places = [0, *(seek.target for seek in partition.seeks if seek.sent <= lease.at)]
            ends = bisect_left(offsets, lease.start)
            if not any(place <= lease.start and bisect_left(offsets, place) == ends for place in places):
                given = f"the state of checkpoint {lease.state}" if lease.state else "no state"
                yield Breach("state", _where(facts, lease.name), f"began at {lease.start} with {given}")


def alone(facts: Facts) -> Iterator[Breach]:
    """In one process, a partition has one lambda at a time, and a closing lambda handles nothing."""
    last: dict[tuple[str, int], Lease] = {}
    for lease in facts.leases:
        before = last.get((lease.process, lease.partition))
        if before is not None and (before.closed is None or before.closed > lease.at):
            yield Breach("alone", _where(facts, lease.name), f"made before {before.name} was closed")
        last[lease.process, lease.partition] = lease
        if lease.closing is None:
            continue
        after = {event.offset for event in facts.runs[lease.name] if event.at > lease.closing}
        if after:
            yield Breach("alone", _where(facts, lease.name), f"handled after its close was called: {some(after)}")


def _where(facts: Facts, name: str) -> str:
    lease = facts.lease.get(name)
    if lease is None:
        return name
    sidecar = facts.life_of(lease) or lease.slot
    return f"partition {lease.partition}, lambda {name} (sidecar {sidecar}, {lease.at:.3f})"


# --- the end ------------------------------------------------------------------------------------------------------


def drained(facts: Facts) -> Iterator[Breach]:
    """Everything is committed, the group is empty, and all processes ended with exit code 0."""
    for number, end in sorted(facts.end.ends.items()):
        committed = facts.end.committed.get(number, 0)
        if committed != end:
            yield Breach("drained", f"partition {number}", f"committed {committed}, the end is {end}")
    if facts.end.group.lower() != "empty":
        yield Breach("drained", "group", f"is {facts.end.group} after its last member has left")
    for label, code in sorted(facts.end.exits.items()):
        if code:
            yield Breach("drained", label, f"ended with exit code {code}")


def left(facts: Facts) -> Iterator[Breach]:
    """No process was left after the run."""
    for process in facts.end.left:
        yield Breach("left", "machine", f"still runs: {process}")


CHECKS: dict[str, Check] = {
    "acknowledged": acknowledged,
    "lost": lost,
    "unknown": unknown,
    "dead-letters": dead_letters,
    "order": order,
    "gap": gap,
    "start": start,
    "state": state,
    "alone": alone,
    "commit-source": commit_checks.source,
    "commit-back": commit_checks.back,
    "commit-stale": commit_checks.stale,
    "commit-overdue": commit_checks.overdue,
    "again": commit_checks.again,
    "drained": drained,
    "left": left,
}
