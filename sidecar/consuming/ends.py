"""The log ends of partitions that Kafka's client does not fetch.

Owned by the consumer thread. Each fetch tells the client where the partition's log ends. If a partition is paused,
not resolved yet, or waits for room in the client, the end that the client knows is old. This module asks for it, so
that the lag is right for such partitions too.
"""

from collections.abc import Mapping
from functools import partial

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition as KafkaPartition

from sidecar.cluster.inquiries import Inquiries
from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.consuming.fetching import Fetching
from sidecar.consuming.subscription import Subscription
from sidecar.partitions.assignment import Assignment
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import TopicPartition

INTERVAL_S = 2.0
"""Seconds between two questions."""


class Ends:
    """The ends of the partitions' logs."""

    def __init__(
        self,
        consumer: Consumer,
        table: PartitionTable,
        buffer: FetchBuffer,
        fetching: Fetching,
        subscription: Subscription,
        inquiries: Inquiries,
    ) -> None:
        self._consumer = consumer
        self._table = table
        self._buffer = buffer
        self._fetching = fetching
        self._subscription = subscription
        self._inquiries = inquiries
        self._asked: dict[TopicPartition, int] = {}
        self._next = 0.0
        self._under_way = False

    def work(self, now: float) -> None:
        """Ask if the interval is over."""
        if now < self._next or self._under_way:
            return
        self._next = now + INTERVAL_S
        asked = {tp: p for tp, p in self._table.partitions.items() if not self.is_fetched(p)}
        self._asked = {tp: end for tp, end in self._asked.items() if tp in asked}
        led = [tp for tp in asked if self._subscription.has_leader(tp)]
        if led:
            self._under_way = True
            self._inquiries.ends(led, partial(self._answered, asked))

    def end(self, tp: TopicPartition) -> int | None:
        """The offset of the next record to be written, as last heard; None: not known yet."""
        end = max(self.heard(tp), self._asked.get(tp, -1))
        return end if end >= 0 else None

    def heard(self, tp: TopicPartition) -> int:
        """The log's end as the client has heard of it in a fetch answer; negative: it has not."""
        try:
            return self._consumer.get_watermark_offsets(KafkaPartition(tp.topic, tp.partition), cached=True)[1]
        except KafkaException:
            return -1

    def forget(self, tp: TopicPartition) -> None:
        """The partition is no longer assigned to us."""
        self._asked.pop(tp, None)

    def is_fetched(self, partition: Assignment) -> bool:
        """Whether the client is to fetch the partition, and so hears of its log's end."""
        idle = all(map(self._buffer.idle, partition.keys))
        return partition.runs and idle and partition.tp not in self._fetching.paused

    def _answered(
        self, asked: Mapping[TopicPartition, Assignment], answers: Mapping[TopicPartition, int | KafkaError]
    ) -> None:
        self._under_way = False
        for tp, answer in answers.items():
            if not isinstance(answer, KafkaError) and self._table.partitions.get(tp) is asked[tp]:
                self._asked[tp] = answer
