"""What the tests of the server share."""

from collections.abc import AsyncIterator

import pytest_asyncio

from .server_lab import Lab, running_lab
from .wire import Client, Wire, running


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    """A server whose consumer threads the test plays letter by letter."""
    async with running_lab() as started:
        yield started


@pytest_asyncio.fixture
async def wire() -> AsyncIterator[Wire]:
    """A server whose consumer threads answer by a script; bytes pass as they are."""
    async with running() as started:
        yield started


@pytest_asyncio.fixture
async def client(wire: Wire) -> AsyncIterator[Client]:
    """A client of ``wire``."""
    async with wire.client() as made:
        yield made
