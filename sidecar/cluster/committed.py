"""The group's committed offsets, fetched outside of the consumer thread.

An AdminClient has a call for that, but it must not be used: if a broker goes away during the call, it is never
answered, and a late answer crashes the process with a failed assertion (librdkafka#4605). A consumer's own call does
not have that fault, but it blocks. Hence this thread, with a consumer that is not a member of the group. The consumer
exists only while there are questions, which come with assignments.
"""

import queue
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition as KafkaPartition

from sidecar.cluster.client_log import ClientLog
from sidecar.cluster.commit_metadata import decode
from sidecar.config.kafka_properties import Property
from sidecar.mail import letters
from sidecar.mail.boxes import Mailbox
from sidecar.mail.facts import Commit
from sidecar.partitions.vocabulary import TopicPartition

TIMEOUT_S = 3.0
"""Seconds that a question may take; the caller asks again afterwards."""

IDLE_S = 30.0
"""Seconds without a question after which the client is closed."""

Then = Callable[[Mapping[TopicPartition, Commit] | KafkaError], None]


@dataclass(frozen=True, slots=True)
class _Question:
    tps: Collection[TopicPartition]
    then: Then


class CommittedOffsets(threading.Thread):
    """Fetches committed offsets. Other threads may call only ``ask`` and ``stop``."""

    def __init__(
        self, name: str, properties: Mapping[str, Property], mailbox: Mailbox, client_log: ClientLog
    ) -> None:
        """``properties``: of a consumer that is no member: the group, and the connection to Kafka."""
        super().__init__(name=f"offsets-{name}", daemon=True)
        self._properties = dict(properties)
        self._mailbox = mailbox
        self._client_log = client_log
        self._questions: queue.SimpleQueue[_Question | None] = queue.SimpleQueue()
        self._client: Consumer | None = None

    def ask(self, tps: Collection[TopicPartition], then: Then) -> None:
        """Never blocks. The owner of the mailbox calls ``then`` with the answer, or with the error."""
        self._questions.put(_Question([*tps], then))

    def stop(self) -> None:
        """End after the question that is under way."""
        self._questions.put(None)

    def run(self) -> None:
        """Answer questions until ``stop``."""
        while True:
            try:
                question = self._questions.get(timeout=IDLE_S if self._client is not None else None)
            except queue.Empty:
                self._close()
                continue
            if question is None:
                self._close()
                return
            answer = self._answer(question.tps)
            then = question.then
            self._mailbox.put(letters.Told(lambda then=then, answer=answer: then(answer)))  # type: ignore[misc]

    def _answer(self, tps: Collection[TopicPartition]) -> Mapping[TopicPartition, Commit] | KafkaError:
        if not tps:
            return {}
        try:
            if self._client is None:
                self._client = Consumer(self._properties, logger=self._client_log)
            self._client.poll(0)  # lets the client do its own work, such as renewing a token
            answers = self._client.committed([KafkaPartition(*tp) for tp in tps], timeout=TIMEOUT_S)
        except KafkaException as refusal:
            return refusal.args[0]  # type: ignore[no-any-return]
        except Exception as error:  # whatever it is, the caller must be told, and ask again
            return KafkaError(KafkaError._FAIL, f"{type(error).__name__}: {error}")  # noqa: SLF001
        return _commits(answers)

    def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(KafkaException, RuntimeError):
                client.close()


def _commits(answers: Iterable[KafkaPartition]) -> Mapping[TopicPartition, Commit] | KafkaError:
    commits: dict[TopicPartition, Commit] = {}
    for answer in answers:
        if answer.error is not None:
            return answer.error
        if answer.offset >= 0:
            commits[TopicPartition(answer.topic, answer.partition)] = decode(answer.offset, _metadata(answer))
    return commits


def _metadata(answer: KafkaPartition) -> str | None:
    """The metadata of a commit; None: there is none, or somebody's that is no text."""
    try:
        return answer.metadata
    except UnicodeDecodeError:
        return None
