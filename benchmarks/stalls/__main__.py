"""``python -m benchmarks.stalls``: where records are while all partitions stand still for some ten milliseconds.

At 1,000 records a second the whole path delivers a record within two or three milliseconds, but for a moment now and
then. This program finds these moments, and tells for each whether librdkafka had no Fetch under way, the broker did
not answer, the answer was there and the consumer thread waited or was busy, or the record was read and came late to
the handler. It watches from outside, with nothing changed in the sidecar: a plugin of librdkafka notes each request
and answer (`requests.c`; needs a C compiler), a wrapper around the sidecar each wait and read of the consumer thread.

Beside it run a bare loop on the same topic (the witness: did it wait in the same moment?) and a process that sleeps
for a millisecond at a time (the metronome: did the machine stand still?). Linux only.
"""

import argparse
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import machine
from benchmarks.processes import ROOT, sidecar, wait_for_result
from benchmarks.report import table
from benchmarks.stalls import handling, traced
from benchmarks.stalls.causes import MACHINE, PLACES, Answer, Read, Record, Span, Stall, Trace, stalls, with_records
from benchmarks.traffic import offer
from tests.servers.kafka import KafkaServer, missing_requirements
from tests.servers.topics import create_topic

PARTITIONS = 8
RATE = 1_000
_EVENT = struct.Struct("qqqihh")
_FETCH = 1
_NAMES = {
    2: "ListOffsets",
    3: "Metadata",
    8: "OffsetCommit",
    9: "OffsetFetch",
    10: "FindCoordinator",
    12: "Heartbeat",
}
"""Kafka's numbers of requests."""
_BEFORE_NS = 5_000_000
"""A request that was sent so long before a stall is told of with it: it may be on the same connection."""
_MS = 1e6


def main() -> int:
    """Run it, and print what stood still."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stalls", description="Where records stand still.")
    parser.add_argument("--runs", type=int, default=6, help="each with processes of its own (default 6)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each run (default 30)")
    parser.add_argument("--longer", type=float, default=15.0, help="ms; what waits longer is a stall (default 15)")
    parser.add_argument("--no-witness", action="store_true", help="no bare loop beside it")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a property of the sidecar's Kafka clients, to try a cause: topic.metadata.refresh.interval.ms=300000",
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that started processes are ended
    missing = missing_requirements() or (None if shutil.which("cc") else "no `cc` on the PATH")
    if missing is not None:
        sys.stderr.write(f"{missing}\n")
        return 1
    print(machine.describe(), flush=True)
    found: list[Stall] = []
    with KafkaServer(heap_mb=1024) as server, tempfile.TemporaryDirectory(prefix="kafka-sidecar-stalls-") as name:
        plugin = _plugin(Path(name))
        for number in range(options.runs):
            folder = Path(name) / str(number)
            folder.mkdir()
            stolen = _stolen()
            kafka: dict[str, object] = dict(given.split("=", 1) for given in options.set)
            kafka["plugin.library.paths"] = str(plugin)
            trace, beside = _run(server.address, kafka, folder, options.seconds, witness=not options.no_witness)
            stolen = _stolen() - stolen
            mine = list(stalls(trace, int(options.longer * _MS)))
            found += mine
            _report(number, trace, mine, stolen)
            for stall in mine:
                _describe(stall, beside, folder / "requests")
    _summary(found)
    return 0


def _run(
    broker: str, kafka: dict[str, object], folder: Path, seconds: float, *, witness: bool
) -> tuple[Trace, list[Record]]:
    """One run. Returns what was noted, and the witness's records."""
    topic = f"stalls-{uuid.uuid4().hex[:8]}"
    create_topic(broker, topic, PARTITIONS)
    total = int(RATE * seconds)
    os.environ.update(STALLS_REQUESTS=str(folder / "requests"), STALLS_FOLDER=str(folder))
    seen = handling.__name__
    with sidecar(broker, [topic], {}, kafka, program=traced.__name__) as host:
        settings = {"total": total, "records": str(folder / "records"), "result": str(folder / "result")}
        process = host.serve_with(settings, seen)
        host.wait_until_running(PARTITIONS)
        with _beside(folder / "late", seen, "metronome"):
            if witness:
                with _beside(folder / "beside", seen, "witness", broker, topic, str(total)):
                    offer(broker, topic, range(PARTITIONS), RATE, seconds)
                    wait_for_result(folder / "result", process)
            else:
                offer(broker, topic, range(PARTITIONS), RATE, seconds)
                wait_for_result(folder / "result", process)
        host.end_lambdas()
    # The sidecar has ended, and so has written its notes.
    warm = RATE  # the first second belongs to the start
    records = sorted(_records(folder / "records"), key=lambda one: one.produced)[warm:]
    trace = Trace(
        records,
        with_records(_answers(folder / "requests")),
        [Span(*row) for row in _rows(folder / "waits", 2)],
        [Read(*row) for row in _rows(folder / "reads", 4)],
        [Span(*row) for row in _rows(folder / "late", 2)],
    )
    return trace, _records(folder / "beside") if witness else []


@contextmanager
def _beside(notes: Path, module: str, *arguments: str) -> Iterator[None]:
    """A program that runs meanwhile; afterwards ``notes`` is what it has noted."""
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it is ready
        yield
        notes.write_bytes(process.communicate(timeout=60)[0])  # its input ends here
    finally:
        process.kill()
        process.wait()


def _plugin(folder: Path) -> Path:
    """Compile the plugin. Raises ``CalledProcessError``."""
    made = folder / "requests.so"
    source = Path(__file__).with_name("requests.c")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(made), str(source), "-ldl", "-lpthread"], check=True)
    return made


def _rows(file: Path, width: int) -> list[tuple[int, ...]]:
    return list(struct.iter_unpack(f"{width}q", file.read_bytes()))


def _records(file: Path) -> list[Record]:
    return [Record(*row) for row in _rows(file, 4)]


class _Event(NamedTuple):
    """As `requests.c` writes it."""

    at: int
    client: int
    size: int
    number: int
    kind: int
    answer: int


def _events(file: Path) -> list[_Event]:
    """In the order of time."""
    return sorted(event for event in map(_Event._make, _EVENT.iter_unpack(file.read_bytes())) if event.at)


def _answers(file: Path) -> list[Answer]:
    """The answers to Fetch requests; only the consumer fetches, over one connection."""
    sent: dict[tuple[int, int], int] = {}
    answers = []
    for event in _events(file):
        if event.kind != _FETCH:
            continue
        request = event.client, event.number
        if not event.answer:
            sent[request] = event.at
        elif request in sent:
            answers.append(Answer(sent.pop(request), event.at, event.size))
    return answers


def _stolen() -> float:
    """Seconds that the hypervisor took from this machine, all cores together, since its start."""
    with Path("/proc/stat").open() as stat:
        return int(stat.readline().split()[8]) / os.sysconf("SC_CLK_TCK")


def _report(number: int, trace: Trace, found: list[Stall], stolen: float) -> None:
    delays = sorted(record.handled - record.produced for record in trace.records)
    p50, p99 = (delays[len(delays) * part // 100] / _MS for part in (50, 99))
    print(
        f"run {number + 1}: {len(delays):,} records, p50 {p50:.2f} ms, p99 {p99:.2f} ms, longest"
        f" {delays[-1] / _MS:.1f} ms; {len(found)} stalls; {stolen:.2f} s of CPU time stolen by the hypervisor",
        flush=True,
    )


def _describe(stall: Stall, beside: list[Record], requests: Path) -> None:
    first = stall.first
    said = [f"{took / _MS:.1f} ms {place}" for place, took in stall.places.items() if took > _MS / 2]
    said.append(f"the metronome was late by {stall.late / _MS:.1f} ms")
    waited = {(record.partition, record.offset): record.handled - record.produced for record in beside}
    if (first.partition, first.offset) in waited:
        took = waited[first.partition, first.offset]
        said.append(f"the witness had the first record after {took / _MS:.1f} ms")
    others = [
        f"{_NAMES.get(event.kind, event.kind)} at {(event.at - first.produced) / _MS:+.1f}"
        for event in _events(requests)
        if event.kind != _FETCH and not event.answer and first.produced - _BEFORE_NS < event.at < first.handled
    ]
    if others:
        said.append(f"other requests: {', '.join(others[:8])}")
    print(f"  {stall.length / _MS:.1f} ms, {stall.count} records: {'; '.join(said)}", flush=True)


def _summary(found: list[Stall]) -> None:
    rows = []
    for cause in (*PLACES, MACHINE):
        mine = [stall for stall in found if stall.cause == cause]
        longest = max((stall.length for stall in mine), default=0)
        rows.append([cause, str(len(mine)), f"{longest / _MS:.1f}" if mine else ""])
    print("\n".join(["", *table(["most of the time", "stalls", "longest, ms"], rows)]))


if __name__ == "__main__":
    sys.exit(main())
