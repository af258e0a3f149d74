"""Makes a missing dead-letter topic, with settings that suit dead letters instead of the broker's defaults.

Its calls wait for the broker, so it belongs to the dead-letter thread.
"""

from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not marked so
    AclOperation,
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from structlog.typing import FilteringBoundLogger

ADMIN_TIMEOUT_S = 15.0
"""Seconds that a request to the broker may take."""

HEADER_ROOM_BYTES = 64 * 1024
"""Bytes by which a dead letter may be larger than its record, for its headers."""

MIN_RETENTION_MS = 7 * 24 * 3600 * 1000
"""Shortest retention of a dead-letter topic: people do not read dead letters at once. A week is Kafka's default."""

UNLIMITED = -1

_BROKERS_RETENTION = (("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000))
"""The broker's settings for its default retention; the first one that is set counts. Each has its unit in ms."""


def prepared(admin: AdminClient, topic: str, source: str, log: FilteringBoundLogger) -> int:
    """The topic's number of partitions. A missing topic is made, with as many partitions as ``source`` has.

    Raises ``KafkaException`` when the broker does not answer, or does not let us make the topic.
    """
    known = admin.list_topics(timeout=ADMIN_TIMEOUT_S)
    if topic in known.topics:
        return len(known.topics[topic].partitions)
    count = len(known.topics[source].partitions) if source in known.topics else 1
    read = _config(admin, ResourceType.TOPIC, source)
    broker = {} if read or not known.brokers else _config(admin, ResourceType.BROKER, str(min(known.brokers)))
    config = settings(read, broker)
    try:
        new = NewTopic(topic, num_partitions=count, config=config)
        admin.create_topics([new], operation_timeout=ADMIN_TIMEOUT_S)[topic].result(ADMIN_TIMEOUT_S)
    except KafkaException as refusal:
        if refusal.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
        made = admin.list_topics(timeout=ADMIN_TIMEOUT_S).topics.get(topic)  # another sidecar has made it in between
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


def may_write(admin: AdminClient, topic: str) -> bool:
    """Whether we may write to this topic. True too if Kafka does not say."""
    asked = TopicCollection([topic])
    try:
        found = admin.describe_topics(asked, include_authorized_operations=True, request_timeout=ADMIN_TIMEOUT_S)[
            topic
        ].result()
    except KafkaException:
        return True
    return not found.authorized_operations or AclOperation.WRITE in found.authorized_operations


def settings(source: Mapping[str, str], broker: Mapping[str, str]) -> dict[str, str]:
    """The settings of a new dead-letter topic.

    Args:
        source: the settings of the records' topic; empty: they cannot be read.
        broker: the settings of a broker, used instead; empty: they cannot be read either.
    """
    retention = _number(source.get("retention.ms"))
    if retention is None:
        found = ((_number(broker.get(name)), unit) for name, unit in _BROKERS_RETENTION)
        retention = next((UNLIMITED if value < 0 else value * unit for value, unit in found if value is not None), 0)
    made = {
        # A compacted topic takes no record without a key, and keeps only one of several records with the same key.
        "cleanup.policy": "delete",
        "retention.ms": str(UNLIMITED if retention < 0 else max(retention, MIN_RETENTION_MS)),
        # A limit in bytes, such as a broker's default, could delete records earlier.
        "retention.bytes": str(UNLIMITED),
    }
    largest = _number(source.get("max.message.bytes"))
    if largest is not None:  # a dead letter is its record and some headers: the largest record must still fit
        made["max.message.bytes"] = str(min(largest + HEADER_ROOM_BYTES, 2**31 - 1))
    return made


def _config(admin: AdminClient, kind: ResourceType, name: str) -> dict[str, str]:
    """The settings of a topic or broker, defaults included; empty: we may not read them, or there is none."""
    resource = ConfigResource(kind, name)
    try:
        found = admin.describe_configs([resource], request_timeout=ADMIN_TIMEOUT_S)[resource].result()
    except KafkaException:
        return {}
    return {name: entry.value for name, entry in found.items() if entry.value is not None}


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
