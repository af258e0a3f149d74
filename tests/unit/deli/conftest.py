"""Fixtures of the tests of deli's lambda."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.deli.world import World, hurry


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world
        assert world.faults == []
