"""Commits that Kafka refuses: what is said of them, and what is committed apart because of it.

Owned by the consumer thread.
"""

from collections.abc import Callable, Iterable
from time import monotonic

from confluent_kafka import KafkaError, TopicPartition as KafkaPartition
from structlog.typing import FilteringBoundLogger

from sidecar.cluster.errors import FORBIDDEN, NO_TOPIC, OF_ONE_PARTITION
from sidecar.consuming.problems import Problems
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import TopicPartition

NORMAL_LIFE = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError._NO_OFFSET,  # noqa: SLF001 - the binding names its own codes with an underscore
        KafkaError._ASSIGNMENT_LOST,  # noqa: SLF001
    }
)
"""Refusals that happen in every rebalance: somebody else owns the partition, or soon will."""

ALL = "commits"
"""The kind of the problem that no commit is taken; of one partition it is `commit:TOPIC/PARTITION`."""

AGAIN_AND_AGAIN = 5.0
"""Seconds of refusals after which they are more than a hiccup: Kafka does not learn how far the lambdas are."""

STRANGE_AFTER = 15.0
"""Seconds after which refusals of normal life are none: no rebalance takes as long without taking the partition."""

APART_EVERY = 2.0
"""Seconds between requests for one partition that is refused for reasons of its own."""


class CommitRefusals:
    """Which commits are refused now."""

    def __init__(
        self,
        table: PartitionTable,
        problems: Problems,
        log: FilteringBoundLogger,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._table = table
        self._problems = problems
        self._log = log
        self._clock = clock
        self._apart: set[TopicPartition] = set()
        self._next_try: dict[TopicPartition, float] = {}
        self._since: dict[str, float] = {}
        """By the kind of the problem."""
        self._forbidden: set[TopicPartition] = set()

    def requests(self, offsets: list[KafkaPartition]) -> list[list[KafkaPartition]]:
        """What goes in one request each: all together, but for what is committed apart.

        librdkafka tells of a request that failed in part as if all of it had failed: one topic that was deleted would
        hide that the others are committed.
        """
        if not self._apart:
            return [offsets] if offsets else []
        together = [p for p in offsets if TopicPartition(p.topic, p.partition) not in self._apart]
        apart = [[p] for p in offsets if TopicPartition(p.topic, p.partition) in self._apart]
        return [together, *apart] if together else apart

    def in_part(self, error: KafkaError, offsets: list[KafkaPartition]) -> bool:
        """Whether some of these may have been taken, though they were all refused. From now on they go apart."""
        if error.code() not in OF_ONE_PARTITION or len(offsets) < 2:
            return False
        self._apart.update(tps_of(offsets))
        return True

    def waits(self, tp: TopicPartition, now: float) -> bool:
        """It was refused just now, and is tried again a little later."""
        return bool(self._next_try) and now < self._next_try.get(tp, now)

    def is_forbidden(self, tp: TopicPartition) -> bool:
        """Its place is committed again, though Kafka has it: see ``forbidden``."""
        return tp in self._forbidden

    def forbidden(self, topic: str, error: KafkaError) -> None:
        """The broker does not let us read this topic, and says so once.

        To commit needs the same right as to read. So the places of the topic's partitions are committed once more, as
        often as it takes: the answer tells when the right is there.
        """
        for tp in self._table.partitions:
            if tp.topic == topic:
                self._forbidden.add(tp)
                self._refused(error, tp, self._clock())

    def took(self, tp: TopicPartition) -> None:
        """Kafka has taken a commit of this partition."""
        self._apart.discard(tp)
        self._forbidden.discard(tp)
        self._next_try.pop(tp, None)
        for kind in (_kind(tp), ALL) if self._since else ():
            if self._since.pop(kind, None) is not None:
                self._problems.end(kind, "commits are taken again")

    def failed(self, error: KafkaError, offsets: Iterable[KafkaPartition]) -> None:
        """Kafka has refused these."""
        now = self._clock()
        ours = [tp for tp in tps_of(offsets) if tp in self._table.partitions]
        if error.code() in OF_ONE_PARTITION:
            for tp in ours:
                self._refused(error, tp, now)
        elif ours:
            self._refused(error, None, now)

    def forget(self, tps: Iterable[TopicPartition]) -> None:
        """These are not ours any more: whether they can be committed is no business of ours either."""
        for tp in tps:
            self._apart.discard(tp)
            self._forbidden.discard(tp)
            self._next_try.pop(tp, None)
            self._since.pop(_kind(tp), None)
            self._problems.end(_kind(tp), f"{tp} is not ours any more")
        if not self._table.partitions.keys() - {*tps}:
            self._since.pop(ALL, None)
            self._problems.end(ALL, "there is nothing to commit any more")

    def _refused(self, error: KafkaError, tp: TopicPartition | None, now: float) -> None:
        """Said once, of one partition or of all, and at once, but for what is normal life and soon over.

        Where only a topic is gone, the others go on: no reason to be called not ready.
        """
        kind = ALL if tp is None else _kind(tp)
        seconds = now - self._since.setdefault(kind, now)
        if tp is not None:
            self._next_try[tp] = now + APART_EVERY
        if error.code() in NORMAL_LIFE and seconds < STRANGE_AFTER:
            self._log.debug("commit refused", error=error.str())
            return
        lasts = error.code() in FORBIDDEN or seconds >= AGAIN_AND_AGAIN
        self._problems.begin(
            kind,
            f"Kafka refuses commits{'' if tp is None else f' of {tp}'}: {error.str()}",
            blocks=lasts and error.code() not in NO_TOPIC,
            meaning=error.code(),
            event="commit refused; tried again while the partitions are ours",
            error=error.str(),
            topic=None if tp is None else tp.topic,
            partition=None if tp is None else tp.partition,
        )


def tps_of(offsets: Iterable[KafkaPartition]) -> list[TopicPartition]:
    """As ours."""
    return [TopicPartition(offset.topic, offset.partition) for offset in offsets]


def _kind(tp: TopicPartition) -> str:
    return f"commit:{tp}"
