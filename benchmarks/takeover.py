"""Time from the death of a lambda process to the next handled message of each of its partitions, in another process.

There are two processes: one has all partitions, the other waits. The first is killed, the second takes over, a fresh
one waits in its place, and so on. Each kill moves all partitions, one after the other, since a process has one spare
stream.
"""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.processes import Sidecar, memory_mb, sidecar
from benchmarks.traffic import Steady
from sdk_python import IContext, Message
from tests.servers.topics import create_topic

PARTITIONS = 8
RATE = 1_000

Figures = dict[str, float]


def run(broker: str, kills: int) -> Figures:
    """Kill this many times. Raises ``RuntimeError`` when the group notices a kill, or a partition does not continue.

    Returns seconds, over all partitions of all kills: the median, the 99th percentile, the longest; and the median
    and the longest of the first partition of each kill, which is the time to notice the death.
    """
    topic = f"takeover-{uuid.uuid4().hex[:8]}"
    create_topic(broker, topic, PARTITIONS)
    taken: list[list[float]] = []
    with sidecar(broker, [topic], {}) as host, Steady(broker, topic, range(PARTITIONS), RATE):
        log = host.folder / "first"
        holder = _started(host, log)
        _first_messages(log, holder)
        most_mb = 0.0
        for _ in range(kills):
            heir = _started(host, log)
            three = (host.process, holder, heir)
            most_mb = max(most_mb, sum(memory_mb(process.pid, "VmHWM") for process in three))
            killed = time.monotonic()
            holder.kill()
            taken.append([at - killed for at in _first_messages(log, heir)])
            holder.wait()
            holder = heir
        rebalances = _rebalances(host)
    if rebalances:
        raise RuntimeError(f"the group has rebalanced {rebalances} times")
    every = sorted(seconds for one in taken for seconds in one)
    first = sorted(map(min, taken))
    return {
        "p50_s": median(every),
        "p99_s": every[len(every) * 99 // 100],
        "max_s": every[-1],
        "first_p50_s": median(first),
        "first_max_s": first[-1],
        "memory_mb": most_mb,
        "kills": kills,
        "takeovers": len(every),
        "rebalances": rebalances,
    }


def _started(host: Sidecar, log: Path) -> "subprocess.Popen[bytes]":
    """A process that could take a partition."""
    process = host.serve_with({"log": str(log)}, "benchmarks.takeover")
    deadline = time.monotonic() + 30
    while not any(one.pid == process.pid and (one.spare or one.partitions) for one in host.status().processes):
        if time.monotonic() > deadline:
            raise RuntimeError("a lambda process does not offer")
        time.sleep(0.02)
    return process


def _first_messages(log: Path, process: "subprocess.Popen[bytes]") -> list[float]:
    """The times of its first message of each partition; waits until it has all partitions."""
    deadline = time.monotonic() + 30
    while True:
        lines = [json.loads(line) for line in log.read_bytes().splitlines()]
        first = {line["partition"]: float(line["at"]) for line in lines if line["pid"] == process.pid}
        if len(first) == PARTITIONS:
            return [*first.values()]
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(first)} of {PARTITIONS} partitions go on after half a minute")
        time.sleep(0.02)


def _rebalances(host: Sidecar) -> int:
    """How often Kafka moved partitions, without the assignment at the start."""
    lines = (host.folder / "sidecar.log").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines if line.startswith("{")]
    return sum(event in {"partitions assigned", "partitions revoked", "partitions lost"} for event in events) - 1


class _Lambda:
    """Notes the time of its first message, and checkpoints every message."""

    def __init__(self, log: int, context: IContext) -> None:
        self._log = log
        self._context = context
        self._told = False

    def handler(self, message: Message) -> None:
        if not self._told:
            self._told = True
            line = {"partition": message.partition, "at": time.monotonic(), "pid": os.getpid()}
            os.write(self._log, json.dumps(line).encode() + b"\n")
        self._context.checkpoint(message.offset)


class _Factory:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self._log = os.open(config["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def create(self, _: Mapping[str, Any], context: IContext) -> _Lambda:
        return _Lambda(self._log, context)

    async def dispose(self) -> None:
        os.close(self._log)


class _Plugin:
    async def create(self, config: Mapping[str, Any]) -> _Factory:
        return _Factory(config)


plugin = _Plugin()
