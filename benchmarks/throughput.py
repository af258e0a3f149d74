"""Records per second: the bare loop, and the whole path to a handler in another process."""

import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal

from benchmarks import scores
from benchmarks.peers.measure import Program, Work, measure as measure_program
from benchmarks.processes import Sidecar, sidecar, wait_for_file, wait_for_result
from benchmarks.watching import watched
from sdk_python.protocol import admin_pb2
from tests.servers.process import free_ports
from tests.servers.topics import end_offsets

Figures = dict[str, float]


def bare(broker: str, topic: str, total: int, style: Literal["tuned", "working", "plain"] = "tuned") -> Figures:
    """One run of the bare loop with a topic of ``total`` records; `benchmarks.bare` describes the styles.

    Raises ``RuntimeError`` when it did not get each record once.
    """
    work = Work(broker, topic, f"bare-{uuid.uuid4().hex}", total)
    program = Program([sys.executable, "-m", "benchmarks.bare", *work.arguments(), style])
    figures = measure_program(program, work, counted_only=True, commits=False)
    # Its records and its positions add up to the same number, else it would have failed: each is at the end.
    there = sum(end_offsets(broker, topic).values())
    if there != total:
        raise RuntimeError(f"{total} records consumed, {there} are there")
    return figures


def path(
    broker: str,
    topic: str,
    total: int,
    partitions: int,
    settings: Mapping[str, object] | None = None,
    *,
    processes: int = 1,
    watch: bool = False,
    **more: Any,
) -> Figures:
    """One run of the sidecar with the Python SDK, committing as in production.

    ``settings`` are further settings of `benchmarks.counting`. The processes share the partitions evenly. With
    ``watch``, `benchmarks.watching` watches. ``more``: see `measure`. Raises ``RuntimeError`` when they do not share
    the records evenly.
    """
    figures, result = measure(
        broker,
        topic,
        total,
        partitions,
        "benchmarks.counting",
        settings or {},
        processes=processes,
        watch=watch,
        **more,
    )
    shares = [sum(count for *_, count in pieces) / total for pieces in result["pieces"]]
    if max(shares) > 1.01 / processes:
        raise RuntimeError(f"parts of the processes: {shares}")
    return figures


def measure(
    broker: str,
    topic: str,
    total: int,
    partitions: int,
    module: str,
    settings: Mapping[str, object],
    *,
    processes: int = 1,
    watch: bool = False,
    lanes: int = 1,
    **more: Any,
) -> tuple[Figures, dict[str, Any]]:
    """One run with the lambda ``module``, which writes the same file as `benchmarks.counting`; it is the second
    result.

    ``more`` are arguments of `processes.sidecar`, such as keys of the lambda's config; each partition is split into
    ``lanes``. With several processes, the result is the first one's, with the ``pieces`` of all. Raises
    ``RuntimeError`` when not all records were handled and committed.
    """
    began = time.perf_counter()
    operate = f"127.0.0.1:{free_ports(1)[0]}" if watch else ""
    shares = partitions * lanes
    with (
        sidecar(broker, [topic], {}, operate=operate, program="sidecar", **with_lanes(lanes), **more) as host,
        watched(host, operate) if watch else nullcontext(),
    ):
        shared = {
            "total": total,
            "warm": total // 4,
            "lambdas": shares,
            "processes": processes,
            "scores": str(scores.fresh(host.folder / "scores", processes)),
        }
        # No process takes more than its share, else the first would have all partitions before the last is there.
        arguments = ["--max-partitions", str(max(1, shares // processes))]
        lambdas = [_serve(host, number, {**shared, **settings}, module, arguments) for number in range(processes)]
        wait_for_file(host.folder / "warmed-0", lambdas[0])
        before = host.cpu_seconds()
        results = [wait_for_result(host.folder / f"result-{n}", process) for n, process in enumerate(lambdas)]
        cpu, memory = host.cpu_seconds() - before, host.memory_mb()
        used = time.perf_counter() - began
        result = {**results[0], "pieces": [one.get("pieces", []) for one in results]}
        strange = [one["strange"] for one in results if "strange" in one]
        if strange:
            raise RuntimeError(f"missed, repeated or out of order: {'; '.join(strange)}")
        if result["records"] != total:
            raise RuntimeError(f"{result['records']} records handled, {total} produced")
        if not result["measured"]:
            raise RuntimeError("too few records: all were handled when the clock started")
        there = end_offsets(broker, topic)
        if "pieces" in results[0]:
            must_be_each_once([piece for pieces in result["pieces"] for piece in pieces], there)
        host.end_lambdas()
        wait_until_committed(host, there, partitions)
    return {
        "records": total,
        "records_per_second": result["measured"] / result["seconds"],
        "with_opening": result["whole_measured"] / result["whole_seconds"],
        "cpu_seconds_per_million": cpu / result["measured"] * 1e6,
        **memory,
        "wall_seconds": used,
    }, result


def with_lanes(lanes: int) -> dict[str, Any]:
    """The part of the lambda's config; without lanes, that of a lambda that knows nothing of them."""
    return {"lanes": lanes} if lanes > 1 else {}


def must_be_each_once(pieces: Iterable[Sequence[int]], there: Mapping[int, int]) -> None:
    """Raises ``RuntimeError`` when the pieces do not contain each record once.

    A piece is a partition, its first offset and a number of records. ``there`` is the end of each partition; all
    begin at 0.
    """
    ends = dict.fromkeys(there, 0)
    for partition, start, count in sorted(map(tuple, pieces)):
        end = ends.get(partition)
        if start != end:
            missed = end is None or start > end
            raise RuntimeError(f"{'missed' if missed else 'repeated'} in partition {partition}: {end} to {start}")
        ends[partition] = start + count
    wrong = {partition: (end, there[partition]) for partition, end in ends.items() if end != there[partition]}
    if wrong:
        raise RuntimeError(f"handled up to, and there are, by partition: {wrong}")


def _serve(
    host: Sidecar, number: int, settings: Mapping[str, object], module: str, arguments: Sequence[str]
) -> "subprocess.Popen[bytes]":
    files = {name: str(host.folder / f"{name}-{number}") for name in ("warmed", "result")}
    return host.serve_with({**settings, **files, "process": number}, module, arguments)


def wait_until_committed(host: Sidecar, there: Mapping[int, int], partitions: int) -> None:
    """Check that all counted records are committed, in each partition."""
    deadline = time.monotonic() + 10
    while True:
        found = _committed(host.status())
        if found == there and len(found) == partitions:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"committed {found} of {there}")
        time.sleep(0.05)


def _committed(status: admin_pb2.Lambda) -> dict[int, int]:
    """By partition; a partition with lanes has a row for each."""
    found: dict[int, int] = {}
    for row in status.partitions:
        found[row.partition] = min(row.committed, found.get(row.partition, row.committed))
    return found
