"""What became of the records that a lambda produced, and which of its checkpoints may be sent.

No checkpoint may silently pass a record that is not written. So, for each lambda (and each document of a router):

1. A checkpoint is sent when the outcome of every record that was produced before it is known.
2. An outcome is *received* by code that awaits it, or asks it for its result or exception. An await that is given up
   before the outcome is there (a time-out, a cancelled task) has received nothing.
3. A failure that no code can receive any more, since nothing refers to its outcome or the await was given up, fails
   the lambda at once.
4. A failure that code may still receive holds back the checkpoints that were called after its `produce`. They are
   sent when it is received. If that takes longer than `PATIENCE_S`, the lambda fails.

Code that received a failure knows of it: what it checkpoints then is the lambda's own decision.

Owner: the event loop, except for `Receipt.__del__`, which runs in the thread that drops the last reference.
"""

import asyncio
import weakref
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Any, Final, TypeVar

from ._native import producing

PATIENCE_S: Final = 1.0
"""Seconds that a failure which could be received holds back checkpoints before it fails the lambda."""

_MANY_FAILURES: Final = 1000  # kept before `failed` looks which of them were received

T = TypeVar("T")


class Receipt(asyncio.Future[T]):
    """The future by which code receives the outcome of a record, or of all records of a call of ``produce_many``."""

    __slots__ = ("number", "of")

    of: "Outcomes"
    """Of the lambda that produced the record."""
    number: int
    """The number of the record among those of `of`, in the order in which they were produced."""

    @property
    def failure(self) -> BaseException | None:
        """The exception that is set, without receiving it."""
        return self._exception

    def __del__(self) -> None:
        # asyncio's own mark: an exception is set, and no code has asked for it.
        if self._log_traceback:
            self.of.lost(self.number, self._exception)


class Outcomes(producing.Counted):
    """The outcomes of one lambda, and the checkpoints that wait for them."""

    __slots__ = (
        *(
            "_failed",
            "_held",
            "_known",
            "_needed",
            "_loop",
            "_lost_at",
            "_on_failure",
            "_on_pass",
            "_over",
            "_timer",
            "_waiters",
        ),
        "failure",
    )

    def __init__(self, on_pass: Callable[[int], None], on_failure: Callable[[BaseException], None]) -> None:
        """``on_pass`` takes a checkpoint that was held back and may be sent; ``on_failure`` ends the lambda."""
        self.put = 0
        """How many records were produced."""
        self.under_way = 0
        """How many records have no outcome yet."""
        self.failure: BaseException | None = None
        """The failure that nobody received: no checkpoint passes it."""
        self._known = 0  # so many outcomes, from the first record on, are known; all when none is under way
        self._lost_at: float = inf  # the number of the first record whose failure was lost
        self._loop = asyncio.get_running_loop()
        self._on_pass = on_pass
        self._on_failure = on_failure
        self._over = False
        self._held: list[int] = []  # checkpoints that are held back; they ascend
        self._needed: list[int] = []  # how many outcomes have to be known for each; they ascend too
        self._failed: list[tuple[int, weakref.ref[Receipt[Any]], BaseException]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []

    # ------------------------------------------------------------------------------------- from the lambda

    def ignores(self, offset: int) -> bool:
        """Whether a checkpoint that is called now would neither be sent nor kept."""
        return self.failure is not None or self._over or bool(self._held and offset <= self._held[-1])

    def admits(self, offset: int) -> bool:
        """Whether a checkpoint that is called now may be sent now; otherwise it is kept until it may."""
        if self.failure is not None or self._over:
            return False
        if self._known == self.put and not self._held and not self._failed:
            return True
        held, needed = self._held, self._needed
        if held and offset <= held[-1]:
            return False  # a higher one was called before this one, and waits for fewer records
        if held and needed[-1] == self.put:
            held[-1] = offset
        else:
            held.append(offset)
            needed.append(self.put)
        if self._known < needed[0]:
            return False
        told = self._release()
        if told == offset:
            return True  # what had failed was received meanwhile
        if told is not None:
            self._on_pass(told)
        return False

    # ------------------------------------------------------------------------------------ from `Producing`

    def refused(self) -> None:
        """Note that one more record was produced, which fails before it is sent."""
        self.put += 1
        if not self.under_way:
            self._known = self.put

    def failed(self, number: int, receipt: Receipt[Any], error: BaseException) -> None:
        """Note that the record with this number was not written. The receipt has the error, or will have it."""
        if self._over:
            return
        if receipt.cancelled():
            self.lost(number, error)
            return
        if len(self._failed) > _MANY_FAILURES:
            self._forget_received()
        self._failed.append((number, weakref.ref(receipt), error))

    def known_to(self, number: int, count: int) -> None:
        """Note that ``count`` more outcomes are known, up to ``number``; `failed` was called for the failures."""
        self.under_way -= count
        self._known = number if self.under_way else self.put
        if self._held and self._known >= self._needed[0] and (told := self._release()) is not None:
            self._on_pass(told)

    def lost(self, number: int, error: BaseException | None) -> None:
        """Note a failure that no code can receive. May be called in any thread, at any moment."""
        if self._over or number >= self._lost_at:
            return
        self._lost_at = number
        self.failure = error  # set at once: from here on no checkpoint is admitted
        with suppress(RuntimeError):  # the loop is closed, and the process ends
            self._loop.call_soon_threadsafe(self._fail)

    def end(self) -> list[int]:
        """End with the lambda: no checkpoint is sent any more. Returns those that were still held back."""
        self._over = True
        held, self._held, self._needed = self._held, [], []
        self._failed.clear()
        self._stop_timer()
        self._wake()
        return held

    async def released(self) -> None:
        """Wait until no checkpoint is held back."""
        while (self._held or self.failure is not None) and not self._over:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    # ------------------------------------------------------------------------------------------------ inside

    def _release(self) -> int | None:
        """Release the checkpoints that need not be held back any more; returns the highest of them, or None."""
        self._forget_received()
        first_failed = min((number for number, _, _ in self._failed), default=inf)
        first_failed = min(first_failed, self._lost_at)
        count = bisect_right(self._needed, min(self._known, first_failed - 1))
        told = self._held[count - 1] if count else None
        del self._held[:count], self._needed[:count]
        if not self._held or self._needed[0] > self._known:
            self._stop_timer()
        elif self._timer is None:
            self._timer = self._loop.call_later(PATIENCE_S, self._judge)
        if not self._held:
            self._wake()
        return told

    def _forget_received(self) -> None:
        self._failed = [entry for entry in self._failed if not _is_received(entry[1]())]

    def _judge(self) -> None:
        """Fail, unless the failures that hold back a checkpoint were received in time."""
        self._timer = None
        if (told := self._release()) is not None:
            self._on_pass(told)
        if self._timer is not None and self._failed:
            self.failure = self.failure or min(self._failed, key=lambda entry: entry[0])[2]
            self._fail()

    def _fail(self) -> None:
        if self._over or self.failure is None:
            return
        error = self.failure
        self.end()
        self._on_failure(error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def _is_received(receipt: Receipt[Any] | None) -> bool:
    """Whether a failure was received. None: it was, or `Receipt.__del__` has told that it was not."""
    if receipt is None:
        return True
    return receipt.done() and not receipt.cancelled() and not receipt._log_traceback  # noqa: SLF001  asyncio's own mark
