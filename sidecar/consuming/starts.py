"""Decides where an assigned partition starts, from the broker's answers. Asks nothing itself.

``start`` of the config is where a new *group* starts. A partition that is added later starts at its first record,
whatever ``start`` says: all its records were written after the group began. So a commit's metadata says how many
partitions the topic had when the group began to consume it (`Origin`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from sidecar.mail.facts import Commit, Origin, TopicFacts
from sidecar.partitions.vocabulary import Place, TopicPartition

Edge = Literal["earliest", "latest"]

SAME_START_MS = 60_000
"""Within this time after a group's start, its members find the topics that existed at the start."""


@dataclass(frozen=True, slots=True)
class Known:
    """The group has a committed offset, and it belongs to this topic."""

    offset: int
    origin: Origin
    places: tuple[Place, ...] = ()
    """Where each lane goes on; empty: not said."""


@dataclass(frozen=True, slots=True)
class Begin:
    """The group has no committed offset: begin at an end of the log."""

    at: Edge
    origin: Origin
    why: str
    """For the log."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The group's committed offset is void: `on_offset_lost` decides."""

    offset: int
    """The offset that was committed."""
    origin: Origin
    why: str
    """The beginning of a sentence that says why it is void."""
    state_bytes: int = 0
    """How much state was committed with it, which is void as well."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """The start cannot be determined yet."""

    why: str


Start = Known | Begin | Lost | NotYet


def start_of(  # noqa: PLR0911 - one return a case
    tp: TopicPartition,
    commits: Mapping[TopicPartition, Commit],
    facts: TopicFacts | None,
    left: Commit | None,
    start: Edge,
    now: int,
    *,
    appeared: bool,
    alike: Collection[str] = (),
) -> Start:
    """Where ``tp`` starts.

    Args:
        tp: the partition.
        commits: all committed offsets of the group.
        facts: the broker's description of the partition's topic; None: there is none yet.
        left: the last commit from the time when the partition was assigned to us before; None: it never was.
        start: ``start`` of the config.
        now: the time, in milliseconds since the Unix epoch.
        appeared: the topic did not exist when this lambda first asked for it.
        alike: the other topics that the same pattern matches. If the group began with one of them long ago, this
        topic appeared later, while no sidecar ran: otherwise the group would have begun with it too.
    """
    if facts is None:
        return NotYet("Kafka has not said yet which partitions the topic has")
    if facts.error is not None:
        return NotYet(f"Kafka does not show the topic: {facts.error.str()}")
    if tp.partition >= len(facts.leaders):
        return NotYet("Kafka does not show the partition yet")
    commit = commits.get(tp)
    appeared = appeared or any(
        other.topic in alike and known.origin is not None and 0 < known.origin.began_at < now - SAME_START_MS
        for other, known in commits.items()
    )
    origin = _origin(tp, commits, facts, now, appeared=appeared)
    if commit is not None:
        before = _another_topic(commit, left, facts)
        if before:
            why = f"the topic was deleted and made anew: its id was {before} and is {facts.id} now"
            return Lost(commit.offset, origin, why, sum(len(place.state) for place in commit.places))
        return Known(commit.offset, origin, _places(commit, left))
    if left is not None:
        # Kafka forgets a group's offsets together with the topic.
        return Lost(left.offset, origin, "the group's committed offset is gone, as when the topic is deleted")
    if tp.partition >= origin.partitions_at_start:
        why = "the topic appeared later" if origin.partitions_at_start == 0 else "the partition was added later"
        return Begin("earliest", origin, f"no committed offset, and {why}: starting at the earliest")
    return Begin(start, origin, f"no committed offset: starting at the {start}")


def _places(commit: Commit, left: Commit | None) -> tuple[Place, ...]:
    """Where the lanes go on.

    If the broker keeps no metadata, we may know it ourselves: from when the partition was ours before, if the offset
    is still the one that we committed then.
    """
    if commit.origin is None and left is not None and left.offset == commit.offset:
        return left.places
    return commit.places


def _another_topic(commit: Commit, left: Commit | None, facts: TopicFacts) -> str:
    """The id of the topic to which the committed offset belongs, if that is another topic; empty: it is this one."""
    origin = commit.origin or (left.origin if left is not None and left.offset == commit.offset else None)
    if origin is None or not origin.topic_id or not facts.id or origin.topic_id == facts.id:
        return ""
    return origin.topic_id


def _origin(
    tp: TopicPartition, commits: Mapping[TopicPartition, Commit], facts: TopicFacts, now: int, *, appeared: bool
) -> Origin:
    """When the group began to consume the topic, and with how many partitions."""
    known = [commit for other, commit in commits.items() if other.topic == tp.topic]
    if not known:
        return Origin(facts.id, 0 if appeared else len(facts.leaders), now)
    if any(_another_topic(commit, None, facts) for commit in known):
        return Origin(facts.id, 0, now)  # the group consumed an earlier topic with this name, and not this one
    said = [commit.origin for commit in known if commit.origin is not None]
    if said:
        # A member that counted later may have counted partitions that were added in between.
        began_at = min((origin.began_at for origin in said if origin.began_at), default=0)
        return Origin(facts.id, min(origin.partitions_at_start for origin in said), began_at)
    # The commits were made by another tool, or by a version without metadata: partitions without one were added
    # later.
    return Origin(facts.id, 1 + max(other.partition for other in commits if other.topic == tp.topic))
