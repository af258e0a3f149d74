"""``python -m benchmarks``: the whole path compared with a bare consumer loop, on real Kafka, round by round."""

import argparse
import json
import signal
import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import machine, results as report
from benchmarks.report import between, write
from benchmarks.row import Figures, Row
from benchmarks.rows import ROWS
from benchmarks.shapes import SHAPES
from tests.servers.kafka import KafkaServer, missing_requirements

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- made by `make benchmark`; do not edit -->", "<!-- made until here -->"
"""A run writes between these two lines of README.md."""

PACKAGES = ("confluent-kafka", "grpcio", "protobuf")


def main() -> int:
    """Run the requested rows, or read their figures; print them, and write the requested files."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that started processes are ended
    if options.file is not None:
        results = json.loads(options.file.read_text())
        print(f"{report.comparisons(results)}\n\n{report.markdown(results)}")
    else:
        options.rows = _rows(options.rows, options.shapes)
        options.shapes = options.shapes or ",".join(SHAPES)
        problem = (
            _unknown("row", options.rows, ROWS) or _unknown("shape", options.shapes, SHAPES) or missing_requirements()
        )
        if problem is not None:
            sys.stderr.write(f"{problem}\n")
            return 1
        results = _results(options)
    if options.write:
        write(HERE, report.markdown(results), report.svg(results))
        readme = HERE / "README.md"
        readme.write_text(between(readme.read_text(), BEGIN, END, report.comparisons(results)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", help=f"with commas; of {', '.join(ROWS)} (default: all)")
    parser.add_argument("--shapes", help=f"with commas; of {', '.join(SHAPES)} (default: all)")
    parser.add_argument(
        "--rounds", type=int, help="interleaved rounds (default 5, or 3 of those that take half a minute or longer)"
    )
    parser.add_argument("--records", type=int, default=3_000_000, help="for the fast ones (default 3,000,000)")
    parser.add_argument("--kills", type=int, default=100, help="processes that `takeover` kills (default 100)")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md, results.svg and README.md's table")
    parser.add_argument("--from", type=Path, dest="file", help="measure nothing: figures from a file of --json")
    return parser


def _rows(rows: str | None, shapes: str | None) -> str:
    """The rows to run. Named shapes are run in addition to named rows; without named rows, only the shapes are."""
    if not shapes:
        return rows or ",".join(ROWS)
    named = rows.split(",") if rows else []
    return ",".join([*named, *({"shapes"} - {*named})])


def _unknown(kind: str, names: str, known: Iterable[str]) -> str | None:
    unknown = sorted(set(names.split(",")) - set(known))
    return f"no {kind} {', '.join(unknown)}" if unknown else None


def _results(options: argparse.Namespace) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    versions = [f"{name} {version(name)}" for name in PACKAGES]
    results: dict[str, Any] = {
        "machine": machine.describe(*versions),
        "date": datetime.now(tz=UTC).date().isoformat(),
        "busy": 0.0,
        "rows": rows,
    }
    say(results["machine"])
    with KafkaServer(heap_mb=1024) as server:
        for name in options.rows.split(","):
            for row in ROWS[name](server.address, options):
                # The smaller of two: the broker's work after filling a topic is over soon.
                results["busy"] = max(results["busy"], min(machine.busy(1.0), machine.busy(1.0)))
                rows[row.name] = _run(row, options.rounds or row.rounds)
                if options.json is not None:  # each time: the last row may fail
                    options.json.write_text(json.dumps(results, indent=1) + "\n")
    return results


def _run(row: Row, rounds: int) -> dict[str, Any]:
    """Run the row in interleaved rounds. In `takeover`, kills take the place of rounds."""
    say(f"{row.name}: {row.what}")
    runs: dict[str, list[Figures]] = {who: [] for who in row.contestants}
    for number in range(rounds):
        for who, once in row.contestants.items():
            runs[who].append({"round": number, **once()})
        say(f"  {report.last_round(runs, row.shown)}")
    found = {
        "what": row.what,
        "shown": [*row.shown],
        "compare": [asdict(comparison) for comparison in row.compare],
        "runs": runs,
    }
    for line in report.summary(found):
        say(f"  {line}")
    return found


def say(text: str) -> None:
    """Print one line at once: a run takes minutes."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
