"""Consume, transform, produce: outputs and place together or neither, and at least once beside it.

Each contestant writes every record of one topic to another: a lambda, Kafka Streams, and a loop around
confluent-kafka's consumer and transactional producer. The place is committed every 100 ms, which is the default of
Kafka Streams and of the sidecar for exactly once. The clock is the group's committed place, which all of them move
with their outputs.

    python -m benchmarks.exactly_once BROKER TOPIC GROUP COPY     that loop, as a process of its own
"""

import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from typing import Any, Literal

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from benchmarks import producing
from benchmarks.peers import environments
from benchmarks.peers.catalogue import java_command
from benchmarks.processes import cpu_seconds, memory_mb, sidecar
from sidecar import tuning
from sidecar.config.kafka_properties import lambda_producer_properties
from tests.servers.topics import create_topic, read_all

PARTITIONS = 8
INTERVAL_S = 0.1
LONGEST_S = 300.0
_BATCH = 1000
_LOOK_S, _ANSWER_S = 0.01, 5.0
_NOT_YET = {
    KafkaError.GROUP_ID_NOT_FOUND,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    # The client asks for the coordinator until there is one.
    KafkaError._TIMED_OUT,  # noqa: SLF001 - the binding's name
}
"""The answers about a group before its first member is there."""

Figures = dict[str, float]
Process = subprocess.Popen[bytes]


def values(records: int) -> list[bytes]:
    """The values of the records, of 100 bytes; each is another one, so that a copy tells whose it is."""
    return [b"%0100d" % number for number in range(records)]


def path(broker: str, topic: str, total: int, guarantee: Literal["at-least-once", "exactly-once"]) -> Figures:
    """One run of the sidecar with a lambda that produces each record and checkpoints it, and looks at no outcome.

    Raises ``RuntimeError`` when the output does not have the copy of each record once.
    """
    group, copy = _fresh(broker)
    config: dict[str, Any] = {"group": group, "produce": [copy]}
    if guarantee == "exactly-once":
        config["guarantee"] = guarantee
    else:
        config["checkpoint"] = {"interval": f"{INTERVAL_S * 1000:.0f}ms"}
    with sidecar(broker, [topic], {"copy": copy, "looks": False}, operate="", program="sidecar", **config) as host:
        process = host.serve_with({}, producing.__name__)
        figures = _timed(_Place(broker, group), total, [host.process, process])
        host.end_lambdas()
    _must_be_each_once(broker, copy, total)
    return figures


def streams(broker: str, topic: str, total: int, guarantee: Literal["at_least_once", "exactly_once_v2"]) -> Figures:
    """One run of Kafka Streams with one thread.

    Raises as `path`, and ``NotToBeHadError`` when it cannot be built.
    """
    classes = environments.java("kafka_streams")
    group, copy = _fresh(broker)
    with tempfile.TemporaryDirectory(prefix="kafka-sidecar-peer-") as folder:
        return _run([*java_command(classes), "copy", broker, topic, group, copy, guarantee, folder], broker, total)


def loop(broker: str, topic: str, total: int) -> Figures:
    """One run of confluent-kafka's transactional loop. Raises as `path`."""
    group, copy = _fresh(broker)
    return _run([sys.executable, "-m", "benchmarks.exactly_once", broker, topic, group, copy], broker, total)


def _fresh(broker: str) -> tuple[str, str]:
    """A group's name, and a new topic for the copies."""
    run = uuid.uuid4().hex[:8]
    create_topic(broker, f"copy-{run}", PARTITIONS)
    return f"group-{run}", f"copy-{run}"


def _run(command: Sequence[str], broker: str, total: int) -> Figures:
    """One run of a single program. Its group and its copy are among its arguments."""
    group, copy = (next(word for word in command if word.startswith(f"{what}-")) for what in ("group", "copy"))
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            figures = _timed(_Place(broker, group), total, [process])
        except RuntimeError as error:
            log.seek(0)
            raise RuntimeError(f"{error}: {log.read().decode(errors='replace')[-1500:]}") from error
        finally:
            process.kill()  # all is committed, or the run has failed
            process.wait()
    _must_be_each_once(broker, copy, total)
    return figures


class _Place:
    """How far a group has committed."""

    def __init__(self, broker: str, group: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": broker, "log_level": 0})
        self._asked = [ConsumerGroupTopicPartitions(group)]

    def until(self, records: int, processes: Sequence[Process]) -> tuple[int, float]:
        """Wait until so many records are committed. Returns how many there are then, and the time in seconds.

        Raises ``RuntimeError`` when a process ends before, or after five minutes.
        """
        deadline = time.monotonic() + LONGEST_S
        while True:
            # Not the stable offsets: asking for them waits while a transaction is open, which is nearly always.
            (answer,) = self._admin.list_consumer_group_offsets(self._asked, request_timeout=_ANSWER_S).values()
            try:
                places = answer.result().topic_partitions
            except KafkaException as error:
                if error.args[0].code() not in _NOT_YET:
                    raise
                places = []
            now = time.perf_counter()
            done = sum(place.offset for place in places if place.offset > 0)
            if done >= records:
                return done, now
            if any(process.poll() is not None for process in processes):
                raise RuntimeError(f"a process ended when {done} of {records} records were committed")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{done} of {records} records were committed in {LONGEST_S:.0f} s")
            time.sleep(_LOOK_S)


def _timed(place: _Place, total: int, processes: Sequence[Process]) -> Figures:
    """The figures from a quarter of the records on."""
    first, began = place.until(total // 4, processes)
    before = sum(cpu_seconds(process.pid) for process in processes)
    if first >= total:
        raise RuntimeError("too few records: all were committed when the clock started")
    last, ended = place.until(total, processes)
    used = sum(cpu_seconds(process.pid) for process in processes) - before
    return {
        "records": total,
        "records_per_second": (last - first) / (ended - began),
        "cpu_seconds_per_million": used / (last - first) * 1e6,
        "memory_mb": sum(memory_mb(process.pid, "VmHWM") for process in processes),
    }


def _must_be_each_once(broker: str, copy: str, total: int) -> None:
    """What a reader with `read_committed` sees must be each record once."""
    there = sorted(stored.value or b"" for stored in read_all(broker, copy, "read_committed"))
    if there != values(total):
        raise RuntimeError(f"{len(there)} copies, {len({*there})} different ones, of {total} records")


def main() -> None:
    """Copy until it is ended."""
    broker, topic, group, copy = sys.argv[1:5]
    consuming = {"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer({"bootstrap.servers": broker, "fetch.queue.backoff.ms": 2, **consuming})
    producer = Producer(
        {**lambda_producer_properties({"bootstrap.servers": broker}), "transactional.id": f"{group}-copy"}
    )
    producer.init_transactions()
    consumer.subscribe([topic])
    tuning.tune()
    while True:
        _transaction(consumer, producer, copy)


def _transaction(consumer: Consumer, producer: Producer, copy: str) -> None:
    """Copy what comes within the interval, and commit it with its place.

    Any error ends the program: a run in which a transaction was aborted has no figures.
    """
    messages = consumer.consume(_BATCH, INTERVAL_S)
    if not messages:
        return
    producer.begin_transaction()
    ends = time.monotonic() + INTERVAL_S
    while True:
        for message in messages:
            _produce(producer, copy, message)
        producer.poll(0)
        left = ends - time.monotonic()
        if left <= 0:
            break
        messages = consumer.consume(_BATCH, min(left, 0.01))
    places = consumer.position(consumer.assignment())
    producer.send_offsets_to_transaction(places, consumer.consumer_group_metadata())
    producer.commit_transaction()


def _produce(producer: Producer, copy: str, message: Message) -> None:
    error = message.error()
    if error is not None:
        raise SystemExit(f"a consumer error: {error}")
    while True:
        try:
            producer.produce(copy, message.value(), message.key())
        except BufferError:
            producer.poll(0.01)
        else:
            return


if __name__ == "__main__":
    main()
