"""Invariants of commits, and of records that were handled again. Pure.

| check | says |
| --- | --- |
| commit-source | each commit is the start offset, an earlier checkpoint + 1, or a seek's target |
| commit-back | a partition's commits go back only by a seek |
| commit-stale | each commit comes from a lease that was valid: see `stale` |
| commit-overdue | without a fault nearby, a checkpoint was committed within the interval |
| again | a new lease handled at most a window of records again: see `again` |

The owner of a partition comes from Kafka's own record of the group, which is in the same log as the commits: their
order needs no clock. A member may still commit in a generation in which it no longer owns the partition, because the
next owner comes with the next generation. So a partition without an owner counts as its last owner's.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from tests.chaos.facts import SLACK_S, Breach, Checkpointed, Commit, Facts, Generation, Lease, PartitionFacts, Seek

GRACE_S = 2.0
"""Seconds added to the interval before a checkpoint is overdue: the machine is busy."""
BROKER_AFTERMATH_S = 15.0
"""Seconds after a broker's return within which clients reconnect and the group rebalances."""
REBALANCE_S = 10.0
"""Seconds that a rebalance may take before Kafka stores its generation: until all members have joined, or their
sessions have expired. Kafka refuses commits in the second half of that time."""
SEEK_AFTERMATH_S = 5.0
"""Seconds after a seek without an answer within which it may still happen."""


# --- who owns what ------------------------------------------------------------------------------------------------


def owner_at(facts: Facts, partition: int, position: int) -> tuple[str, str] | None:
    """(member id, client id) of the owner at a position in `__consumer_offsets`; None: unknown."""
    found: tuple[str, str] | None = None
    for generation in facts.generations:
        if generation.position > position:
            break
        found = generation.owners.get(partition, found)
    return found


def owner_when(facts: Facts, partition: int, at: float) -> tuple[str, str] | None:
    """(member id, client id) of the owner at a time; None: unknown."""
    found: tuple[str, str] | None = None
    for generation in facts.generations:
        if generation.at > at:
            break
        found = generation.owners.get(partition, found)
    return found


def owned(facts: Facts, lease: Lease) -> bool:
    """Whether the lease's sidecar owned the partition when the lease began. True if that is unknown."""
    life = facts.life_of(lease)
    if not facts.generations or not life:
        return True
    # Kafka stores a generation before the members hear of it, so a lease begins after it: no slack on that side.
    owners = {owner_when(facts, lease.partition, lease.at + off) for off in (0.0, SLACK_S)}
    return len(owners) == 1 and (owners.pop() or ("", ""))[1] == life


def _rebalanced(facts: Facts, begin: float, end: float) -> Generation | None:
    """A generation that began between two times, or None."""
    return next((g for g in facts.generations if begin - SLACK_S <= g.at <= end + SLACK_S), None)


# --- commits ------------------------------------------------------------------------------------------------------


def _where(commit: Commit) -> str:
    return f"partition {commit.partition}, commit of {commit.offset} ({commit.at:.3f}, #{commit.position})"


def _sought(partition: PartitionFacts, commit: Commit) -> bool:
    return any(seek.target == commit.offset and seek.sent <= commit.at + SLACK_S for seek in partition.seeks)


def _checkpoints_for(partition: PartitionFacts, commit: Commit) -> list[Checkpointed]:
    """The checkpoints from which the commit may have come."""
    return [one for one in partition.checkpoints_for(commit.offset) if one.at <= commit.at + SLACK_S]


def _by_itself(partition: PartitionFacts, commit: Commit) -> bool:
    """Whether the commit needs no checkpoint: it is the start offset or a seek's target."""
    return 0 in partition.same_offsets(commit.offset) or _sought(partition, commit)


def source(facts: Facts) -> Iterator[Breach]:
    """Each commit has a source: the start offset, a checkpoint or a seek."""
    for partition in facts.partitions.values():
        for commit in partition.commits:
            if commit.offset < 0:
                yield Breach("commit-source", _where(commit), "the commit was removed")
            elif not _by_itself(partition, commit) and not _checkpoints_for(partition, commit):
                high = max((o.offset for o in partition.checkpoints if o.at <= commit.at + SLACK_S), default=None)
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
                    # Later commits are compared with the commits before this one.
                    continue
                seeks.remove(cause)
            before = commit
        yield from map(_first, found.values())


def _goes_back_by(seek: Seek, partition: PartitionFacts, commit: Commit) -> bool:
    """Whether it is the seek's target, or, if a rebalance refused that, a checkpoint of the lease from there."""
    if seek.sent > commit.at + SLACK_S or seek.target > commit.offset:
        return False
    return seek.target == commit.offset or any(
        lease.start == seek.target and seek.sent <= lease.at <= commit.at + SLACK_S for lease in partition.leases
    )


def stale(facts: Facts) -> Iterator[Breach]:
    """Each commit comes from a checkpoint whose lease was valid at that time.

    The lease was not valid if another sidecar owned the partition in Kafka's view. Nor was it valid if the owner had
    given a newer lease from below the commit: the checkpoint had not been accepted by then, and could not be accepted
    afterwards. (If the newer lease made the same checkpoint, the two commits cannot be told apart.)
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
    """One breach for all: the first one with their number, since a commit may be repeated hundreds of times."""
    more = f" ({len(several)} times)" if len(several) > 1 else ""
    return Breach(several[0].check, several[0].where, several[0].text + more)


def _fenced(facts: Facts, partition: PartitionFacts, commit: Commit, checkpoint: Checkpointed) -> str:
    """The reason why this checkpoint was not valid when it was committed; empty when it may have been."""
    lease = facts.lease[checkpoint.lease]
    owner = owner_at(facts, partition.number, commit.position)
    life = facts.life_of(lease)
    if owner and life and not facts.late(lease) and owner[1] != life:
        return f"checkpoint of {lease.name} at sidecar {life}, but the partition was {owner[1]}'s"
    for newer in partition.leases:
        if newer is lease or newer.start is None or not checkpoint.at < newer.at < commit.at - SLACK_S:
            continue
        theirs = facts.life_of(newer)
        if newer.start > checkpoint.offset or facts.late(newer) or (owner and theirs and theirs != owner[1]):
            continue
        return f"checkpoint of {lease.name}, but {newer.name} had begun at {newer.start} ({newer.at:.3f})"
    return ""


def overdue(facts: Facts) -> Iterator[Breach]:
    """Without a fault, a checkpoint is committed within the interval."""
    for partition in facts.partitions.values():
        for lease in partition.leases:
            for checkpoint in (one for one in partition.checkpoints if one.lease == lease.name):
                if committed_by(facts, checkpoint, partition.commits) or not must_be_committed(facts, checkpoint):
                    continue
                text = f"not committed within {_patience(facts):g} s"
                where = f"partition {partition.number}, lambda {lease.name}"
                yield Breach("commit-overdue", where, f"checkpoint {checkpoint.offset} ({checkpoint.at:.3f}) {text}")
                break


def committed_by(facts: Facts, checkpoint: Checkpointed, commits: Sequence[Commit]) -> bool:
    """Whether one of these commits of its partition includes the checkpoint in time.

    Even an earlier commit may include it: the history is written before the call.
    """
    within = in_time(facts, checkpoint, commits)
    return any(one.offset > checkpoint.offset for one in commits[max(0, within.start - 1) : within.stop])


def in_time(facts: Facts, checkpoint: Checkpointed, commits: Sequence[Commit]) -> range:
    """The indices of the commits that came between the checkpoint and the time at which it is overdue."""
    first = bisect_left(commits, checkpoint.at - SLACK_S, key=_time)
    return range(first, bisect_right(commits, checkpoint.at + _patience(facts) + SLACK_S, key=_time))


def must_be_committed(facts: Facts, checkpoint: Checkpointed) -> bool:
    """Whether nothing excuses that the checkpoint is not committed in time."""
    lease, due = facts.lease[checkpoint.lease], checkpoint.at + _patience(facts)
    later = (one.at for one in facts.partitions[lease.partition].leases if one.at > lease.at)
    # A killed process may have written a checkpoint into its history without sending it.
    ended = facts.ends.get(lease.process, float("inf"))
    until = min(min(later, default=float("inf")), lease.closing or float("inf"), ended)
    return due < until and _calm(facts, lease, checkpoint.at, due)


def _patience(facts: Facts) -> float:
    return facts.interval + GRACE_S


def _time(commit: Commit) -> float:
    return commit.at


def _calm(facts: Facts, lease: Lease, begin: float, end: float) -> bool:
    """Whether no fault could have delayed a commit of this lease, and the run had not ended."""
    life = next((one for one in facts.lives if one.client == facts.life_of(lease)), None)
    if facts.lives and (life is None or life.end < end):
        return False
    if not owned(facts, lease) or _rebalanced(facts, begin - facts.interval, end + REBALANCE_S):
        return False
    if any(seek.partition == lease.partition and seek.sent <= end for seek in facts.seeks):
        return False
    for span in facts.spans:
        concerned = span.what in ("broker", lease.slot, lease.process)
        aftermath = BROKER_AFTERMATH_S if span.what == "broker" else GRACE_S
        if concerned and span.begin <= end and begin <= span.end + aftermath:
            return False
    return True


# --- handled again ------------------------------------------------------------------------------------------------


def again(facts: Facts) -> Iterator[Breach]:
    """A new lease handles at most a window of records that earlier leases had handled when it began.

    A lambda never gets more than a window beyond its last accepted checkpoint. So a window is the bound if the same
    owner gave the partition to another lease. If the partition came from another owner, the lease begins at the
    committed offset, so records that were checkpointed but not committed come on top: `commit-overdue` bounds those
    in time. Records that a seek repeats do not count.
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
    """The time from which earlier leases count, and whether the same owner gave all of them without a break."""
    seek = partition.era(lease.at - SLACK_S)
    since = float("-inf") if seek is None else seek.sent
    before = [one for one in partition.leases if since <= one.at < lease.at]
    if not before:
        return since, False
    last = before[-1]
    life = facts.life_of(lease)
    seeking = any(
        last.at <= s.answered + SEEK_AFTERMATH_S and s.sent <= lease.at for s in partition.seeks if s is not seek
    )
    same = facts.life_of(last) == life and owned(facts, lease) and owned(facts, last)
    began = _ownership_began(facts, partition.number, lease.at)
    # A member that could not reach the broker for some time may have given up its partitions by itself.
    disturbed = any(
        span.what in ("broker", lease.slot) and span.begin <= lease.at and last.at <= span.end + BROKER_AFTERMATH_S
        for span in facts.spans
    )
    if not same or seeking or disturbed or facts.late(last) or last.at < began:
        return since, False
    # Only leases of this tenure: earlier ones may have got further than the offset with which it began.
    return max(since, began - SLACK_S), True


def _ownership_began(facts: Facts, partition: int, at: float) -> float:
    """The time since which the partition's owner has owned it without a break, by Kafka's record."""
    began, owner = float("-inf"), None
    for generation in facts.generations:
        if generation.at > at:
            break
        here = generation.owners.get(partition)
        if here is None or here != owner:
            began, owner = generation.at, here
    return began


def _uncommitted(facts: Facts, partition: PartitionFacts, lease: Lease, begin: int, since: float) -> int:
    """The number of records from ``begin`` on that earlier leases had checkpointed when this lease began."""
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
