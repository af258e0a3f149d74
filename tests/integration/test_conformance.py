"""The Python SDK keeps all rules, and the command says so."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from sidecar.conformance import report, runner
from sidecar.conformance.cases import CASES
from sidecar.conformance.host_side import HostSide
from tests.integration.harness import ROOT

KIT = [sys.executable, "-m", "sidecar", "conformance"]
LAMBDA = [sys.executable, "tests/clients/python/conformance.py"]

DEVIATES = {
    "limits-absent": "no Limits, as of a sidecar that does not tell them",
    "old-resumed": "a Resumed with a number that no Pause had, so that it certainly belongs to another one",
    "stale-lease": "STALE_LEASE for a lease that the trace shows alive: the sidecar may know better",
    "unknown-error-outcome": "an outcome of a newer version",
    "unknown-in-welcome": "a capability of a newer version",
    "unknown-outcome": "an outcome of a newer version",
    "unknown-produce-outcome": "an outcome of a newer version",
    "unknown-reason": "a reason of a newer version",
    "unspecified-checkpoint": "an outcome that no sidecar sends",
    "unspecified-outcome": "an outcome that no sidecar sends",
}
"""Cases in which the kit sends on purpose what no sidecar of today sends, and what that is."""


def _run(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*KIT, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)


def _verdicts(path: Path) -> dict[str, dict[str, Any]]:
    return {case["name"]: case for case in json.loads(path.read_text())["cases"]}


@pytest.fixture(scope="module")
def results() -> list[runner.Result]:
    """All cases with the Python SDK: most of them wait most of the time."""
    return asyncio.run(runner.run_all(CASES.values(), LAMBDA, 8, lambda _: None))


@pytest.mark.timeout(900)
def test_all_cases_hold(results: list[runner.Result]) -> None:
    broken = [result for result in results if not result.holds]
    shown = "\n".join(map(report.details, broken))
    assert not broken, shown


@pytest.mark.timeout(900)
def test_the_kit_sends_what_a_sidecar_sends(results: list[runner.Result]) -> None:
    found = {}
    for result in results:
        side = HostSide()
        faults = [fault for event in result.events for fault in side.see(event)]
        if faults:
            found[result.case.name] = faults
    assert found.keys() == DEVIATES.keys(), {name: found[name][:3] for name in found.keys() - DEVIATES.keys()}


def test_reports(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.clients.python.mutated", "null-is-empty"]
    files = ("--json", str(tmp_path / "out.json"), "--junit", str(tmp_path / "out.xml"))
    done = _run(*files, "--case", "null-and-empty", "--case", "offer", "--", *command)

    assert done.returncode == 1
    assert "R12  A record reaches the handler as it is in Kafka" in done.stdout
    assert "Batch of 6: 0, 1, 2, 3, 4, 5" in done.stdout, "the frames that led there"
    verdicts = _verdicts(tmp_path / "out.json")
    assert [(name, case["verdict"]) for name, case in verdicts.items()] == [
        ("null-and-empty", "broken"),
        ("offer", "holds"),
    ]
    suite = ET.parse(tmp_path / "out.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [case.get("name") for case in suite if len(case)] == ["null-and-empty"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--", "/no/such/program"), "/no/such/program"),
        ((), "COMMAND is missing"),
        (("--case", "no-such-case", "--", "true"), "no-such-case"),
        (("--skip", "no-such-section", "--", "true"), "no-such-section"),
    ],
)
def test_cannot_start(arguments: tuple[str, ...], says: str) -> None:
    done = _run(*arguments)

    assert done.returncode == 2
    assert done.stderr.count(says) == 1, done.stderr


def test_a_program_that_ends_at_once() -> None:
    done = _run("--case", "offer", "--", "true")

    assert done.returncode == 1
    assert "the process ended by itself before it, with 0" in done.stdout


def test_list() -> None:
    done = _run("--list")

    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(CASES) >= 70


def test_skip() -> None:
    listed = _run("--list", "--skip", "lanes", "--skip", "state").stdout
    left = {one.name for one in CASES.values() if one.section not in ("lanes", "state")}

    assert {row.split()[1] for row in listed.splitlines()} == left
    assert left < {*CASES}
