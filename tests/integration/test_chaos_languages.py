"""Faults on real Kafka with lambda processes in every language. `make chaos LANGUAGES=all` injects more of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import schedule
from tests.chaos.runner import Run
from tests.chaos.world import Options
from tests.clients import languages
from tests.integration.conftest import need
from tests.integration.test_chaos import FAULTS, SEEDS, hold
from tests.servers.kafka import missing_requirements


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_everything_holds_with_processes_in_every_language(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need(missing_requirements() or languages.missing())
    plan = schedule.make(SEEDS[-1], FAULTS // 2, pause=1.2, processes=2)
    world = Options(8, languages=languages.LANGUAGES)
    hold(Run(tmp_path / "run", plan, world, 150.0, print), SEEDS[-1], capsys)
