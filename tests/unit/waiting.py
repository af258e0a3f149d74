"""Waiting in tests for what nothing tells."""

import asyncio
from collections.abc import Callable


async def until(what: Callable[[], object], about: str = "what the test waits for", timeout: float = 60.0) -> None:
    """Ask again and again until it is so; AssertionError when that is late."""
    try:
        async with asyncio.timeout(timeout):
            while not what():  # noqa: ASYNC110  nothing tells when
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"not within {timeout:g} s: {about}") from None
