"""What looks wrong, and counts only if it is still true some time later. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sidecar.conformance.rules import Broken


@dataclass(slots=True)
class _Suspicion:
    until: float
    still: Callable[[], bool]
    broken: Broken


class Suspicions:
    """Those of one process."""

    def __init__(self) -> None:
        self._open: list[_Suspicion] = []

    def add(self, until: float, still: Callable[[], bool], rule: int, text: str) -> None:
        """Suspect that ``rule`` is broken: it is, if ``still()`` is true at the time ``until``."""
        self._open.append(_Suspicion(until, still, Broken(rule, text)))

    def judged(self, now: float) -> Iterator[Broken]:
        """Those that are true, each once; those that are not true any more are forgotten."""
        kept = []
        for suspicion in self._open:
            if not suspicion.still():
                continue
            if now < suspicion.until:
                kept.append(suspicion)
            else:
                yield suspicion.broken
        self._open = kept
