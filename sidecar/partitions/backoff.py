"""How long to wait before the next try."""

from collections.abc import Callable


def delay(failures: int, first: float, most: float, jitter: Callable[[], float]) -> float:
    """Seconds to wait after the ``failures``-th failure in a row (1 for the first).

    Doubles from ``first`` up to ``most``; between half of it and all of it, as ``jitter`` (0 to 1) says, so that
    many that failed together do not come back together.
    """
    exponent = min(max(failures, 1) - 1, 32)
    full = min(most, first * float(2**exponent))
    return full * (0.5 + 0.5 * jitter())
