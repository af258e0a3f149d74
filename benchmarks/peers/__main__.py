"""``python -m benchmarks.peers``: the alternatives, on the same broker in the same run."""

import argparse
import json
import signal
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.peers import environments, report
from benchmarks.peers.catalogue import PEERS, Peer
from benchmarks.peers.measure import RunFailedError, Work, measure
from benchmarks.report import write
from benchmarks.traffic import fill
from tests.servers.kafka import VERSION as KAFKA, KafkaServer, missing_requirements

PARTITIONS = 8
Runs = dict[str, list[dict[str, float]]]


def main() -> int:
    """Run the requested peers in interleaved rounds, print their figures, and write the requested files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--peers", default=",".join(PEERS), help=f"with commas; of {', '.join(PEERS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    parser.add_argument("--records", type=int, default=3_000_000, help="for the fast ones (default 3,000,000)")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md and results.svg")
    parser.add_argument("--prepare", action="store_true", help="only make the environments")
    parser.add_argument("--from", type=Path, dest="file", help="measure nothing: figures from a file of --json")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that started processes are ended
    if options.file is not None:
        results = json.loads(options.file.read_text())
    else:
        unknown = set(options.peers.split(",")) - set(PEERS)
        missing = f"no peer {', '.join(sorted(unknown))}" if unknown else missing_requirements()
        if missing is not None:
            sys.stderr.write(f"{missing}\n")
            return 1
        made, not_run = _prepare(options.peers.split(","))
        if options.prepare:
            return 1 if not_run else 0
        results = _results(options, made, not_run)
    print(report.markdown(results))
    if options.write:
        write(environments.HERE, report.markdown(results), report.svg(results))
    return 0


def _prepare(names: list[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """The environments of the peers, and for peers without one the reason."""
    made: dict[str, Path] = {}
    not_run: dict[str, str] = {}
    for name in names:
        try:
            made[name] = PEERS[name].prepare()
        except environments.NotToBeHadError as error:
            not_run[name] = str(error)
            _say(f"{name} cannot be run: {error}")
    return made, not_run


def _results(options: argparse.Namespace, made: dict[str, Path], not_run: dict[str, str]) -> dict[str, Any]:
    runs: Runs = {name: [] for name in made}
    results: dict[str, Any] = {
        "machine": machine.describe(f"Node {_said('node', '--version')}"),
        "date": datetime.now(tz=UTC).date().isoformat(),
        "busy": 0.0,
        "rounds": 0,
        "records": options.records,
        "peers": {name: _described(PEERS[name]) for name in options.peers.split(",")},
        "not_run": not_run,
        "runs": runs,
    }
    # An eighth of a share must be a whole number, since all partitions get the same.
    totals = {name: max(int(options.records * PEERS[name].share) // PARTITIONS, 1) * PARTITIONS for name in made}
    with KafkaServer(heap_mb=1024) as server:
        for total in sorted(set(totals.values())):
            fill(server.address, f"peers-{total}", PARTITIONS, total)
        for number in range(options.rounds):
            results["busy"] = max(results["busy"], machine.busy())
            for name, environment in made.items():
                if name in not_run:
                    continue
                work = Work(server.address, f"peers-{totals[name]}", f"{name}-{uuid.uuid4().hex}", totals[name])
                try:
                    figures = _run(PEERS[name], environment, work)
                except (RunFailedError, RuntimeError) as error:
                    not_run[name] = f"in round {number + 1}: {error}"
                    _say(f"  {name} failed: {error}")
                    continue
                runs[name].append({"round": number, **figures})
                _say(
                    f"  {number + 1} {name}: {figures['records_per_second']:,.0f} records/s,"
                    f" {figures['cpu_seconds_per_million']:.2f} CPU s per million, {figures['memory_mb']:.0f} MB"
                )
            results["rounds"] = number + 1
            _save(options, results)
    return results


def _save(options: argparse.Namespace, results: dict[str, Any]) -> None:
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


def _run(peer: Peer, environment: Path, work: Work) -> dict[str, float]:
    with peer.start(environment, work) as program:
        return measure(program, work, counted_only=peer.counted_only, commits=peer.commits)


def _described(peer: Peer) -> dict[str, str]:
    in_order = {"none": "", "key": " and in the order of its key", "partition": " and in order"}[peer.order]
    checked = "number of records" if peer.counted_only else f"each record once{in_order}"
    return {
        "title": peer.title,
        "promise": peer.promise,
        "how": peer.how,
        "version": environments.version(*peer.package) if peer.package else _our_version(peer),
        "checked": f"{checked}, commits" if peer.commits else checked,
    }


def _our_version(peer: Peer) -> str:
    if peer is PEERS["kafka-clients"]:
        return KAFKA
    name = "kafka-sidecar" if peer is PEERS[report.OURS] else "confluent-kafka"
    return version(name)


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().removeprefix("v")
    except (OSError, subprocess.CalledProcessError):
        return "not there"


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
