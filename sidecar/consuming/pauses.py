"""Pauses and resumes partitions in Kafka's client, so that no order to the client is lost.

Owned by the consumer thread. Nothing else calls the client's pause and resume.

librdkafka numbers its orders for a partition (start, stop, seek, pause, resume). Its own main thread gives orders
too, for instance to start a partition when the committed offset has arrived. Two threads can overtake each other:

1. librdkafka's main thread takes number 7 for "start".
2. The consumer thread takes number 8 for "pause", and sends it.
3. The main thread sends "start". It is older than the last order that arrived, so librdkafka drops it, in silence.
   The partition is never fetched.

Likewise a resume can be dropped, and the partition stays paused: librdkafka#2190, librdkafka#5591. Therefore:

- A partition is paused or resumed *before* it is assigned: then the main thread has no order for it. The pause
  outlives the assignment.
- A resume is given twice. If the first one arrived, librdkafka ignores the second.
- Records of a paused partition prove that a pause was dropped (`arrived`).
- `FetchWatch` finds what is dropped all the same.
"""

from collections.abc import Collection

from confluent_kafka import Consumer, KafkaException, TopicPartition as KafkaPartition
from structlog.typing import FilteringBoundLogger

from sidecar.consuming.fetching import Fetching
from sidecar.partitions.vocabulary import TopicPartition, short


class Pauses:
    """The pauses of one lambda's partitions in Kafka's client."""

    def __init__(self, consumer: Consumer, fetching: Fetching, log: FilteringBoundLogger) -> None:
        self._consumer = consumer
        self._fetching = fetching
        self._log = log

    def pause(self, tps: Collection[TopicPartition]) -> None:
        """Fetch no more records of these partitions. What the client has fetched ahead of them is dropped.

        The client must know them: see `Source.lead`.
        """
        if not tps:
            return
        try:
            self._consumer.pause([KafkaPartition(tp.topic, tp.partition) for tp in tps])
            self._fetching.paused.update(tps)
        except KafkaException as error:  # the assignment is being changed: `BackPressure.adjust` tries again
            self._log.debug("pause refused", partitions=short(tps), error=error.args[0].str())

    def resume(self, tps: Collection[TopicPartition]) -> None:
        """Fetch records of these partitions again. Raises ``KafkaException``."""
        if not tps:
            return
        for _ in range(2):
            self._consumer.resume([KafkaPartition(tp.topic, tp.partition) for tp in tps])
        self._fetching.paused.difference_update(tps)

    def arrived(self, tp: TopicPartition) -> None:
        """Records of the partition arrived, so it is not paused in the client, whatever it was told."""
        self._fetching.paused.discard(tp)
