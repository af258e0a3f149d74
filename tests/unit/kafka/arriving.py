"""Records that come, as the binding's messages."""

from confluent_kafka import Message

from sidecar.kafka.inflow import Inflow
from sidecar.kafka.messages import Sorter
from sidecar.partitions.vocabulary import TopicPartition


class Arriving:
    """Where messages come from that wait in ``inflow``."""

    def __init__(self, inflow: Inflow) -> None:
        self._inflow = inflow
        self._sorter = Sorter()

    def come(self, messages: list[Message]) -> list[TopicPartition]:
        """They come. Returns the partitions of which any wait, once for each run of messages."""
        return [run.partition for run in self._sorter.sort(messages) if self._inflow.add(run)]
