"""Notices partitions that Kafka's client does not fetch although their logs have more records.

Owned by the consumer thread. librdkafka can lose the order to start or to resume a partition (see `pauses.py`), and
says nothing then. The partition would stand still until the next rebalance. So this module asks the broker where the
logs of quiet partitions end. A fetch answer tells the client the same. When the client has not heard for `patience`
that the log is longer, it does not fetch the partition, which is then assigned again.

A fetch can also be late for other reasons, such as a quota of the broker. An assignment does not make it faster: what
is on its way is fetched again. So the patience doubles each time, until the partition goes on.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError
from structlog.typing import FilteringBoundLogger

from sidecar.cluster.inquiries import Inquiries
from sidecar.consuming.ends import Ends
from sidecar.consuming.fetching import Fetching
from sidecar.consuming.positions import Positions
from sidecar.consuming.subscription import Subscription
from sidecar.measured import ThreadMeasure
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import TopicPartition

INTERVAL_S = 5.0
"""Seconds between two looks."""

PATIENCE_S = 4.0
"""Seconds for which a fetch answer may be late, beside the wait at the broker (`fetch.wait.max.ms`)."""

MAX_DOUBLED = 6
"""How often the patience is doubled at most."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """The log of a partition has records of which the client has not heard."""

    position: int
    """The offset that the client is to fetch next."""
    end: int
    """Where the log ends."""
    since: float
    """When the broker said so, in seconds of the monotonic clock."""


class FetchWatch:
    """Watches one lambda's partitions."""

    def __init__(
        self,
        table: PartitionTable,
        fetching: Fetching,
        ends: Ends,
        positions: Positions,
        subscription: Subscription,
        inquiries: Inquiries,
        measure: ThreadMeasure,
        log: FilteringBoundLogger,
        fetch_wait_s: float,
    ) -> None:
        """``fetch_wait_s``: for how long a broker may wait for records before it answers a fetch, in seconds."""
        self._table = table
        self._fetching = fetching
        self._ends = ends
        self._positions = positions
        self._subscription = subscription
        self._inquiries = inquiries
        self._measure = measure
        self._log = log
        self._patience = PATIENCE_S + fetch_wait_s
        self._quiet: dict[TopicPartition, int] = {}
        """The partitions that were to be fetched at the last look, and their positions then."""
        self._overdue: dict[TopicPartition, Overdue] = {}
        self._assigned_again: dict[TopicPartition, tuple[int, int]] = {}
        """How often the partition was assigned again, at which position."""
        self._next = 0.0
        self._under_way = False

    def work(self, now: float, *, reads: bool) -> None:
        """Look, if the interval is over. ``reads``: the thread reads what the client has fetched."""
        if now < self._next or self._under_way:
            return
        self._next = now + INTERVAL_S
        if not reads:
            self._quiet, self._overdue = {}, {}  # records may wait in the client
            return
        before, self._quiet = self._quiet, self._to_be_fetched()
        still = {tp for tp, position in self._quiet.items() if before.get(tp) == position}
        self._overdue = {tp: one for tp, one in self._overdue.items() if tp in still and not self._has_heard(tp, one)}
        for tp in [tp for tp, one in self._overdue.items() if now - one.since >= self._patience_for(tp)]:
            self._assign_again(tp, self._overdue.pop(tp), now)
        asked = [tp for tp in still if tp not in self._overdue and self._subscription.has_leader(tp)]
        if asked:
            self._under_way = True
            self._inquiries.ends(asked, lambda answers: self._answered(now, answers))

    def forget(self, tp: TopicPartition) -> None:
        """The partition is no longer assigned to us."""
        self._quiet.pop(tp, None)
        self._overdue.pop(tp, None)
        self._assigned_again.pop(tp, None)

    def _to_be_fetched(self) -> dict[TopicPartition, int]:
        """The partitions whose next records should come with the next fetch, and where that begins."""
        positions = self._fetching.next_offset
        return {
            tp: positions[tp]
            for tp, partition in self._table.partitions.items()
            if tp in positions and self._ends.is_fetched(partition)
        }

    def _answered(self, asked_at: float, answers: Mapping[TopicPartition, int | KafkaError]) -> None:
        self._under_way = False
        for tp, end in answers.items():
            position = self._quiet.get(tp)
            if position is not None and not isinstance(end, KafkaError) and end > position:
                overdue = Overdue(position, end, asked_at)
                if not self._has_heard(tp, overdue):
                    self._overdue[tp] = overdue

    def _has_heard(self, tp: TopicPartition, overdue: Overdue) -> bool:
        """Whether a fetch answer has told the client of the log's end. It need not have brought a record: what comes
        last in a log may be a transaction's marker, or aborted."""
        return self._ends.heard(tp) >= overdue.end

    def _patience_for(self, tp: TopicPartition) -> float:
        position, times = self._assigned_again.get(tp, (-1, 0))
        doubled = min(times, MAX_DOUBLED) if position == self._quiet[tp] else 0
        return self._patience * 2.0**doubled

    def _assign_again(self, tp: TopicPartition, overdue: Overdue, now: float) -> None:
        self._log.warning(
            "Kafka's client does not fetch the partition: it is assigned again",
            topic=tp.topic,
            partition=tp.partition,
            offset=overdue.position,
            end=overdue.end,
            seconds=round(now - overdue.since, 1),
        )
        self._measure.fetch_errors["not_fetched"] += 1
        position, times = self._assigned_again.get(tp, (-1, 0))
        self._assigned_again[tp] = overdue.position, times + 1 if position == overdue.position else 1
        self._positions.read_on({tp: overdue.position})
