"""Time from a record's production to the handler, at a fixed rate: a bare poll loop, and the whole path.

python -m benchmarks.latency ADDRESS TOPIC TOTAL      the bare loop, as a process of its own
"""

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from statistics import median
from typing import Any, Self

from confluent_kafka import Consumer

from benchmarks.counting import note
from benchmarks.processes import ROOT, cpu_seconds, memory_mb, sidecar, wait_for_result
from benchmarks.traffic import offer
from sdk_python import IContext, Message
from tests.servers.topics import create_topic

WARM = 0.2
"""This part of the records, at the beginning, is not counted."""

Figures = dict[str, float]


def bare(broker: str, partitions: int, rate: int, seconds: float) -> Figures:
    """One run of the bare loop; milliseconds."""
    topic = f"latency-{uuid.uuid4().hex[:8]}"
    create_topic(broker, topic, partitions)
    total = int(rate * seconds)
    with Reader(broker, topic, total) as reader:
        before = cpu_seconds(reader.pid)
        offer(broker, topic, range(partitions), rate, seconds)
        delays = reader.delays()
        return {
            **quantiles(delays),
            "records": len(delays),
            "cpu_seconds_per_million": (cpu_seconds(reader.pid) - before) / total * 1e6,
            "memory_mb": memory_mb(reader.pid, "VmHWM"),
        }


class Reader:
    """The bare loop, as a process that reads ``total`` records of a topic, as a reader with `read_committed`."""

    def __init__(self, broker: str, topic: str, total: int) -> None:
        """Returns when it has its partitions."""
        command = [sys.executable, "-m", "benchmarks.latency", broker, topic, str(total)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self._process.pid
        self._line()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """It waits until its input is closed, so that its CPU time and memory can be read until now."""
        with self._process:
            if self._process.stdin is not None:
                self._process.stdin.close()
            if sys.exc_info()[0] is not None:
                self._process.kill()

    def delays(self) -> list[int]:
        """Nanoseconds from the production of each record until it was read. Returns when all are read."""
        delays: list[int] = json.loads(self._line())
        return delays

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def path(broker: str, partitions: int, rate: int, seconds: float) -> Figures:
    """One run of the whole path; milliseconds."""
    topic = f"latency-{uuid.uuid4().hex[:8]}"
    create_topic(broker, topic, partitions)
    total = int(rate * seconds)
    with sidecar(broker, [topic], {}) as host:
        result = host.folder / "result.json"
        process = host.serve_with({"total": total, "result": str(result)}, "benchmarks.latency")
        host.wait_until_running(partitions)
        before = host.cpu_seconds()
        offer(broker, topic, range(partitions), rate, seconds)
        delays = wait_for_result(result, process)["delays"]
        figures = {
            **quantiles(delays),
            "records": len(delays),
            "cpu_seconds_per_million": (host.cpu_seconds() - before) / total * 1e6,
            **host.memory_mb(),
        }
        host.end_lambdas()
    return figures


def quantiles(delays_ns: list[int]) -> Figures:
    """The median and the 99th percentile, in milliseconds, without the warm-up."""
    counted = sorted(delays_ns[int(len(delays_ns) * WARM) :])
    return {"p50_ms": median(counted) / 1e6, "p99_ms": counted[len(counted) * 99 // 100] / 1e6}


class _Factory:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self._delays: list[int] = []
        self._total = int(config["total"])
        self._config = config

    async def create(self, _: Mapping[str, Any], context: IContext) -> "_Lambda":
        return _Lambda(self, context)

    async def dispose(self) -> None:
        """Nothing to close."""

    def seen(self, delay: int) -> None:
        self._delays.append(delay)
        if len(self._delays) == self._total:
            note(self._config, "result", {"delays": self._delays})


class _Lambda:
    def __init__(self, factory: _Factory, context: IContext) -> None:
        self._factory = factory
        self._context = context

    def handler(self, message: Message) -> None:
        self._factory.seen(time.time_ns() - int((message.value or b"").split(b" ", 1)[0]))
        self._context.checkpoint(message.offset)


class _Plugin:
    async def create(self, config: Mapping[str, Any]) -> _Factory:
        return _Factory(config)


plugin = _Plugin()


def _bare_process(address: str, topic: str, total: int) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": f"bare-{uuid.uuid4().hex}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic], on_assign=lambda *_: print("assigned", flush=True))
    delays: list[int] = []
    while len(delays) < total:
        message = consumer.poll(0.1)
        if message is not None:
            delays.append(time.time_ns() - int((message.value() or b"").split(b" ", 1)[0]))
    print(json.dumps(delays), flush=True)
    sys.stdin.read()  # until the runner has read the figures
    consumer.close()


if __name__ == "__main__":
    _bare_process(sys.argv[1], sys.argv[2], int(sys.argv[3]))
