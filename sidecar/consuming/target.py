"""Finds the offset of an operator's seek, which names an offset, a time, or an end of the log.

Owned by the consumer thread, which asks Kafka and does not wait for the answer.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from confluent_kafka import Consumer, KafkaError, TopicPartition as KafkaPartition

from sidecar.cluster.inquiries import Inquiries
from sidecar.consuming.fetching import Fetching
from sidecar.consuming.subscription import Subscription
from sidecar.mail.facts import Edges
from sidecar.mail.letters import SeekTo
from sidecar.partitions.vocabulary import OrderRefused, TopicPartition

Found = int | OrderRefused
"""The offset, or the refusal."""


class Target:
    """Finds offsets."""

    def __init__(
        self, consumer: Consumer, fetching: Fetching, subscription: Subscription, inquiries: Inquiries
    ) -> None:
        self._consumer = consumer
        self._fetching = fetching
        self._subscription = subscription
        self._inquiries = inquiries

    def find(self, tp: TopicPartition, to: SeekTo, then: Callable[[Found], None]) -> None:
        """Find the offset that ``to`` means; ``then`` is called with it later, in the consumer thread."""

        def time_told(answer: int | KafkaError) -> None:
            if isinstance(answer, KafkaError):
                then(_unknown(answer))
            else:
                self._inquiries.edges([tp], partial(edges_told, answer))

        def edges_told(at_time: int, answers: Mapping[TopicPartition, Edges | KafkaError]) -> None:
            edges = answers[tp]
            then(_unknown(edges) if isinstance(edges, KafkaError) else self._offset(tp, to, edges, at_time))

        if not self._subscription.has_leader(tp):
            then(OrderRefused(f"no broker leads {tp} now, so nobody knows its offsets; nothing was moved", "kafka"))
        elif to.kind == "timestamp":
            self._inquiries.at_time(tp, to.value, time_told)
        else:
            self._inquiries.edges([tp], partial(edges_told, -1))

    def _offset(self, tp: TopicPartition, to: SeekTo, edges: Edges, at_time: int) -> Found:
        """``at_time``: the answer for a timestamp; -1: no record is that new."""
        # Records that were fetched are in the log, even if the broker names a lower end, as the embedded one may.
        known = -1
        with suppress(RuntimeError):  # the client failed for good and is closed: then nothing is moved
            known = self._consumer.get_watermark_offsets(KafkaPartition(tp.topic, tp.partition), cached=True)[1]
        end = max(edges.latest, known, self._fetching.next_offset.get(tp, 0))
        match to.kind:
            case "earliest":
                return edges.earliest
            case "latest":
                return end
            case "timestamp":
                return at_time if at_time >= 0 else end
            case "offset":
                if edges.earliest <= to.value <= end:
                    return to.value
                text = f"offset {to.value} is not in the log of {tp}, which has {edges.earliest} to {end}"
                return OrderRefused(text, "range")


def _unknown(error: KafkaError) -> OrderRefused:
    return OrderRefused(f"Kafka does not say where that is ({error.str()}); nothing was moved", "kafka")
