"""Dead letters: records that a lambda cannot process, written to another topic with their key, value and headers.

There is one thread for each lambda with the policy `dead-letter`. It owns a producer and an admin client, whose calls
wait for the broker. The consumer thread gives it at most one record of each partition at a time. Once the broker has
confirmed the write, or the write has failed for good, the answer goes into the consumer thread's mailbox as a letter.
Until then no later record of the partition is sent.
"""

import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic, time

from confluent_kafka import (
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    KafkaError,
    KafkaException,
    Message,
    Producer,
)
from confluent_kafka.admin import AdminClient

from sidecar.cluster.client_log import ClientLog
from sidecar.cluster.errors import GONE
from sidecar.config.kafka_properties import Property
from sidecar.config.lambdas import default_dead_letter_topic
from sidecar.logs import get_logger
from sidecar.mail.boxes import Mailbox
from sidecar.mail.letters import DeadLettered
from sidecar.mail.outgoing import Outgoing
from sidecar.partitions.vocabulary import DeadLetter, Lane, TopicPartition
from sidecar.producing.dead_letter_topic import may_write, prepared
from sidecar.records import dead_letter_headers as names
from sidecar.records.dead_letter_headers import own_headers
from sidecar.records.records import Record

_TYPES = {TIMESTAMP_CREATE_TIME: "create_time", TIMESTAMP_LOG_APPEND_TIME: "log_append_time"}
"""The names of timestamp types in the header; without a timestamp the header is empty."""


@dataclass(frozen=True, slots=True)
class _Job:
    lane: Lane
    record: Record
    letter: DeadLetter

    @property
    def tp(self) -> TopicPartition:
        """The partition that the record is from."""
        return self.lane.partition


class DeadLetters(threading.Thread):
    """Writes one lambda's dead letters. Other threads may call only ``write``, ``look_anew`` and ``stop``."""

    def __init__(
        self,
        lambda_name: str,
        group: str,
        topic: str | None,
        properties: Mapping[str, Property],
        mailbox: Mailbox,
        *,
        writes: bool = True,
    ) -> None:
        """``topic``: the dead-letter topic; None: `TOPIC.LAMBDA.dead-letter`. ``properties``: of the producer.

        Without ``writes``, for exactly-once, a dead letter is only made, and its topic if that is missing: the answer
        has it, and the consumer thread has it written in a transaction with the place after its record.
        """
        super().__init__(name=f"dead-letters-{lambda_name}", daemon=True)
        self._lambda = lambda_name
        self._group = group
        self._topic = topic
        self._properties = properties
        self._mailbox = mailbox
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._partitions: dict[str, int] = {}
        self._writes = writes
        self._made: dict[int, Outgoing] = {}
        """Without ``writes``: what is to be written, by the number of its job."""
        self._outcomes: dict[int, str] = {}
        """The error of each job, by its number; empty: it is written."""
        self._gone: set[int] = set()
        """The numbers of jobs whose topic or partition did not exist."""
        self._anew = threading.Event()
        self._producer: Producer | None = None
        self._admin: AdminClient | None = None
        self._log = get_logger(__name__).bind(lambda_=lambda_name)
        self._client_log = ClientLog(get_logger("librdkafka").bind(lambda_=lambda_name))

    def write(self, lane: Lane, record: Record, letter: DeadLetter) -> None:
        """Write this record. Called by the consumer thread; the answer is a `DeadLettered` in its mailbox."""
        self._jobs.put(_Job(lane, record, letter))

    def look_anew(self) -> None:
        """Look at each topic again before its next dead letter: with the last ones a transaction was aborted.

        A topic that is missing by now is then made, and one that we may not write to is refused here, where the lane
        can be told. The transaction cannot tell: if the broker does not let a topic join it, librdkafka does not say
        which record that concerns. A letter that was made just before, of a partition of another transaction, may
        still go there; then that one is aborted too, and this is called again.
        """
        self._anew.set()

    def stop(self) -> None:
        """End after the jobs that are under way. The next owner of a partition handles records without an answer."""
        self._jobs.put(None)

    def run(self) -> None:
        """Write records until ``stop``."""
        ended = False
        while not ended:
            jobs = [self._jobs.get()]
            while not self._jobs.empty():
                jobs.append(self._jobs.get())
            ended = None in jobs
            self._write_all([job for job in jobs if job is not None])

    def _write_all(self, jobs: list[_Job]) -> None:
        """Write all jobs with one wait for the broker, and answer each."""
        if self._anew.is_set():
            self._anew.clear()
            self._partitions.clear()
        self._try(dict(enumerate(jobs)))
        if self._gone:
            # The topic was deleted, or made anew with fewer partitions, after it was prepared. So prepare it again
            # and retry once. The order stays right: there is one job of each partition at a time.
            self._log.warning("the topic for dead letters is not as it was; looking at it anew")
            self._try({index: jobs[index] for index in sorted(self._gone)})
        for index, job in enumerate(jobs):
            error = self._outcomes.get(index, "the producer did not say what became of it")
            self._mailbox.put(DeadLettered(job.lane, job.record.offset, job.letter, error, self._made.get(index)))
        self._outcomes.clear()
        self._made.clear()

    def _try(self, jobs: dict[int, _Job]) -> None:
        """Write these jobs, by their numbers, and put the result of each into ``_outcomes``."""
        self._gone.clear()
        for index, job in jobs.items():
            self._outcomes.pop(index, None)
            self._begin(index, job)
        if self._producer is not None:
            try:
                self._producer.flush()
            except KafkaException as failure:  # the producer has failed for good
                for index in jobs:
                    self._outcomes.setdefault(index, failure.args[0].str())
        if any(self._outcomes.get(index, "unknown") for index in jobs):
            # The topic may be gone, or the producer may have failed for good: make the clients anew.
            self._producer, self._admin = None, None
            self._partitions.clear()

    def _begin(self, index: int, job: _Job) -> None:
        """Give one record to the producer. An error is known at once, or after ``flush``."""
        topic = self._topic or default_dead_letter_topic(self._lambda, job.tp.topic)
        try:
            self._produce(index, job, topic)
        except KafkaException as refusal:
            self._failed(index, refusal.args[0], topic)
        except Exception as failure:  # whatever it is, the partition must be told, and halt
            self._outcomes[index] = f"{type(failure).__name__}: {failure}"

    def _failed(self, index: int, error: KafkaError, topic: str) -> None:
        self._outcomes[index] = f"{error.str()} (topic {topic})"
        if error.code() in GONE:
            self._gone.add(index)

    def _produce(self, index: int, job: _Job, topic: str) -> None:
        record = job.record
        added = added_headers(job.tp, record, job.letter, self._lambda, self._group, monotonic())
        headers: list[tuple[str, str | bytes | None]] = [*own_headers(record.headers), *added]
        if self._admin is None:  # they are made for the first dead letter, since most lambdas have none
            self._admin = AdminClient(dict(self._properties), logger=self._client_log)
        if topic not in self._partitions:
            count = prepared(self._admin, topic, job.tp.topic, self._log)
            if not self._writes and not may_write(self._admin, topic):
                raise KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
            self._partitions[topic] = count

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is None:
                self._outcomes[index] = ""
            else:
                self._failed(index, error, topic)

        # The same partition, to keep related records together; a user's own topic may have fewer partitions.
        partition = job.tp.partition if job.tp.partition < self._partitions[topic] else -1
        if not self._writes:
            named = [(name, value.encode() if isinstance(value, str) else value) for name, value in headers]
            self._made[index] = Outgoing(topic, record.key, record.value, partition, named)
            self._outcomes[index] = ""
            return
        if self._producer is None:
            self._producer = Producer(dict(self._properties), logger=self._client_log)
        # The timestamp is left out, so it is now: retention depends on it, and the record may be old.
        self._producer.produce(
            topic,
            value=record.value,
            key=record.key,
            headers=headers,
            partition=partition,
            on_delivery=delivered,
        )


def added_headers(
    tp: TopicPartition, record: Record, letter: DeadLetter, lambda_name: str, group: str, now: float
) -> list[tuple[str, bytes]]:
    """The headers of a dead letter that describe its record and failure, to be added to the record's own headers.

    `own_headers` removes all of them. ``now`` is the present time of the clock of ``letter``'s times.
    """
    failure = letter.failure
    wall = time() - now
    texts = {
        names.TOPIC: tp.topic,
        names.PARTITION: str(tp.partition),
        names.OFFSET: str(record.offset),
        names.TYPE: failure.type,
        names.MESSAGE: failure.message,
        names.STACK: failure.stack,
        names.TIMESTAMP: str(record.timestamp) if record.timestamp_type in _TYPES else "",
        names.TIMESTAMP_TYPE: _TYPES.get(record.timestamp_type, ""),
        names.CODE: failure.code,
        names.ATTEMPTS: str(letter.attempts),
        names.FIRST_FAILURE: _instant(letter.first_failed_at + wall),
        names.LAST_FAILURE: _instant(letter.last_failed_at + wall),
        names.LAMBDA: lambda_name,
        names.LAMBDA_VERSION: failure.version,
        names.GROUP: group,
    }
    return [(name, text.encode()) for name, text in texts.items()]


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
