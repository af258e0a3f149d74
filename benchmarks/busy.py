"""Work for a handler, the same in each program that is compared."""

import time

MICROSECONDS = 20


def work(seconds: float = MICROSECONDS / 1e6) -> None:
    """Keep the core busy for this time: by the clock, so that it takes as long on every machine."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
