"""Floods of libraries' log lines: the first line of a kind is shown, those of the next seconds are only counted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

INTERVAL_S = 10.0
"""Lines of one kind within this time are one line."""

MAX_KINDS = 256
"""Kinds that are told apart; further ones count as one kind."""

Kind = tuple[str, str]
"""The logger, and the text without the parts that differ from line to line."""


class Flood:
    """Counts lines by kind. Its methods may be called in any thread."""

    def __init__(self, tell: Callable[[Kind, int], None]) -> None:
        """``tell`` gets the number of a kind's hidden lines, ``INTERVAL_S`` or more after its first line."""
        self._tell = tell
        self._lock = threading.RLock()
        self._kinds: dict[Kind, tuple[float, int]] = {}

    def passes(self, kind: Kind) -> bool:
        """Whether to show this line; otherwise it is counted."""
        with self._lock:
            self.settle()
            if kind not in self._kinds and len(self._kinds) >= MAX_KINDS:
                kind = ("many", "many kinds of lines")
            since, hidden = self._kinds.get(kind, (monotonic(), -1))
            self._kinds[kind] = (since, hidden + 1)
            return hidden < 0

    def forget(self) -> None:
        """Forget all counts."""
        with self._lock:
            self._kinds.clear()

    def settle(self, *, all_kinds: bool = False) -> None:
        """Report the hidden lines of the kinds whose interval is over, or of all kinds. To be called now and then."""
        now = monotonic()
        with self._lock:
            over = [
                (kind, hidden)
                for kind, (since, hidden) in self._kinds.items()
                if all_kinds or now - since >= INTERVAL_S
            ]
            for kind, _ in over:
                del self._kinds[kind]
        for kind, hidden in over:
            if hidden:
                self._tell(kind, hidden)
