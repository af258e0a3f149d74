"""Settings of all unit tests."""

import gc

from hypothesis import HealthCheck, settings

# No deadline for an example: the machine may have other work.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_collection_finish() -> None:
    """Exclude what lives until the end from garbage collection.

    Otherwise each full collection, and a few tests ask for one, visits all modules and tests.
    """
    gc.freeze()
