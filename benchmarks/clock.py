"""When a run's clock starts, and what it shows: for lambdas that count what they have handled."""

from dataclasses import dataclass, field


@dataclass
class Clock:
    """Starts when enough is handled and every lambda is there; a second one with the very first record.

    Attributes:
        warm: records before it starts.
        lambdas: that must be there before it starts.
    """

    warm: int
    lambdas: int
    _first: tuple[float, int] | None = field(default=None, init=False)
    _started: tuple[float, int] | None = field(default=None, init=False)

    def look(self, now: float, count: int, lambdas: int) -> bool:
        """At the time ``now`` so many records are handled and so many lambdas there. Whether it starts with this."""
        if self._first is None and count:
            self._first = now, count
        if self._started is not None or count < self.warm or lambdas < self.lambdas:
            return False
        self._started = now, count
        return True

    def result(self, now: float, count: int) -> dict[str, float]:
        """At the end: seconds and records since it started, and from the very first record on."""
        assert self._first is not None, "records were handled"
        first, started = self._first, self._started or (now, count)
        return {
            "records": count,
            "seconds": now - started[0],
            "measured": count - started[1],
            "whole_seconds": now - first[0],
            "whole_measured": count - first[1],
        }
