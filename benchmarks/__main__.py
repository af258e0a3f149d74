"""``python -m benchmarks``: the whole path against the bare alternative, on real Kafka, in one interleaved run."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks import latency, pressure, throughput
from benchmarks.traffic import fill
from tests.servers.kafka import KafkaServer, missing_requirements

Figures = dict[str, float]
MANY = 512


def main() -> int:
    """Run the rows that were asked for; print them and, if told so, write them as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    parser.add_argument("--records", type=int, default=3_000_000, help="records of a round (default 3,000,000)")
    parser.add_argument("--rows", default="throughput,latency,many,pressure", help="which, by name, with commas")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    missing = missing_requirements()
    if missing is not None:
        sys.stderr.write(f"{missing}\n")
        return 1
    print(_machine())
    results: dict[str, object] = {"machine": _machine()}
    with KafkaServer(heap_mb=1024) as server:
        for row in options.rows.split(","):
            results[row] = _ROWS[row](server.address, options.rounds, options.records)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2))
    return 0


def _throughput(broker: str, rounds: int, records: int) -> object:
    say(f"throughput: {records:,} records of 100 bytes with keys, 8 partitions; records per second")
    fill(broker, "eight", 8, records)
    found: dict[str, list[Figures]] = {"bare": [], "path": []}
    for _ in range(rounds):
        found["bare"].append(throughput.bare(broker, "eight", records))
        found["path"].append(throughput.path(broker, "eight", records, 8))
        _line(found, "records_per_second")
    _ratio(found, "path", "bare", "records_per_second")
    _ratio(found, "path", "bare", "cpu_seconds_per_million")
    say(f"  sidecar's memory at its highest: {max(f['sidecar_mb'] for f in found['path']):.0f} MB")
    return found


def _latency(broker: str, rounds: int, _: int) -> object:
    say("latency: 1,000 records/s over 8 partitions; milliseconds from production to the handler")
    found: dict[str, list[Figures]] = {"bare": [], "path": []}
    for _ in range(rounds):
        found["bare"].append(latency.bare(broker, 8, 1000, 10.0))
        found["path"].append(latency.path(broker, 8, 1000, 10.0))
        _line(found, "p50_ms", "p99_ms")
    for name in ("p50_ms", "p99_ms"):
        added = median(p[name] - b[name] for p, b in zip(found["path"], found["bare"], strict=True))
        say(f"  added {name}: median {added:.2f}")
    return found


def _many(broker: str, rounds: int, records: int) -> object:
    say(f"many partitions: {records:,} records, {MANY} partitions against 8, the whole path; records per second")
    fill(broker, "few", 8, records)
    fill(broker, "many", MANY, records)
    found: dict[str, list[Figures]] = {"few": [], "many": []}
    for _ in range(rounds):
        found["few"].append(throughput.path(broker, "few", records, 8))
        found["many"].append(throughput.path(broker, "many", records, MANY))
        _line(found, "records_per_second")
    _ratio(found, "many", "few", "records_per_second")
    return found


def _pressure(broker: str, rounds: int, records: int) -> object:
    say(f"pressure: a lambda that never checkpoints, {records:,} records waiting; {pressure.RATE:,}/s on the others")
    found: dict[str, list[Figures]] = {"free": [], "stuck": []}
    for _ in range(rounds):
        found["free"].append(pressure.run(broker, 0))
        found["stuck"].append(pressure.run(broker, records))
        _line(found, "records_per_second", "sidecar_mb")
    _ratio(found, "stuck", "free", "records_per_second")
    say(f"  sidecar's memory at its highest: {max(f['sidecar_mb'] for f in found['stuck']):.0f} MB")
    return found


_ROWS: dict[str, Callable[[str, int, int], object]] = {
    "throughput": _throughput,
    "latency": _latency,
    "many": _many,
    "pressure": _pressure,
}


def _line(found: dict[str, list[Figures]], *names: str) -> None:
    parts = [f"{who} " + " ".join(f"{n} {_short(runs[-1][n])}" for n in names) for who, runs in found.items()]
    say("  " + "   ".join(parts))


def _ratio(found: dict[str, list[Figures]], above: str, below: str, name: str) -> None:
    ratios = sorted(a[name] / b[name] for a, b in zip(found[above], found[below], strict=True))
    say(f"  {name}: {above} / {below} = {median(ratios):.2f} (median; {ratios[0]:.2f} to {ratios[-1]:.2f})")


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _machine() -> str:
    names = ("confluent-kafka", "grpcio", "protobuf")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {versions}, Kafka 4.3.1"
    )


def say(text: str) -> None:
    """One line, at once: a run takes minutes."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
