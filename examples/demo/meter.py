"""The rate of a counter."""

from collections import deque

from examples.demo.pieces import Flow

WINDOW = 1.0
"""The rate is an average over this many seconds."""

REMEMBERED = 120
"""Seconds of history."""


class Meter:
    """A counter, its rate, and the rate of each of the last seconds."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()
        self._history: deque[float] = deque(maxlen=REMEMBERED)
        self._second: tuple[float, int] | None = None

    def add(self, now: float, total: int) -> None:
        """The counter's value at this time, in seconds."""
        self._points.append((now, total))
        while len(self._points) > 2 and self._points[1][0] <= now - WINDOW:
            self._points.popleft()
        if self._second is None:
            self._second = now, total
        since, before = self._second
        if now - since >= 1.0:
            self._history.append((total - before) / (now - since))
            self._second = now, total

    def flow(self) -> Flow:
        """The values to show."""
        if not self._points:
            return Flow()
        (first, before), (last, total) = self._points[0], self._points[-1]
        rate = (total - before) / (last - first) if last > first else 0.0
        return Flow(total, rate, tuple(self._history))
