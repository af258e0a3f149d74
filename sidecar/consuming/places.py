"""Where each lane is: up to which offset all of its records were sent, or are not its records.

Owned by the consumer thread.
"""

from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.consuming.fetching import Fetching
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import Lane, TopicPartition


class Places:
    """Of one lambda's lanes. The table knows what lambdas have done; this adds what was fetched and not sent."""

    def __init__(self, table: PartitionTable, buffer: FetchBuffer, fetching: Fetching) -> None:
        self._table = table
        self._buffer = buffer
        self._fetching = fetching

    def settle(self, tp: TopicPartition) -> None:
        """Bring the places of the partition's lanes up to date, and its low-water mark."""
        self._table.settle(tp, [self.seen(lane) for lane in self._table.lanes_of(tp)])

    def settle_beside(self, lane: Lane) -> None:
        """The same for the lanes of this lane's partition."""
        self.settle(lane.partition)

    def seen(self, lane: Lane) -> int:
        """All of the lane's records below this offset were sent, or left out; -1: not known."""
        unsent = self._buffer.begins_at(lane)
        if unsent is not None:
            return unsent
        return max(self._fetching.next_offset.get(lane.partition, -1), self._buffer.takes_from(lane))
