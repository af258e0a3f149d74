"""The topic of dead letters, where it is missing: made as its readers may expect, and not as the broker would.

What is asked of the broker waits for it: this belongs to the thread that writes dead letters.
"""

from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not marked so
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from structlog.typing import FilteringBoundLogger

ADMIN_TIMEOUT = 15.0
"""Seconds that a question to the broker, or the creation of the topic, may take."""

ROOM_FOR_HEADERS = 64 * 1024
"""Bytes by which a dead letter may be larger than its record: the stack, and the rest."""

SHORTEST_RETENTION_MS = 7 * 24 * 3600 * 1000
"""Nobody reads a dead letter at once; and a week is Kafka's own default."""

FOR_EVER = -1

_BROKERS_RETENTION = (("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000))
"""Where a broker's own default is, the first that is set; each with its unit in milliseconds."""


def prepared(admin: AdminClient, topic: str, source: str, log: FilteringBoundLogger) -> int:
    """The topic's number of partitions; it is made when it is missing, with as many as ``source`` has.

    Raises:
        KafkaException: the broker does not answer, or does not let us.
    """
    known = admin.list_topics(timeout=ADMIN_TIMEOUT)
    if topic in known.topics:
        return len(known.topics[topic].partitions)
    count = len(known.topics[source].partitions) if source in known.topics else 1
    read = _config(admin, ResourceType.TOPIC, source)
    broker = {} if read or not known.brokers else _config(admin, ResourceType.BROKER, str(min(known.brokers)))
    config = settings(read, broker)
    try:
        new = NewTopic(topic, num_partitions=count, config=config)
        admin.create_topics([new], operation_timeout=ADMIN_TIMEOUT)[topic].result(ADMIN_TIMEOUT)
    except KafkaException as refusal:
        if refusal.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
        made = admin.list_topics(timeout=ADMIN_TIMEOUT).topics.get(topic)  # another sidecar was faster
        return len(made.partitions) if made is not None and made.partitions else count
    about = {"topic": topic, "partitions": count, "retention_ms": int(config["retention.ms"])}
    if read:
        log.info("made the topic for dead letters", **about)
    else:
        log.warning(
            "made the topic for dead letters without knowing for how long its source keeps records; "
            "allow the sidecar DescribeConfigs on the source, or set retention.ms yourself",
            source=source,
            **about,
        )
    return count


def settings(source: Mapping[str, str], broker: Mapping[str, str]) -> dict[str, str]:
    """What the topic is made with, beside its partitions.

    Args:
        source: the settings of the records' topic; empty: they cannot be read.
        broker: a broker's, for that case; empty: they cannot be read either.
    """
    retention = _number(source.get("retention.ms"))
    if retention is None:
        found = ((_number(broker.get(name)), unit) for name, unit in _BROKERS_RETENTION)
        retention = next((FOR_EVER if value < 0 else value * unit for value, unit in found if value is not None), 0)
    made = {
        # A compacted topic takes no record without a key, and of two with one key it keeps one.
        "cleanup.policy": "delete",
        "retention.ms": str(FOR_EVER if retention < 0 else max(retention, SHORTEST_RETENTION_MS)),
        # A limit in bytes, such as a broker's default, would delete earlier than that.
        "retention.bytes": str(FOR_EVER),
    }
    largest = _number(source.get("max.message.bytes"))
    if largest is not None:  # a dead letter is its record and some headers: the largest record must still fit
        made["max.message.bytes"] = str(min(largest + ROOM_FOR_HEADERS, 2**31 - 1))
    return made


def _config(admin: AdminClient, kind: ResourceType, name: str) -> dict[str, str]:
    """What is set there, defaults included; empty: we may not ask, or the broker does not know."""
    resource = ConfigResource(kind, name)
    try:
        found = admin.describe_configs([resource], request_timeout=ADMIN_TIMEOUT)[resource].result()
    except KafkaException:
        return {}
    return {name: entry.value for name, entry in found.items() if entry.value is not None}


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
