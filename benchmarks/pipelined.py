"""Saves of 10 ms: pipelined by the sidecar, against a loop that hands over a batch and waits for the answer.

    python -m benchmarks.pipelined BROKER TOPIC ADDRESS TOTAL LOOPS GROUP     that loop, as a process of its own

It consumes 100 records, calls the lambda's process over gRPC, commits when that has answered, and only then consumes
the next 100. With as many loops as partitions, each has one of them, and a batch of each partition is under way at
the same time. Prints what `benchmarks.bare` prints.
"""

import gc
import json
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import grpc
from confluent_kafka import Consumer, Message, TopicPartition

from benchmarks import throughput
from benchmarks.processes import ROOT, cpu_seconds
from benchmarks.saving import METHOD, SERVICE
from sdk_python.protocol import lambda_pb2 as pb
from sidecar import tuning
from tests.servers.topics import committed

PARTITIONS = 8
BATCH = 100

Figures = dict[str, float]


def pipelined(broker: str, topic: str, total: int, window: int) -> Figures:
    """One run of the whole path, the first quarter not timed; at most ``window`` messages of a partition at once."""
    more = {"window": {"messages": window}}
    figures, result = throughput.measure(broker, topic, total, PARTITIONS, "benchmarks.saving", {}, **more)
    return {**figures, "most_at_once": result["most_at_once"]}


def answered(broker: str, topic: str, total: int, loops: int, *, together: bool) -> Figures:
    """One run of request and response, the first quarter not timed.

    Args:
        broker: `bootstrap.servers`.
        topic: has ``total`` records or more, the same number in each partition.
        total: how many are saved.
        loops: 1, or one for each partition.
        together: the saves of a batch are made at the same time, not one after the other.

    Raises:
        RuntimeError: not exactly what was saved is committed.
    """
    group = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="kafka-sidecar-benchmark-") as folder:
        address = f"unix://{folder}/sock"
        saving = [sys.executable, "-m", "benchmarks.saving", address, "together" if together else "one"]
        looping = [
            sys.executable,
            "-m",
            "benchmarks.pipelined",
            broker,
            topic,
            address,
            str(total),
            str(loops),
            group,
        ]
        began = time.perf_counter()
        with (
            subprocess.Popen(saving, cwd=ROOT) as service,
            subprocess.Popen(looping, cwd=ROOT, stdout=subprocess.PIPE) as loop,
        ):
            try:
                assert loop.stdout is not None
                result = json.loads(loop.stdout.readline())
                cpu = cpu_seconds(loop.pid) + cpu_seconds(service.pid)
                used = time.perf_counter() - began
            finally:
                service.terminate()
    # The sum says it: each loop's records are one after the other from the first on, and commits only ascend.
    found = sum(committed(broker, group, topic).values())
    if not result["records"] == found == total:
        raise RuntimeError(f"{result['records']} records saved, {found} committed, {total} wanted")
    return {
        "records_per_second": result["measured"] / result["seconds"],
        "cpu_seconds_per_million": cpu / total * 1e6,
        "wall_seconds": used,
    }


class _Loops:
    """All loops of a process, and what they have done."""

    def __init__(self, broker: str, topic: str, group: str, channel: grpc.Channel) -> None:
        self._config = {
            "bootstrap.servers": broker,
            "group.id": group,
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 2,
        }
        self._topic = topic
        self._call = channel.unary_unary(
            f"/{SERVICE}/{METHOD}",
            request_serializer=pb.Batch.SerializeToString,
            response_deserializer=pb.Batch.FromString,
        )
        self._lock = threading.Lock()
        self._done: list[tuple[float, int]] = []

    def loop(self, partitions: list[int], total: int) -> None:
        """Consume, call, commit, until ``total`` records of these partitions are saved."""
        consumer = Consumer(self._config)
        # Assigned by hand: loops that join a group one after the other would hand partitions to and fro.
        consumer.assign([TopicPartition(self._topic, partition, 0) for partition in partitions])
        while total:
            messages = consumer.consume(min(BATCH, total), 1.0)
            if not messages:
                continue
            if any(message.error() for message in messages):
                raise RuntimeError("a consumer error")
            batch = pb.Batch(keys=[m.key() or b"" for m in messages], values=[m.value() or b"" for m in messages])
            saved = self._call(batch, wait_for_ready=True, timeout=60).first_offset
            total -= saved
            # By name: without, librdkafka commits what is consumed by the time it gets to it, saved or not.
            offsets = [*{m.partition(): _behind(m) for m in messages}.values()]
            if total:
                consumer.commit(offsets=offsets)
            else:
                consumer.commit(offsets=offsets, asynchronous=False)
            with self._lock:
                self._done.append((time.perf_counter(), saved))
        consumer.close()

    def result(self, warm: int) -> dict[str, float]:
        """As of a bare loop: the clock starts when ``warm`` records are done."""
        count, began, measured_from = 0, 0.0, 0
        for at, saved in self._done:
            count += saved
            if not began and count >= warm:
                began, measured_from = at, count
        return {"seconds": self._done[-1][0] - began, "measured": count - measured_from, "records": count}


def _behind(message: Message) -> TopicPartition:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return TopicPartition(topic, partition, offset + 1)


def main(broker: str, topic: str, address: str, total: int, loops: int, group: str) -> None:
    """Run the loops until all together have saved ``total`` records."""
    with grpc.insecure_channel(address) as channel:
        all_ = _Loops(broker, topic, group, channel)
        tuning.tune()
        shares = [[p for p in range(PARTITIONS) if p % loops == number] for number in range(loops)]
        threads = [threading.Thread(target=all_.loop, args=(share, total // loops)) for share in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(json.dumps(all_.result(total // 4)), flush=True)
    gc.unfreeze()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
