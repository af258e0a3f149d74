"""The checkpoints of a lambda with the guarantee exactly-once, until they are committed with what it produced.

A checkpoint is a *mark* between two records: those before it are committed with it or earlier, those after it must
not be. So whoever sends the records asks, before each call, for the last mark that the call may carry.

A record that failed stops the marks after it, as `Outcomes` describes: until code receives the failure. Nothing that
was produced after such a mark is sent meanwhile: the sidecar would commit it together with the mark.

Owner: the event loop.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from math import inf
from typing import Final, NamedTuple

from ._outcomes import PATIENCE_S, Outcomes

_LOOK_S: Final = 0.01
"""Seconds until it is looked again whether a failure was received; nothing tells of it."""


class Mark(NamedTuple):
    """A checkpoint, and how many records were produced before it."""

    offset: int
    records: int


class Marks(Outcomes):
    """The outcomes of one lambda, and its checkpoints in their place between the records."""

    __slots__ = ("on_mark",)

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        super().__init__(lambda _: None, on_failure)
        self.on_mark: Callable[[], None] = lambda: None
        """Called when there is a new mark."""

    def admits(self, offset: int) -> bool:
        """Keep a checkpoint that is called now, until `take`. Returns False: it is not sent by itself."""
        if self.ignores(offset):
            return False
        if self._needed and self._needed[-1] == self.put:
            self._held[-1] = offset
        else:
            self._held.append(offset)
            self._needed.append(self.put)
        self.on_mark()
        return False

    def known_to(self, number: int, count: int) -> None:
        """Note that ``count`` more outcomes are known, up to ``number``; `failed` was called for the failures."""
        self.under_way -= count
        self._known = number if self.under_way else self.put

    async def take(self, number: int) -> Mark | None:
        """Take the last mark after which none of the first ``number`` records was produced, and those before it.

        Returns None when there is none. Waits while a failure stops all of them, and fails the lambda when that takes
        too long.
        """
        patience = PATIENCE_S
        while self._needed and self._needed[0] <= number:
            self._forget_received()
            failed = min((place for place, _, _ in self._failed), default=inf)
            count = bisect_right(self._needed, min(number, failed - 1, self._lost_at - 1))
            if count:
                mark = Mark(self._held[count - 1], self._needed[count - 1])
                del self._held[:count], self._needed[:count]
                if not self._held:
                    self._wake()
                return mark
            if patience <= 0:
                self.failure = self.failure or min(self._failed, key=lambda entry: entry[0])[2]
                self._fail()
                return None
            patience -= _LOOK_S
            await asyncio.sleep(_LOOK_S)
        return None

    def put_back(self, mark: Mark) -> None:
        """Put back a mark that could not be committed, unless a later one has no record in between."""
        if not self._over and not (self._needed and self._needed[0] == mark.records):
            self._held.insert(0, mark.offset)
            self._needed.insert(0, mark.records)
