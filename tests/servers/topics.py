"""Topics, records and offsets on any broker, for tests: synchronous calls that succeed completely or raise."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Literal, NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # documented, but not in its __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.cimpl import NewPartitions, NewTopic

from tests.servers.c_producer import produce_headers

TIMEOUT = 60.0
"""Seconds that any call here may take, even on a busy machine."""

Isolation = Literal["read_committed", "read_uncommitted"]


class Record(NamedTuple):
    """A record to produce. `timestamp`: ms since the epoch; 0: now. Partition -1: by key, or any."""

    key: bytes | None = None
    value: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    partition: int = -1
    timestamp: int = 0


class Stored(NamedTuple):
    """A record as stored by the broker. `headers` is None if a header's name is not UTF-8."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]] | None


def create_topic(
    address: str,
    name: str,
    partitions: int = 1,
    config: Mapping[str, str] | None = None,
    *,
    replicas: Sequence[Sequence[int]] | None = None,
) -> None:
    """Create a topic and wait until the broker shows it with all its partitions.

    Args:
        address: `bootstrap.servers`.
        name: the topic.
        partitions: how many, each on one broker of Kafka's choice.
        config: settings of the topic.
        replicas: instead of `partitions`: for each partition the broker ids of its replicas, the leader first.

    Raises ``KafkaException`` when the broker refuses, ``TimeoutError`` when it does not show the topic in `TIMEOUT`.
    """
    admin = _admin(address)
    if replicas is None:
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
    else:
        partitions = len(replicas)
        wanted = [[*brokers] for brokers in replicas]
        topic = NewTopic(name, num_partitions=partitions, replica_assignment=wanted, config=dict(config or {}))
    admin.create_topics([topic], operation_timeout=TIMEOUT)[name].result(TIMEOUT)
    # The controller creates the topic; the broker hears of it a moment later.
    _partitions(admin, name, partitions)


def delete_topic(address: str, name: str) -> None:
    """Delete a topic. Raises ``KafkaException`` when the broker refuses, as for an unknown topic."""
    admin = _admin(address)  # kept until the end: a client's calls fail once it is garbage-collected
    admin.delete_topics([name], operation_timeout=TIMEOUT)[name].result(TIMEOUT)


def alter_topic(address: str, name: str, config: Mapping[str, str]) -> None:
    """Set some of a topic's settings; the others stay. Raises ``KafkaException`` when the broker refuses."""
    entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in config.items()]
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
    admin = _admin(address)
    admin.incremental_alter_configs([resource])[resource].result(TIMEOUT)


def topic_config(address: str, name: str) -> dict[str, str]:
    """All settings of a topic, with defaults. Raises ``KafkaException`` when the broker refuses."""
    resource = ConfigResource(ResourceType.TOPIC, name)
    admin = _admin(address)
    found = admin.describe_configs([resource])[resource].result(TIMEOUT)
    return {key: entry.value for key, entry in found.items() if entry.value is not None}


def partition_count(address: str, name: str) -> int:
    """The number of a topic's partitions; 0: the topic does not exist."""
    topic = _admin(address).list_topics(timeout=TIMEOUT).topics.get(name)
    return 0 if topic is None else len(topic.partitions)


def leaders(address: str, name: str) -> dict[int, int]:
    """The id of each partition's leader; -1: no leader. Empty: the topic does not exist."""
    topic = _admin(address).list_topics(timeout=TIMEOUT).topics.get(name)
    return {} if topic is None else {number: partition.leader for number, partition in topic.partitions.items()}


def produce(
    address: str, topic: str, records: Iterable[Record], config: Mapping[str, Any] | None = None
) -> list[tuple[int, int]]:
    """Produce `records`, wait for all of them, and return (partition, offset) of each, in their order.

    Args:
        address: `bootstrap.servers`.
        topic: the topic; it must exist, unless the broker creates topics automatically.
        records: the records.
        config: librdkafka producer properties to add.

    Raises ``KafkaException`` for the first record that was not stored (others may be stored), and ``TimeoutError``
    when some were neither stored nor refused within `TIMEOUT` after the last was queued.
    """
    producer = Producer({"bootstrap.servers": address, "log_level": 0, "acks": "all", **dict(config or {})})
    stored: dict[int, tuple[int, int]] = {}
    failed: list[KafkaError] = []

    def report(index: int) -> Any:
        def on_delivery(error: KafkaError | None, message: Message) -> None:
            partition, offset = message.partition(), message.offset()
            if error is not None:
                failed.append(error)
            elif partition is not None and offset is not None:
                stored[index] = (partition, offset)

        return on_delivery

    count = 0
    for index, record in enumerate(records):
        count += 1
        while True:
            try:
                producer.produce(
                    topic,
                    record.value,
                    record.key,
                    partition=record.partition,
                    on_delivery=report(index),
                    timestamp=record.timestamp,
                    headers=list(record.headers),
                )
                break
            except BufferError:  # the local queue is full
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(TIMEOUT)
    if failed:
        raise KafkaException(failed[0])
    if left:
        raise TimeoutError(f"{left} of {count} records for {topic} on {address} got no answer in {TIMEOUT:g} s")
    return [stored[index] for index in range(count)]


def end_offsets(address: str, topic: str, partitions: Sequence[int] | None = None) -> dict[int, int]:
    """The high watermark of each partition: the offset of the next record.

    Args:
        address: `bootstrap.servers`.
        topic: the topic.
        partitions: ask only about these, since another one may have no leader.

    Raises ``KafkaException`` for an error from the broker, ``TimeoutError`` when it does not answer for `TIMEOUT`.
    """
    # Uses a fetch: Tansu's answer to ListOffsets is the first offset of the last batch, plus one.
    with closing(_consumer(address, {**_TO_THE_END, "isolation.level": "read_uncommitted"})) as consumer:
        partitions = partitions or _partitions(consumer, topic)
        for _ in _messages(consumer, topic, partitions, OFFSET_END):
            pass
        return {
            partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)[1]
            for partition in partitions
        }


def committed(address: str, group: str, topic: str, partitions: Sequence[int] | None = None) -> dict[int, int]:
    """The group's committed offsets by partition, without joining the group.

    Args:
        address: `bootstrap.servers`.
        group: the group.
        topic: the topic.
        partitions: ask only about these, as where another has no leader.
    """
    with closing(_consumer(address, {"group.id": group})) as consumer:
        asked = partitions or _partitions(consumer, topic)
        wanted = [TopicPartition(topic, partition) for partition in asked]
        found = consumer.committed(wanted, TIMEOUT)
    for entry in found:
        if entry.error is not None:
            raise KafkaException(entry.error)
    return {entry.partition: entry.offset for entry in found if entry.offset >= 0}


def read_all(
    address: str, topic: str, isolation: Isolation = "read_committed", partitions: Sequence[int] | None = None
) -> list[Stored]:
    """Return all records that the topic now has, ordered by partition and offset.

    Args:
        address: `bootstrap.servers`.
        topic: the topic.
        isolation: with `read_committed`, reading ends at the first open transaction.
        partitions: read only these, since another one may have no leader.

    Raises ``KafkaException`` for an error from the broker, ``TimeoutError`` when it does not answer for `TIMEOUT`.
    """
    with closing(_consumer(address, {**_TO_THE_END, "isolation.level": isolation})) as consumer:
        partitions = partitions or _partitions(consumer, topic)
        records = map(_stored, _messages(consumer, topic, partitions, OFFSET_BEGINNING))
        return sorted(records, key=lambda record: (record.partition, record.offset))


def produce_non_utf8_header(
    address: str,
    topic: str,
    partition: int = 0,
    *,
    key: bytes | None = None,
    value: bytes | None = b"",
    name: bytes = b"\xff\xfe",
) -> tuple[int, int]:
    """Produce one record with a header whose name is not UTF-8; return its (partition, offset)."""
    return produce_headers(address, topic, [(name, b"x")], partition, key=key, value=value)


def _admin(address: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": address, "log_level": 0})


def _consumer(address: str, settings: Mapping[str, Any] | None = None) -> Consumer:
    config = {"bootstrap.servers": address, "log_level": 0, "group.id": "tests-unused"}
    return Consumer({**config, "enable.auto.commit": False, **dict(settings or {})})


# An empty fetch response shows the end of a partition; by default the broker delays it by 500 ms.
_TO_THE_END: Mapping[str, Any] = {
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 10,
    "auto.offset.reset": "error",
}


def _messages(consumer: Consumer, topic: str, partitions: Sequence[int], start: int) -> Iterator[Message]:
    """Yield the messages from `start` to the end of each partition."""
    consumer.assign([TopicPartition(topic, partition, start) for partition in partitions])
    unread = set(partitions)
    while unread:
        message = consumer.poll(TIMEOUT)
        if message is None:
            raise TimeoutError(f"silence for {TIMEOUT:g} s; {topic} {sorted(unread)} not read to the end")
        error = message.error()
        if error is None:
            yield message
        elif error.code() == KafkaError._PARTITION_EOF:
            unread.discard(_known(message.partition()))
        else:
            raise KafkaException(error)


def _partitions(client: AdminClient | Consumer, topic: str, expected: int = 1) -> list[int]:
    """Wait until the topic has `expected` partitions, all with a leader, and return them."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        found = client.list_topics(topic, timeout=TIMEOUT).topics[topic]
        leaders = [partition.leader for partition in found.partitions.values()]
        if found.error is None and len(leaders) >= expected and min(leaders) >= 0:
            return sorted(found.partitions)
        if time.monotonic() > deadline:
            raise TimeoutError(f"topic {topic} is not there: {found.error or leaders}")
        time.sleep(0.01)


def _known(number: int | None) -> int:
    """Assert that a number is there: the binding's types say that a message may lack it."""
    assert number is not None
    return number


def _stored(message: Message) -> Stored:
    try:
        # The binding returns a broken list and leaves its exception set. `map` notices that. The interpreter's fast
        # path for repeated method calls does not, and the process would crash, as with a second call for the message.
        headers: Any = next(map(Message.headers, (message,)))
    except SystemError:
        pairs: list[tuple[str, bytes | None]] | None = None
    else:
        pairs = [(name, value) for name, value in headers or ()]
    return Stored(
        _known(message.partition()),
        _known(message.offset()),
        message.timestamp()[1],
        message.key(),
        message.value(),
        pairs,
    )


def add_partitions(address: str, name: str, total: int) -> None:
    """Increase a topic's partitions to ``total``. Raises ``KafkaException`` when the broker refuses."""
    admin = _admin(address)
    admin.create_partitions([NewPartitions(name, total)])[name].result(TIMEOUT)
    _partitions(admin, name, total)


def commit(address: str, group: str, topic: str, offsets: Mapping[int, int], metadata: str = "") -> None:
    """Commit offsets by partition for a group without members. Raises ``KafkaException`` when the broker refuses."""
    with closing(_consumer(address, {"group.id": group})) as consumer:
        wanted = [TopicPartition(topic, p, offset, metadata=metadata) for p, offset in offsets.items()]
        consumer.commit(offsets=wanted, asynchronous=False)


def committed_metadata(address: str, group: str, topic: str) -> dict[int, str]:
    """The metadata of the group's committed offsets, by partition."""
    with closing(_consumer(address, {"group.id": group})) as consumer:
        wanted = [TopicPartition(topic, partition) for partition in _partitions(consumer, topic)]
        answers = consumer.committed(wanted, timeout=TIMEOUT)
        return {answer.partition: answer.metadata for answer in answers if answer.offset >= 0 and answer.metadata}
