"""What must hold of commits, and of what was handled again. Pure.

| check | says |
| --- | --- |
| commit-source | each commit is the start, a checkpoint that was made before + 1, or a seek's target |
| commit-back | a partition's commits go back only by a seek |
| commit-stale | each commit comes from a lease that was valid: see `stale` |
| commit-overdue | where all was calm, a checkpoint was committed within the interval |
| again | what a new lease handled again is bounded by the window: see `again` |

Who owned a partition is taken from Kafka's own record of the group, which lies in one log with the commits: their
order needs no clock. A member may commit in a generation in which it does not own the partition any more, for the
one that owns it next comes with the next generation; so a partition that nobody has stays its last owner's.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from tests.chaos.facts import SLACK, Breach, Checkpointed, Commit, Facts, Generation, Lease, PartitionFacts, Seek

GRACE = 2.0
"""Seconds after its interval when a checkpoint is overdue: the machine is busy."""
BROKER_AFTERMATH = 15.0
"""Seconds after a broker's return in which clients find it again and the group forms anew."""
REBALANCE = 10.0
"""Seconds that a rebalance may go on before its generation is kept: until all have joined, or their sessions are
over. Kafka refuses commits in the second half of that."""
SEEK_AFTERMATH = 5.0
"""Seconds after an answer that never came in which a seek may still happen."""


# --- who owns what ------------------------------------------------------------------------------------------------


def owner_at(facts: Facts, partition: int, position: int) -> tuple[str, str] | None:
    """(member id, client id) of the owner at a place of the log; None: unknown."""
    found: tuple[str, str] | None = None
    for generation in facts.generations:
        if generation.position > position:
            break
        found = generation.owners.get(partition, found)
    return found


def owner_when(facts: Facts, partition: int, at: float) -> tuple[str, str] | None:
    """The same at a time."""
    found: tuple[str, str] | None = None
    for generation in facts.generations:
        if generation.at > at:
            break
        found = generation.owners.get(partition, found)
    return found


def owned(facts: Facts, lease: Lease) -> bool:
    """Whether the lease's sidecar owned the partition when the lease began. Where nothing is known of that: yes."""
    life = facts.life_of(lease)
    if not facts.generations or not life:
        return True
    # Kafka keeps a generation before it tells the members, so a lease comes after its own: no slack on that side.
    owners = {owner_when(facts, lease.partition, lease.at + off) for off in (0.0, SLACK)}
    return len(owners) == 1 and (owners.pop() or ("", ""))[1] == life


def _rebalanced(facts: Facts, begin: float, end: float) -> Generation | None:
    """A generation that began between two times, or None."""
    return next((g for g in facts.generations if begin - SLACK <= g.at <= end + SLACK), None)


# --- commits ------------------------------------------------------------------------------------------------------


def _where(commit: Commit) -> str:
    return f"partition {commit.partition}, commit of {commit.offset} ({commit.at:.3f}, #{commit.position})"


def _sought(partition: PartitionFacts, commit: Commit) -> bool:
    return any(seek.target == commit.offset and seek.sent <= commit.at + SLACK for seek in partition.seeks)


def _checkpoints_for(partition: PartitionFacts, commit: Commit) -> list[Checkpointed]:
    """Those that the commit may have come from."""
    return [one for one in partition.checkpoints_for(commit.offset) if one.at <= commit.at + SLACK]


def _by_itself(partition: PartitionFacts, commit: Commit) -> bool:
    """It needs no checkpoint: the start, or a seek's target."""
    return 0 in partition.same_places(commit.offset) or _sought(partition, commit)


def source(facts: Facts) -> Iterator[Breach]:
    """Each commit comes from somewhere."""
    for partition in facts.partitions.values():
        for commit in partition.commits:
            if commit.offset < 0:
                yield Breach("commit-source", _where(commit), "the commit was removed")
            elif not _by_itself(partition, commit) and not _checkpoints_for(partition, commit):
                high = max((o.offset for o in partition.checkpoints if o.at <= commit.at + SLACK), default=None)
                text = f"no such checkpoint was made before; the highest was {high}"
                yield Breach("commit-source", _where(commit), text)


def back(facts: Facts) -> Iterator[Breach]:
    """Commits go back only by a seek, each once."""
    for partition in facts.partitions.values():
        seeks: list[Seek] = [*partition.seeks]
        found: dict[int, list[Breach]] = {}
        before: Commit | None = None
        for commit in partition.commits:
            if before is not None and commit.offset < before.offset:
                cause = next((s for s in seeks if _goes_back_by(s, partition, commit)), None)
                if cause is None:
                    text = f"goes back from {before.offset} (#{before.position}) without a seek"
                    found.setdefault(commit.offset, []).append(Breach("commit-back", _where(commit), text))
                    # The later ones are judged by what was known before this one.
                    continue
                seeks.remove(cause)
            before = commit
        yield from map(_first, found.values())


def _goes_back_by(seek: Seek, partition: PartitionFacts, commit: Commit) -> bool:
    """It is the seek's target; or, where a rebalance refused that one, a checkpoint of the lease that began there."""
    if seek.sent > commit.at + SLACK or seek.target > commit.offset:
        return False
    return seek.target == commit.offset or any(
        lease.start == seek.target and seek.sent <= lease.at <= commit.at + SLACK for lease in partition.leases
    )


def stale(facts: Facts) -> Iterator[Breach]:
    """Each commit comes from a checkpoint under a lease that was valid then.

    It is not when the partition was another sidecar's, as Kafka has it. It is not either when a newer lease had begun
    at the owner's below the commit: the checkpoint had not been accepted when that one was given, and with that it
    was dead. (Where the newer lease has made the same checkpoint, nobody can tell the two commits apart.)
    """
    for partition in facts.partitions.values():
        found: dict[int, list[Breach]] = {}
        for commit in partition.commits:
            if commit.offset < 0 or _by_itself(partition, commit):
                continue
            checkpoints = _checkpoints_for(partition, commit)
            why = [_fenced(facts, partition, commit, checkpoint) for checkpoint in checkpoints]
            if why and all(why):
                breach = Breach("commit-stale", _where(commit), "; ".join(dict.fromkeys(why)))
                found.setdefault(commit.offset, []).append(breach)
        yield from map(_first, found.values())


def _first(several: list[Breach]) -> Breach:
    """The same commit may be repeated by the hundred: tell the first one, and how many there are."""
    more = f" ({len(several)} times)" if len(several) > 1 else ""
    return Breach(several[0].check, several[0].where, several[0].text + more)


def _fenced(facts: Facts, partition: PartitionFacts, commit: Commit, checkpoint: Checkpointed) -> str:
    """Why this checkpoint was not valid when it was committed; empty when it may have been."""
    lease = facts.lease[checkpoint.lease]
    owner = owner_at(facts, partition.number, commit.position)
    life = facts.life_of(lease)
    if owner and life and not facts.late(lease) and owner[1] != life:
        return f"checkpoint of {lease.name} at sidecar {life}, but the partition was {owner[1]}'s"
    for newer in partition.leases:
        if newer is lease or newer.start is None or not checkpoint.at < newer.at < commit.at - SLACK:
            continue
        theirs = facts.life_of(newer)
        if newer.start > checkpoint.offset or facts.late(newer) or (owner and theirs and theirs != owner[1]):
            continue
        return f"checkpoint of {lease.name}, but {newer.name} had begun at {newer.start} ({newer.at:.3f})"
    return ""


def overdue(facts: Facts) -> Iterator[Breach]:
    """A checkpoint is committed within the interval, when nothing has happened meanwhile."""
    patience = facts.interval + GRACE
    for partition in facts.partitions.values():
        times = [commit.at for commit in partition.commits]
        for lease in partition.leases:
            later = (one.at for one in partition.leases if one.at > lease.at)
            # A process that is killed has written a checkpoint into its history and may not have sent it.
            ended = facts.ends.get(lease.process, float("inf"))
            until = min(min(later, default=float("inf")), lease.closing or float("inf"), ended)
            for checkpoint in (one for one in partition.checkpoints if one.lease == lease.name):
                due = checkpoint.at + patience
                first = bisect_left(times, checkpoint.at - SLACK)
                last = bisect_right(times, due + SLACK)
                # Even one from before may have it: what came between the write and the call is counted in.
                if any(commit.offset > checkpoint.offset for commit in partition.commits[max(0, first - 1) : last]):
                    continue
                if due < until and _calm(facts, lease, checkpoint.at, due):
                    text = f"checkpoint {checkpoint.offset} ({checkpoint.at:.3f}) not committed within {patience:g} s"
                    yield Breach("commit-overdue", f"partition {partition.number}, lambda {lease.name}", text)
                    break


def _calm(facts: Facts, lease: Lease, begin: float, end: float) -> bool:
    """Nothing happened that could have held up a commit of this lease, and the run went on."""
    life = next((one for one in facts.lives if one.client == facts.life_of(lease)), None)
    if facts.lives and (life is None or life.end < end):
        return False
    if not owned(facts, lease) or _rebalanced(facts, begin - facts.interval, end + REBALANCE):
        return False
    if any(seek.partition == lease.partition and seek.sent <= end for seek in facts.seeks):
        return False
    for span in facts.spans:
        concerned = span.what in ("broker", lease.slot, lease.process)
        aftermath = BROKER_AFTERMATH if span.what == "broker" else GRACE
        if concerned and span.begin <= end and begin <= span.end + aftermath:
            return False
    return True


# --- handled again ------------------------------------------------------------------------------------------------


def again(facts: Facts) -> Iterator[Breach]:
    """A new lease handles again at most a window of what earlier ones had handled when it began.

    A lambda is never sent more than a window beyond its last accepted checkpoint. So where the sidecar and its
    ownership stayed the same, and it gave the partition to another lease, that is the bound. Where the partition came
    from another owner, it begins at what was committed, and the records come on top that were checkpointed and not
    committed: `commit-overdue` bounds those in time. What a seek repeats counts for nothing.
    """
    for partition in facts.partitions.values():
        handled: dict[int, list[tuple[float, Lease]]] = {}
        for lease in partition.leases:
            for event in facts.runs[lease.name]:
                handled.setdefault(event.offset, []).append((event.at, lease))
        for lease in partition.leases:
            run = facts.runs[lease.name]
            if not run or facts.late(lease):
                continue
            since, strict = _tenure(facts, partition, lease)
            twice = [
                event.offset
                for event in run
                if any(at < lease.at and by is not lease and by.at >= since for at, by in handled[event.offset])
            ]
            begin = run[0].offset if lease.start is None else lease.start
            uncommitted = 0 if strict else _uncommitted(facts, partition, lease, begin, since)
            if len(twice) > facts.window + uncommitted:
                bound = f"the window of {facts.window}" + ("" if strict else f" and {uncommitted} not committed")
                where = f"partition {partition.number}, lambda {lease.name} ({lease.at:.3f})"
                yield Breach("again", where, f"{len(twice)} handled again from {begin} on, more than {bound}")


def _tenure(facts: Facts, partition: PartitionFacts, lease: Lease) -> tuple[float, bool]:
    """Since when earlier leases count, and whether all of them were given by the same owner without a break."""
    seek = partition.era(lease.at - SLACK)
    since = float("-inf") if seek is None else seek.sent
    before = [one for one in partition.leases if since <= one.at < lease.at]
    if not before:
        return since, False
    last = before[-1]
    life = facts.life_of(lease)
    seeking = any(
        last.at <= s.answered + SEEK_AFTERMATH and s.sent <= lease.at for s in partition.seeks if s is not seek
    )
    same = facts.life_of(last) == life and owned(facts, lease) and owned(facts, last)
    began = _ownership_began(facts, partition.number, lease.at)
    # A member that could not speak to the broker for some time may have given up its partitions on its own.
    disturbed = any(
        span.what in ("broker", lease.slot) and span.begin <= lease.at and last.at <= span.end + BROKER_AFTERMATH
        for span in facts.spans
    )
    if not same or seeking or disturbed or facts.late(last) or last.at < began:
        return since, False
    # Leases of the tenure only: those before it may have got further than what it began with.
    return max(since, began - SLACK), True


def _ownership_began(facts: Facts, partition: int, at: float) -> float:
    """Since when the partition's owner has had it without a break, by Kafka's record."""
    began, owner = float("-inf"), None
    for generation in facts.generations:
        if generation.at > at:
            break
        here = generation.owners.get(partition)
        if here is None or here != owner:
            began, owner = generation.at, here
    return began


def _uncommitted(facts: Facts, partition: PartitionFacts, lease: Lease, begin: int, since: float) -> int:
    """Records that earlier leases had checkpointed from ``begin`` on when this one began."""
    reached = max(
        (
            one.offset + 1
            for one in partition.checkpoints
            if one.at < lease.at and one.lease != lease.name and facts.lease[one.lease].at >= since
        ),
        default=begin,
    )
    offsets = facts.records.get(partition.number, ())
    return max(0, bisect_left(offsets, reached) - bisect_left(offsets, begin))
