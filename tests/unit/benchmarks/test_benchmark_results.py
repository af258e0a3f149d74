"""The report of ``python -m benchmarks``, from figures that nobody measured."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as program, results as report
from benchmarks.report import between
from benchmarks.row import CPU, Comparison, Row
from benchmarks.rows import ROWS

PATH = {"round": 0, "records": 100.0, "records_per_second": 500_000.0, CPU: 2.0, "memory_mb": 130.0}
BARE = {"round": 0, "records": 100.0, "records_per_second": 1_000_000.0, CPU: 1.0, "memory_mb": 40.0}


def row(runs: dict[str, list[dict[str, float]]], *compare: Comparison, shown: tuple[str, ...]) -> dict[str, Any]:
    return {"what": "a | b", "shown": [*shown], "compare": [asdict(one) for one in compare], "runs": runs}


@pytest.fixture
def results() -> dict[str, Any]:
    throughput = row(
        {"bare": [BARE, BARE | {"round": 1}], "path": [PATH, PATH | {"round": 1, "records_per_second": 700_000.0}]},
        Comparison("path", "bare", drawn="eight partitions"),
        Comparison("path", "bare", CPU),
        shown=("records_per_second",),
    )
    latency = row(
        {"bare": [{"round": 0, "p50_ms": 1.0}], "path": [{"round": 0, "p50_ms": 1.5}]},
        Comparison("path", "bare", "p50_ms", added=True),
        Comparison("path", "bare", CPU),
        shown=("p50_ms",),
    )
    return {
        "machine": "a machine",
        "date": "2026-01-01",
        "busy": 0.0,
        "rows": {"throughput": throughput, "latency": latency},
    }


def test_comparisons_have_median_range_and_rounds(results: dict[str, Any]) -> None:
    lines = report.comparisons(results).splitlines()
    assert "| `throughput` | path ÷ bare, records/s | 0.60 (0.50 to 0.70) | 2 |" in lines
    assert "| `throughput` | path ÷ bare, CPU s per million | 2.00 (2.00 to 2.00) | 2 |" in lines
    assert "| `latency` | path less bare, ms p50 | 0.50 | 1 |" in lines


def test_each_contestant_has_its_own_figures(results: dict[str, Any]) -> None:
    lines = report.markdown(results).splitlines()
    assert "| `throughput` | path | 600 k (500 k to 700 k) records/s | 2.00 | 130 | 100 |" in lines
    assert "| `latency` | bare | 1.00 ms p50 |  |  |  |" in lines


def test_every_table_has_as_many_cells_in_each_line(results: dict[str, Any]) -> None:
    tables: list[list[int]] = [[]]
    for line in f"{report.comparisons(results)}\n\n{report.markdown(results)}".splitlines():
        if line.startswith("|"):
            tables[-1].append(line.replace("\\|", "").count("|"))
        elif tables[-1]:
            tables.append([])
    found = [set(cells) for cells in tables if cells]
    assert len(found) == 3
    assert all(len(cells) == 1 for cells in found)


def test_machine_date_and_other_work_are_told(results: dict[str, Any]) -> None:
    for made in (report.markdown, report.comparisons):
        assert "a machine.\n2026-01-01." in made(results)
        assert "busy" not in made(results)
        assert "busy with other work (1.0 cores" in made(results | {"busy": 1.0})


def test_the_picture_has_what_is_to_be_drawn(results: dict[str, Any]) -> None:
    picture = report.svg(results)
    assert "eight partitions" in picture
    assert picture.count("<rect") == 2  # the background, and one comparison


def test_the_console_hears_of_the_last_round_and_of_all(results: dict[str, Any]) -> None:
    throughput = results["rows"]["throughput"]
    assert report.last_round(throughput["runs"], ["records_per_second", "sidecar_mb"]) == (
        "bare records_per_second 1.00 M   path records_per_second 700 k"
    )
    assert [*report.summary(throughput)] == [
        "records_per_second: path / bare = 0.60 (median; 0.50 to 0.70)",
        "cpu_seconds_per_million: path / bare = 2.00 (median; 2.00 to 2.00)",
        "CPU seconds per million: bare 1.00, path 2.00",
        "MB at the highest: bare 40, path 130",
    ]
    assert [*report.summary(results["rows"]["latency"])] == ["p50_ms: path - bare = 0.50 (median; 0.50 to 0.50)"]


def test_figures_from_a_file_make_the_same_report(
    results: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "figures.json"
    file.write_text(json.dumps(results))
    readme = tmp_path / "README.md"
    readme.write_text(f"# How\n\n{program.BEGIN}\n\nold\n\n{program.END}\n\n- meaning\n")
    monkeypatch.setattr(program, "HERE", tmp_path)
    monkeypatch.setattr("benchmarks.__main__.signal.signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--write", "--from", str(file)])
    assert program.main() == 0
    assert (tmp_path / "RESULTS.md").read_text() == report.markdown(results)
    assert (tmp_path / "results.svg").read_text() == report.svg(results)
    made = report.comparisons(results)
    assert readme.read_text() == f"# How\n\n{program.BEGIN}\n\n{made}\n\n{program.END}\n\n- meaning\n"


def test_the_readme_has_a_place_for_the_comparisons() -> None:
    text = (program.HERE / "README.md").read_text()
    assert between(text, program.BEGIN, program.END, "new").count("\nnew\n") == 1


@pytest.mark.parametrize(("option", "kind"), [("--rows", "row"), ("--shapes", "shape")])
def test_an_unknown_name_starts_nothing(
    option: str, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.__main__.signal.signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["benchmarks", option, "nonsense"])
    assert program.main() == 1
    assert capsys.readouterr().err == f"no {kind} nonsense\n"


@pytest.mark.parametrize(
    ("rows", "shapes", "wanted"),
    [
        (None, None, ",".join(ROWS)),
        ("many,latency", None, "many,latency"),
        (None, "lz4", "shapes"),
        ("many", "lz4", "many,shapes"),
        ("shapes,many", "lz4", "shapes,many"),
    ],
)
def test_shapes_that_are_named_are_run(rows: str | None, shapes: str | None, wanted: str) -> None:
    assert program._rows(rows, shapes) == wanted


def test_rounds_are_interleaved() -> None:
    order: list[str] = []

    def once(who: str) -> dict[str, float]:
        order.append(who)
        return {"records_per_second": float(len(order))}

    contestants = {"bare": lambda: once("bare"), "path": lambda: once("path")}
    found = program._run(Row("a", "b", contestants, [Comparison("path", "bare")]), 3)
    assert order == ["bare", "path"] * 3
    assert [run["round"] for run in found["runs"]["path"]] == [0, 1, 2]
    assert json.loads(json.dumps(found)) == found


def test_the_readme_says_what_each_row_compares() -> None:
    text = (program.HERE / "README.md").read_text()
    assert [name for name in ROWS if f"| `{name}` |" not in text] == []
