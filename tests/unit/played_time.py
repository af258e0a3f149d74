"""An event loop whose time does not have to pass: while nothing is ready, it is at once as late as the next timer."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Skipping(selectors.DefaultSelector):
    """Tells the loop that the time for which it wanted to wait has passed."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # there is no timer, so only an event can go on
            return super().select()
        found = super().select(0)
        if not found:
            self.skipped += max(0.0, timeout)
        return found


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        """The real time, and what was skipped."""
        return super().time() + self._skipping.skipped


def run(main: Coroutine[Any, Any, T]) -> T:
    """As ``asyncio.run``. For code that waits for timers and for its own tasks: for the loop, what another thread or
    process does takes no time, so a timer does not wait for it."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)
