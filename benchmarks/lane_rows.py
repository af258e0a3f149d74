"""The rows of `benchmarks.lanes`."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks import lanes
from benchmarks.row import CPU, Comparison, Figures, Options, Row, is_there
from benchmarks.traffic import fill
from tests.servers.topics import delete_topic

LANES, PROCESSES = (1, 8, 64), (1, 2, 4)
THREADS = (8, 64)
"""The threads of Confluent's Parallel Consumer."""

_DOES = {"await": "awaits", "block": "blocks its process for"}


def rows(broker: str, options: Options) -> Iterator[Row]:
    """Yield them one after the other; continue when a row was run."""
    for kind in lanes.WAITING:
        contestants, totals = _working(broker, kind)
        for total in totals:
            fill(broker, _topic(total), 1, total, key=lanes.key)
        base = next(iter(contestants))
        yield Row(
            f"lanes: {kind}",
            f"one partition, {lanes.KEYS:,} keys, a handler that {_DOES[kind]} {lanes.WORK_S * 1000:.0f} ms; the lane"
            " with most of the keys decides when all records are handled",
            contestants,
            [Comparison(who, base) for who in contestants if who != base],
            rounds=1,
        )
        for total in totals:
            delete_topic(broker, _topic(total))
    yield _slow_key(broker)
    fill(broker, "laned", 8, options.records)
    run = partial(lanes.counting, broker, "laned", options.records, 8)
    yield Row(
        "lanes: counting",
        f"{options.records:,} records of 100 bytes with keys, 8 partitions, a handler that checkpoints each",
        {"1 lane": partial(run, 1), "8 lanes": partial(run, 8)},
        [Comparison("8 lanes", "1 lane", drawn="8 lanes ÷ 1, full speed"), Comparison("8 lanes", "1 lane", CPU)],
    )
    delete_topic(broker, "laned")


def _working(broker: str, kind: lanes.Kind) -> tuple[dict[str, Callable[[], Figures]], set[int]]:
    """The contestants of a kind of handler, and the numbers of records in the topics that they read."""
    contestants: dict[str, Callable[[], Figures]] = {}
    totals = set()
    for number, processes in itertools.product(LANES, PROCESSES):
        total = lanes.records(kind, number, processes)
        who = f"{number} lane{'s' * (number > 1)}, {processes} process{'es' * (processes > 1)}"
        contestants[who] = partial(lanes.working, broker, _topic(total), total, kind, number, processes)
        totals.add(total)
    # A handler that blocks one of its threads is the same to it, so it is in one of the two rows.
    for threads in THREADS if kind == "await" and is_there("parallel-consumer") else ():
        total = lanes.records(kind, threads, 1)
        who = f"Parallel Consumer, {threads} threads"
        contestants[who] = partial(lanes.parallel_consumer, broker, _topic(total), total, threads)
        totals.add(total)
    return contestants, totals


def _topic(total: int) -> str:
    return f"lanes-{total}"


def _slow_key(broker: str) -> Row:
    contestants: dict[str, Callable[[], Figures]] = {}
    for number in LANES:
        run = partial(lanes.beside_a_slow_key, broker, number)
        contestants[f"free, lanes: {number}"] = partial(run, slow=False)
        contestants[f"slow, lanes: {number}"] = partial(run, slow=True)
    return Row(
        "lanes: slow key",
        f"one partition, {lanes.SLOW_RATE:,} records/s of {lanes.KEYS:,} keys, one of which takes"
        f" {lanes.SLOW_S:.0f} s; records/s of the other keys in this time",
        contestants,
        [Comparison(f"slow, lanes: {number}", f"free, lanes: {number}") for number in LANES],
        rounds=1,
    )
