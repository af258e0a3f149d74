"""When the next client is made after one that failed for good, and the problem that is reported until then.

Owned by the consumer thread.
"""

import threading
from collections.abc import Callable
from time import monotonic

from sidecar.causes import Cause
from sidecar.consuming.problems import Problems
from sidecar.partitions.backoff import delay

KIND = "client"
"""The kind of the problem that the client failed for good. It lasts until another client works."""

MIN_BACKOFF_S = 1.0
MAX_BACKOFF_S = 15.0
"""Seconds until the next client is made, doubled by each failure in a row. Some causes last: an instance id belongs
to its former member until that session times out, and some configs never work; attempts must not burden the
brokers."""

STEADY_AFTER_S = 60.0
"""Seconds after which a client's failure counts as a first one again. Two sidecars with the same instance id take it
from each other as soon as they have it."""


class Rebuild:
    """The pause between two clients."""

    def __init__(self, problems: Problems, jitter: Callable[[], float]) -> None:
        self._problems = problems
        self._jitter = jitter
        self._failures = 0
        self._closing: list[threading.Thread] = []
        self.waits = False
        """There is no client; the next one has to be made."""
        self.due = 0.0
        """When to make the next one."""

    def failed(self, reason: str, began_at: float) -> None:
        """A client that was made at ``began_at`` (monotonic seconds) has failed."""
        now = monotonic()
        self._failures = 1 if now - began_at >= STEADY_AFTER_S else self._failures + 1
        self.waits = True
        self.due = now + delay(self._failures, MIN_BACKOFF_S, MAX_BACKOFF_S, self._jitter)
        self._problems.begin(
            KIND,
            f"Kafka's client failed for good, and is made anew until it works: {reason}",
            cause=Cause.CLIENT_FAILED,
            meaning=reason,
            event="Kafka's client failed for good; another is made after a while",
            level="error",
            error=reason,
        )

    def works(self) -> None:
        """The client works."""
        self._problems.end(KIND, "Kafka's client works again")

    def done(self) -> None:
        """Another client was made; it is not known yet whether it works."""
        self.waits = False

    def closing(self, thread: threading.Thread) -> None:
        """The old client is being closed in this thread."""
        self._closing = [*filter(threading.Thread.is_alive, self._closing), thread]

    def wait_for_closed(self, seconds: float) -> None:
        """Wait until all old clients are closed, at most ``seconds``."""
        deadline = monotonic() + seconds
        for thread in self._closing:
            thread.join(max(0.0, deadline - monotonic()))
