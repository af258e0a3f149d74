"""Each mistake that is planted in the Python SDK is caught by the case that is meant for it."""

from __future__ import annotations

import asyncio
import sys

import pytest

from sidecar.conformance import report, runner
from sidecar.conformance.cases import CASES
from tests.clients.python.mutations import MUTATIONS


@pytest.mark.parametrize("name", MUTATIONS)
def test_caught(name: str) -> None:
    mutation = MUTATIONS[name]
    command = [sys.executable, "-m", "tests.clients.python.mutated", name]

    result = asyncio.run(runner.run(CASES[mutation.case], command))

    assert mutation.rule in [broken.rule for broken in result.broken], report.details(result)
