"""One partition that Kafka assigned to this sidecar, and its lanes."""

from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.partitions.partition import Partition
from sidecar.partitions.vocabulary import State, TopicPartition
from sidecar.partitions.window import LowMark


@dataclass(frozen=True, slots=True)
class Assignment:
    """What Kafka knows of a partition is here; what lambdas hold are its lanes, at least one.

    The committed offset is the lowest place of the lanes: the low-water mark. All records below it are processed. What
    other lanes have processed beyond it is kept by their own places, in the commit's metadata.
    """

    tp: TopicPartition
    lanes: tuple[Partition, ...]
    mark: LowMark

    @property
    def resolving(self) -> bool:
        """Its resume offset is not known yet, or not committed: no lambda may get a record."""
        return any(lane.state is State.RESOLVING for lane in self.lanes)

    @property
    def leaves(self) -> bool:
        """It is drained to be released."""
        return self.lanes[0].leaves

    @property
    def resume_at(self) -> int:
        """The low-water mark; -1 while the partition is not resolved."""
        return min(lane.offsets.resume_at for lane in self.lanes)

    @property
    def places(self) -> tuple[int, ...]:
        """The resume offset of each lane."""
        return tuple(lane.offsets.resume_at for lane in self.lanes)

    @property
    def committed(self) -> int | None:
        """The group's committed offset, as far as we know; None: there is none."""
        known = [lane.offsets.committed for lane in self.lanes if lane.offsets.committed is not None]
        return min(known, default=None)

    def to_commit(self) -> int | None:
        """The offset to commit; None: what is committed is up to date.

        It may be the committed offset again: then only the places of other lanes, in the metadata, have moved.
        """
        if any(lane.offsets.withheld for lane in self.lanes):
            return None  # its lanes come back at the low-water mark, and so the loss is noticed again
        if all(lane.offsets.to_commit() is None for lane in self.lanes):
            return None
        return self.resume_at

    def settle(self, positions: Sequence[int]) -> None:
        """Move each lane over gaps (`Partition.settle`), and the low-water mark with them."""
        for lane, position in zip(self.lanes, positions, strict=True):
            lane.settle(position)
        self.mark.offset = self.resume_at
