"""Commits that Kafka refuses: how they are reported, and which partitions are committed in requests of their own.

Owned by the consumer thread.
"""

from collections.abc import Callable, Iterable
from time import monotonic

from confluent_kafka import KafkaError, TopicPartition as KafkaPartition
from structlog.typing import FilteringBoundLogger

from sidecar.causes import Cause
from sidecar.cluster.errors import FORBIDDEN, NO_TOPIC, NORMAL_LIFE, OF_ONE_PARTITION
from sidecar.consuming.problems import Problems
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import TopicPartition

ALL = "commits"
"""The kind of the problem that Kafka takes no commit. If it concerns one partition, the kind is
`commit:TOPIC/PARTITION`."""

BLOCKS_AFTER_S = 5.0
"""Seconds of refusals after which the problem blocks: the sidecar is not ready."""

UNUSUAL_AFTER_S = 15.0
"""Seconds after which a refusal in `NORMAL_LIFE` is a problem too: no rebalance takes that long without a revoke."""

APART_INTERVAL_S = 2.0
"""Seconds between commits of a partition that is refused for reasons of its own."""


class CommitRefusals:
    """The commits that are refused now."""

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
        """Since when commits are refused, by the kind of the problem; seconds of the clock."""
        self._forbidden: set[TopicPartition] = set()

    def requests(self, offsets: list[KafkaPartition]) -> list[list[KafkaPartition]]:
        """Split the offsets into requests: one for each partition that is committed apart, one for all others.

        If a request fails in part, librdkafka reports that all of it failed: one deleted topic would hide that the
        other partitions are committed.
        """
        if not self._apart:
            return [offsets] if offsets else []
        together = [p for p in offsets if TopicPartition(p.topic, p.partition) not in self._apart]
        apart = [[p] for p in offsets if TopicPartition(p.topic, p.partition) in self._apart]
        return [together, *apart] if together else apart

    def in_part(self, error: KafkaError, offsets: list[KafkaPartition]) -> bool:
        """Whether Kafka may have taken some of these commits, though all are reported as refused. If so, they are
        committed apart from now on."""
        if error.code() not in OF_ONE_PARTITION or len(offsets) < 2:
            return False
        self._apart.update(tps_of(offsets))
        return True

    def waits(self, tp: TopicPartition, now: float) -> bool:
        """Whether the partition was refused recently, and is not to be tried again yet."""
        return bool(self._next_try) and now < self._next_try.get(tp, now)

    def is_forbidden(self, tp: TopicPartition) -> bool:
        """Whether the partition's committed offset is to be committed once more: see ``forbidden``."""
        return tp in self._forbidden

    def forbidden(self, topic: str, error: KafkaError) -> None:
        """The broker does not let us read this topic; it says so only once.

        A commit needs the same right as a fetch. So the committed offsets of the topic's partitions are committed
        again until Kafka takes them: then we have the right.
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
        """Kafka has refused these commits."""
        now = self._clock()
        ours = [tp for tp in tps_of(offsets) if tp in self._table.partitions]
        if error.code() in OF_ONE_PARTITION:
            for tp in ours:
                self._refused(error, tp, now)
        elif ours:
            self._refused(error, None, now)

    def forget(self, tps: Iterable[TopicPartition]) -> None:
        """These partitions are no longer assigned to us: forget their refusals."""
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
        """Report a refusal once, for one partition or (None) for all; one in `NORMAL_LIFE`, only if it lasts.

        It blocks if it lasts, or if a right is missing; but not if only a topic is missing, since the others go on.
        """
        kind = ALL if tp is None else _kind(tp)
        seconds = now - self._since.setdefault(kind, now)
        if tp is not None:
            self._next_try[tp] = now + APART_INTERVAL_S
        if error.code() in NORMAL_LIFE and seconds < UNUSUAL_AFTER_S:
            self._log.debug("commit refused", error=error.str())
            return
        lasts = error.code() in FORBIDDEN or seconds >= BLOCKS_AFTER_S
        self._problems.begin(
            kind,
            f"Kafka refuses commits{'' if tp is None else f' of {tp}'}: {error.str()}",
            cause=_cause(error),
            blocks=lasts and error.code() not in NO_TOPIC,
            meaning=error.code(),
            event="commit refused; tried again while the partitions are ours",
            error=error.str(),
            topic=None if tp is None else tp.topic,
            partition=None if tp is None else tp.partition,
        )


def tps_of(offsets: Iterable[KafkaPartition]) -> list[TopicPartition]:
    """The binding's partitions as `TopicPartition`."""
    return [TopicPartition(offset.topic, offset.partition) for offset in offsets]


def _cause(error: KafkaError) -> Cause:
    if error.code() in FORBIDDEN:
        return Cause.NOT_AUTHORISED
    return Cause.TOPIC_MISSING if error.code() in NO_TOPIC else Cause.COMMIT_REFUSED


def _kind(tp: TopicPartition) -> str:
    return f"commit:{tp}"
