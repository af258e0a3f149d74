"""Lines of others that come in a flood: the first of a kind is shown, the others of a while are one line, a count."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

INTERVAL = 10.0
"""Seconds within which lines of one kind make one line."""

MOST_KINDS = 256
"""Kinds that are told apart; those beyond are one kind."""

Kind = tuple[str, str]
"""Who says it, and what, without what differs from line to line."""


class Flood:
    """Counts by kind. Called from any thread."""

    def __init__(self, tell: Callable[[Kind, int], None]) -> None:
        """``tell`` is called, some time after the first line of a kind, with how many more were not shown."""
        self._tell = tell
        self._lock = threading.RLock()
        self._kinds: dict[Kind, tuple[float, int]] = {}

    def passes(self, kind: Kind) -> bool:
        """Whether to show this line; else it is counted."""
        with self._lock:
            self.settle()
            if kind not in self._kinds and len(self._kinds) >= MOST_KINDS:
                kind = ("many", "many kinds of lines")
            since, hidden = self._kinds.get(kind, (monotonic(), -1))
            self._kinds[kind] = (since, hidden + 1)
            return hidden < 0

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._kinds.clear()

    def settle(self, *, all_kinds: bool = False) -> None:
        """Tell what was not shown of the kinds whose time is over, or of all. To be called now and then."""
        now = monotonic()
        with self._lock:
            over = [
                (kind, hidden)
                for kind, (since, hidden) in self._kinds.items()
                if all_kinds or now - since >= INTERVAL
            ]
            for kind, _ in over:
                del self._kinds[kind]
        for kind, hidden in over:
            if hidden:
                self._tell(kind, hidden)
