"""Where the logs of partitions end that Kafka's client does not fetch.

Owned by the consumer thread. Of a partition that it fetches, the client hears where the log ends with each answer.
Of one that is paused, or that waits for room in the client, or that nobody has placed yet, what it heard last is old:
its end is asked for here, so that the lag is right for what stands still as well.
"""

from collections.abc import Mapping
from functools import partial

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition as KafkaPartition

from sidecar.cluster.inquiries import Inquiries
from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.consuming.subscription import Subscription
from sidecar.partitions.partition import Partition
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import State, TopicPartition

INTERVAL = 2.0
"""Seconds between two questions."""


class Ends:
    """Where each partition's log ends."""

    def __init__(
        self,
        consumer: Consumer,
        table: PartitionTable,
        buffer: FetchBuffer,
        subscription: Subscription,
        inquiries: Inquiries,
    ) -> None:
        self._consumer = consumer
        self._table = table
        self._buffer = buffer
        self._subscription = subscription
        self._inquiries = inquiries
        self._asked: dict[TopicPartition, int] = {}
        self._next = 0.0
        self._under_way = False

    def work(self, now: float) -> None:
        """Ask when it is time. Called now and then."""
        if now < self._next or self._under_way:
            return
        self._next = now + INTERVAL
        asked = {tp: p for tp, p in self._table.partitions.items() if not self._is_fetched(p)}
        self._asked = {tp: end for tp, end in self._asked.items() if tp in asked}
        led = [tp for tp in asked if self._subscription.has_leader(tp)]
        if led:
            self._under_way = True
            self._inquiries.ends(led, partial(self._told, asked))

    def end(self, tp: TopicPartition) -> int | None:
        """The offset of the next record to be written, as last heard; None: nothing was heard yet."""
        try:
            cached = self._consumer.get_watermark_offsets(KafkaPartition(tp.topic, tp.partition), cached=True)[1]
        except KafkaException:
            cached = -1
        end = max(cached, self._asked.get(tp, -1))
        return end if end >= 0 else None

    def forget(self, tp: TopicPartition) -> None:
        """The partition is not ours any more, or its topic is another."""
        self._asked.pop(tp, None)

    def _is_fetched(self, partition: Partition) -> bool:
        """Whether the client asks for its records just now, and so hears where the log ends."""
        tp = partition.tp
        return partition.state is State.RUNNING and self._buffer.idle(tp) and tp not in self._buffer.paused

    def _told(
        self, asked: Mapping[TopicPartition, Partition], answers: Mapping[TopicPartition, int | KafkaError]
    ) -> None:
        self._under_way = False
        for tp, answer in answers.items():
            if not isinstance(answer, KafkaError) and self._table.partitions.get(tp) is asked[tp]:
                self._asked[tp] = answer
