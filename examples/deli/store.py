"""The stored states: a compacted Kafka topic, with as many partitions as the records' topic has.

Why Kafka, and not a database: a state is written through the same sidecar as its numbers, after them and in the same
order; there is one system less that can be down; and a state survives whatever the numbers survive.
A document's state is in the partition that its records are in, so a lambda reads that one partition when it gets its
lease, and has all it needs.

The key of a state is that of its document and of the lease that wrote it. A sidecar that was cut off may write an old
state late, after a newer one of the next owner; with one key, compaction would keep the old one. So each lease writes
under its own key, the state with the highest offset counts, and its writer removes the others.

Writing goes through ``context.produce``. Reading needs a consumer of its own: that is what is here.
"""

import asyncio
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not marked so
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from examples.deli.messages import Document
from examples.deli.settings import Topics
from sdk_python import IContext, SettingsError

log = logging.getLogger("examples.deli")

_TIMEOUT = 15.0
"""Seconds for one question to Kafka, and for the next records to be read."""
_SLICE = 0.5
"""Seconds of one poll, in which nobody can end the read."""
_REST = 1.0
"""Seconds for which a failed read is not tried again, however many documents wait for it."""
_UNREADABLE = 2**63

_AT_ONCE = 1000
"""Records in one call."""

_TOPIC = {
    "cleanup.policy": "compact",
    # A segment is compacted when it is full. With Kafka's own size of 1 GiB each lease would read so much.
    "segment.bytes": str(64 * 1024 * 1024),
    "min.cleanable.dirty.ratio": "0.1",
}

_MISSING = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC})  # noqa: SLF001
"""A topic that was just made is unknown to some broker for a moment."""

Place = tuple[str, str]
"""Tenant and document."""

T = TypeVar("T")


class Stored(NamedTuple):
    """The latest state of a document."""

    text: str
    offset: int
    """The offset of the last record that it includes."""
    keys: tuple[bytes, ...]
    """The keys under which the document has states in Kafka."""


States = dict[Place, Stored]
"""The states of the documents of a partition."""


class StoppedError(Exception):
    """The process ends, or the lease is over."""


_Lane = tuple[str, int, int]
"""A topic, a partition, and which lane of it."""


class Store:
    """The states of this process's partitions. Its methods belong to the event loop."""

    def __init__(self, topics: Topics, properties: Mapping[str, Any]) -> None:
        """``properties`` are librdkafka's: at least ``bootstrap.servers``."""
        self._topics = topics
        self._properties = dict(properties)
        self._readings: dict[_Lane, tuple[str, str, asyncio.Task[States] | None]] = {}
        """Of each partition or lane: its lease, the one before, and what is read."""
        self._stopped = threading.Event()

    async def states(self, context: IContext) -> States:
        """The states of a partition, read once for each lease; its owner keeps them up to date.

        Raises:
            StoppedError: it is not needed any more.
            SettingsError: the topics cannot be right.
            KafkaException: Kafka cannot be asked; a later call tries again.
        """
        place = (context.topic, context.partition, context.lane)
        lease, over, reading = self._readings.get(place, ("", "", None))
        if context.lease == over:
            # A document of the lease before that comes late must not make us forget what we know of this one.
            raise StoppedError("the lease is over")
        if reading is None or context.lease != lease:
            # Another owner may have written since an earlier lease.
            reading = asyncio.create_task(self._states(context.topic, context.partition))
            reading.add_done_callback(partial(self._read, place))
            self._readings[place] = (context.lease, over if context.lease == lease else lease, reading)
        return await asyncio.shield(reading)

    def stop(self) -> None:
        """Read nothing any more; what is being read ends soon."""
        self._stopped.set()

    async def _states(self, source: str, partition: int) -> States:
        return await asyncio.to_thread(self._read_all, source, partition)

    def _read(self, place: _Lane, reading: asyncio.Task[States]) -> None:
        """One that failed is tried again, after a while."""

        def forget() -> None:
            lease, over, known = self._readings[place]
            if known is reading:
                self._readings[place] = (lease, over, None)

        if reading.cancelled() or reading.exception() is not None:
            asyncio.get_running_loop().call_later(_REST, forget)

    # ------------------------------------------------------------------------------------------- in a thread

    def _read_all(self, source: str, partition: int) -> States:
        """All of a partition, up to what is acknowledged now."""
        admin = AdminClient(self._properties)
        self._prepare(admin, source)
        consumer = Consumer(
            {
                **self._properties,
                "group.id": "deli-states",  # the client asks for one; nothing is committed in it
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 10,  # at the end, the broker would wait for more
            }
        )
        began = time.monotonic()
        try:
            states = latest(self._records(consumer, TopicPartition(self._topics.state, partition, 0)))
            self._check_offsets(consumer, TopicPartition(source, partition), states)
        finally:
            consumer.close()
        count, seconds = len(states), time.monotonic() - began
        log.info("read %d states of %s/%d in %.1f s", count, self._topics.state, partition, seconds)
        return states

    def _records(self, consumer: Consumer, place: TopicPartition) -> Iterable[tuple[bytes, bytes | None]]:
        consumer.assign([place])
        # Asked for after the assignment: the client's thread for the broker sleeps for up to a second when it has
        # nothing to do, and a request wakes it.
        end = self._span_of(consumer, place).stop
        deadline = time.monotonic() + _TIMEOUT
        while True:
            first = consumer.poll(_SLICE)
            self._go_on(deadline)
            # The other records that are here already, in one call. With a timeout it would wait for all of them.
            for message in [first, *consumer.consume(_AT_ONCE, 0)] if first is not None else []:
                error, key = message.error(), message.key()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                    # A broker that has just become the leader may not know yet how far the partition goes.
                    if (message.offset() or 0) >= end:
                        return
                elif error is not None and error.code() not in _MISSING:
                    raise KafkaException(error)
                elif error is None:
                    deadline = time.monotonic() + _TIMEOUT
                    if key is not None:
                        yield key, message.value()

    def _check_offsets(self, consumer: Consumer, source: TopicPartition, states: States) -> None:
        """Records at or below a state's offset are in it and skipped: of a topic that was made anew, all of them."""
        offsets = (stored.offset for stored in states.values() if stored.offset != _UNREADABLE)
        following = max(offsets, default=-1) + 1
        consumer.assign([TopicPartition(source.topic, source.partition, following)])
        self._span_of(consumer, source)  # wakes the client, as above
        deadline = time.monotonic() + _TIMEOUT
        while (first := consumer.poll(_SLICE)) is None:
            self._go_on(deadline)
        # Beyond the end of the topic, the client begins at its start. (The end itself is not asked for: the embedded
        # broker says less than it has.)
        if (first.offset() or 0) < following:
            raise SettingsError(
                f"state: {self._topics.state}/{source.partition} has states up to offset {following - 1} of "
                f"{source.topic}, which does not go so far: it was made anew, or has lost records. Give its states a "
                "new topic"
            )

    def _span_of(self, consumer: Consumer, place: TopicPartition) -> range:
        """The offsets that a partition has."""

        def ask(timeout: float) -> range:
            low, high = consumer.get_watermark_offsets(place, timeout=timeout)
            return range(low, high)

        return self._patiently(ask)

    def _prepare(self, admin: AdminClient, source: str) -> None:
        """The topic is there, compacted, and large enough."""
        topics = self._patiently(lambda timeout: admin.list_topics(timeout=timeout).topics)
        name = self._topics.state
        wanted = len(topics[source].partitions) if source in topics else 1
        if name not in topics:
            self._create(admin, wanted, self._topics.deltas if self._topics.deltas in topics else None)
            return
        there = len(topics[name].partitions)
        if there < wanted:
            raise SettingsError(
                f"state: the topic {name} has {there} partitions and {source} has {wanted}; each needs its own. "
                f"Where {source} got more, its documents have moved away from their states"
            )
        policy = _policy(admin, name)
        if policy is not None and policy.replace(" ", "") != "compact":
            raise SettingsError(
                f"state: the topic {name} has cleanup.policy={policy}, so that states would be deleted, and numbers "
                "given a second time; set it to compact"
            )

    def _create(self, admin: AdminClient, partitions: int, deltas: str | None) -> None:
        """Make the topic. That it is there says that numbers may have been given; without it there must be none."""
        if deltas is not None and self._has_records(deltas, admin):
            raise SettingsError(
                f"state: there is no topic {self._topics.state}, but {deltas} has records: the states are lost, and "
                f"numbers would start again at 1. If that is meant, make the topic {self._topics.state} yourself, "
                f"with {partitions} partitions and cleanup.policy=compact"
            )
        new = NewTopic(self._topics.state, num_partitions=partitions, config=_TOPIC)
        try:
            admin.create_topics([new], operation_timeout=_TIMEOUT)[self._topics.state].result(_TIMEOUT)
        except KafkaException as refusal:
            if refusal.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another process was faster
                raise

    def _has_records(self, topic: str, admin: AdminClient) -> bool:
        partitions = self._patiently(lambda timeout: admin.list_topics(topic, timeout).topics[topic].partitions)
        consumer = Consumer({**self._properties, "group.id": "deli-states"})
        try:
            return any(self._span_of(consumer, TopicPartition(topic, partition)) for partition in partitions)
        finally:
            consumer.close()

    def _patiently(self, ask: Callable[[float], T]) -> T:
        """What Kafka answers: asked with a short timeout again and again, so that the process can end meanwhile."""
        deadline = time.monotonic() + _TIMEOUT
        while True:
            try:
                return ask(_SLICE)
            except KafkaException as error:
                if time.monotonic() > deadline or not _may_pass(error.args[0]):
                    raise
            self._go_on(deadline)
            self._stopped.wait(0.1)

    def _go_on(self, deadline: float) -> None:
        if self._stopped.is_set():
            raise StoppedError("the process ends")
        if time.monotonic() > deadline:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - librdkafka's name


def key_of(document: Document, lease: str) -> bytes:
    """The key of a document's state: no two documents and leases have the same.

    Of the lease only a hash: whoever has a lease may speak for its partition, and others read this topic.
    """
    owner = hashlib.sha256(lease.encode()).hexdigest()[:16]
    return json.dumps([document.tenant_id, document.document_id, owner]).encode()


def latest(records: Iterable[tuple[bytes, bytes | None]]) -> States:
    """The furthest state of each document, of all records of a partition in their order."""
    found: dict[Place, dict[bytes, tuple[int, str]]] = {}
    for key, value in records:
        place = _place_of(key)
        if place is None:
            log.warning("a record with the key %.100r is no state, and is left out", key)
        elif value is None:
            found.get(place, {}).pop(key, None)
        else:
            of_document = found.setdefault(place, {})
            offset, text = _offset_of(value), value.decode("utf-8", "replace")
            if key not in of_document or offset >= of_document[key][0]:
                of_document[key] = (offset, text)
    states: States = {}
    for place, by_key in found.items():
        if by_key:
            offset, text = max(by_key.values(), key=lambda one: one[0])
            states[place] = Stored(text, offset, tuple(by_key))
    return states


def _place_of(key: bytes) -> Place | None:
    try:
        tenant, document, *_ = json.loads(key)
    except (ValueError, TypeError):
        return None
    return (tenant, document) if isinstance(tenant, str) and isinstance(document, str) else None


def _offset_of(value: bytes) -> int:
    """What cannot be read counts as the furthest: better no document than one from an older state."""
    try:
        return int(json.loads(value)["logOffset"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return _UNREADABLE


def _policy(admin: AdminClient, topic: str) -> str | None:
    """None: the broker does not say."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    try:
        found = admin.describe_configs([resource], request_timeout=_TIMEOUT)[resource].result()
        return str(found["cleanup.policy"].value)
    except (KafkaException, KeyError):
        return None


def _may_pass(error: KafkaError) -> bool:
    return error.retriable() or error.code() in {
        *_MISSING,
        # Of a partition that was just made.
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    }
