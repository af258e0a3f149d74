"""Fixtures of the tests of deli's lambda."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.deli.shared import DATA
from tests.unit.deli.world import World, hurry

# Recorded scenarios of another origin, on machines that have them; `test_recorded_sessions.py` plays ours.
collect_ignore = [] if DATA.exists() else ["test_vectors.py"]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with World() as world:
        yield world
        assert world.faults == []
