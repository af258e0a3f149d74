"""A lambda that never checkpoints, with millions of records waiting.

With one such partition: what it does to the others. With all: how much memory it takes, and whether that grows.
"""

import time
import uuid
from typing import Any

from benchmarks.processes import memory_mb, sidecar
from benchmarks.traffic import fill, offer
from sdk_python.protocol import admin_pb2

PARTITIONS = 8
RATE = 40_000
SECONDS = 10.0

STANDING = 64
STANDS = 20.0
"""How many partitions are stuck, and for how many seconds they are watched."""

Figures = dict[str, float]


def run(broker: str, waiting: int) -> Figures:
    """Partition 0 is stuck with ``waiting`` records (0: it is empty); the others get a fixed rate.

    Returns records per second on the others, from the first offered record to the last checkpointed one, and the
    sidecar's highest memory in MB.
    """
    topic = f"pressure-{uuid.uuid4().hex[:8]}"
    fill(broker, topic, PARTITIONS, waiting, only=0)
    with sidecar(broker, [topic], {"stuck": 0}) as host:
        host.serve_with({}, "benchmarks.stuck")
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
        host.end_lambdas()
    return figures


def standing(broker: str, topic: str) -> Figures:
    """All `STANDING` partitions of ``topic`` are stuck.

    Returns the sidecar's highest memory in MB, and its growth while nothing moved any more.
    """
    with sidecar(broker, [topic], {"stuck": "all"}) as host:
        host.serve_with({}, "benchmarks.stuck")
        host.wait_until_running(STANDING)
        began = time.perf_counter()
        while not all(p.HasField("blocked_since_ms") for p in host.status().partitions):
            if time.perf_counter() - began > 10 * SECONDS:
                raise RuntimeError(f"the partitions are not stuck: {host.status()}")
            time.sleep(0.05)
        before, used = memory_mb(host.process.pid, "VmRSS"), host.cpu_seconds()
        time.sleep(STANDS)
        figures = {
            "records": host.status().records_sent,
            "grown_mb": memory_mb(host.process.pid, "VmRSS") - before,
            "cpu_seconds_per_hour": (host.cpu_seconds() - used) / STANDS * 3600,
            **host.memory_mb(),
        }
        host.end_lambdas()
    return figures


def _handled(status: admin_pb2.Lambda) -> int:
    return sum(p.checkpoint + 1 for p in status.partitions if p.partition and p.HasField("checkpoint"))


def _must_be_stuck(status: admin_pb2.Lambda) -> None:
    stuck: Any = next(p for p in status.partitions if p.partition == 0)
    if stuck.HasField("checkpoint") or not stuck.HasField("blocked_since_ms"):
        raise RuntimeError(f"partition 0 is not stuck: {stuck}")
