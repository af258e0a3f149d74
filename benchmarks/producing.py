"""A lambda that produces each record again through the sidecar; and a loop that does the same in one process.

As a plugin: the handler returns at once. With the setting ``looks``, the lambda looks at each outcome, and
checkpoints a record when Kafka has its copy. Without it, the checkpoint follows what was produced.

    python -m benchmarks.producing ADDRESS TOPIC COPY TOTAL     as a loop around a consumer and a producer
"""

import asyncio
import subprocess
import sys
import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message as KafkaMessage, Producer

from benchmarks.processes import sidecar
from benchmarks.sequencing import timed
from sdk_python import IContext, Message, Produced
from sidecar import tuning
from sidecar.config.kafka_properties import lambda_producer_properties
from tests.servers.topics import create_topic, end_offsets

PARTITIONS = 8
BATCH = 1000
Figures = dict[str, float]


def path(
    broker: str,
    topic: str,
    total: int,
    module: str = "benchmarks.producing",
    settings: Mapping[str, object] | None = None,
    *,
    looks: bool,
) -> Figures:
    """One run of the sidecar with that lambda, or ``module``. Raises ``RuntimeError`` when a record has no copy."""
    copy = _copy(broker)
    with sidecar(broker, [topic], {"copy": copy, "looks": looks}, produce=[copy]) as host:
        process = host.serve_with(settings or {}, module)
        figures = timed(broker, copy, total, [host.process, process])
        host.end_lambdas()
    return _checked(broker, copy, total, figures)


def bare(broker: str, topic: str, total: int) -> Figures:
    """One run of the loop. Raises as `path`."""
    copy = _copy(broker)
    command = [sys.executable, "-m", "benchmarks.producing", broker, topic, copy, str(total)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        figures = timed(broker, copy, total, [process])
    finally:
        process.terminate()
        process.wait()
    return _checked(broker, copy, total, figures)


def _copy(broker: str) -> str:
    name = f"copy-{uuid.uuid4().hex[:8]}"
    create_topic(broker, name, PARTITIONS)
    return name


def _checked(broker: str, copy: str, total: int, figures: Figures) -> Figures:
    """Raises ``RuntimeError`` when the number of copies is wrong. One lost and one doubled record would pass."""
    there = sum(end_offsets(broker, copy).values())
    if there != total:
        raise RuntimeError(f"{there} copies of {total} records")
    return {
        "records": total,
        "records_per_second": figures["operations_per_second"],
        "with_opening": figures["with_the_start"],
        "cpu_seconds_per_million": figures["cpu_seconds_per_million"],
        "memory_mb": figures["memory_mb"],
    }


class _Lambda:
    def __init__(self, context: IContext, copy: str) -> None:
        self._context = context
        self._copy = copy

    def handler(self, message: Message) -> None:
        """Outcomes arrive in the order of the records, so there is no gap below a written record."""
        outcome = asyncio.ensure_future(self._context.produce(self._copy, message.value, message.key))
        outcome.add_done_callback(partial(self._written, message.offset))

    def _written(self, offset: int, outcome: asyncio.Future[Produced]) -> None:
        error = None if outcome.cancelled() else outcome.exception()
        if error is not None:
            self._context.error(error, restart=True)
        else:
            self._context.checkpoint(offset)


class _Following:
    def __init__(self, context: IContext, copy: str) -> None:
        self._context = context
        self._copy = copy

    def handler(self, message: Message) -> None:
        """The checkpoint is sent when the copy is in Kafka."""
        self._context.produce(self._copy, message.value, message.key)
        self._context.checkpoint(message.offset)


class _Factory:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self._copy: str = config["copy"]
        self._kind = _Lambda if config["looks"] else _Following

    async def create(self, _: Mapping[str, Any], context: IContext) -> _Lambda | _Following:
        return self._kind(context, self._copy)

    async def dispose(self) -> None: ...


async def create(config: Mapping[str, Any]) -> _Factory:
    """The plugin is this module."""
    return _Factory(config)


def main() -> None:
    """Consume all records, produce each again, and wait to be ended, while the runner reads CPU time and memory."""
    broker, topic, copy, total = *sys.argv[1:4], int(sys.argv[4])
    consuming = {"group.id": copy, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer({"bootstrap.servers": broker, "fetch.queue.backoff.ms": 2, **consuming})
    producer = Producer(lambda_producer_properties({"bootstrap.servers": broker}))
    consumer.subscribe([topic])
    tuning.tune()
    consumed = 0
    while consumed < total:
        messages = consumer.consume(BATCH, 0.1)
        for message in messages:
            _produce(producer, copy, message)
        consumed += len(messages)
        producer.poll(0)
    producer.flush()
    consumer.close()
    sys.stdin.read()


def _produce(producer: Producer, copy: str, message: KafkaMessage) -> None:
    while True:
        try:
            producer.produce(copy, message.value(), message.key(), -1, _must_be_written)
        except BufferError:
            producer.poll(0.01)
        else:
            return


def _must_be_written(error: KafkaError | None, _: KafkaMessage) -> None:
    if error is not None:
        raise SystemExit(f"a record was not written: {error}")


if __name__ == "__main__":
    main()
