"""Polling in tests, for conditions without a notification."""

import asyncio
from collections.abc import Callable


async def until(what: Callable[[], object], about: str = "what the test waits for", timeout: float = 60.0) -> None:
    """Poll ``what`` until it is true. Raises ``AssertionError`` after ``timeout`` seconds."""
    try:
        async with asyncio.timeout(timeout):
            while not what():  # noqa: ASYNC110  no event tells when
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise AssertionError(f"not within {timeout:g} s: {about}") from None
