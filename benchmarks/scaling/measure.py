"""Measures on real Kafka what one costs: an idle partition, a record at several rates, a document, a new owner.

Costs are CPU time and memory of single processes, which other work of the machine changes little. Times until all
partitions run are wall time, and do depend on it.
"""

import json
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping

from benchmarks import router
from benchmarks.processes import Sidecar, cpu_seconds, memory_mb, sidecar
from benchmarks.traffic import Scattered, fill
from sdk_python.protocol import admin_pb2
from tests.servers.topics import create_topic, delete_topic

Point = dict[str, float]

SESSION_S = 6.0
"""`session.timeout.ms` of the sidecars that are killed, in seconds."""
_LONGEST_S = 120.0


def idle(broker: str, partitions: int, seconds: float = 15.0) -> Point:
    """A sidecar and a lambda process with this many partitions and no records, watched for ``seconds``.

    Returns their memory (MB) and CPU time (cores); how long it took from the start of the lambda process, and from
    its first partition, until all had a lambda, and the CPU time of both for that; and the same when the process is
    killed and a waiting one takes over (seconds).
    """
    topic = _topic(broker, partitions)
    with sidecar(broker, [topic], {}) as host:
        began, fresh = time.monotonic(), host.cpu_seconds()
        process = serve(host)
        at = _all_created(host, {process.pid: partitions})[process.pid]
        start, first, start_cpu = at[-1] - began, at[-1] - at[0], host.cpu_seconds() - fresh
        time.sleep(5)  # the first commits are over
        used = _watch(host, seconds)
        memory = {"sidecar_mb": memory_mb(host.process.pid), "lambda_mb": memory_mb(process.pid)}
        heir = serve(host)
        wait(lambda: any(one.pid == heir.pid and one.spare for one in host.status().processes), "it offers")
        host.lambdas.remove(process)
        killed, before = time.monotonic(), host.cpu_seconds()
        process.kill()
        taken = _all_created(host, {heir.pid: partitions})[heir.pid]
        taken_cpu = host.cpu_seconds() - before
        process.wait()
    delete_topic(broker, topic)
    return {
        "partitions": partitions,
        **memory,
        **used,
        "start_s": start,
        "first_to_last_s": first,
        "start_cpu_s": start_cpu,
        "takeover_first_s": taken[0] - killed,
        "takeover_s": taken[-1] - killed,
        "takeover_cpu_s": taken_cpu,
    }


def trickle(broker: str, partitions: int, rate: float, seconds: float = 10.0) -> Point:
    """The CPU time (cores) of a sidecar and a lambda process at ``rate`` records of 100 bytes a second, over random
    partitions: `benchmarks.traffic.Scattered`.
    """
    topic = _topic(broker, partitions)
    with sidecar(broker, [topic], {}) as host:
        process = serve(host)
        _all_created(host, {process.pid: partitions})
        with Scattered(broker, topic, [1.0] * partitions, rate) as traffic:
            # The broker is slow at the first record of each partition.
            wait(
                lambda: host.status().records_sent > rate and traffic.unwritten < rate / 10, "records flow", every=0.5
            )
            time.sleep(2)
            before, began = host.status().records_sent, time.monotonic()
            used = _watch(host, seconds)
            sent = (host.status().records_sent - before) / (time.monotonic() - began)
    delete_topic(broker, topic)
    return {"partitions": partitions, "records_per_second": sent, **used}


def behind(broker: str, partitions: int, size: int, records: int) -> Point:
    """CPU time for a record (µs) of a sidecar and a lambda process that catch up; and their highest memory."""
    topic = f"behind-{uuid.uuid4().hex[:8]}"
    fill(broker, topic, partitions, records, values=(b"x" * size,))
    with sidecar(broker, [topic], {}) as host:
        process = serve(host)
        wait(lambda: sum(checkpoints(host.status()).values()) > records // 4, "a quarter is handled")
        done, before = sum(checkpoints(host.status()).values()), _cpu(host)
        wait(lambda: sum(checkpoints(host.status()).values()) == records, "all is handled", every=0.1)
        left = records - done
        used = {who: (cpu - before[who]) / left * 1e6 for who, cpu in _cpu(host).items()}
        memory = {
            "sidecar_mb": memory_mb(host.process.pid, "VmHWM"),
            "lambda_mb": memory_mb(process.pid, "VmHWM"),
        }
    delete_topic(broker, topic)
    return {
        "partitions": partitions,
        "bytes": size,
        "sidecar_us": used["sidecar"],
        "lambda_us": used["lambda"],
        **memory,
    }


def documents(broker: str, number: int, records: int) -> Point:
    """The document router with this many open documents: records per second, highest memory and CPU for a record."""
    topic = f"documents-{uuid.uuid4().hex[:8]}"
    fill(broker, topic, router.PARTITIONS, records, key=lambda one: router.key(number, one))
    figures = router.run(broker, topic, records, number)
    delete_topic(broker, topic)
    return {
        "documents": number,
        "lambda_mb": figures["lambda_mb"],
        "us": figures["cpu_seconds_per_million"],
        "records_per_second": figures["records_per_second"],
    }


def members(broker: str, partitions: int) -> Point:
    """A second sidecar joins the group, and is killed later; seconds until each partition has a lambda again.

    ``join_s`` counts from the start of the second sidecar's lambda process. ``dead_s`` counts from the kill, and
    includes `session.timeout.ms`, which is ``session_s``.
    """
    topic = _topic(broker, partitions)
    group = uuid.uuid4().hex
    kafka = {"session.timeout.ms": int(SESSION_S * 1000)}
    with sidecar(broker, [topic], {}, kafka, group=group) as one:
        first = serve(one)
        _all_created(one, {first.pid: partitions})
        with sidecar(broker, [topic], {}, kafka, group=group) as two:
            began = time.monotonic()
            second = serve(two)
            half = partitions // 2
            joined = _all_created(two, {second.pid: half})[second.pid][-1] - began
            time.sleep(3)
            before = len(_created(one).get(first.pid, []))
            killed = two.kill()
            wait(lambda: len(_created(one)[first.pid]) >= before + half, "the first has all", every=0.1)
            dead = _created(one)[first.pid][-1] - killed
    delete_topic(broker, topic)
    return {"partitions": partitions, "join_s": joined, "dead_s": dead, "session_s": SESSION_S}


def _topic(broker: str, partitions: int) -> str:
    name = f"scaling-{uuid.uuid4().hex[:8]}"
    create_topic(broker, name, partitions)
    return name


def serve(host: Sidecar, served_us: float = 0) -> "subprocess.Popen[bytes]":
    """Start a lambda process of `benchmarks.scaling.noting`."""
    settings = {"log": str(host.folder / "created"), "served_us": served_us}
    return host.serve_with(settings, "benchmarks.scaling.noting")


def _created(host: Sidecar) -> dict[int, list[float]]:
    """When each lambda process created its lambdas, in this order, by the process's id."""
    found: dict[int, list[float]] = {}
    log = host.folder / "created"
    for line in log.read_bytes().splitlines() if log.exists() else []:
        one = json.loads(line)
        found.setdefault(one["pid"], []).append(one["at"])
    return found


def _all_created(host: Sidecar, wanted: Mapping[int, int]) -> dict[int, list[float]]:
    """Wait until each of these processes has created so many lambdas; returns `_created` of that moment."""
    wait(lambda: all(len(_created(host).get(pid, [])) >= number for pid, number in wanted.items()), f"{wanted}")
    return _created(host)


def wait(condition: Callable[[], bool], what: str, every: float = 0.02) -> None:
    """Raises ``RuntimeError`` when the condition is not met for two minutes."""
    deadline = time.monotonic() + _LONGEST_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not after {_LONGEST_S:g} s: {what}")
        time.sleep(every)


def checkpoints(status: admin_pb2.Lambda) -> dict[int, int]:
    """How many records are done, by partition; partitions without a checkpoint are left out."""
    return {p.partition: p.checkpoint + 1 for p in status.partitions if p.HasField("checkpoint")}


def _cpu(host: Sidecar) -> dict[str, float]:
    return {"sidecar": cpu_seconds(host.process.pid), "lambda": cpu_seconds(host.lambdas[0].pid)}


def _watch(host: Sidecar, seconds: float) -> Point:
    """The cores that the sidecar and its first lambda process use for so many seconds."""
    before, began = _cpu(host), time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    return {f"{who}_cores": (cpu - before[who]) / took for who, cpu in _cpu(host).items()}
