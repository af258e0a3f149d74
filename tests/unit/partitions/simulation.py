"""What stands around the table in the model test: Kafka's log, and where its client is in it."""

from bisect import bisect_left
from dataclasses import dataclass, field

RECORD_BYTES = 10


@dataclass
class Log:
    """One lane of a partition in Kafka: offsets of its records, and the place that the group has committed for it."""

    visible: list[int] = field(default_factory=list)
    end: int = 0
    poison: set[int] = field(default_factory=set)
    """Records that cannot be delivered."""
    readable: set[int] = field(default_factory=set)
    """Those of them that are only too large."""
    committed: int | None = None
    state: bytes = b""
    """What was committed with it."""
    moved: bool = False
    """An operator moved the place: what is committed next may lie below what is committed now."""
    base: int = 0
    """Records below it are none of our business: the group never had them, or they went with a lost offset."""
    done: set[int] = field(default_factory=set)
    """Covered by an accepted checkpoint after delivery, left out by an operator, or kept as a dead letter."""
    furthest: int = 0

    def add(self, offset: int) -> None:
        """A record of this lane; all others up to the end are of other lanes."""
        self.visible.append(offset)

    def spoil(self, poison: str) -> None:
        """Its last record cannot be delivered."""
        self.poison.add(self.visible[-1])
        if poison == "large":
            self.readable.add(self.visible[-1])

    def between(self, first: int, end: int) -> list[int]:
        """The records from ``first`` up to, not including, ``end``."""
        return self.visible[bisect_left(self.visible, first) : bisect_left(self.visible, end)]

    def check_done(self, place: int) -> None:
        """Nothing below ``place`` is unprocessed: at least once."""
        start = max(self.base, self.furthest)
        missing = [offset for offset in self.between(start, place) if offset not in self.done]
        assert not missing, f"{place} passes {missing}, which nobody has processed"
        self.furthest = max(self.furthest, place)

    def commit(self, place: int, state: bytes) -> None:
        """It moves back only where an operator said so, or the place was lost."""
        self.check_done(place)
        assert self.committed is None or place >= self.committed or self.moved
        self.committed, self.state, self.moved = place, state, False

    def start(self) -> int:
        """Where the next owner begins."""
        if self.committed is None:
            return self.base
        if self.moved:  # and nobody could tell Kafka
            self.seek(self.committed)
            self.moved = False
        return self.committed

    def begin_at(self, place: int) -> None:
        """The next owner knows only the offset that is committed for the partition."""
        self.committed = place if self.committed is not None else None
        self.state = b""

    def lose(self, base: int) -> None:
        """What was known of the old place means nothing any more."""
        self.seek(base)
        self.committed, self.state = None, b""

    def seek(self, base: int) -> None:
        """From here on everything is to be processed, whatever was before; below it nothing is anybody's business."""
        self.base = self.furthest = base
        self.done.clear()
        self.moved = True


def append(lanes: list[Log], gaps: list[int], poison: str = "") -> None:
    """Records of one partition after gaps (markers, compaction); a last number without a record is a gap at the end.

    Which lane has a record depends on its offset alone, so a record that is fetched again is in the same lane.
    """
    end = lanes[0].end
    last = lanes[0]
    for gap in gaps[:-1]:
        end += gap
        last = lanes[(end * 7 // 3) % len(lanes)]
        last.add(end)
        end += 1
    if poison:
        last.spoil(poison)
    for lane in lanes:
        lane.end = end + gaps[-1]


@dataclass
class Reader:
    """The consumer thread's part for one lane: how far Kafka's client has read its partition, and what waits.

    Each lane has a position of its own: what the others have seen beyond it makes no difference to this one.
    """

    position: int
    valid: bool = False
    waiting: list[int] = field(default_factory=list)

    def fetch(self, log: Log, most: int) -> None:
        start = bisect_left(log.visible, self.position)
        records = log.visible[start : start + most]
        if records:
            self.waiting += records
            self.position = records[-1] + 1
            self.valid = True
        if start + most >= len(log.visible) and self.position < log.end:
            self.position = log.end  # past a marker at the end
            self.valid = True

    def rewind(self, offset: int) -> None:
        self.position = offset
        self.valid = False
        self.waiting.clear()
