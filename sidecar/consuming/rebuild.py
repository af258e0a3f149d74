"""When a client that failed for good is made anew, and what is said meanwhile.

Owned by the consumer thread.
"""

import threading
from collections.abc import Callable
from time import monotonic

from sidecar.consuming.problems import Problems
from sidecar.partitions.backoff import delay

KIND = "client"
"""Of the problem that the client failed for good. It lasts until another does what this one was to do."""

FIRST = 1.0
MOST = 15.0
"""Seconds until the next client is made. The most is for what may last, as an instance id that its former member has
until its session is over; and for what nothing but another config helps, which must not bother the brokers."""

STEADY = 60.0
"""Seconds that a client has to live for the next failure to count as a first one. Two sidecars with one instance id
take it from each other as soon as they have it."""


class Rebuild:
    """The pause between two clients."""

    def __init__(self, problems: Problems, jitter: Callable[[], float]) -> None:
        self._problems = problems
        self._jitter = jitter
        self._failures = 0
        self._closing: list[threading.Thread] = []
        self.waits = False
        """There is no client that works."""
        self.due = 0.0
        """When the next is to be made."""

    def failed(self, reason: str, began_at: float) -> None:
        """A client that began then has failed."""
        now = monotonic()
        self._failures = 1 if now - began_at >= STEADY else self._failures + 1
        self.waits = True
        self.due = now + delay(self._failures, FIRST, MOST, self._jitter)
        self._problems.begin(
            KIND,
            f"Kafka's client failed for good, and is made anew until it works: {reason}",
            meaning=reason,
            event="Kafka's client failed for good; another is made after a while",
            level="error",
            error=reason,
        )

    def works(self) -> None:
        """The client does what it is to do."""
        self._problems.end(KIND, "Kafka's client works again")

    def done(self) -> None:
        """Another was made; whether it works is to be seen."""
        self.waits = False

    def closing(self, thread: threading.Thread) -> None:
        """The old one is being closed in this thread."""
        self._closing = [*filter(threading.Thread.is_alive, self._closing), thread]

    def wait_for_closed(self, seconds: float) -> None:
        """Until all old ones are closed."""
        deadline = monotonic() + seconds
        for thread in self._closing:
            thread.join(max(0.0, deadline - monotonic()))
