"""Lanes: key order with more concurrency than partitions, for handlers that wait, that block, or that do neither.

As a plugin: a handler that takes `WORK_S` for each record, awaited or blocking its process, and checkpoints it then.
Settings as for `benchmarks.counting`, and ``work`` (`await`, `block`, or `none`), ``slow`` (a key whose records take
``slow_s`` seconds instead; they are not counted).
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Literal

from benchmarks import scores, throughput
from benchmarks.clock import Clock
from benchmarks.counting import LOOK, note
from benchmarks.peers.catalogue import PEERS, java_command
from benchmarks.peers.measure import Program, Work, measure
from benchmarks.processes import sidecar
from benchmarks.scores import Scores
from benchmarks.traffic import offer
from sdk_python import IContext, Message
from tests.servers.topics import create_topic

KEYS = 1_000
WORK_S = 0.010
SECONDS = 5.0
"""For how long a run of `working` lasts if the keys are spread evenly over the lanes."""
SLOW = b"key-0"
SLOW_S = 60.0
SLOW_RATE = 2_000

Kind = Literal["await", "block", "none"]
WAITING: Sequence[Kind] = ("await", "block")
Figures = dict[str, float]


def key(number: int) -> bytes:
    """The keys in turn."""
    return b"key-%d" % (number % KEYS)


def records(kind: Kind, lanes: int, processes: int) -> int:
    """How many records a run of `working` gets: as many as the handlers can do in `SECONDS`, and a third more before
    the clock starts."""
    at_once = lanes if kind == "await" else min(lanes, processes)
    return int(at_once / WORK_S * SECONDS * 4 / 3)


def working(broker: str, topic: str, total: int, kind: Kind, lanes: int, processes: int) -> Figures:
    """One run with a topic of one partition, over this many processes.

    Raises ``RuntimeError`` when not all records were handled and committed, or some not in the order of their key.
    """
    return _measured(broker, topic, total, 1, kind, lanes, processes)


def counting(broker: str, topic: str, total: int, partitions: int, lanes: int) -> Figures:
    """One run with a handler that counts and checkpoints each record. Raises as `working`."""
    return _measured(broker, topic, total, partitions, "none", lanes, 1)


def _measured(
    broker: str, topic: str, total: int, partitions: int, kind: Kind, lanes: int, processes: int
) -> Figures:
    figures, _ = throughput.measure(
        broker, topic, total, partitions, __name__, {"work": kind}, processes=processes, lanes=lanes
    )
    return figures


def parallel_consumer(broker: str, topic: str, total: int, threads: int) -> Figures:
    """One run of Confluent's Parallel Consumer in one process: each record waits `WORK_S` in one of these threads.

    Raises ``RuntimeError`` as `working`, and ``NotToBeHadError`` when it cannot be built.
    """
    classes = PEERS["parallel-consumer"].prepare()
    work = Work(broker, topic, f"parallel-consumer-{uuid.uuid4().hex}", total)
    command = [*java_command(classes), *work.arguments(), str(threads), str(int(WORK_S * 1000))]
    return measure(Program(command), work)


def beside_a_slow_key(broker: str, lanes: int, *, slow: bool) -> Figures:
    """`SLOW_RATE` records a second of `KEYS` keys on one partition for `SLOW_S` seconds, handled by one process. If
    ``slow``, the first record of one key takes all this time. The figure is the rate of the other keys' records.

    Raises ``RuntimeError`` when the records could not be written at that rate.
    """
    topic = f"slow-{uuid.uuid4().hex[:8]}"
    create_topic(broker, topic, 1)
    with sidecar(broker, [topic], {}, operate="", program="sidecar", **throughput.with_lanes(lanes)) as host:
        file = scores.fresh(host.folder / "scores", 1)
        settings = {"total": 2**62, "warm": 0, "lambdas": lanes, "work": "none", "slow_s": SLOW_S if slow else 0.0}
        shared = {"scores": str(file), "process": 0, "processes": 1, "slow": SLOW.decode()}
        host.serve_with({**settings, **shared, "warmed": str(host.folder / "warmed")}, __name__)
        host.wait_until_running(lanes)
        began, before = time.perf_counter(), host.cpu_seconds()
        offered = offer(broker, topic, [0], SLOW_RATE, SLOW_S, key=key)
        handled, _ = Scores(file, 0, 1).all()
        seconds, cpu = time.perf_counter() - began, host.cpu_seconds() - before
        memory = host.memory_mb()
    return {
        "records": offered,
        "records_per_second": handled / seconds,
        "cpu_seconds_per_million": cpu / max(handled, 1) * 1e6,
        **memory,
    }


class _Lambda:
    """One lane's. Its records are those of some keys, each in order; a gap in its offsets means nothing."""

    def __init__(self, context: IContext, factory: "_Factory") -> None:
        self._context = context
        self._factory = factory
        self._last: dict[bytes, int] = {}
        self.handler: Callable[[Message], Coroutine[Any, Any, None] | None] = {
            "await": self._awaited,
            "block": self._blocked,
            "none": self._counted,
        }[factory.kind]

    async def _awaited(self, message: Message) -> None:
        await asyncio.sleep(WORK_S)
        self._done(message)

    def _blocked(self, message: Message) -> None:
        time.sleep(WORK_S)
        self._done(message)

    def _counted(self, message: Message) -> Coroutine[Any, Any, None] | None:
        if message.key == self._factory.slow:
            return self._slowly(message)
        self._factory.count += 1
        self._context.checkpoint(message.offset)
        return None

    async def _slowly(self, message: Message) -> None:
        await asyncio.sleep(self._factory.slow_s)
        self._context.checkpoint(message.offset)

    def _done(self, message: Message) -> None:
        assert message.key is not None
        if self._last.get(message.key, -1) >= message.offset:
            self._factory.strange = f"{message.key!r} out of order or twice: {message.offset}"
        self._last[message.key] = message.offset
        self._factory.count += 1
        self._context.checkpoint(message.offset)


class _Factory:
    def __init__(self, config: Mapping[str, Any], shared: Scores) -> None:
        self.count = 0
        self.strange = ""
        self.kind: Kind = config["work"]
        self.slow = str(config.get("slow", "")).encode() or None
        self.slow_s = float(config.get("slow_s", 0))
        self._lambdas = 0
        self._config = config
        self._scores = shared
        self._watch = asyncio.ensure_future(self._report())

    async def create(self, _: Mapping[str, Any], context: IContext) -> _Lambda:
        self._lambdas += 1
        return _Lambda(context, self)

    async def dispose(self) -> None:
        self._scores.close()

    async def _report(self) -> None:
        clock = Clock(int(self._config["warm"]), int(self._config["lambdas"]))
        total, count = int(self._config["total"]), 0
        while count < total:
            await asyncio.sleep(LOOK)
            self._scores.put(self.count, self._lambdas)
            count, lambdas = self._scores.all()
            if clock.look(time.perf_counter(), count, lambdas):
                note(self._config, "warmed")
        strange = {"strange": self.strange} if self.strange else {}
        note(self._config, "result", {**clock.result(time.perf_counter(), count), **strange})


async def create(config: Mapping[str, Any]) -> _Factory:
    """The plugin is this module."""
    return _Factory(config, Scores.of(config))
