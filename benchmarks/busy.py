"""Work for a handler, the same in each program that is compared."""

import time

MICROSECONDS = 20


def work(seconds: float = MICROSECONDS / 1e6) -> None:
    """Keep the core for so long. By the clock, not by counting: so it takes as long on every machine."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
