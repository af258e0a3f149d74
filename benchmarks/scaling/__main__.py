"""``python -m benchmarks.scaling``: what fleets need, by the measured costs of one partition, record and process."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks import machine
from benchmarks.report import between
from benchmarks.scaling import measure
from benchmarks.scaling.costs import COSTS, fitted, load
from benchmarks.scaling.report import generated
from benchmarks.scaling.validate import validate
from tests.servers.kafka import KafkaServer, missing_requirements

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scaling.md"
BEGIN, END = "<!-- made by `python -m benchmarks.scaling --write`; do not edit -->", "<!-- made until here -->"
"""A run writes between these two lines of `PAGE`."""

PACKAGES = ("confluent-kafka", "grpcio")

_TRICKLES = [(8, 1000), (64, 200), (64, 1000), (64, 5000), (64, 20_000), (512, 1000), (512, 10_000)]
"""Partitions and records a second; in two rounds, since other work of the machine changes these figures most."""

PLAN: dict[str, tuple[Callable[..., measure.Point], list[tuple[float, ...]]]] = {
    "idle": (measure.idle, [(10,), (100,), (500,), (1000,)]),
    "trickle": (measure.trickle, [*_TRICKLES, *_TRICKLES]),
    "behind": (
        measure.behind,
        [(8, 100, 2_000_000), (64, 100, 2_000_000), (512, 100, 2_000_000), (8, 1000, 600_000), (64, 1000, 600_000)],
    ),
    "documents": (measure.documents, [(10, 1_000_000), (10_000, 1_000_000), (100_000, 1_000_000)]),
    "members": (measure.members, [(100,), (500,)]),
}
"""What is measured, by kind: the function and its arguments for each point."""


def main() -> int:
    """Measure what is asked for, then print the report, or write it."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that started processes are ended
    if options.measure is not None:
        kinds = options.measure.split(",")
        unknown = sorted({*kinds} - {*PLAN, "validated"})
        problem = f"no kind {', '.join(unknown)}" if unknown else missing_requirements()
        if problem is not None:
            sys.stderr.write(f"{problem}\n")
            return 1
        _measure(kinds)
    report = generated(load())
    if options.write:
        PAGE.write_text(between(PAGE.read_text(), BEGIN, END, report))
    else:
        print(report)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    kinds = ", ".join([*PLAN, "validated"])
    parser.add_argument(
        "--measure", metavar="KINDS", help=f"measure these again on real Kafka; of {kinds}; with commas"
    )
    parser.add_argument("--write", action="store_true", help="write the generated part of docs/scaling.md")
    return parser


def _measure(kinds: Sequence[str]) -> None:
    """Replace the points of these kinds in the file. `validated` compares with the costs of the other kinds."""
    found = load() if COSTS.exists() else {}
    with KafkaServer(heap_mb=1024) as server:
        for kind in kinds:
            found["machine"] = machine.describe(*(f"{name} {version(name)}" for name in PACKAGES))
            found["date"] = datetime.now(tz=UTC).date().isoformat()
            found[kind] = (
                validate(server.address, fitted(found)) if kind == "validated" else _points(server.address, kind)
            )
            COSTS.write_text(json.dumps(found, indent=1) + "\n")


def _points(broker: str, kind: str) -> list[measure.Point]:
    once, points = PLAN[kind]
    found = []
    for arguments in points:
        point = once(broker, *arguments) | {"load": os.getloadavg()[0]}
        print(kind, json.dumps(point), flush=True)
        found.append(point)
    return found


if __name__ == "__main__":
    sys.exit(main())
