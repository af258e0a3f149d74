"""How many records a second: over the last ten seconds."""

SECONDS = 10
"""Seconds that a rate is measured over."""

_SLOTS = SECONDS + 1


class Meter:
    """Counts by second of the clock. The present second is not over, so it does not count yet."""

    __slots__ = ("_counts", "_first", "_second")

    def __init__(self) -> None:
        self._counts = [0] * _SLOTS
        self._first: int | None = None
        self._second = 0

    def add(self, count: int, now: float) -> None:
        """``count`` records at ``now``, in seconds of a clock that never goes back."""
        self._turn(int(now))
        self._counts[self._second % _SLOTS] += count

    def rate(self, now: float) -> float:
        """Records a second, over the last whole seconds, at most ``SECONDS`` and none before the first record."""
        if self._first is None:
            return 0.0
        self._turn(int(now))
        seconds = min(SECONDS, self._second - self._first)
        return sum(self._counts[(self._second - ago) % _SLOTS] for ago in range(1, seconds + 1)) / max(1, seconds)

    def _turn(self, second: int) -> None:
        """Make ``second`` the present one."""
        if self._first is None:
            self._first = self._second = second
        for passed in range(max(self._second + 1, second - SECONDS), second + 1):
            self._counts[passed % _SLOTS] = 0
        self._second = max(self._second, second)
