"""Saves of 10 ms: pipelined by the sidecar, compared with a loop that sends a batch and waits for the answer.

    python -m benchmarks.pipelined BROKER TOPIC GROUP TOTAL WARM ADDRESS LOOPS     that loop, as a process of its own

The loop consumes 100 records, calls the lambda's process over gRPC, commits when that has answered, and only then
consumes the next 100. With as many loops as partitions, each loop has one partition, and a batch of each partition is
in flight at the same time. Talks to its runner as `benchmarks.peers.tally` says.
"""

import gc
import subprocess
import sys
import tempfile
import threading
import uuid

import grpc
from confluent_kafka import Consumer, Message, TopicPartition

from benchmarks import throughput
from benchmarks.peers.measure import Program, Work, measure
from benchmarks.peers.tally import Tally, arguments
from benchmarks.processes import ROOT
from benchmarks.saving import METHOD, SERVICE
from sdk_python.protocol import lambda_pb2 as pb
from sidecar import tuning
from tests.servers.topics import committed

PARTITIONS = 8
BATCH = 100

Figures = dict[str, float]


def pipelined(broker: str, topic: str, total: int, window: int) -> Figures:
    """One run of the whole path with this window of messages; the first quarter is not timed."""
    figures, result = throughput.measure(
        broker, topic, total, PARTITIONS, "benchmarks.saving", {}, window={"messages": window}
    )
    return {**figures, "most_at_once": result["most_at_once"]}


def answered(broker: str, topic: str, total: int, loops: int, *, together: bool) -> Figures:
    """One run of request and response; the first quarter is not timed.

    Raises ``RuntimeError`` when the committed offsets are not those of the saved records.

    Args:
        broker: `bootstrap.servers`.
        topic: its name. It has ``total`` records or more, the same number in each partition.
        total: how many records are saved.
        loops: 1, or one for each partition.
        together: whether the saves of a batch run at the same time; else one after the other.
    """
    work = Work(broker, topic, uuid.uuid4().hex, total)
    with tempfile.TemporaryDirectory(prefix="kafka-sidecar-benchmark-") as folder:
        address = f"unix://{folder}/sock"
        saving = [sys.executable, "-m", "benchmarks.saving", address, "together" if together else "one"]
        looping = [sys.executable, "-m", "benchmarks.pipelined", *work.arguments(), address, str(loops)]
        with subprocess.Popen(saving, cwd=ROOT) as service:
            try:
                program = Program(looping, beside=[service.pid])
                figures = measure(program, work, counted_only=True, commits=False)
            finally:
                service.terminate()
    # The sum is enough: each loop saves its records in order from the first one on, and commits only ascend.
    found = sum(committed(broker, work.group, topic).values())
    if found != total:
        raise RuntimeError(f"{found} committed, {total} saved")
    return figures


class _Loops:
    """All loops of a process, and how many records they have saved."""

    def __init__(self, broker: str, topic: str, group: str, tally: Tally, channel: grpc.Channel) -> None:
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
        self._tally = tally

    def loop(self, partitions: list[int], total: int) -> None:
        """Consume, call, commit, until ``total`` records of these partitions are saved."""
        consumer = Consumer(self._config)
        # Assigned by hand: loops that join a group one after the other would pass partitions back and forth.
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
            # By name: without it, librdkafka commits all records that are consumed by then, saved or not.
            offsets = [*{m.partition(): _behind(m) for m in messages}.values()]
            if total:
                consumer.commit(offsets=offsets)
            else:
                consumer.commit(offsets=offsets, asynchronous=False)
            with self._lock:
                self._tally.unordered(saved)
        consumer.close()


def _behind(message: Message) -> TopicPartition:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return TopicPartition(topic, partition, offset + 1)


def main() -> None:
    """Run the loops until they have saved all records together."""
    broker, topic, group, tally = arguments()
    total, address, loops = int(sys.argv[4]), sys.argv[6], int(sys.argv[7])
    with grpc.insecure_channel(address) as channel:
        all_ = _Loops(broker, topic, group, tally, channel)
        tuning.tune()
        shares = [[p for p in range(PARTITIONS) if p % loops == number] for number in range(loops)]
        threads = [threading.Thread(target=all_.loop, args=(share, total // loops)) for share in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    gc.unfreeze()


if __name__ == "__main__":
    main()
