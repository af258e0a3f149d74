"""Hostile clients: whatever they do, another lambda keeps its rate, and the sidecar does not grow."""

from __future__ import annotations

import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from sdk_python.protocol import lambda_pb2 as pb
from tests.integration.hand_client import hand_client
from tests.integration.harness import NAME, PATIENCE, Broker, Program, Sidecar, Stage, wait_for
from tests.integration.hostile.attacker import TAKE_SLOTS
from tests.integration.hostile.counter import NUMBER
from tests.servers.topics import Record, create_topic, produce

pytestmark = pytest.mark.alone

RECORDS_PER_S = 5_000
"""Records a second for the good lambda: a small part of what it could handle."""

WINDOW = 5.0
"""Seconds for which an attack is measured."""

MIN_RATIO = 0.95
"""The share of its records that the good lambda must handle in that time."""

MAX_GROWTH_BYTES = 80 * 1024 * 1024
"""By this much the sidecar's memory may grow: its allocator keeps up to 64 MiB (`sidecar/tuning.py`)."""

MAX_LINES = 300
"""Of the sidecar's log for one attack."""

PARTITIONS = 2
PARTITIONS_OF_SECOND = 8
"""Of the attackers' own lambda: each partition that they give up backs off."""


class SteadyTraffic:
    """Produces records at a fixed rate in a thread of its own; a context manager."""

    def __init__(self, broker: str, topic: str) -> None:
        self.offered = 0
        self._producer = Producer({"bootstrap.servers": broker, "linger.ms": 20, "log.connection.close": False})
        self._topic = topic
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steady traffic")

    def __enter__(self) -> SteadyTraffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        begin = time.monotonic()
        while not self._stop.wait(0.005):
            due = int((time.monotonic() - begin) * RECORDS_PER_S)
            for number in range(self.offered, due):
                self._producer.produce(self._topic, b"x" * 100, partition=number % PARTITIONS)
            self.offered = due
            self._producer.poll(0)
        assert self._producer.flush(PATIENCE) == 0


@dataclass
class Attacked:
    """The measurements of one attack."""

    ratio: float
    growth: int
    statuses: dict[str, int]
    texts: list[str]


@dataclass
class Arena:
    """A sidecar with a good lambda under steady load, at an address that attackers can dial."""

    stage: Stage
    sidecar: Sidecar
    traffic: SteadyTraffic
    count: Path

    def handled(self) -> int:
        """The number of records that the good lambda has handled."""
        (number,) = NUMBER.unpack(self.count.read_bytes())
        return int(number)

    def keeps_up(self) -> bool:
        """Whether the good lambda lags by a tenth of a second at most."""
        return self.handled() > self.traffic.offered - RECORDS_PER_S / 10

    def memory(self) -> int:
        """The sidecar's resident memory in bytes."""
        guard = self.sidecar._process.pid
        (pid,) = Path(f"/proc/{guard}/task/{guard}/children").read_text().split()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * 4096

    def attacked(self, kind: str) -> Attacked:
        """Attack for ``WINDOW`` seconds and measure the good lambda meanwhile.

        If the attack could keep others out, a new process must get a partition meanwhile.
        """
        wait_for(self.keeps_up, lambda: f"the good lambda to keep up: {self.handled()} of {self.traffic.offered}")
        before = self.memory()
        attacker = self._attacker(kind)
        ratio = self._ratio(WINDOW, self.serves if kind in TAKE_SLOTS else None)
        growth = self.memory() - before
        attacker.wait_for_log("report")
        report = attacker.log("report")[0]
        attacker.ended()
        return Attacked(ratio, growth, report["statuses"], report["texts"])

    def ratio_beside_work(self) -> float:
        """The same ratio with a harmless busy process instead of an attack: this machine's capacity now."""
        wait_for(self.keeps_up, lambda: f"the good lambda to keep up: {self.handled()} of {self.traffic.offered}")
        worker = self.stage.program("work", [sys.executable, "-c", "while True: pass"])
        try:
            return min(1.0, self._ratio(WINDOW))
        finally:
            worker.kill()

    def _ratio(self, seconds: float, meanwhile: Callable[[], None] | None = None) -> float:
        """The share of the records of the next ``seconds`` that the good lambda has handled at their end."""
        before, end = self.traffic.offered, time.monotonic() + seconds
        if meanwhile is not None:
            meanwhile()
        time.sleep(max(0.0, end - time.monotonic()))
        offered, handled = self.traffic.offered, self.handled()
        return (handled - before) / (offered - before)

    def _attacker(self, kind: str) -> Program:
        module = "tests.integration.hostile.attacker"
        command = [sys.executable, "-m", module, kind, self.sidecar.address, str(WINDOW + 0.5)]
        attacker = self.stage.program(kind, command)
        attacker.wait_for_log("attacking", timeout=2 * PATIENCE)
        return attacker

    def serves(self) -> None:
        """Check that a new, honest process can offer, get a partition, and give it back."""
        with hand_client(self.sidecar.address) as honest:
            honest.offer("second")
            honest.take()
            honest.close(pb.CLOSED_REASON_STOPPED)


@pytest.fixture(scope="module")
def hostile_stage(embedded: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(embedded, tmp_path_factory.mktemp("hostile"), f"hostile-{uuid.uuid4().hex[:6]}")
    try:
        yield stage
    finally:
        stage.close()


@pytest.fixture(scope="module")
def arena(hostile_stage: Stage) -> Iterator[Arena]:
    """One arena for all attacks: each begins when the good lambda keeps up."""
    stage = hostile_stage
    stage.create_topic(PARTITIONS)
    other = f"{stage.topic}-second"
    create_topic(stage.broker.address, other, PARTITIONS_OF_SECOND)
    produce(
        stage.broker.address,
        other,
        [Record(value=b"y" * 10_000, partition=n % PARTITIONS_OF_SECOND) for n in range(2_000)],
    )
    config: dict[str, Any] = stage.config()
    config["server"]["listen"] = "127.0.0.1:0"
    config["lambdas"]["second"] = {
        "topic": other,
        "group": f"{stage.group}-second",
        "window": {"bytes": "1MiB"},
        "frame": {"bytes": "100KiB"},
    }
    count = stage.folder / "count"
    count.write_bytes(NUMBER.pack(0))
    sidecar = stage.sidecar(config)
    sidecar.address = sidecar.wait_for_log("listening for lambdas")["address"]
    stage.process(sidecar, "good", module="tests.integration.hostile.counter", count=str(count))
    wait_for(
        lambda: [one for one in sidecar.lambda_status(NAME).partitions if one.process_id],
        "the good lambda to have its partitions",
    )
    with SteadyTraffic(stage.broker.address, stage.topic) as traffic:
        arena = Arena(stage, sidecar, traffic, count)
        arena.serves()  # the second lambda's consumer has allocated its memory
        yield arena
    wait_for(lambda: arena.handled() == traffic.offered, lambda: f"{arena.handled()} to become {traffic.offered}")
    assert sidecar.lambda_status(NAME).restarts == 0
    assert sidecar.terminate() == 0


REFUSED: dict[str, tuple[set[str], list[str]]] = {
    "noise": (
        {"INVALID_ARGUMENT"},
        [
            "LambdaFrame: 5000 bytes that are not this message",
            "ErrorRequest: 105 bytes",
            "CheckpointRequest: 105 bytes",
        ],
    ),
    "strangers": (
        {"NOT_FOUND", "FAILED_PRECONDITION", "INVALID_ARGUMENT"},
        [
            "offer.lambda_name: the sidecar's config has no lambda \"nobody's\"; it has: echo, second",
            "offer.protocol_version: 0 is too old",
            "offer.lambda_name: missing",
            "offer.lambda_version: longer than 256 bytes",
            "offer: out of order",
        ],
    ),
    "spares": (
        {"RESOURCE_EXHAUSTED"},
        ["offer.process_id: 4 streams of this process wait", "offer.lambda_name: 500 streams wait"],
    ),
    "come_and_go": ({"CANCELLED"}, []),
    "flood": ({"WRITTEN"}, []),
    "deaf": ({"PAUSED"}, []),
    "checkpoints": (
        {"INVALID_ARGUMENT", "CHECKPOINT_OUTCOME_STALE_LEASE", "CHECKPOINT_OUTCOME_BEYOND_DELIVERED"},
        ["entries[0].offset: -1 is negative", "entries: 20000, at most 10000"],
    ),
    "errors": ({"OK", "INVALID_ARGUMENT"}, ["action: 0 is none of RESTART, CRITICAL, REPORT"]),
    "huge": (
        {"RESOURCE_EXHAUSTED", "INVALID_ARGUMENT"},
        ["SERVER: Received message larger than max (16777216 vs. 1048576)", "offer.instance: longer than 256 bytes"],
    ),
    "silent": ({"RESOURCE_EXHAUSTED"}, ["offer: 32 streams of this connection have yet to make theirs"]),
    "withheld": ({"RESOURCE_EXHAUSTED"}, ["message: 1000 others wait too; this one, the oldest"]),
    "watches": (set(), []),  # begins when the first one had to end
    "idle": ({"HELD"}, []),
    "offers": ({"HELD"}, []),
}
"""The attacker's results by attack: its own counts, statuses and outcomes, and the beginnings of texts."""


@pytest.mark.parametrize("kind", [*REFUSED])
def test_an_attack_slows_no_other_lambda_and_fills_neither_memory_nor_log(arena: Arena, kind: str) -> None:
    shown = len(arena.sidecar.lines)
    seen, least = arena.attacked(kind), MIN_RATIO
    if seen.ratio < least:
        # The machine may have other work. A real effect of an attack repeats, and exceeds that of a harmless process.
        least *= arena.ratio_beside_work()
        seen = arena.attacked(kind)
    print(f"{kind}: {seen.ratio:.3f} of the offered rate, {seen.growth / 1e6:+.1f} MB, {seen.statuses} {seen.texts}")
    statuses, texts = REFUSED[kind]
    assert statuses <= {*seen.statuses}, seen
    for text in texts:
        assert any(one.startswith(text) for one in seen.texts), f"{text} is not among {seen.texts}"
    assert seen.ratio >= least, seen
    assert seen.growth <= MAX_GROWTH_BYTES, seen
    arena.serves()
    written = len(arena.sidecar.lines) - shown
    assert written < MAX_LINES, f"{written} lines of log"
