"""How far a lane is: its resume offset, what is committed, and what one commit has of it."""

from dataclasses import dataclass

from sidecar.partitions.vocabulary import Place


@dataclass(slots=True)
class Offsets:
    """The offsets of a lane."""

    resume_at: int = -1
    """The resume offset, the lane's place: all of its records below are processed. -1 while RESOLVING."""
    committed: int | None = None
    """The place that is committed, as far as we know. Of several lanes, the lowest is the group's committed offset,
    and the others are in the commit's metadata."""
    uncommitted: bool = False
    """``resume_at`` is not committed yet: it came from a checkpoint, or is the start of a new group."""
    rewind_pending: bool = False
    """Fetched records from ``resume_at`` on were dropped. Until Kafka's client is moved back to ``resume_at``, its
    position does not tell which records are processed."""
    checkpoint: int | None = None
    """The last offset that was checkpointed."""
    handled: int | None = None
    """The last offset whose handler returned, under the present or the last lease."""
    handled_at: float | None = None
    """When ``handled`` last moved, in seconds of the monotonic clock."""
    state: bytes = b""
    """What the lambda gave with ``checkpoint``, or with the last one before it that had a state. It goes wherever
    ``resume_at`` goes, also past the markers of transactions."""
    durable: int | None = None
    """The last checkpoint that Kafka is known to have."""

    @property
    def place(self) -> Place:
        """What is to be committed, and what the next lambda gets."""
        return Place(self.resume_at, self.state)

    def to_commit(self) -> int | None:
        """The place to commit; None: the committed one is up to date."""
        return self.resume_at if self.uncommitted and self.resume_at != self.committed else None

    @property
    def withheld(self) -> bool:
        """The place is to be committed only after an operator has accepted it: the one before was lost."""
        return self.committed is None and not self.uncommitted


@dataclass(frozen=True, slots=True)
class Commitment:
    """What one commit has of a lane, all taken at the same moment.

    The answer comes later: by then the lane may be further, or may have been moved.
    """

    place: Place
    of: Offsets
    checkpoint: int | None
    """The last checkpoint that it has."""

    @property
    def offset(self) -> int:
        """The next offset to process."""
        return self.place.offset
