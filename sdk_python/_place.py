"""What a lease is for: a partition, or one lane of it."""

from __future__ import annotations

from typing import NamedTuple

from .protocol import lambda_pb2 as pb


class Place(NamedTuple):
    """A partition, or a lane of it: the records of some of its keys."""

    topic: str
    partition: int
    lane: int
    lanes: int
    """How many lanes the partition has; 1: it is whole."""

    @classmethod
    def of(cls, assigned: pb.Assigned) -> Place:
        """The place that the sidecar assigns."""
        return cls(assigned.topic, assigned.partition, assigned.lane, max(1, assigned.lanes))

    def __str__(self) -> str:
        lane = f" lane {self.lane}" if self.lanes > 1 else ""
        return f"{self.topic}/{self.partition}{lane}"

    def overlaps(self, other: Place) -> bool:
        """Whether the two may have a record in common. With other numbers of lanes, any two of a partition may."""
        if (self.topic, self.partition) != (other.topic, other.partition):
            return False
        return self.lanes != other.lanes or self.lane == other.lane
