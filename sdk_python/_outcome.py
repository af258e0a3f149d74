"""What `IContext.produce` returns: an outcome that costs next to nothing until somebody looks at it.

A record's outcome is a place in a batch: the answer to the batch has the outcomes of all its records at once. So an
`Outcome` only says where to look. asyncio's future is made when code awaits it, or when the record failed: only then
is there something that can be received or lost (`_outcomes.py`).

An `Outcome` is a future to asyncio: it can be given to ``gather``, ``wait``, ``wait_for``, ``shield`` and
``ensure_future``, and takes callbacks.

Owner: the event loop.
"""

import asyncio
import contextvars
from collections.abc import Callable, Generator
from typing import Any, Final, Generic, TypeVar

from ._native import producing
from ._outcomes import Outcomes, Receipt

T = TypeVar("T")

Callback = Callable[[Any], object]


class Source(producing.Source, Generic[T]):
    """What outcomes look at: the batch of the records, or the call of ``produce_many``."""

    __slots__ = ("_looked_at", "loop")

    settled: bool
    """The outcomes are known."""
    called: list["Outcome[T]"]
    """The outcomes that have callbacks, in the order in which they got them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.settled = False
        self.called = []
        self._looked_at: dict[int, Receipt[T]] = {}

    def result(self, index: int) -> T:
        """The result of the record that was written; only called once it is known."""
        raise NotImplementedError

    def counted(self, index: int) -> tuple[Outcomes, int]:
        """The outcomes that the record counts in, and its number there."""
        raise NotImplementedError

    def receipt(self, index: int) -> Receipt[T]:
        """The future by which code receives the outcome; it is made now, unless there is one."""
        receipt = self._looked_at.get(index)
        if receipt is None:
            receipt = self._looked_at[index] = Receipt(loop=self.loop)
            receipt.of, receipt.number = self.counted(index)
        return receipt

    def settle(self) -> None:
        """All outcomes are known, and those that failed have their receipt: tell whoever waits."""
        self.settled = True
        looked_at, self._looked_at = self._looked_at, {}
        for index, receipt in looked_at.items():
            if not receipt.done():  # the task that awaited it may have been cancelled
                receipt.set_result(self.result(index))
        if self.called:
            called, self.called = self.called, []
            self.loop.call_soon(_call_all, called)


class Outcome(producing.Outcome, Generic[T]):
    """The awaitable outcome of what was produced. `Producing` fills its fields: a call for it would cost more."""

    __slots__ = ()

    _asyncio_future_blocking: bool = False
    """By this name asyncio tells futures from other awaitables."""

    source: Source[T]
    index: int
    kept: Receipt[T] | None
    """Set when code looked, or the record failed: the failure is lost with the last reference to this object."""
    call: Callback | None
    """The first callback, until it is called."""
    context: contextvars.Context | None
    """What it is called in."""
    more: list[tuple[Callback, contextvars.Context]] | None
    """The callbacks after the first."""

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for the outcome. Raises `ProduceError`: it is not written, or not known to be."""
        if self.kept is None and self.source.settled:
            return self.source.result(self.index)
        return (yield from self._receipt().__await__())

    __iter__ = __await__

    def __repr__(self) -> str:
        if self.kept is not None and self.kept.done():
            return f"<Outcome {self.kept!r}>"
        return "<Outcome: written or held>" if self.source.settled else "<Outcome: not known yet>"

    def _is_done(self) -> bool:
        return self.source.settled if self.kept is None else self.kept.done()

    def result(self) -> T:
        """The result. Raises `ProduceError`, or ``InvalidStateError`` when the outcome is not known yet."""
        if self.kept is None and self.source.settled:
            return self.source.result(self.index)
        return self._receipt().result()

    def _receive(self) -> BaseException | None:
        return self._receipt().exception()

    @property
    def failure(self) -> BaseException | None:
        """Why it is not written, without receiving it; None: it is written, or not known yet."""
        return None if self.kept is None else self.kept.failure

    def _is_cancelled(self) -> bool:
        return self.kept is not None and self.kept.cancelled()

    def cancel(self, msg: Any = None) -> bool:
        """Give up the outcome, as for any future. What was produced is written all the same."""
        return not self.done() and self._receipt().cancel(msg)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it belongs to."""
        return self.source.loop

    def _add_done_callback(self, call: Callback, *, context: contextvars.Context | None = None) -> None:
        context = context or contextvars.copy_context()
        if self._is_done():
            self.source.loop.call_soon(_call, self, call, context)
        elif self.call is not None:
            self.more = self.more or []
            self.more.append((call, context))
        else:
            self.call, self.context = call, context
            self.source.called.append(self)
            if self.kept is not None:
                self.kept.add_done_callback(self._receipt_is_done)

    def remove_done_callback(self, call: Callback) -> int:
        """Forget this callback; returns how often it was there."""
        if self.call is None or self.context is None:
            return 0
        there = [(self.call, self.context), *(self.more or ())]
        kept = [(one, context) for one, context in there if one != call]
        (self.call, self.context), *more = kept or [(None, None)]
        self.more = more or None
        return len(there) - len(kept)

    def call_back(self) -> None:
        """Have the callbacks called: the await was cancelled, or the outcome is known before the others."""
        if self.call is not None:
            self.source.loop.call_soon(_call_all, [self])

    def _receipt(self) -> Receipt[T]:
        if self.kept is None:
            self.kept = self.source.receipt(self.index)
            if self.call is not None:
                self.kept.add_done_callback(self._receipt_is_done)
        return self.kept

    def _receipt_is_done(self, receipt: asyncio.Future[T]) -> None:
        if receipt.cancelled():
            self.call_back()


_new: Final = object.__new__


def outcome_of(source: Source[T], index: int) -> Outcome[T]:
    """The outcome at this place."""
    outcome: Outcome[T] = _new(Outcome)
    outcome.source = source
    outcome.index = index
    outcome.kept = outcome.call = outcome.context = outcome.more = None
    return outcome


def _call_all(outcomes: list[Outcome[Any]]) -> None:
    """Call all callbacks in their order. asyncio makes an object and a turn of the loop of each, which costs more."""
    for outcome in outcomes:
        call, context, more = outcome.call, outcome.context, outcome.more
        if call is None or context is None:
            continue  # it was removed, or has been called
        outcome.call = outcome.context = outcome.more = None
        _call(outcome, call, context)
        for one, its_context in more or ():
            _call(outcome, one, its_context)
    outcomes.clear()


def _call(outcome: Outcome[Any], call: Callback, context: contextvars.Context) -> None:
    try:
        context.run(call, outcome)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        text = f"Exception in callback {call!r}"
        outcome.source.loop.call_exception_handler({"message": text, "exception": error, "future": outcome})
