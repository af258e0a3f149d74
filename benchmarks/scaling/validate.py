"""Fleets on real Kafka, beside what the simulation says of them: two sidecars with two lambda processes each.

- The time to handle a backlog. The handler takes a millisecond without using the CPU, so that other work of the
  machine changes little.
- The CPU time of all processes at a steady rate; and that of a single sidecar with one process.

The rates of partitions follow Zipf's law. The simulation gets the real assignment of partitions to processes, since
that decides which process has the hot ones.
"""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from confluent_kafka import Producer

from benchmarks.processes import Sidecar, sidecar
from benchmarks.scaling.costs import Costs
from benchmarks.scaling.fleet import Fleet, Place, simulate
from benchmarks.scaling.measure import checkpoints, serve, wait
from benchmarks.scaling.scenarios import usage
from benchmarks.traffic import VALUE, Scattered
from sdk_python.protocol import admin_pb2
from tests.servers.topics import create_topic, delete_topic

BACKLOG = 60_000
DRAINED = Fleet(partitions=64, rate=0, skew=0.8, handler_us=1000, sidecars=2, processes=2)
STEADY = Fleet(partitions=128, rate=3_000, skew=0.8, handler_us=0, sidecars=2, processes=2)
SECONDS = 15.0

Pair = dict[str, float]


def validate(broker: str, costs: Costs) -> dict[str, Pair]:
    """Each comparison by its name, with the keys ``simulated`` and ``measured``."""
    alone = replace(STEADY, sidecars=1, processes=1)
    return {
        f"seconds for a backlog of {BACKLOG:,} records of 1 ms": _drained(broker, costs),
        f"cores of one sidecar with one process, {STEADY.rate:,.0f} records/s": _steady(broker, alone, costs),
        f"cores of two sidecars with two processes each, {STEADY.rate:,.0f} records/s": _steady(
            broker, STEADY, costs
        ),
    }


def _drained(broker: str, costs: Costs) -> Pair:
    """The clock starts when the backlog is written; what is handled by then is no part of it."""
    wanted = [round(rate) for rate in replace(DRAINED, rate=BACKLOG).rates()]
    with _running(broker, DRAINED) as (topic, hosts):
        places = _places(hosts)
        _write(broker, topic, wanted)
        began = time.monotonic()
        done = _checkpoints(hosts)
        wait(lambda: sum(_checkpoints(hosts).values()) == sum(wanted), "the backlog is handled", every=0.1)
        took = time.monotonic() - began
    left = [number - done.get(partition, 0) for partition, number in enumerate(wanted)]
    lag = simulate(DRAINED, costs, 600, places=places, backlog=left)
    return {"simulated": 1 + sum(records > 0 for records in lag.records), "measured": took}


def _steady(broker: str, fleet: Fleet, costs: Costs) -> Pair:
    with _running(broker, fleet) as (topic, hosts), Scattered(broker, topic, fleet.rates(), fleet.rate) as traffic:
        wait(lambda: traffic.unwritten < fleet.rate / 10, "the broker keeps up", every=0.5)
        time.sleep(3)
        places = _places(hosts)
        before, began, sent = _cpu(hosts), time.monotonic(), _sent(hosts)
        time.sleep(SECONDS)
        took = time.monotonic() - began
        cores, rate = (_cpu(hosts) - before) / took, (_sent(hosts) - sent) / took
    simulated = usage(replace(fleet, rate=rate), costs, places)
    return {"simulated": sum(simulated.sidecars.values()) + sum(simulated.processes.values()), "measured": cores}


@contextmanager
def _running(broker: str, fleet: Fleet) -> Iterator[tuple[str, Sequence[Sidecar]]]:
    """Start it with a topic of its own, and wait until each process has its share of the partitions."""
    topic, group = (f"fleet-{uuid.uuid4().hex[:8]}" for _ in range(2))
    create_topic(broker, topic, fleet.partitions)
    with ExitStack() as stack:
        hosts = [stack.enter_context(sidecar(broker, [topic], {}, group=group)) for _ in range(fleet.sidecars)]
        for host in hosts:
            for _ in range(fleet.processes):
                serve(host, served_us=fleet.handler_us)
        share = fleet.partitions // fleet.sidecars // fleet.processes
        wait(
            lambda: (
                all(
                    process.partitions == share
                    for host in hosts
                    if (status := host.status()).partitions
                    for process in status.processes
                )
                and sum(
                    p.state == admin_pb2.PARTITION_STATE_RUNNING for host in hosts for p in host.status().partitions
                )
                == fleet.partitions
            ),
            "each process has its share",
            every=0.2,
        )
        yield topic, hosts
    delete_topic(broker, topic)


def _places(hosts: Sequence[Sidecar]) -> list[Place]:
    found: dict[int, Place] = {}
    for number, host in enumerate(hosts):
        status = host.status()
        processes = [process.process_id for process in status.processes]
        found |= {p.partition: (number, processes.index(p.process_id)) for p in status.partitions}
    return [found[partition] for partition in sorted(found)]


def _checkpoints(hosts: Sequence[Sidecar]) -> Mapping[int, int]:
    return {partition: done for host in hosts for partition, done in checkpoints(host.status()).items()}


def _cpu(hosts: Sequence[Sidecar]) -> float:
    return sum(host.cpu_seconds() for host in hosts)


def _sent(hosts: Sequence[Sidecar]) -> int:
    return sum(host.status().records_sent for host in hosts)


def _write(broker: str, topic: str, wanted: Sequence[int]) -> None:
    producer = Producer({"bootstrap.servers": broker, "queue.buffering.max.messages": sum(wanted)})
    for partition, number in enumerate(wanted):
        for _ in range(number):
            producer.produce(topic, VALUE, b"key", partition)
    producer.flush()
