"""Settings of all unit tests."""

import asyncio
import gc
from typing import Any

import uvicorn.server
from hypothesis import HealthCheck, settings

# No deadline for an example: the machine may have other work.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


class _Hurried:
    """asyncio as uvicorn sees it. Its server ends in steps of 0.1 s, also where there is nothing to wait for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.001))


uvicorn.server.asyncio = _Hurried()  # type: ignore[attr-defined, assignment]


def pytest_collection_finish() -> None:
    """Exclude what lives until the end from garbage collection.

    Otherwise each full collection, and a few tests ask for one, visits all modules and tests.
    """
    gc.freeze()
