"""Calls of Kafka's client that may never return, made so that the thread that needs them goes on.

librdkafka 2.16 does not keep to the timeout of `rd_kafka_send_offsets_to_transaction`: while it waits for the group's
coordinator, nothing ends the call (librdkafka#5456). Its client is of no use then, and cannot be closed either.
"""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

Call = tuple[Callable[..., None], tuple[Any, ...], "SimpleQueue[BaseException | None]"]


class BoundedCalls:
    """Makes calls in a thread of its own, one at a time. Only one thread may use it."""

    def __init__(self, name: str) -> None:
        """``name``: of the thread."""
        self._name = name
        self._calls: SimpleQueue[Call | None] | None = None
        """What the thread is given; None: there is no thread."""

    def make(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        """Make the call, and wait for it. Raises what it raises.

        Raises ``TimeoutError`` when it does not return within ``seconds``. After that it may still return, at any
        time, and nobody hears of it. Another thread makes the next calls.
        """
        if self._calls is None:
            self._calls = SimpleQueue()
            threading.Thread(target=_serve, args=(self._calls,), name=self._name, daemon=True).start()
        answer: SimpleQueue[BaseException | None] = SimpleQueue()
        self._calls.put((call, arguments, answer))
        try:
            failure = answer.get(timeout=seconds)
        except Empty:
            self.end()
            raise TimeoutError(f"Kafka's client does not return from {call.__name__} within {seconds:g} s") from None
        if failure is not None:
            raise failure

    def end(self) -> None:
        """End the thread, when its call has returned."""
        calls, self._calls = self._calls, None
        if calls is not None:
            calls.put(None)


def _serve(calls: "SimpleQueue[Call | None]") -> None:
    while (one := calls.get()) is not None:
        call, arguments, answer = one
        try:
            call(*arguments)
        except BaseException as failure:
            answer.put(failure)
        else:
            answer.put(None)
        del one, call, arguments  # the client may be destroyed now
