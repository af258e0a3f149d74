"""Fifty faults on real Kafka, after which all invariants must hold. `make chaos` injects more of them.

The environment variable KAFKA_SIDECAR_CHAOS_SEED adds a seed. The facts of a correct run also test the checker
itself, which must find faults that are planted into them.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from random import Random

import pytest

from tests.chaos import checker, folder, plant, schedule
from tests.chaos.operating import can
from tests.chaos.runner import Run
from tests.chaos.world import Options
from tests.integration.conftest import need
from tests.servers.kafka import missing_requirements

FAULTS = 50
SEED = "KAFKA_SIDECAR_CHAOS_SEED"
SEEDS = [20, *([int(os.environ[SEED])] if os.environ.get(SEED) else [])]


@pytest.mark.kafka
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", SEEDS)
def test_everything_holds_under_faults(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need(missing_requirements())
    plan = schedule.make(seed, FAULTS, pause=1.2, without=[] if can("seek") else ["seek"])
    hold(Run(tmp_path / "run", plan, Options(8), 150.0, print), seed, capsys)
    find_what_is_planted(tmp_path / "run", seed)


def hold(run: Run, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Carry out the run; all invariants must hold. Its folder is kept when they do not."""
    try:
        outcome = run.go()
    except BaseException:
        print(f"histories: {keep(run.folder, seed)}")
        raise
    finally:
        run.close()
    if outcome.breaches:
        kept = keep(run.folder, seed)
        found = "\n".join(map(str, outcome.breaches[:50]))
        pytest.fail(f"seed {seed}, histories in {kept}:\n{found}\n{capsys.readouterr().out}", pytrace=False)


def keep(run: Path, seed: int) -> Path:
    """Copy a run's folder to a folder that is kept after the test."""
    kept = Path(".chaos").resolve() / f"test-{seed}-{run.stat().st_mtime_ns}"
    shutil.copytree(run, kept)
    return kept


def find_what_is_planted(recorded: Path, seed: int) -> None:
    """Plant every kind of fault into a correct run."""
    random = Random(seed)
    facts = folder.load(recorded)
    # Three partitions are enough, since the machine is slow. Not partitions that were added later: they saw little.
    facts = facts.only(random.sample(range(schedule.PARTITIONS), 3))
    nowhere = set()
    for planted, check in plant.PLANTS.items():
        changed = planted(facts, random)
        if changed is None:
            nowhere.add(planted.__name__)
            continue
        breaches = checker.check(changed)
        assert {breach.check for breach in breaches} == {check}, (planted.__name__, [*map(str, breaches)])
    # These need an event that not every run has, such as a checkpoint that is lost on its way.
    assert nowhere <= {"stale_commit", "foreign_commit", "late_start", "too_much_again", "withheld_commits", "hole"}
