"""``python -m benchmarks.peers.deli``: our deli end to end, and the published deli, of which it is a port, in its own
host.

Same broker, same records, interleaved rounds: the run of `benchmarks.sequencing` is compared with
`node_deli/host.js`, the published deli of Fluid's service. Both read one raw topic from its beginning in a fresh
group and write their numbers to a fresh topic, which is read and checked afterwards.

Each stores its states in its own way: ours in a topic of the same broker, the other in a store that speaks MongoDB's
protocol (FerretDB, through the service's own client). Neither broker nor store is in the CPU
figures. ``seldom`` and ``each`` say how often a document's state is saved: by the heuristics that the service's
configuration switches on (after 500 operations), or after each record, which is the default of both programs.
``ours_by_two`` is our deli in two processes with one sidecar, ``node_by_two`` two of the other's hosts in one group.

The other's host reads as far ahead as there is memory, so a part of its work is done before the clock starts at a
quarter of the numbers; ``with_the_start`` counts all of it. With many more than 300,000 operations it takes so long
that the service sends messages of its own after those of a document, which `sequencing.check` refuses.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from pymongo import MongoClient
from pymongo.collection import Collection

from benchmarks import sequencing
from benchmarks.peers import environments
from benchmarks.sequencing import DOCUMENTS, PARTITIONS, TENANT, Figures
from tests.servers import ferretdb, kafka
from tests.servers.ferretdb import FerretServer
from tests.servers.kafka import KafkaServer
from tests.servers.topics import create_topic, end_offsets, read_all

NAME = "node_deli"
RAW = "rawdeltas"
ROWS = ("ours-seldom", "node-seldom", "ours_by_two-seldom", "node_by_two-seldom", "ours-each", "node-each")
SAVES: Mapping[str, Mapping[str, object]] = {"seldom": {"checkpointHeuristics": {"enable": True}}, "each": {}}
"""Settings of our deli. The numbers of the heuristics are the same in both by default."""
LONGEST_REST = 60.0
"""Seconds within which the states must be saved once all numbers are given; the heuristics save them after 10."""
NAMES = ("operations_per_second", "with_the_start", "cpu_seconds_per_million", "memory_mb")

Runs = dict[str, list[Figures]]


def main() -> int:
    """Run the requested rows in interleaved rounds; print them and, if requested, write them as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.deli", description="Our deli against its model."
    )
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    parser.add_argument("--records", type=int, default=300_000, help="operations of a round (default 300,000)")
    parser.add_argument("--rows", default=",".join(ROWS[:3]), help=f"with commas; of {', '.join(ROWS)}")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--prepare", action="store_true", help="only make what is run")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that started processes are ended
    wanted = options.rows.split(",")
    try:
        modules = _prepared(wanted)
    except (ValueError, environments.NotToBeHadError, ferretdb.FerretServerError) as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    if not options.prepare:
        results = _results(wanted, modules, options.rounds, options.records)
        if options.json is not None:
            options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


def _prepared(wanted: list[str]) -> Path:
    """The folder with the packages. Raises the errors that `main` prints."""
    unknown = ", ".join(sorted({*wanted} - {*ROWS}))
    missing = f"no row {unknown}" if unknown else kafka.missing_requirements() or ferretdb.missing_requirements()
    if missing is not None:
        raise ValueError(missing)
    ferretdb.build()
    return environments.node(NAME)


def _results(wanted: list[str], modules: Path, rounds: int, records: int) -> dict[str, Any]:
    machine = _machine()
    _say(machine)
    runs: Runs = {row: [] for row in wanted}
    with KafkaServer(heap_mb=1024) as server, FerretServer() as store:
        total = sequencing.fill(server.address, RAW, max(1, records // DOCUMENTS - 1))
        _say(f"{total:,} operations of {DOCUMENTS} documents, a record each; the first quarter is not timed")
        for number in range(rounds):
            for row in wanted:
                whose, _, saves = row.partition("-")
                processes = 2 if whose.endswith("by_two") else 1
                if whose.startswith("node"):
                    figures = node(server.address, RAW, total, store.url, modules, saves, processes)
                else:
                    figures = sequencing.run(server.address, RAW, total, SAVES[saves], processes)
                runs[row].append(figures)
                _say(f"  {number + 1} {row}: {', '.join(f'{name} {figures[name]:,.0f}' for name in NAMES)}")
    for line in summary(runs):
        _say(line)
    return {"machine": machine, "records": total, "runs": runs}


def summary(runs: Mapping[str, list[Figures]]) -> list[str]:
    """Median and range of each row, and of the ratio of ours to the other, round by round."""
    lines = []
    for row, figures in runs.items():
        said = ", ".join(f"{name} {_spread([one[name] for one in figures], ',.0f')}" for name in NAMES)
        lines.append(f"{row}: {said}")
    for ours in [row for row in runs if row.startswith("ours")]:
        for other in [row for row in runs if row.startswith("node")]:
            for name in NAMES:
                ratios = [a[name] / b[name] for a, b in zip(runs[ours], runs[other], strict=True)]
                lines.append(f"{ours} / {other}, {name}: {_spread(ratios, '.2f')}")
    return lines


def node(broker: str, topic: str, total: int, store: str, modules: Path, saves: str, processes: int = 1) -> Figures:
    """One run of the published deli, in this many of its hosts.

    Raises ``RuntimeError`` when it failed, when `sequencing.check` refuses its output, or when it saved no states.
    """
    run = uuid.uuid4().hex[:8]
    deltas, group, documents, checkpoints = (f"{what}-{run}" for what in ("deltas", "deli", "documents", "states"))
    create_topic(broker, deltas, PARTITIONS)
    _begin(broker, group, topic)
    with MongoClient[dict[str, Any]](store) as client, tempfile.TemporaryFile() as log:
        database = client["admin"]  # the service's client looks there
        # Deli does nothing for a document that nobody has created.
        database[documents].create_index(["documentId", "tenantId"], unique=True)
        names = [f"document-{number}" for number in range(DOCUMENTS)]
        database[documents].insert_many([{"documentId": name, "tenantId": TENANT} for name in names])
        command = ["node", str(environments.HERE / NAME / "host.js"), broker, topic, deltas, group, store]
        hosts = [
            subprocess.Popen(
                [*command, documents, checkpoints, saves],
                env={**os.environ, "NODE_PATH": str(modules)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            for _ in range(processes)
        ]
        try:
            figures = sequencing.timed(broker, deltas, total, hosts)
            _wait_until_saved(database[checkpoints], database[documents])
            for host in hosts:
                host.terminate()
            for host in hosts:
                _wait(host)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            log.seek(0)
            raise RuntimeError(f"{error}: {log.read().decode(errors='replace')[-1500:]}") from error
        finally:
            for host in hosts:
                host.kill()
                host.wait()
        for collection in (documents, checkpoints):
            database[collection].drop()
    sequencing.check((stored.value or b"" for stored in read_all(broker, deltas)), total)
    return figures


def _wait_until_saved(*collections: Collection[dict[str, Any]]) -> None:
    """Check that it saved states: without saves it would continue, and only be faster.

    It saves at the latest when a document is idle. A state is in a collection of its own, and stored with its
    document once that is idle.
    """
    deadline = time.monotonic() + LONGEST_REST
    is_saved = {"deli": {"$exists": True, "$nin": ["", None]}}
    while len(saved := {one["documentId"] for part in collections for one in part.find(is_saved)}) < DOCUMENTS:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the states of {len(saved)} documents were saved, not of {DOCUMENTS}")
        time.sleep(0.2)


def _wait(process: subprocess.Popen[bytes]) -> None:
    if process.wait(60) != 0:
        raise RuntimeError(f"the host ended with {process.returncode}")


def _begin(broker: str, group: str, topic: str) -> None:
    """Its host starts a new group at the end of the topic and has no setting for that, so the group is not new."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": group})
    begin = [TopicPartition(topic, partition, 0) for partition in end_offsets(broker, topic)]
    consumer.commit(offsets=begin, asynchronous=False)
    consumer.close()


def _spread(values: list[float], shape: str) -> str:
    return f"{median(values):{shape}} ({min(values):{shape}} to {max(values):{shape}})"


def _machine() -> str:
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    lambdas = environments.version(NAME, "@fluidframework/server-lambdas")
    return (
        f"{os.cpu_count()} cores that also run the broker, {platform.machine()}, Python {platform.python_version()},"
        f" Node {said.removeprefix('v')}, server-lambdas {lambdas}, Kafka {kafka.VERSION}"
    )


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
