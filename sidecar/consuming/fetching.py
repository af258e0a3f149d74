"""What Kafka's client fetches: from which offset of each partition next, and from which partitions nothing.

Owned by the consumer thread.
"""

from sidecar.partitions.vocabulary import TopicPartition


class Fetching:
    """Of one lambda's partitions. It outlives a client that failed, whose partitions are forgotten."""

    def __init__(self) -> None:
        self.next_offset: dict[TopicPartition, int] = {}
        """The offset to fetch next: the one after the last record, or the one to which the client was moved. Missing:
        nothing was fetched since the partition's buffered records were dropped."""
        self.paused: set[TopicPartition] = set()
        """Partitions that are paused in Kafka's client."""

    def forget(self, tp: TopicPartition) -> None:
        """The partition is no longer assigned to us."""
        self.next_offset.pop(tp, None)
        self.paused.discard(tp)
