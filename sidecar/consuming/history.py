"""What is remembered of partitions, and where they start.

Owned by the consumer thread.
"""

from collections.abc import Mapping
from time import time

from sidecar.cluster.origins import Origins
from sidecar.config.lambdas import LambdaConfig
from sidecar.consuming.starts import Known, Lost, NotYet, Start, start_of
from sidecar.consuming.subscription import Subscription
from sidecar.mail.facts import Commit, Origin, TopicFacts
from sidecar.partitions.assignment import Assignment
from sidecar.partitions.vocabulary import TopicPartition


class History:
    """The topics to which one lambda's offsets belong, and its last commits of partitions that it had before."""

    def __init__(self, origins: Origins, subscription: Subscription, config: LambdaConfig) -> None:
        self._origins = origins
        self._subscription = subscription
        self._config = config
        self._left: dict[TopicPartition, Commit] = {}

    def resolved(self, tp: TopicPartition, origin: Origin) -> None:
        """The partition has a resume offset, which belongs to the topic of this origin."""
        self._origins[tp] = origin
        self._left.pop(tp, None)

    def forget(self, tp: TopicPartition, partition: Assignment | None) -> None:
        """The partition is no longer assigned to us, and this was what we knew of it."""
        committed = None if partition is None else partition.committed
        if partition is not None and committed is not None:
            # Where the lanes are now, and their states: what is committed has them only if all offsets are the same.
            places = tuple(one.place for one in partition.commitments) if partition.is_committed else ()
            self._left[tp] = Commit(committed, self._origins.get(tp), places)
        self._origins.forget(tp)

    def is_anew(self, tp: TopicPartition) -> bool:
        """Whether the topic was made anew since the partition was resolved."""
        origin, facts = self._origins.get(tp), self._subscription.facts(tp.topic)
        if origin is None or facts is None or not facts.id:
            return False
        return bool(origin.topic_id) and origin.topic_id != facts.id

    def concerned(self, facts: Mapping[str, TopicFacts]) -> list[TopicPartition]:
        """The partitions whose commits tell how the group began to consume these topics."""
        alike = {name for topic in facts for name in self._subscription.alike(topic)}
        known = {name: self._subscription.facts(name) for name in alike | facts.keys()} | {
            name: fact for name, fact in facts.items() if fact.error is None
        }
        return [
            TopicPartition(name, number)
            for name, fact in known.items()
            if fact is not None
            for number in range(len(fact.leaders))
        ]

    def start(
        self, partition: Assignment, commits: Mapping[TopicPartition, Commit], facts: TopicFacts | None
    ) -> Start:
        """Where the partition starts."""
        tp = partition.tp
        if facts is not None and self._subscription.is_former(tp.topic, facts.id):
            return NotYet("the brokers do not agree yet which topic has this name")
        held = self._origins.get(tp)
        if partition.resolving or held is None:
            return start_of(
                tp,
                commits,
                facts,
                self._left.get(tp),
                self._config.start,
                round(time() * 1000),
                appeared=tp.topic in self._subscription.appeared,
                alike=self._subscription.alike(tp.topic),
            )
        # The topic was made anew while the partition was assigned to us: the committed offset is the old topic's.
        if facts is None or facts.error is not None:
            return NotYet("the topic was made anew, and is not there")
        if facts.id == held.topic_id:
            return Known(partition.resume_at, held)
        offset = partition.resume_at if partition.committed is None else partition.committed
        why = f"the topic was deleted and made anew: its id was {held.topic_id} and is {facts.id} now"
        return Lost(max(offset, 0), Origin(facts.id, 0, round(time() * 1000)), why)
