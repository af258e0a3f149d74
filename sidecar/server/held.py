"""The records of one lease that wait for a checkpoint, with exactly-once. Pure: no I/O, thread or clock.

A record goes with the first checkpoint that its lambda makes after it produced the record. If it names its source,
the offset of the record that it was made from, it goes with the first one at that offset or above it.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.mail.outgoing import Outgoing

NEXT = -1
"""The source of a record that goes with the next checkpoint."""


@dataclass(frozen=True, slots=True)
class Part:
    """Records of one call, or those of them that are left."""

    records: Sequence[Outgoing]
    sources: Sequence[int] | None
    """One for each record; None: all go with the next checkpoint."""
    size: int
    """Bytes; for a part of a call, its share."""
    numbers: Sequence[int]
    """The index of each record in its call."""
    call: int

    def split(self, offset: int) -> "tuple[Part | None, Part | None]":
        """Those that go with a checkpoint at ``offset``, and those that stay."""
        if self.sources is None:
            return self, None
        goes = [index for index, source in enumerate(self.sources) if source <= offset]
        stays = [index for index, source in enumerate(self.sources) if source > offset]
        if not goes or not stays:
            return (self, None) if goes else (None, self)
        size = self.size * len(goes) // len(self.records)
        return self._of(goes, size), self._of(stays, self.size - size)

    def _of(self, chosen: Sequence[int], size: int) -> "Part":
        assert self.sources is not None
        return Part(
            [self.records[index] for index in chosen],
            [self.sources[index] for index in chosen],
            size,
            [self.numbers[index] for index in chosen],
            self.call,
        )

    def joined(self, other: "Part") -> "Part":
        """With another part of the same call; its records are in their order again."""
        assert self.sources is not None
        assert other.sources is not None
        rows = sorted(
            [
                *zip(self.numbers, self.sources, self.records, strict=True),
                *zip(other.numbers, other.sources, other.records, strict=True),
            ],
            key=lambda row: row[0],
        )
        numbers, sources, records = zip(*rows, strict=True)
        return Part(records, sources, self.size + other.size, numbers, self.call)


class Held:
    """What one lease holds.

    Invariants: no record is in two places; those of one take are in the order in which they were added; ``count`` and
    ``size`` are of what waits, ``lent_count`` and ``lent_size`` of what is on its way to Kafka.
    """

    def __init__(self, max_records: int, max_bytes: int) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._parts: deque[Part] = deque()
        self._calls = 0
        self._passed = -1
        """The offset of the last take."""
        self.count = self.lent_count = 0
        self.size = self.lent_size = 0

    @property
    def is_busy(self) -> bool:
        """Whether so much is on its way to Kafka that nothing more may be added before some of it has arrived."""
        return self.lent_count >= self._max_records or self.lent_size >= self._max_bytes

    def __bool__(self) -> bool:
        """Whether a record waits."""
        return bool(self._parts)

    def add(self, records: Sequence[Outgoing], sources: Sequence[int], size: int, offset: int | None) -> int | None:
        """Hold the records of a call, of ``size`` bytes.

        ``sources``: empty, or one for each. ``offset``: of the checkpoint in the call. Returns the call's number;
        None: too much would be held, and nothing of it is.
        """
        part = Part(records, [*sources] if sources else None, size, range(len(records)), self._calls + 1)
        stays = part if offset is None else part.split(offset)[1]
        if stays is not None and stays.records:
            too_many = self.count + len(stays.records) > self._max_records
            if too_many or self.size + stays.size > self._max_bytes:
                return None
        self._calls += 1
        if records:
            self._parts.append(part)
            self.count += len(records)
            self.size += size
        return self._calls

    def take(self, offset: int) -> "Lent":
        """Lend what goes with a checkpoint at ``offset``."""
        lent: list[Part] = []
        kept: deque[Part] = deque()
        for part in self._parts:
            goes, stays = part.split(offset)
            if goes is not None:
                lent.append(goes)
            if stays is not None:
                kept.append(stays)
        self._parts = kept
        before, self._passed = self._passed, max(offset, self._passed)
        self._move(lent, -1)
        return Lent(tuple(lent), before)

    def take_if_new(self, offset: int | None) -> "Lent | None":
        """The same for a checkpoint that is maybe the last one, told again; then, or without records, None.

        A client repeats a checkpoint with news of its handlers, in Closed and in Error. Records that were produced
        after it belong to the next one: the records that they were made from are not processed yet.
        """
        if offset is None or offset <= self._passed or not self._parts:
            return None
        lent = self.take(offset)
        return lent if lent.parts else None

    def give_back(self, lent: "Lent") -> None:
        """There was no transaction: its records wait again, in their order."""
        self._move(lent.parts, 1)
        parts = {part.call: part for part in self._parts}
        for part in lent.parts:
            parts[part.call] = part.joined(parts[part.call]) if part.call in parts else part
        self._parts = deque(parts[call] for call in sorted(parts))
        self._passed = lent.passed_before

    def settle(self, lent: "Lent") -> None:
        """There was a transaction, which has ended."""
        for part in lent.parts:
            self.lent_count -= len(part.records)
            self.lent_size -= part.size

    def _move(self, parts: Sequence[Part], sign: int) -> None:
        """These parts are lent (-1), or wait again (1)."""
        count, size = sum(len(part.records) for part in parts), sum(part.size for part in parts)
        self.count += sign * count
        self.size += sign * size
        self.lent_count -= sign * count
        self.lent_size -= sign * size

    def clear(self) -> None:
        """The lease has ended: nothing of it is written any more."""
        self._parts.clear()
        self.count = self.size = 0


@dataclass(frozen=True, slots=True)
class Lent:
    """Records that go with one checkpoint."""

    parts: tuple[Part, ...]
    passed_before: int = -1
    """The offset of the take before it."""

    @property
    def records(self) -> list[Outgoing]:
        """All, in their order."""
        return [record for part in self.parts for record in part.records]

    def of_call(self, call: int) -> dict[int, int]:
        """Where the records of this call are in ``records``, by their index in the call."""
        found: dict[int, int] = {}
        first = 0
        for part in self.parts:
            if part.call == call:
                found.update(zip(part.numbers, range(first, first + len(part.records)), strict=True))
            first += len(part.records)
        return found
