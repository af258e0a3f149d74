"""Dead letters: records that a lambda cannot process, kept in a topic of their own, byte for byte.

One thread for each lambda with the policy `dead-letter`. It owns a producer and an admin client, whose calls wait
for the broker; the consumer thread gives it one record at a time of each partition and goes on with the others. The
answer comes as a letter into the consumer thread's mailbox, once the broker has confirmed the write or it has failed
for good: the partition stands still until then.
"""

import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic, time

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not marked so
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from sidecar.config.lambdas import default_dead_letter_topic
from sidecar.kafka.connection import ClientLog
from sidecar.kafka.properties import Property
from sidecar.kafka.records import Record
from sidecar.logs import get_logger
from sidecar.mail import DeadLettered, Mailbox
from sidecar.partitions.vocabulary import DeadLetter, TopicPartition

ADMIN_TIMEOUT = 15.0
"""Seconds that a question to the broker, or the creation of the topic, may take."""

ROOM_FOR_HEADERS = 64 * 1024
"""Bytes by which a dead letter may be larger than its record: the stack, and the rest."""

_CONNECT = "__connect.errors."
_OURS = "__kafka_sidecar.errors."


@dataclass(frozen=True, slots=True)
class _Job:
    tp: TopicPartition
    record: Record
    letter: DeadLetter


class DeadLetters(threading.Thread):
    """Writes one lambda's dead letters. Everything but ``write`` and ``stop`` belongs to the thread itself."""

    def __init__(
        self, lambda_name: str, group: str, topic: str | None, properties: Mapping[str, Property], mailbox: Mailbox
    ) -> None:
        """``topic``: where they go; None: `TOPIC.LAMBDA.dead-letter`. ``properties`` are a producer's."""
        super().__init__(name=f"dead-letters-{lambda_name}", daemon=True)
        self._lambda = lambda_name
        self._group = group
        self._topic = topic
        self._properties = properties
        self._mailbox = mailbox
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._partitions: dict[str, int] = {}
        self._outcomes: dict[int, str] = {}
        self._producer: Producer | None = None
        self._admin: AdminClient | None = None
        self._failed = False
        self._log = ClientLog(get_logger("librdkafka").bind(lambda_=lambda_name))

    def write(self, tp: TopicPartition, record: Record, letter: DeadLetter) -> None:
        """Keep this record. Called by the consumer thread; the answer is a `DeadLettered` in its mailbox."""
        self._jobs.put(_Job(tp, record, letter))

    def stop(self) -> None:
        """End after what is under way. What is not answered then is met again by the partition's next owner."""
        self._jobs.put(None)

    def run(self) -> None:
        """Write what comes, until ``stop``."""
        ended = False
        while not ended:
            jobs = [self._jobs.get()]
            while not self._jobs.empty():
                jobs.append(self._jobs.get())
            ended = None in jobs
            self._write_all([job for job in jobs if job is not None])

    def _write_all(self, jobs: list[_Job]) -> None:
        """Write what is there at once: one wait for the broker is for all of them."""
        errors = {index: self._begun(index, job) for index, job in enumerate(jobs)}
        if self._producer is not None:
            self._producer.flush()
        for index, job in enumerate(jobs):
            error: str = errors[index] or self._outcomes.get(index, "the producer did not say what became of it")
            self._mailbox.put(DeadLettered(job.tp, job.record.offset, job.letter, error))
        self._outcomes.clear()
        if self._failed:
            # Its topic may be gone, and a producer that failed for good would fail for ever.
            self._failed, self._producer, self._admin = False, None, None
            self._partitions.clear()

    def _begun(self, index: int, job: _Job) -> str:
        """Give one record to the producer. Returns what went wrong; empty: its outcome comes with ``flush``."""
        try:
            self._produce(index, job)
        except KafkaException as refusal:
            error: str = refusal.args[0].str()
        except Exception as failure:  # whatever it is, the partition must hear of it, and halt
            error = f"{type(failure).__name__}: {failure}"
        else:
            return ""
        self._failed = True
        return error

    def _produce(self, index: int, job: _Job) -> None:
        producer, admin = self._clients()
        record = job.record
        added = added_headers(job.tp, record.offset, job.letter, self._lambda, self._group, monotonic())
        topic = self._topic or default_dead_letter_topic(self._lambda, job.tp.topic)
        partitions = self._partitions.get(topic) or self._prepared(admin, topic, job.tp.topic)

        def delivered(error: KafkaError | None, _: Message) -> None:
            self._outcomes[index] = "" if error is None else f"{error.str()} (topic {topic})"
            self._failed = self._failed or error is not None

        producer.produce(
            topic,
            value=record.value,
            key=record.key,
            headers=[*_named(record.headers), *added],
            # The same partition, so that what belongs together stays so; a topic of the user's may have fewer.
            partition=job.tp.partition if job.tp.partition < partitions else -1,
            timestamp=0 if record.timestamp_type == TIMESTAMP_NOT_AVAILABLE else record.timestamp,
            on_delivery=delivered,
        )

    def _clients(self) -> tuple[Producer, AdminClient]:
        """Made with the first dead letter, since most lambdas never have one, and anew after a failure."""
        if self._producer is None or self._admin is None:
            self._producer = Producer(dict(self._properties), logger=self._log)
            self._admin = AdminClient(dict(self._properties), logger=self._log)
        return self._producer, self._admin

    def _prepared(self, admin: AdminClient, topic: str, source: str) -> int:
        """The topic's number of partitions; it is made when it is missing, with as many as ``source`` has."""
        known = admin.list_topics(timeout=ADMIN_TIMEOUT).topics
        if topic not in known:
            count = len(known[source].partitions) if source in known else 1
            new = NewTopic(topic, num_partitions=count, config=_limits_of(admin, source))
            try:
                admin.create_topics([new], operation_timeout=ADMIN_TIMEOUT)[topic].result(ADMIN_TIMEOUT)
            except KafkaException as refusal:
                if refusal.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another sidecar was faster
                    raise
            self._partitions[topic] = count
        else:
            self._partitions[topic] = len(known[topic].partitions)
        return self._partitions[topic]


def added_headers(
    tp: TopicPartition, offset: int, letter: DeadLetter, lambda_name: str, group: str, now: float
) -> list[tuple[str, bytes]]:
    """What a dead letter says of its failure, beside the record's own headers.

    The names are Kafka Connect's where it has one (KIP-298), else ours. ``now`` is of the clock that ``letter``'s
    times are of.
    """
    failure = letter.failure
    wall = time() - now
    texts = {
        f"{_CONNECT}topic": tp.topic,
        f"{_CONNECT}partition": str(tp.partition),
        f"{_CONNECT}offset": str(offset),
        f"{_CONNECT}exception.class.name": failure.type,
        f"{_CONNECT}exception.message": failure.message,
        f"{_CONNECT}exception.stacktrace": failure.stack,
        f"{_OURS}code": failure.code,
        f"{_OURS}attempts": str(letter.attempts),
        f"{_OURS}first.failure": _instant(letter.first_failed_at + wall),
        f"{_OURS}last.failure": _instant(letter.last_failed_at + wall),
        f"{_OURS}lambda": lambda_name,
        f"{_OURS}lambda.version": failure.version,
        f"{_OURS}group": group,
    }
    return [(name, text.encode()) for name, text in texts.items()]


def _named(headers: list[tuple[bytes, bytes | None]]) -> list[tuple[str, bytes | None]]:
    """The binding takes names as text only, and cuts them at a NUL without a word."""
    try:
        named = [(name.decode(), value) for name, value in headers]
    except UnicodeDecodeError:
        raise ValueError("a header name is not UTF-8, which the Kafka client cannot write") from None
    if any("\0" in name for name, _ in named):
        raise ValueError("a header name has a NUL, where the Kafka client would cut it")
    return named


def _limits_of(admin: AdminClient, source: str) -> dict[str, str]:
    """A dead letter is its record and some headers: the largest record must still fit."""
    resource = ConfigResource(ResourceType.TOPIC, source)
    try:
        found = admin.describe_configs([resource], request_timeout=ADMIN_TIMEOUT)[resource].result()
        largest = int(found["max.message.bytes"].value)
    except (KafkaException, KeyError, ValueError):
        return {}  # not allowed to ask, or a broker that does not know: its default holds
    return {"max.message.bytes": str(largest + ROOM_FOR_HEADERS)}


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
