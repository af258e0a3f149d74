"""One partition that Kafka assigned to this sidecar, and its lanes."""

from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.partitions.offsets import Commitment
from sidecar.partitions.partition import Partition
from sidecar.partitions.vocabulary import Lane, State, TopicPartition
from sidecar.partitions.window import LowMark


@dataclass(frozen=True, slots=True)
class Assignment:
    """What Kafka knows of a partition is here; what lambdas hold are its lanes, at least one.

    The committed offset is the lowest place of the lanes: the low-water mark. All records below it are processed.
    What other lanes have processed beyond it is kept by their own places, in the commit's metadata.
    """

    tp: TopicPartition
    lanes: tuple[Partition, ...]
    mark: LowMark
    keys: tuple[Lane, ...]
    """The names of ``lanes``, in the same order."""

    @property
    def resolving(self) -> bool:
        """Its resume offset is not known yet, or not committed: no lambda may get a record."""
        return any(lane.state is State.RESOLVING for lane in self.lanes)

    @property
    def runs(self) -> bool:
        """A lambda of at least one lane takes records."""
        return any(lane.state is State.RUNNING for lane in self.lanes)

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

    @property
    def commitments(self) -> tuple[Commitment, ...]:
        """What a commit made now has of each lane."""
        return tuple(lane.commitment for lane in self.lanes)

    def to_commit(self) -> int | None:
        """The offset to commit; None: what is committed is up to date.

        It may be the committed offset again: then only the places of other lanes, in the metadata, have moved.
        """
        if any(lane.offsets.withheld for lane in self.lanes):
            return None  # its lanes come back at the low-water mark, and so the loss is noticed again
        if all(lane.offsets.to_commit() is None for lane in self.lanes):
            return None
        return self.resume_at

    @property
    def is_committed(self) -> bool:
        """The places of all lanes are committed."""
        return all(lane.offsets.committed == lane.offsets.resume_at for lane in self.lanes)

    @property
    def caught_up(self) -> bool:
        """All delivered records of all lanes are processed, and no record has to be fetched again."""
        return all(lane.caught_up for lane in self.lanes)

    def settle(self, positions: Sequence[int]) -> None:
        """Move each lane over gaps (`Partition.settle`), and the low-water mark with them."""
        for lane, position in zip(self.lanes, positions, strict=True):
            lane.settle(position)
        self.note_mark()

    def note_mark(self) -> None:
        """A lane's place has moved: compute the low-water mark again. Only several lanes have one."""
        if len(self.lanes) > 1:
            self.mark.offset = self.resume_at
