"""Numbers, times, durations and names as an explanation writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from sidecar.explain.finding import Place

_MAX_QUOTED = 300
"""Characters of a text from elsewhere."""

_MAX_NAMES = 3
"""Lambdas, and topics, that are listed by name."""

_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def many(count: int, one: str, several: str = "") -> str:
    """A count with its noun: `1 message`, `10,000 messages`. ``several``: the plural, by default with an s."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def quoted(text: str) -> str:
    """A text from elsewhere as a part of a sentence: shortened, without the full stop at its end."""
    text = text.strip().rstrip(".")
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]} ..."


def span(milliseconds: int) -> str:
    """A duration: `40 seconds`, `9 minutes`. A unit is used from two of it on, so that little is rounded away."""
    seconds = max(0, milliseconds) // 1000
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return many(seconds // size, unit)
    return "1 second" if seconds else "less than a second"


@dataclass(frozen=True, slots=True)
class Clock:
    """The sidecar's time at the answer, and the time zone of the reader."""

    now_ms: int
    zone: tzinfo | None = None
    """None: times are shown in UTC and say so."""

    def at(self, ms: int) -> str:
        """A time of the day, with the date if it is not today: `14:02:11`, `Nov 29, 14:02:11`."""
        zone = self.zone or UTC
        when, now = (datetime.fromtimestamp(one / 1000, zone) for one in (ms, self.now_ms))
        shown = f"{when:%H:%M:%S}" if when.date() == now.date() else f"{when:%b} {when.day}, {when:%H:%M:%S}"
        return shown if self.zone else f"{shown} UTC"

    def passed(self, ms: int) -> int:
        """Milliseconds since ``ms``."""
        return self.now_ms - ms

    def since(self, ms: int) -> str:
        """` since 14:02:11 (9 minutes)`, with a space before it; empty: ``ms`` is 0, the time is not known."""
        return f" since {self.at(ms)} ({span(self.passed(ms))})" if ms else ""


def ranges(numbers: Iterable[int]) -> str:
    """Numbers of partitions: `0-3, 7`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _lanes(places: Sequence[Place]) -> str:
    whole = {(place.topic, place.partition) for place in places}
    topics = sorted({topic for topic, _ in whole})
    count = many(len(places), "lane")
    if len(whole) == 1:
        return f"{count} of {topics[0]}/{places[0].partition} ({ranges(place.lane for place in places)})"
    listed = f" (partitions {ranges(number for _, number in whole)})" if len(topics) == 1 else ""
    return f"{count} of {several(topics, 'topics')}{listed}"


def several(names: Sequence[str], others: str) -> str:
    """`a`, `a and b`, `a, b, c and 7 other lambdas`; ``others``: the noun for those that are not listed."""
    if len(names) > _MAX_NAMES + 1:
        names = [*names[:_MAX_NAMES], f"{len(names) - _MAX_NAMES:,} other {others}"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def partitions(places: Sequence[Place]) -> str:
    """`orders/7`, `3 partitions of orders (2, 5-6)`, `12 partitions of orders, bills and users`.

    Of lanes: `orders/7.3`, `3 lanes of orders/7 (2, 5-6)`, `12 lanes of orders (partitions 2, 5-6)`.
    """
    if len(places) == 1:
        return str(places[0])
    if any(place.lane >= 0 for place in places):
        return _lanes(places)
    topics = sorted({place.topic for place in places})
    listed = f" ({ranges(place.partition for place in places)})" if len(topics) == 1 else ""
    return f"{many(len(places), 'partition')} of {several(topics, 'topics')}{listed}"
