"""How long to wait before the next attempt."""

from collections.abc import Callable


def delay(failures: int, first: float, most: float, jitter: Callable[[], float]) -> float:
    """Seconds to wait after the ``failures``-th failure in a row (1 for the first).

    It doubles from ``first`` up to ``most`` seconds. ``jitter`` (0 to 1) chooses between half of that and all of it,
    so that clients which failed together do not retry together.
    """
    exponent = min(max(failures, 1) - 1, 32)
    full = min(most, first * float(2**exponent))
    return full * (0.5 + 0.5 * jitter())
