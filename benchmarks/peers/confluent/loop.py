"""Confluent's client without anything around it: ``poll()``, or ``consume(1000)``, and offsets stored after handling.

Its documentation's way to at-least-once: `enable.auto.offset.store` off, `store_offsets` when a message is handled,
and the library commits what is stored every `auto.commit.interval.ms`.
"""

import sys

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from benchmarks.peers.tally import Tally, arguments
from sidecar import tuning


def main() -> None:
    """Handle all records."""
    broker, topic, group, tally = arguments()
    style = sys.argv[6]
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "auto.commit.interval.ms": 1000,
            "enable.auto.offset.store": False,
            "fetch.queue.backoff.ms": 2,
        }
    )
    consumer.subscribe([topic])
    tuning.tune()
    if style == "poll":
        _poll(consumer, tally)
    else:
        _consume(consumer, tally, topic)
    consumer.close()


def _poll(consumer: Consumer, tally: Tally) -> None:
    while not tally.finished:
        message = consumer.poll(0.1)
        if message is None:
            continue
        error = message.error()
        if error is not None:
            _fail(error)
            continue
        _count(tally, message)
        consumer.store_offsets(message)


def _consume(consumer: Consumer, tally: Tally, topic: str) -> None:
    while not tally.finished:
        for message in consumer.consume(1000, 0.1):
            error = message.error()
            if error is not None:
                _fail(error)
                continue
            _count(tally, message)
        done = [TopicPartition(topic, number, count) for number, count in enumerate(tally.counts) if count]
        if done:
            consumer.store_offsets(offsets=done)


def _count(tally: Tally, message: Message) -> None:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    tally.one(partition, offset)


def _fail(error: KafkaError) -> None:
    if error.fatal():
        raise SystemExit(str(error))


if __name__ == "__main__":
    main()
