"""``python -m benchmarks``: the whole path against the bare alternative, on real Kafka, in one interleaved run."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks import latency, pipelined, pressure, router, sequencing, takeover, throughput
from benchmarks.traffic import fill
from tests.servers.kafka import KafkaServer, missing_requirements

Figures = dict[str, float]
Options = argparse.Namespace
MANY = 512
WINDOWS = {"pipelined": 10_000, "pipelined_by_100": pipelined.BATCH}
"""In the row of that name. The second has as many saves at once as batches of all partitions."""
SAVES = 400_000
ANSWERED = {
    "one_of_all": (1, False, 800),
    "one_of_each": (8, False, 8_000),
    "together_of_all": (1, True, 40_000),
    "together_of_each": (8, True, 240_000),
}
"""How batches are answered in that row: how many under way, whether their saves are made together, and records."""


def main() -> int:
    """Run the rows that were asked for; print them and, if told so, write them as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    parser.add_argument("--records", type=int, default=3_000_000, help="records of a round (default 3,000,000)")
    parser.add_argument("--kills", type=int, default=100, help="processes that `takeover` kills (default 100)")
    parser.add_argument("--rows", default=",".join(_ROWS), help="which, by name, with commas")
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
            results[row] = _ROWS[row](server.address, options)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2))
    return 0


def _throughput(broker: str, options: Options) -> object:
    rounds, records = options.rounds, options.records
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


def _latency(broker: str, options: Options) -> object:
    rounds: int = options.rounds
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


def _many(broker: str, options: Options) -> object:
    rounds, records = options.rounds, options.records
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


def _pressure(broker: str, options: Options) -> object:
    rounds, records = options.rounds, options.records
    say(f"pressure: a lambda that never checkpoints, {records:,} records waiting; {pressure.RATE:,}/s on the others")
    found: dict[str, list[Figures]] = {"free": [], "stuck": []}
    for _ in range(rounds):
        found["free"].append(pressure.run(broker, 0))
        found["stuck"].append(pressure.run(broker, records))
        _line(found, "records_per_second", "sidecar_mb")
    _ratio(found, "stuck", "free", "records_per_second")
    say(f"  sidecar's memory at its highest: {max(f['sidecar_mb'] for f in found['stuck']):.0f} MB")
    return found


def _router(broker: str, options: Options) -> object:
    rounds, records = options.rounds, options.records
    say(f"router: {records:,} records, {router.MANY:,} documents against {router.FEW}, and no router; records/s")
    say("  the clock starts when all documents are open; with_first_touch: with the first record")
    for number in (router.FEW, router.MANY):
        fill(broker, f"documents-{number}", router.PARTITIONS, records, key=partial(router.key, number))
    found: dict[str, list[Figures]] = {"plain": [], "few": [], "many": []}
    for _ in range(rounds):
        found["plain"].append(router.run(broker, f"documents-{router.FEW}", records, None))
        found["few"].append(router.run(broker, f"documents-{router.FEW}", records, router.FEW))
        found["many"].append(router.run(broker, f"documents-{router.MANY}", records, router.MANY))
        _line(found, "records_per_second", "with_first_touch")
    for name in ("records_per_second", "with_first_touch", "cpu_seconds_per_million"):
        _ratio(found, "many", "few", name)
    _ratio(found, "few", "plain", "records_per_second")
    _line({who: [{"MB": max(f["lambda_mb"] for f in runs)}] for who, runs in found.items()}, "MB")
    return found


def _pipelined(broker: str, options: Options) -> object:
    say("pipelined: a save of 10 ms for each record, 8 partitions; saves per second. The slower, the fewer records:")
    for who, window in WINDOWS.items():
        say(f"  {who}: {SAVES:,} records, a window of {window:,} for each partition")
    for who, (loops, together, records) in ANSWERED.items():
        saves = "at the same time" if together else "one after the other"
        say(f"  {who}: {records:,} records, batches of {pipelined.BATCH} under way: {loops}, each's saves {saves}")
    fill(broker, "saves", pipelined.PARTITIONS, SAVES)
    found: dict[str, list[Figures]] = {who: [] for who in (*WINDOWS, *ANSWERED)}
    for _ in range(options.rounds):
        for who, window in WINDOWS.items():
            found[who].append(pipelined.pipelined(broker, "saves", SAVES, window))
        for who, (loops, together, records) in ANSWERED.items():
            found[who].append(pipelined.answered(broker, "saves", records, loops, together=together))
        _line(found, "records_per_second")
    for who in ANSWERED:
        _ratio(found, "pipelined", who, "records_per_second")
    _ratio(found, "pipelined_by_100", "together_of_each", "records_per_second")
    _ratio(found, "pipelined", "together_of_each", "cpu_seconds_per_million")
    say(f"  most saves at once, pipelined: {max(f['most_at_once'] for f in found['pipelined']):,.0f}")
    return found


def _sequencing(broker: str, options: Options) -> object:
    operations = options.records // 20 // sequencing.DOCUMENTS
    total = sequencing.fill(broker, "rawdeltas", operations)
    say(f"sequencing: deli, {total:,} operations of {sequencing.DOCUMENTS} documents, a record each; operations/s")
    found: dict[str, list[Figures]] = {"end to end": [], "alone": []}
    for _ in range(options.rounds):
        found["end to end"].append(sequencing.run(broker, "rawdeltas", total))
        found["alone"].append(sequencing.alone(total))
        _line(found, "operations_per_second")
    _ratio(found, "end to end", "alone", "operations_per_second")
    return found


def _takeover(broker: str, options: Options) -> object:
    say(f"takeover: {options.kills} kills of who has all {takeover.PARTITIONS} partitions, {takeover.RATE:,}/s")
    say("  seconds from the kill to the next handled message of each partition, by another process")
    found = takeover.run(broker, options.kills)
    _line({"partition": [found]}, "p50_s", "p99_s", "max_s")
    _line({"first of a kill": [found]}, "first_p50_s", "first_max_s")
    say(f"  {found['takeovers']:.0f} takeovers, {found['rebalances']:.0f} rebalances of the group")
    return found


_ROWS: dict[str, Callable[[str, Options], object]] = {
    "throughput": _throughput,
    "latency": _latency,
    "many": _many,
    "pressure": _pressure,
    "router": _router,
    "pipelined": _pipelined,
    "sequencing": _sequencing,
    "takeover": _takeover,
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
