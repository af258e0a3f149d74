"""Records per second in each language: the SDK's no-op lambda, and that language's usual Kafka client in its process.

The lambda's program takes no part in the measurement: it counts and checkpoints each record. The clock is the sum of
the checkpoints that the sidecar knows, asked for each few milliseconds.
"""

import os
import subprocess
import time
import uuid
from collections.abc import Sequence

from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.measure import Work, measure
from benchmarks.processes import Sidecar, memory_mb, sidecar
from benchmarks.throughput import wait_until_committed
from tests.clients.languages import command
from tests.servers.topics import end_offsets

Figures = dict[str, float]

CLIENTS = {"python": "poll", "go": "franz-go", "typescript": "confluent-javascript", "java": "kafka-clients"}
"""The usual client of each language, as `benchmarks.peers` runs it."""
LOOK_S = 0.005
LONGEST_S = 300.0


class _Progress:
    """How many records are checkpointed."""

    def __init__(self, host: Sidecar, process: "subprocess.Popen[bytes]") -> None:
        self._host = host
        self._process = process
        self._deadline = time.monotonic() + LONGEST_S

    def until(self, records: int) -> tuple[int, float]:
        """Wait until so many are; return how many there are then, and when that was, in seconds."""
        while True:
            partitions = self._host.status().partitions
            now = time.perf_counter()
            # The topics begin at 0 and have no gaps.
            done = sum(p.checkpoint + 1 for p in partitions if p.HasField("checkpoint"))
            if done >= records:
                return done, now
            if self._process.poll() is not None:
                raise RuntimeError(f"the lambda process ended with {self._process.returncode}")
            if time.monotonic() > self._deadline:
                raise RuntimeError(f"{done} of {records} records are checkpointed after {LONGEST_S:.0f} s")
            time.sleep(LOOK_S)


def path(broker: str, topic: str, total: int, language: str) -> Figures:
    """One run of the sidecar with a lambda process in this language.

    ``whole_cpu`` counts from the start of the processes, in CPU seconds per million records; the other figures begin
    after a quarter of the records. Raises ``RuntimeError`` when not all records were checkpointed and committed.
    """
    with sidecar(broker, [topic], {}) as host:
        process = _start(host, [*command(language, "noop"), "bench"])
        progress = _Progress(host, process)
        first, began = progress.until(total // 4)
        before = host.cpu_seconds()
        if first == total:
            raise RuntimeError("too few records: all were handled when the clock started")
        done, ended = progress.until(total)
        whole = host.cpu_seconds()
        memory = memory_mb(process.pid, "VmHWM")
        there = end_offsets(broker, topic)
        if not done == total == sum(there.values()):
            raise RuntimeError(f"{done} records checkpointed, {total} produced, {sum(there.values())} are there")
        host.end_lambdas()
        wait_until_committed(host, there, len(there))
    return {
        "records": total,
        "records_per_second": (done - first) / (ended - began),
        "cpu_seconds_per_million": (whole - before) / (done - first) * 1e6,
        "whole_cpu": whole / total * 1e6,
        "lambda_mb": memory,
    }


def client(broker: str, topic: str, total: int, language: str) -> Figures:
    """One run of that language's usual Kafka client, in one process, with commits."""
    peer = PEERS[CLIENTS[language]]
    made = peer.prepare()
    work = Work(broker, topic, f"client-{uuid.uuid4().hex}", total)
    with peer.start(made, work) as program:
        return measure(program, work, counted_only=peer.counted_only, commits=peer.commits)


def _start(host: Sidecar, words: Sequence[str]) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "KAFKA_SIDECAR_ADDRESS": host.address}
    with (host.folder / "lambda.log").open("wb") as log:
        process = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
    host.lambdas.append(process)
    return process
