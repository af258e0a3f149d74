"""The clock of a run: when it starts and what it shows, for lambdas that count their handled records."""

from dataclasses import dataclass, field


@dataclass
class Clock:
    """Starts when enough records are handled and every lambda is there. A second clock starts with the first record.

    Attributes:
        warm: how many records are handled before it starts.
        lambdas: how many must be there before it starts.
    """

    warm: int
    lambdas: int
    _first: tuple[float, int] | None = field(default=None, init=False)
    _started: tuple[float, int] | None = field(default=None, init=False)

    def look(self, now: float, count: int, lambdas: int) -> bool:
        """At the time ``now``, this many records are handled and lambdas there. Returns whether it starts now."""
        if self._first is None and count:
            self._first = now, count
        if self._started is not None or count < self.warm or lambdas < self.lambdas:
            return False
        self._started = now, count
        return True

    def result(self, now: float, count: int) -> dict[str, float]:
        """The figures at the end: seconds and records since it started, and since the first record."""
        assert self._first is not None, "records were handled"
        first, started = self._first, self._started or (now, count)
        return {
            "records": count,
            "seconds": now - started[0],
            "measured": count - started[1],
            "whole_seconds": now - first[0],
            "whole_measured": count - first[1],
        }
