"""Writes replayed records, and the marks of their letters, to Kafka.

With transactions, a batch of records and its marks appear together or not at all. So a replay may be killed at any
moment: the next one reads from the marks what is left to do. All replays of a dead-letter topic have the same
transactional id: a new one fences the one before it, which then can write nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from types import TracebackType
from typing import NamedTuple, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from sidecar.dead_letters.clients import ANSWER_TIMEOUT_S, ClientErrors, Cluster, DeadLettersError, quiet
from sidecar.dead_letters.exported import Content
from sidecar.dead_letters.letter import Place
from sidecar.dead_letters.marks import MarkRecord

_STEP_S = 0.5
"""Waiting for Kafka is interrupted so often, so that Ctrl-C is heard."""
_PAUSE_S = 0.05

_FENCED = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001 - the binding's name
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
    }
)

_OF_A_BATCH = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD})


class Outgoing(NamedTuple):
    """A record to write."""

    letter: Place
    topic: str
    partition: int
    """-1: by its key."""
    content: Content
    timestamp_ms: int
    """0: now."""


class Replay:
    """The producer of one replay; a context manager. Its calls raise ``DeadLettersError``."""

    def __init__(self, cluster: Cluster, topic: str, *, singly: bool) -> None:
        """``topic``: the dead-letter topic. ``singly``: each record is a batch of its own, for a topic that refuses
        batches of the usual size."""
        self._topic = topic
        self._errors = ClientErrors(cluster.servers)
        self.id = None if cluster.embedded else transactional_id(topic)
        self._producer = Producer(quiet(cluster.producer(self.id, singly=singly), self._errors), logger=self._errors)
        self._failed: tuple[str, KafkaError] | None = None
        self._open = False

    def __enter__(self) -> Self:
        """Take the topic over: an earlier replay that still runs cannot write from now on, and what it had written
        without a commit is void."""
        if self.id is not None:
            self._call(self._producer.init_transactions, "beginning a replay")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if kind is not None and self._open:
            self._abort()

    def write(self, records: Sequence[Outgoing], marks: Sequence[MarkRecord]) -> None:
        """Write records and then their marks. Afterwards all of them are in Kafka; if this raises, none of them is,
        or it says otherwise."""
        if self.id is not None:
            self._call(lambda _: self._producer.begin_transaction(), "beginning a transaction")
            self._open = True
        for one in records:
            about = f"replaying {one.letter} to {one.topic}"
            self._produce(
                about,
                one.topic,
                one.partition,
                one.content.key,
                one.content.value,
                one.content.headers,
                one.timestamp_ms,
            )
        self._flush()  # without transactions a mark must never come before its record
        for topic, partition, value, headers in marks:
            self._produce(f"marking letters in {topic}", topic, partition, None, value, headers, 0)
        self._flush()
        if self.id is not None:
            self._commit(len(records))
            self._open = False

    def _produce(
        self,
        about: str,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
        timestamp_ms: int,
    ) -> None:
        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None and self._failed is None:
                self._failed = (about, error)

        while True:
            with self._refusals(about):
                try:
                    self._producer.produce(
                        topic,
                        value=value,
                        key=key,
                        headers=[*headers],
                        partition=partition,
                        timestamp=timestamp_ms,
                        on_delivery=delivered,
                    )
                except BufferError:
                    self._producer.poll(_STEP_S)
                else:
                    return

    def _flush(self) -> None:
        """Wait until the outcome of each record is known: the producer's own timeout bounds it."""
        with self._refusals(f"replaying letters of {self._topic}"):
            while self._producer.flush(_STEP_S):
                pass
        if self._failed is not None:
            about, error = self._failed
            raise self._refused(error, about)

    def _commit(self, count: int) -> None:
        try:
            self._call(self._producer.commit_transaction, "committing")
        except _UnknownOutcomeError as unknown:
            self._open = False  # a commit whose outcome is not known cannot be aborted
            raise DeadLettersError(
                f"{unknown}. Whether the last {count} letters were replayed is not known. Start the command again: "
                "those that were have their marks, and are not replayed twice"
            ) from None

    def _abort(self) -> None:
        try:
            self._call(self._producer.abort_transaction, "aborting")
        except DeadLettersError:
            # The broker aborts it by itself when its time is over, or the next replay does.
            self._open = False

    def _call(self, call: Callable[[float], None], doing: str) -> None:
        """Call the transaction API until it succeeds or the time is over, with interruptions for signals."""
        deadline = monotonic() + 2 * ANSWER_TIMEOUT_S
        while True:
            try:
                call(_STEP_S)
            except KafkaException as refusal:
                error = refusal.args[0]
                if not error.retriable():
                    raise self._refused(error, f"{doing} for {self._topic}") from None
                with self._refusals(f"{doing} for {self._topic}"):  # such as a right that is missing
                    self._producer.poll(_PAUSE_S)  # the client tells the reason of a failed connection only in here
                if monotonic() > deadline:
                    text = self._errors.explained(error, f"{doing} for {self._topic}")
                    raise _UnknownOutcomeError(str(text)) from None
            else:
                return

    @contextmanager
    def _refusals(self, doing: str) -> Iterator[None]:
        """Explain an error of the client that comes up inside of a call, which need not be about that call."""
        try:
            yield
        except KafkaException as refusal:
            raise self._refused(refusal.args[0], doing) from None
        except SystemError as error:
            # `flush` does not notice that the binding has raised a fatal error in it.
            if not isinstance(error.__cause__, KafkaException):
                raise
            raise self._refused(error.__cause__.args[0], doing) from None

    def _refused(self, error: KafkaError, doing: str) -> DeadLettersError:
        if error.code() == KafkaError._FATAL and self.id is not None:  # noqa: SLF001 - the binding's name
            error = self._fatal(error)
        if error.code() in _FENCED:
            return DeadLettersError(
                f"this replay of {self._topic} was fenced: another one has begun, and replays what is left. Or Kafka "
                "was away so long that it has ended our transaction: if no other replay runs, start the command again"
            )
        told = self._errors.explained(error, doing, _REMEDIES.get(error.code(), "").format(id=self.id))
        return BatchRefusedError(str(told)) if error.code() in _OF_A_BATCH else told

    def _fatal(self, error: KafkaError) -> KafkaError:
        """The reason for which the client has failed for good. `produce` does not tell it, transactional calls do."""
        try:
            self._producer.abort_transaction(_STEP_S)
        except KafkaException as refusal:
            reason: KafkaError = refusal.args[0]
            return reason
        return error


class BatchRefusedError(DeadLettersError):
    """The broker has refused a batch for one of its records, and does not say which. Nothing of it is written."""


class _UnknownOutcomeError(DeadLettersError):
    """A call had no answer in time, so its outcome is not known."""


_REMEDIES = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "allow the user Write on the topic, and on the dead-letter topic",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "allow the user Write on the transactional id {id}",
    KafkaError.MSG_SIZE_TOO_LARGE: "raise the topic's max.message.bytes, or do not let the replay add its header "
    "(--no-history)",
    KafkaError.INVALID_RECORD: "a compacted topic takes no record without a key, so dead letters need another",
}


def transactional_id(topic: str) -> str:
    """The transactional id of all replays of a dead-letter topic."""
    return f"kafka-sidecar-replay-{topic}"
