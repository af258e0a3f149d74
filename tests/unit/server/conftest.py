"""Fixtures of the server's tests."""

from collections.abc import AsyncIterator

import pytest_asyncio

from .server_lab import Lab, running_lab
from .wire import Client, Wire, running


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    """A server whose letters the test itself answers, instead of consumer threads."""
    async with running_lab() as started:
        yield started


@pytest_asyncio.fixture
async def wire() -> AsyncIterator[Wire]:
    """A server whose letters a script answers; the client sends raw bytes."""
    async with running() as started:
        yield started


@pytest_asyncio.fixture
async def client(wire: Wire) -> AsyncIterator[Client]:
    """A client of ``wire``."""
    async with wire.client() as made:
        yield made
