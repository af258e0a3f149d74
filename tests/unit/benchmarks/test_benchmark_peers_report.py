"""The report of ``python -m benchmarks.peers``, from figures that nobody measured."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers import __main__ as program, environments, report
from benchmarks.peers.catalogue import PEERS


def runs(*rates: float, cpu: float, memory: float, records: float = 1000) -> list[dict[str, float]]:
    return [
        {
            "round": number,
            "records": records,
            "records_per_second": rate,
            "cpu_seconds_per_million": cpu,
            "memory_mb": memory + number,
        }
        for number, rate in enumerate(rates)
    ]


@pytest.fixture
def results() -> dict[str, Any]:
    titles = {"bare": "the bare loop", "sidecar": "**this project**", "slow": "a slow one", "broken": "a broken one"}
    return {
        "machine": "a machine",
        "date": "2026-01-01",
        "busy": 0.0,
        "rounds": 2,
        "records": 1000,
        "peers": {
            name: {"title": title, "promise": "much", "how": "as it is", "version": "1.0", "checked": "all"}
            for name, title in titles.items()
        },
        "not_run": {"broken": "it said:\n no | yes"},
        "runs": {
            "slow": runs(1_000, 3_000, cpu=20, memory=10, records=500),
            "sidecar": runs(500_000, 1_500_000, cpu=2, memory=100),
            "bare": runs(1_000_000, 2_000_000, cpu=1, memory=40),
            "broken": [],
        },
    }


def test_the_base_comes_first_and_then_the_fastest(results: dict[str, Any]) -> None:
    lines = report.markdown(results).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("| --- | --- | ---: |"))
    assert [line.split("|")[1].strip() for line in lines[first + 1 : first + 4]] == [
        "the bare loop",
        "**this project**",
        "a slow one",
    ]


def test_ratios_are_by_round(results: dict[str, Any]) -> None:
    lines = report.markdown(results).splitlines()
    line = next(line for line in lines if line.startswith("| **this project** | much"))
    assert [cell.strip() for cell in line.split("|")[2:-1]] == [
        "much",
        "1.00 M (500 k to 1.50 M)",
        "0.62 (0.50 to 0.75)",
        "2.00",
        "2.00 (2.00 to 2.00)",
        "101",
        "1,000",
    ]


def test_who_did_not_run_is_told_with_the_reason_and_has_no_figures(results: dict[str, Any]) -> None:
    text = report.markdown(results)
    assert "| a broken one | it said: no \\| yes |" in text
    assert text.count("a broken one") == 1
    assert "## Not run" not in report.markdown(results | {"not_run": {}})


def test_without_the_base_there_are_rates_and_no_ratios(results: dict[str, Any]) -> None:
    del results["runs"]["bare"]
    assert "| a slow one | much | 2,000 (1,000 to 3,000) |  | 20.00 |  | 11 | 500 |" in report.markdown(results)
    assert report.svg(results).count("<rect") == 1  # the background


def test_a_busy_machine_is_told_of(results: dict[str, Any]) -> None:
    assert "busy" not in report.markdown(results)
    assert "busy with other work (0.9 cores" in report.markdown(results | {"busy": 0.9})


def test_the_picture_has_all_that_ran(results: dict[str, Any]) -> None:
    picture = report.svg(results)
    assert picture.count("<rect") == 1 + 3
    assert "a broken one" not in picture
    assert "this project" in picture


def test_figures_from_a_file_make_the_same_report(
    results: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "figures.json"
    file.write_text(json.dumps(results))
    monkeypatch.setattr("benchmarks.peers.environments.HERE", tmp_path)
    monkeypatch.setattr("benchmarks.peers.__main__.signal.signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["peers", "--write", "--from", str(file)])
    assert program.main() == 0
    assert (tmp_path / "RESULTS.md").read_text() == report.markdown(results)
    assert (tmp_path / "results.svg").read_text() == report.svg(results)


def test_every_peer_is_described_with_the_version_that_is_pinned() -> None:
    for peer in PEERS.values():
        described = program._described(peer)
        assert described["version"]
        assert described["checked"].endswith("commits") == peer.commits
        assert 0 < peer.share <= 1


def test_the_version_of_a_java_peer_is_that_of_its_pom() -> None:
    pom = (environments.HERE / "kafka_streams" / "pom.xml").read_text()
    found = environments.version("kafka_streams", "kafka-streams")
    assert f"<artifactId>kafka-streams</artifactId>\n      <version>{found}<" in pom
    assert found.count(".") == 2


def test_what_is_checked_is_the_order_that_the_peer_promises() -> None:
    checked = {name: program._described(PEERS[name])["checked"] for name in ("sidecar", "parallel-consumer")}
    assert checked == {
        "sidecar": "each record once and in order, commits",
        "parallel-consumer": "each record once and in the order of its key, commits",
    }
    assert program._described(PEERS["restate-service"])["checked"] == "each record once, commits"
