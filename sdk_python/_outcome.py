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
from functools import partial
from typing import Any, Final, Generic, TypeVar

from ._outcomes import Outcomes, Receipt

T = TypeVar("T")

Callback = Callable[[Any], object]


class Source(Generic[T]):
    """What outcomes look at: the batch of the records, or the call of ``produce_many``."""

    __slots__ = ("_callbacks", "_looked_at", "loop", "settled")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.settled = False
        """The outcomes are known."""
        self._callbacks: dict[int, list[tuple[Outcome[T], Callback, contextvars.Context]]] = {}
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

    def add_callback(self, outcome: "Outcome[T]", index: int, call: Callback, context: contextvars.Context) -> None:
        """Call this soon after the outcome is known."""
        entry = (outcome, call, context)
        if outcome.done():
            self.loop.call_soon(_call_all, self.loop, [[entry]])
        else:
            self._callbacks.setdefault(index, []).append(entry)

    def remove_callback(self, index: int, call: Callback) -> int:
        """Forget these callbacks; returns how many there were."""
        entries = self._callbacks.get(index, [])
        kept = [entry for entry in entries if entry[1] != call]
        if kept:
            self._callbacks[index] = kept
        else:
            self._callbacks.pop(index, None)
        return len(entries) - len(kept)

    def call_back(self, index: int) -> None:
        """Call the callbacks of an outcome now: its await was cancelled, or it is known before the others."""
        if entries := self._callbacks.pop(index, None):
            self.loop.call_soon(_call_all, self.loop, [entries])

    def settle(self) -> None:
        """All outcomes are known, and those that failed have their receipt: tell whoever waits."""
        self.settled = True
        looked_at, self._looked_at = self._looked_at, {}
        for index, receipt in looked_at.items():
            if not receipt.done():  # the task that awaited it may have been cancelled
                receipt.set_result(self.result(index))
        if self._callbacks:
            callbacks, self._callbacks = self._callbacks, {}
            self.loop.call_soon(_call_all, self.loop, [*callbacks.values()])


class Outcome(Generic[T]):
    """The awaitable outcome of what was produced. `Producing` fills the slots: a call for it would cost more."""

    __slots__ = ("index", "kept", "source")

    _asyncio_future_blocking: bool = False
    """By this name asyncio tells futures from other awaitables."""

    source: Source[T]
    index: int
    kept: Receipt[T] | None
    """Set when code looked, or the record failed: the failure is lost with the last reference to this object."""

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

    def done(self) -> bool:
        """Whether the outcome is known, or the await of it was cancelled."""
        return self.source.settled if self.kept is None else self.kept.done()

    def result(self) -> T:
        """The result. Raises `ProduceError`, or ``InvalidStateError`` when the outcome is not known yet."""
        if self.kept is None and self.source.settled:
            return self.source.result(self.index)
        return self._receipt().result()

    def exception(self) -> BaseException | None:
        """The failure; None: it is written. Raises ``InvalidStateError`` when the outcome is not known yet."""
        if self.kept is None and self.source.settled:
            return None
        return self._receipt().exception()

    @property
    def failure(self) -> BaseException | None:
        """Why it is not written, without receiving it; None: it is written, or not known yet."""
        return None if self.kept is None else self.kept.failure

    def cancelled(self) -> bool:
        """Whether the await of it was cancelled. What was produced is written all the same."""
        return self.kept is not None and self.kept.cancelled()

    def cancel(self, msg: Any = None) -> bool:
        """Give up the outcome, as for any future. What was produced is written all the same."""
        return not self.done() and self._receipt().cancel(msg)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it belongs to."""
        return self.source.loop

    def add_done_callback(self, call: Callback, *, context: contextvars.Context | None = None) -> None:
        """Call this with the outcome, soon after it is known."""
        self.source.add_callback(self, self.index, call, context or contextvars.copy_context())

    def remove_done_callback(self, call: Callback) -> int:
        """Forget this callback; returns how often it was there."""
        return self.source.remove_callback(self.index, call)

    def _receipt(self) -> Receipt[T]:
        if self.kept is None:
            self.kept = self.source.receipt(self.index)
            self.kept.add_done_callback(partial(_look, self.source, self.index))
        return self.kept


_new: Final = object.__new__


def outcome_of(source: Source[T], index: int) -> Outcome[T]:
    """The outcome at this place."""
    outcome: Outcome[T] = _new(Outcome)
    outcome.source = source
    outcome.index = index
    outcome.kept = None
    return outcome


def _look(source: Source[Any], index: int, receipt: asyncio.Future[Any]) -> None:
    if receipt.cancelled():
        source.call_back(index)


def _call_all(
    loop: asyncio.AbstractEventLoop, outcomes: list[list[tuple[Outcome[Any], Callback, contextvars.Context]]]
) -> None:
    """Call all callbacks in their order. asyncio makes an object and a turn of the loop of each, which costs more."""
    for entries in outcomes:
        for outcome, call, context in entries:
            try:
                context.run(call, outcome)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                text = f"Exception in callback {call!r}"
                loop.call_exception_handler({"message": text, "exception": error, "future": outcome})
    outcomes.clear()
