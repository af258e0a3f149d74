"""Each mistake that is planted in the Python SDK is caught by the case that is meant for it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable

import pytest

from sidecar.conformance import report, runner
from sidecar.conformance.cases import CASES
from tests.clients.python.mutations import MUTATIONS

AT_A_TIME = 3
"""More would slow each other's start, for which a case waits 12 s only."""


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> dict[str, runner.Result]:
    """What the case of each chosen mistake has shown: most of them wait for seconds, for what does not come."""
    chosen = {item.name for item in request.session.items if item.path == request.path}
    return asyncio.run(_play(name for name in MUTATIONS if f"{test_caught.__name__}[{name}]" in chosen))


async def _play(names: Iterable[str]) -> dict[str, runner.Result]:
    room = asyncio.Semaphore(AT_A_TIME)

    async def play(name: str) -> runner.Result:
        command = [sys.executable, "-m", "tests.clients.python.mutated", name]
        async with room:
            return await runner.run(CASES[MUTATIONS[name].case], command)

    played = {name: asyncio.create_task(play(name)) for name in names}
    await asyncio.gather(*played.values())
    return {name: task.result() for name, task in played.items()}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", MUTATIONS)
def test_caught(results: dict[str, runner.Result], name: str) -> None:
    result = results[name]

    assert MUTATIONS[name].rule in [broken.rule for broken in result.broken], report.details(result)
