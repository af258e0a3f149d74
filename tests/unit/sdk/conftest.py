"""What all tests of the SDK share."""

from collections.abc import AsyncIterator

import pytest_asyncio

from .host import Host, running_host


@pytest_asyncio.fixture
async def host() -> AsyncIterator[Host]:
    """A sidecar that does what the test says."""
    async with running_host() as started:
        yield started
