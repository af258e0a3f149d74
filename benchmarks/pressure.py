"""A lambda that never checkpoints, with millions of records waiting: memory, and what it does to the others."""

import time
import uuid
from typing import Any

from benchmarks.processes import sidecar
from benchmarks.traffic import fill, offer
from sdk_python.protocol import admin_pb2

PARTITIONS = 8
RATE = 40_000
SECONDS = 10.0

Figures = dict[str, float]


def run(broker: str, waiting: int) -> Figures:
    """Partition 0 is stuck with ``waiting`` records (0: it is empty); the others get a fixed rate.

    Returns records per second on the others, from the first that was offered to the last that was checkpointed, and
    the sidecar's memory in MB at its highest.
    """
    topic = f"pressure-{uuid.uuid4().hex[:8]}"
    fill(broker, topic, PARTITIONS, waiting, only=0)
    with sidecar(broker, [topic], {"stuck": 0}) as host:
        process = host.serve_with({}, "benchmarks.stuck")
        host.wait_until_running(PARTITIONS)
        began, before = time.perf_counter(), host.cpu_seconds()
        offered = offer(broker, topic, range(1, PARTITIONS), RATE, SECONDS)
        while _handled(host.status()) < offered:
            if time.perf_counter() - began > 10 * SECONDS:
                raise RuntimeError("what was offered is not handled")
            time.sleep(0.005)
        figures = {
            "records": offered,
            "records_per_second": offered / (time.perf_counter() - began),
            "cpu_seconds_per_million": (host.cpu_seconds() - before) / offered * 1e6,
        }
        if waiting:
            _must_be_stuck(host.status())
        figures |= host.memory_mb()
        process.terminate()
        if process.wait(30) != 0:
            raise RuntimeError("the lambda process failed")
    return figures


def _handled(status: admin_pb2.Lambda) -> int:
    return sum(p.checkpoint + 1 for p in status.partitions if p.partition and p.HasField("checkpoint"))


def _must_be_stuck(status: admin_pb2.Lambda) -> None:
    stuck: Any = next(p for p in status.partitions if p.partition == 0)
    if stuck.HasField("checkpoint") or not stuck.HasField("blocked_since_ms"):
        raise RuntimeError(f"partition 0 is not stuck: {stuck}")
