"""What became of the records that a lambda produced, and which of its checkpoints may be told.

A record that is not written must not be passed in silence. So, for each lambda (and each document of a router):

1. A checkpoint is told when the outcome of everything is known that was produced before it was called.
2. An outcome is *received* by whoever awaits it, or asks it for its result or exception. An await that is given up
   before the outcome is there (a time-out, a cancelled task) has received nothing.
3. A failure that nobody can receive any more, since nobody holds its outcome or the await was given up, fails the
   lambda at once.
4. A failure that somebody may still receive holds back the checkpoints that were called after its `produce`. They are
   told when it is received. Nobody did `PATIENCE` seconds later: the lambda fails.

Whoever received a failure has it in hand: what is checkpointed then is the lambda's own decision.

Owner: the event loop, but for `Outcome.__del__`, which runs wherever the last reference goes.
"""

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from math import inf
from typing import Any, Final, TypeVar

from ._errors import ProduceError

PATIENCE: Final = 1.0
"""Seconds that a failure which could be received holds back checkpoints before it fails the lambda."""

_MANY: Final = 1000  # failures that are kept before it is looked which of them were received

T = TypeVar("T")


class Outcome(asyncio.Future[T]):
    """The awaitable outcome of what was produced. It costs what any future does; only a failure costs more."""

    __slots__ = ("number", "of", "whole")

    of: "Outcomes"
    """Whose record it is."""
    number: int
    """In the order in which those were produced."""
    whole: "Outcome[Any]"
    """Who awaits this one awaits that: it is one of many. Not set otherwise."""

    def __del__(self) -> None:
        # asyncio's own mark: an exception is set, and nobody has asked for it.
        if self._log_traceback:
            self.of.lost(self.number, self._exception)


class Outcomes:
    """The outcomes of one lambda, and the checkpoints that wait for them."""

    __slots__ = (
        *(
            "_failed",
            "_held",
            "_known",
            "_loop",
            "_lost_at",
            "_on_failure",
            "_on_pass",
            "_over",
            "_timer",
            "_waiters",
        ),
        *("failure", "put", "shared", "under_way"),
    )

    def __init__(self, on_pass: Callable[[int], None], on_failure: Callable[[BaseException], None]) -> None:
        """``on_pass`` tells a checkpoint that was held back; ``on_failure`` ends the lambda."""
        self.put = 0
        """So many were produced."""
        self.under_way = 0
        """The outcome of so many is to come."""
        self.failure: BaseException | None = None
        """The one that nobody received: no checkpoint passes it."""
        self.shared = False
        """Others have taken some of these over: `Producing` has to look whose each is."""
        self._known = 0  # the outcome of so many, from the first one on, is known; all are when none is under way
        self._lost_at: float = inf  # the first that was lost
        self._loop = asyncio.get_running_loop()
        self._on_pass = on_pass
        self._on_failure = on_failure
        self._over = False
        self._held: list[tuple[int, int]] = []  # how many are to be known, and the checkpoint; both ascend
        self._failed: list[tuple[int, weakref.ref[Outcome[Any]], BaseException]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] = []

    # ------------------------------------------------------------------------------------- from the lambda

    def admits(self, offset: int) -> bool:
        """Whether a checkpoint that is called now may be told now; otherwise it is kept until it may."""
        if self.failure is not None or self._over:
            return False
        if self._known == self.put and not self._held and not self._failed:
            return True
        if self._held and offset <= self._held[-1][1]:
            return False  # a higher one was called before it, and waits for less
        self._held.append((self.put, offset))
        if len(self._held) > 1 and self._held[-2][0] == self.put:
            del self._held[-2]
        if self._known < self._held[0][0]:
            return False
        told = self._settled()
        if told == offset:
            return True  # what had failed was received meanwhile
        if told is not None:
            self._on_pass(told)
        return False

    def adopt(self, outcome: Awaitable[object]) -> None:
        """Take over what was produced just now with the context of the whole partition, such as for a document."""
        if not isinstance(outcome, Outcome):
            return  # of a context that is not the SDK's
        before: Outcomes = outcome.of
        before.shared = True
        before.put -= 1
        before.under_way -= not outcome.done()
        if not before.under_way:
            before._known = before.put
        self.add(outcome)
        if outcome.done() and before._failed:
            _, _, error = before._failed.pop()
            self.failed(outcome, error)

    # ------------------------------------------------------------------------------------ from `Producing`

    def add(self, outcome: Outcome[Any]) -> None:
        """Something was produced; one that is done failed before it was on its way."""
        outcome.of = self
        self.put += 1
        outcome.number = self.put
        if not outcome.done():
            self.under_way += 1
        elif not self.under_way:
            self._known = self.put

    def failed(self, outcome: Outcome[Any], error: BaseException) -> None:
        """A record was not written. Its outcome has the error, unless whoever awaited it has given up."""
        if self._over:
            return
        theirs = getattr(outcome, "whole", outcome)
        if theirs.cancelled():
            self.lost(outcome.number, error)
            return
        if len(self._failed) > _MANY:
            self._forget_received()
        self._failed.append((outcome.number, weakref.ref(outcome), error))

    def known_to(self, number: int, count: int) -> None:
        """The outcomes of ``count`` more are known, this one the last of them; `failed` has told the bad ones."""
        self.under_way -= count
        self._known = number if self.under_way else self.put
        if self._held and self._known >= self._held[0][0] and (told := self._settled()) is not None:
            self._on_pass(told)

    def lost(self, number: int, error: BaseException | None) -> None:
        """A failure that nobody can receive. May be called in any thread, between any two steps of this one."""
        if self._over or number >= self._lost_at:
            return
        self._lost_at = number
        self.failure = error  # at once: from here on nothing is admitted
        with suppress(RuntimeError):  # the loop is closed, and the process ends
            self._loop.call_soon_threadsafe(self._fail)

    def end(self) -> list[int]:
        """The lambda is over, and nothing is told any more; answers the checkpoints that were still held back."""
        self._over = True
        held, self._held = [offset for _, offset in self._held], []
        self._failed.clear()
        self._stop_timer()
        self._wake()
        return held

    async def settled(self) -> None:
        """Until no checkpoint is held back."""
        while (self._held or self.failure is not None) and not self._over:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    # ------------------------------------------------------------------------------------------------ inside

    def _settled(self) -> int | None:
        """Let go of what need not be held back any more; answers the highest checkpoint of it."""
        self._forget_received()
        first_failed = min((number for number, _, _ in self._failed), default=inf)
        first_failed = min(first_failed, self._lost_at)
        told = None
        count = 0
        for needed, offset in self._held:
            if needed > self._known or needed >= first_failed:
                break
            told = offset
            count += 1
        del self._held[:count]
        if not self._held or self._held[0][0] > self._known:
            self._stop_timer()
        elif self._timer is None:
            self._timer = self._loop.call_later(PATIENCE, self._judge)
        if not self._held:
            self._wake()
        return told

    def _forget_received(self) -> None:
        self._failed = [entry for entry in self._failed if not _is_received(entry[1]())]

    def _judge(self) -> None:
        """Patience is over for the failures that hold back a checkpoint."""
        self._timer = None
        if (told := self._settled()) is not None:
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


def _is_received(outcome: Outcome[Any] | None) -> bool:
    """None: nobody has it any more. Had nobody received it before, `Outcome.__del__` has said so."""
    if outcome is None:
        return True
    theirs: Outcome[Any] = getattr(outcome, "whole", outcome)
    return theirs.done() and not theirs.cancelled() and not theirs._log_traceback  # noqa: SLF001  asyncio's own mark


def all_of(outcomes: Outcomes, parts: Sequence[asyncio.Future[T]]) -> Outcome[list[T]]:
    """One outcome for all of these: their results in order, or the error of the first that failed.

    Where that error is a `ProduceError`, what became of each is in its ``results``.
    """
    whole: Outcome[list[T]] = Outcome(loop=asyncio.get_running_loop())
    whole.of = outcomes
    whole.number = outcomes.put
    left = len(parts)

    def one(_: asyncio.Future[T]) -> None:
        nonlocal left
        left -= 1
        if not left:
            _finish(whole, parts)

    for part in parts:
        if isinstance(part, Outcome):
            part.whole = whole
        part.add_done_callback(one)
    if not parts:
        whole.set_result([])
    return whole


def _finish(whole: Outcome[list[T]], parts: Sequence[asyncio.Future[T]]) -> None:
    results = [_result_of(part) for part in parts]
    error = next((result for result in results if isinstance(result, BaseException)), None)
    if error is None:
        if not whole.done():
            whole.set_result([part.result() for part in parts])
        return
    if isinstance(error, ProduceError):
        error.results = results
    if not whole.done():
        whole.set_exception(error)
    whole.of.failed(whole, error)  # the parts go now: from here on it is this one that has to be received


def _result_of(part: asyncio.Future[Any]) -> Any:
    if part.cancelled():  # only what a context that is not the SDK's has made
        return RuntimeError("cancelled before its outcome was there")
    return part.exception() or part.result()
