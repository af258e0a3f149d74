"""A broker's answers about topics, a group's committed offsets and its members, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError

from sidecar.partitions.vocabulary import Place, TopicPartition

NO_LEADER = -1


@dataclass(frozen=True, slots=True)
class Origin:
    """The topic to which a committed offset belongs. It is kept in the commit's metadata (`proto/commit.proto`)."""

    topic_id: str
    """The topic's id, as Kafka's tools show it; empty: unknown."""
    partitions_at_start: int
    """How many partitions the topic had when the group began to consume it."""
    began_at: int = 0
    """When the group began, in milliseconds since the Unix epoch; 0: not known."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A group's committed offset of one partition."""

    offset: int
    """The next offset to process."""
    origin: Origin | None
    """None: another tool made the commit, or the broker keeps no metadata."""
    places: tuple[Place, ...] = ()
    """Where each lane goes on, with its state; one without lanes. Empty: not said."""


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """The description of one topic, or the error instead of it."""

    id: str = ""
    """The topic's id, as Kafka's tools show it; empty: the broker gives topics no id."""
    leaders: tuple[int, ...] = ()
    """The id of the broker that leads each partition; `NO_LEADER`: none does."""
    error: KafkaError | None = None

    def has_leader(self, partition: int) -> bool:
        """Whether a broker leads this partition."""
        return partition < len(self.leaders) and self.leaders[partition] != NO_LEADER


@dataclass(frozen=True, slots=True)
class Edges:
    """The ends of one partition's log."""

    earliest: int
    """The lowest offset in the log."""
    latest: int
    """The offset of the next record to be written."""


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """A consumer group, as its coordinator describes it."""

    stable: bool
    """Every member knows what it is assigned; no rebalance is under way."""
    members: Mapping[str, frozenset[TopicPartition]]
    """What each member is assigned, by the member's id."""
