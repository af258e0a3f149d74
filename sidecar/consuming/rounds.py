"""When the checkpoints that wait are written: a round is what goes into one transaction. Pure: no Kafka, no clock.

A lambda's client sends the next checkpoint of a lane when the last one is answered, so the lanes of a round come back
together, within some milliseconds. A round waits for them, and for lanes that have records:

    round 1    written          answered   1 2 3 4         round 2    written
    lanes      ------------------------->  come again  -------------------->

Without that wait the first lane to come back would go alone, and all others with the round after it.

A record that has just missed its lane's checkpoint waits for two rounds: until that one is written, and for the next.
So that it waits for no longer than the interval, each round has half of it.
"""

from collections.abc import Iterable
from math import inf

from sidecar.partitions.vocabulary import Lane


class Rounds:
    """The lanes that wait for the next round, and when it begins. Times are of a monotonic clock, in seconds."""

    def __init__(self, interval: float) -> None:
        """``interval``: the longest that a record waits for others, in seconds."""
        self._half = interval / 2
        self._waiting: set[Lane] = set()
        self._last: frozenset[Lane] = frozenset()
        """The lanes of the last round."""
        self._since = inf
        self._hurries = False
        self._began_at = -inf
        self._took = interval
        """From the beginning of the last round until its answer; not known yet: a long time."""

    @property
    def something_waits(self) -> bool:
        """Whether there is anything to begin a round with."""
        return bool(self._waiting)

    def add(self, lane: Lane, now: float, *, hurries: bool) -> None:
        """A checkpoint of this lane waits. ``hurries``: the round need not wait for others, since this one cannot."""
        if not self._waiting:
            self._since, self._hurries = now, False
        self._waiting.add(lane)
        self._hurries |= hurries

    def drop(self, lanes: Iterable[Lane]) -> None:
        """Nothing of these lanes waits any more."""
        self._waiting.difference_update(lanes)

    def expects(self, lane: Lane, *, has_records: bool) -> bool:
        """Whether a checkpoint of this lane, which a lambda holds, may come soon."""
        return lane not in self._waiting and (has_records or lane in self._last)

    def begins_at(self, *, others_are_expected: bool) -> float:
        """When the next round begins, if no other is under way; infinity: nothing waits.

        It waits as long as the last round took, even if half an interval is over: else, on a slow machine, its time
        would be over when the first lane comes, and it would have that one alone.
        """
        if not self._waiting:
            return inf
        if self._hurries or not others_are_expected:
            return -inf
        return max(self._began_at + self._half, self._since + min(self._took, self._half))

    def begin(self, lanes: Iterable[Lane], now: float) -> None:
        """A round begins with what waits of these lanes."""
        self._last = frozenset(self._waiting.intersection(lanes))
        self._waiting -= self._last
        self._began_at = now

    def answered(self, now: float) -> None:
        """The round that was under way is answered."""
        self._took = now - self._began_at
