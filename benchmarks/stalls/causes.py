"""Finds the moments in which records stood still, and where the first of them was meanwhile. Pure.

All times are nanoseconds of the wall clock of one machine.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

NO_FETCH = "no Fetch was under way (librdkafka)"
FETCH = "a Fetch was under way (producer, broker; librdkafka's thread, if the witness did not wait)"
ASLEEP = "the answer was there, the consumer thread waited (librdkafka's queue, the extension)"
BUSY = "the answer was there, the consumer thread was busy (the sidecar)"
READING = "the consumer thread read"
AFTER = "read, not handled (frames, event loop, gRPC, the lambda)"
PLACES = (NO_FETCH, FETCH, ASLEEP, BUSY, READING, AFTER)
MACHINE = "a process that does nothing stood still too (the machine)"


class Record(NamedTuple):
    """A record: where it is in the topic, when it was produced, and when it was handled."""

    partition: int
    offset: int
    produced: int
    handled: int


class Answer(NamedTuple):
    """An answer to a Fetch."""

    sent: int  # its request
    received: int
    size: int


class Span(NamedTuple):
    """A wait of the consumer thread, or a sleep of the metronome that took too long."""

    began: int
    ended: int


class Read(NamedTuple):
    """What a read of the consumer thread brought of one partition."""

    began: int
    ended: int
    partition: int
    end: int  # the offset after its last record


@dataclass(frozen=True)
class Trace:
    """All that was noted. Each in the order of time; records in that of `produced`."""

    records: Sequence[Record]
    answers: Sequence[Answer]  # those with records
    waits: Sequence[Span]
    reads: Sequence[Read]
    late: Sequence[Span] = ()


@dataclass(frozen=True)
class Stall:
    """Records that waited one after the other.

    Attributes:
        first: the first of them.
        count: how many there are.
        places: how long, of the time of `first`, it was at each of `PLACES`.
        late: the longest sleep of the metronome that overlaps.
    """

    first: Record
    count: int
    places: Mapping[str, int]
    late: int

    @property
    def length(self) -> int:
        """How long its first record waited."""
        return self.first.handled - self.first.produced

    @property
    def cause(self) -> str:
        """Where most of the time went. Of the machine's own pauses no place is the cause."""
        return MACHINE if 2 * self.late >= self.length else max(PLACES, key=lambda place: self.places[place])


def stalls(trace: Trace, longer: int) -> Iterator[Stall]:
    """The stalls with records that waited ``longer``, in the order of time."""
    group: list[Record] = []
    for record in trace.records:
        if record.handled - record.produced <= longer:
            continue
        if group and record.produced > max(one.handled for one in group):
            yield _stall(trace, group)
            group = []
        group.append(record)
    if group:
        yield _stall(trace, group)


def _stall(trace: Trace, group: Sequence[Record]) -> Stall:
    first = group[0]
    overlapping = [late for late in trace.late if late.began < first.handled and late.ended > first.produced]
    return Stall(
        first, len(group), places(trace, first), max((late.ended - late.began for late in overlapping), default=0)
    )


def with_records(answers: Sequence[Answer]) -> list[Answer]:
    """Without the empty ones: as all partitions are in each answer, those are the smallest and all of one size."""
    least = min((one.size for one in answers), default=0)
    return [one for one in answers if one.size > least]


def places(trace: Trace, record: Record) -> dict[str, int]:
    """How long the record was at each of `PLACES`; the sum is the time from its production to its handling."""
    found = dict.fromkeys(PLACES, 0)
    reads = trace.reads
    delivered = next((n for n, read in enumerate(reads) if _brings(read, record)), None)
    if delivered is None:  # it came in some other way: nothing is known
        return {**found, AFTER: record.handled - record.produced}
    read = reads[delivered]
    # An answer before an earlier read was read by that one, so it did not have the record.
    earlier = max((one.began for one in reads[:delivered] if one.began < read.began), default=0)
    answer = _answer(trace.answers, max(record.produced, earlier), read.began)
    arrived = min(max(record.produced, answer.received if answer else read.began), read.began)
    sent = min(max(record.produced, answer.sent if answer else record.produced), arrived)
    asleep = _asleep(trace.waits, arrived, read.began)
    found[NO_FETCH] = sent - record.produced
    found[FETCH] = arrived - sent
    found[ASLEEP] = asleep
    found[BUSY] = read.began - arrived - asleep
    found[READING] = read.ended - read.began
    found[AFTER] = record.handled - read.ended
    return found


def _brings(read: Read, record: Record) -> bool:
    return read.partition == record.partition and read.end > record.offset


def _answer(answers: Sequence[Answer], after: int, until: int) -> Answer | None:
    """The first answer in this time, or else the last one before it."""
    first = bisect_left(answers, after, key=lambda one: one.received)
    if first < len(answers) and answers[first].received <= until:
        return answers[first]
    return answers[first - 1] if first else None


def _asleep(waits: Sequence[Span], began: int, ended: int) -> int:
    """How long of this time the thread waited."""
    at = max(bisect_right(waits, began, key=lambda one: one.began) - 1, 0)
    total = 0
    for wait in waits[at:]:
        if wait.began >= ended:
            break
        total += max(0, min(wait.ended, ended) - max(wait.began, began))
    return total
