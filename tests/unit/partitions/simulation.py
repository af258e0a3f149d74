"""What stands around the table in the model test: Kafka's log, the consumer thread, and an account of the truth.

The account is written from the design's words, not from the table's code: what is expected of a partition after each
event, kept in the plainest form there is (lists of offsets, sets of what is done).
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from sidecar.partitions.vocabulary import (
    CheckpointOutcome,
    Lease,
    Limits,
    Progress,
    State,
    StreamId,
    TopicPartition,
)

RECORD_BYTES = 10


@dataclass
class Log:
    """One partition in Kafka: offsets of the records that a reader sees, and what the group has committed."""

    visible: list[int] = field(default_factory=list)
    end: int = 0
    poison: set[int] = field(default_factory=set)
    committed: int | None = None
    base: int = 0
    """Records below it are none of our business: the group never had them, or they went with a lost offset."""
    done: set[int] = field(default_factory=set)
    """Covered by an accepted checkpoint after they were delivered, or left out by an operator."""
    furthest: int = 0

    def append(self, gaps: list[int], poison: bool) -> None:
        """Records after gaps (markers, compaction); a last number without a record is a gap at the end."""
        for gap in gaps[:-1]:
            self.end += gap
            self.visible.append(self.end)
            self.end += 1
        if poison:
            self.poison.add(self.visible[-1])
        self.end += gaps[-1]

    def between(self, first: int, end: int) -> list[int]:
        """The records from ``first`` up to, not including, ``end``."""
        return self.visible[bisect_left(self.visible, first) : bisect_left(self.visible, end)]

    def check_done(self, place: int) -> None:
        """Nothing below ``place`` is unprocessed: at least once."""
        start = max(self.base, self.furthest)
        missing = [offset for offset in self.between(start, place) if offset not in self.done]
        assert not missing, f"{place} passes {missing}, which nobody has processed"
        self.furthest = max(self.furthest, place)

    def lose(self, base: int) -> None:
        """What was known of the old place means nothing any more."""
        self.base = self.furthest = base
        self.done.clear()
        self.committed = None


@dataclass
class Reader:
    """The consumer thread's part for one partition: where Kafka's client stands, and what waits."""

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


@dataclass
class Held:
    """A lease as its lambda sees it."""

    lease: Lease
    stream: StreamId
    start: int
    delivered: list[int] = field(default_factory=list)
    checkpoint: int | None = None
    beyond: int = 0
    beyond_bytes: int = 0
    unwritten: int = 0


@dataclass
class Line:
    """One `Process` call. ``known``: the table has not been told, and has not decided, that it is over."""

    id: StreamId
    process: str
    known: bool = True
    tp: TopicPartition | None = None
    fenced_until: float | None = None
    unwritten: int = 0


@dataclass
class Account:
    """What is expected of one partition while it is ours."""

    limits: Limits
    log: Log
    reader: Reader
    state: State = State.RESOLVING
    place: int = -1
    checkpoint: int | None = None
    """The last one that moved the place."""
    held: Held | None = None
    failures: int = 0
    attempt: int = 1
    until: float | None = None
    """The end of a back-off at the latest, or the deadline of a start or a drain."""
    halts: bool = False
    failing: int | None = None
    skip: set[int] = field(default_factory=set)

    # --- the window ---------------------------------------------------------------------------------------------

    @property
    def unprocessed(self) -> int:
        """Records that were sent and lie at or above the place."""
        assert self.held is not None
        return len(self.held.delivered) - bisect_left(self.held.delivered, self.place)

    @property
    def outstanding(self) -> int:
        return 0 if self.held is None else self.unprocessed - self.held.beyond

    def check_room(self, room: int) -> None:
        """The window: records, bytes and span; always one when nothing is outstanding."""
        held, limits = self.held, self.limits
        if self.state is not State.RUNNING or held is None or held.unwritten >= limits.frames_in_flight:
            assert room == 0
        elif held.delivered and held.delivered[-1] - self.low >= limits.window_span:
            assert room == (self.outstanding == 0)
        elif self.outstanding == 0:
            assert room == max(1, limits.window_messages)
        elif self.unprocessed * RECORD_BYTES - held.beyond_bytes >= limits.window_bytes:
            assert room == 0
        else:
            assert room == max(0, limits.window_messages - self.outstanding)

    @property
    def low(self) -> int:
        """Where the span is measured from: the last checkpoint of the lease, or its start."""
        assert self.held is not None
        return self.held.start if self.held.checkpoint is None else self.held.checkpoint + 1

    # --- progress -----------------------------------------------------------------------------------------------

    def expected(self, progress: Progress) -> CheckpointOutcome:
        """What a checkpoint under the living lease must be answered with."""
        held = self.held
        assert held is not None
        accepted = CheckpointOutcome.ACCEPTED_DRAINING if self.state is State.DRAINING else CheckpointOutcome.ACCEPTED
        offset = progress.offset
        if offset is None or offset == self.checkpoint or offset + 1 == self.place:
            return accepted
        if offset < self.place:
            return CheckpointOutcome.IGNORED_LOWER
        if not held.delivered or offset > held.delivered[-1]:
            return CheckpointOutcome.BEYOND_DELIVERED
        return accepted

    def progressed(self, progress: Progress) -> None:
        """It was accepted, or not: ``expected`` told."""
        held, offset = self.held, progress.offset
        assert held is not None
        if offset is not None and offset != self.checkpoint and offset + 1 != self.place:
            if offset < self.place or not held.delivered or offset > held.delivered[-1]:
                return
            self.log.done.update(held.delivered[: bisect_right(held.delivered, offset)])
            self.place, self.checkpoint, held.checkpoint = offset + 1, offset, offset
            self.left_out(self.place)
            self.attempt, self.failures = 1, 0
        held.beyond = min(progress.completed_beyond, self.unprocessed)
        held.beyond_bytes = min(progress.completed_beyond_bytes, self.unprocessed * RECORD_BYTES)

    def left_out(self, place: int) -> None:
        """What an operator left out below the place is behind us."""
        self.log.done.update(offset for offset in self.skip if offset < place)
        self.skip = {offset for offset in self.skip if offset >= place}

    def settled(self, position: int) -> None:
        self.place = max(self.place, position)
        self.left_out(self.place)

    def moved(self, place: int) -> None:
        """The place is another, and what was known of the old one means nothing."""
        self.place, self.checkpoint, self.failing = place, None, None
        self.skip.clear()
        self.attempt, self.failures = 1, 0
        self.log.lose(place)

    def sent(self, records: list[int]) -> None:
        """Each lease sees a gapless run of visible records from its start, but for those left out."""
        held = self.held
        assert held is not None
        after = held.delivered[-1] + 1 if held.delivered else held.start
        run = [offset for offset in self.log.between(after, records[-1] + 1) if offset not in self.skip]
        assert records == run, f"sent {records} where {run} comes next"
        assert not self.log.poison.intersection(records)
        held.delivered += records
        held.unwritten += 1

    # --- the end of a lease -------------------------------------------------------------------------------------

    def orderly(self) -> None:
        self.held = self.until = None
        self.state = self._after_drain() or State.WAITING

    def failed(self, now: float, *, broke: bool = False) -> None:
        self.held = self.until = None
        after = self._after_drain()
        if after is not None:
            self.state = after
            return
        self.failures += 1
        self.attempt += 1
        if broke and self.failures == 1:
            self.state = State.WAITING
        else:
            self.state = State.BACKING_OFF
            self.until = now + self.full_delay()

    def full_delay(self) -> float:
        return min(self.limits.backoff_most, self.limits.backoff_first * 2.0 ** (self.failures - 1))

    def critical(self, offset: int | None) -> None:
        self.held = self.until = None
        self.state = self._after_drain() or State.HALTED
        if not self.halts:
            self.failing = offset

    def drain(self, now: float, seconds: float, *, halts: bool) -> None:
        deadline = now + seconds
        if self.state is State.DRAINING and self.until is not None:
            deadline = min(deadline, self.until)
        self.state, self.halts = State.DRAINING, halts
        self.until = None if self.held is None else deadline

    def _after_drain(self) -> State | None:
        if self.state is not State.DRAINING:
            return None
        return State.HALTED if self.halts else State.DRAINING
