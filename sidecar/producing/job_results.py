"""What became of the records of one job of a transaction. Used by the transactions thread alone."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, Message

from sidecar.cluster.errors import GONE, NOWHERE
from sidecar.mail.outgoing import Job, Outcome, RefusedLetter, Written
from sidecar.producing.native_outlet import REPORTED, error_of
from sidecar.producing.outcomes import NOT_SENT, OF_ITS_BATCH, nothing, why

if TYPE_CHECKING:
    from sidecar.records import _native as native

_OF_A_RECORD = (
    OF_ITS_BATCH
    | NOWHERE
    | {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.TOPIC_EXCEPTION, KafkaError.INVALID_TIMESTAMP}
    | {KafkaError.POLICY_VIOLATION, KafkaError._INVALID_ARG}  # noqa: SLF001 - the binding's name
)
"""A record is refused for what it is. Other records then fail as well, since the transaction does."""


class JobResults:
    """What became of the records of one job.

    The binding's producer reports each record while it is served: `report`. The extension's notes the reports in the
    job's ``request``, and they are collected when they are wanted: `collect`.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.request: native.Request | None = None
        """The records as the extension has them, which notes their reports there until they are collected."""
        self.written: Written = nothing(len(job.records), NOT_SENT)
        self.missing = len(job.records)
        """Records of which nothing is known yet."""
        self.error: KafkaError | None = None
        """Of the record that was refused for what it is; before any, of the first that was not written."""
        self.text = ""
        self.refusals: dict[int, KafkaError] = {}
        """The records, by their index, that were refused for what they are."""

    @property
    def is_culprit(self) -> bool:
        """Whether a record was refused for what it is."""
        return bool(self.refusals)

    def report(self, index: int, error: KafkaError | None, message: Message) -> None:
        """librdkafka reports a record."""
        if error is not None:
            self.refuse(index, error, message.topic() or "", message.partition())
            return
        # Both are set when there is no error.
        self._wrote(index, message.partition() or 0, message.offset() or 0)

    def collect(self) -> None:
        """Take the reports that the extension has noted. No others count."""
        request, self.request = self.request, None
        if request is None:
            return
        count = len(self.job.records)
        if request.written == count:
            self.missing = 0
            self.written = Written([int(Outcome.WRITTEN)] * count, *request.places(), [""] * count)
            return
        topics = request.topics
        for index, (state, code, topic, partition, offset, _) in enumerate(request.results()):
            if state == REPORTED and code:
                self.refuse(index, error_of(state, code), topics[topic], partition)
            elif state == REPORTED:
                self._wrote(index, partition, offset)

    def _wrote(self, index: int, partition: int, offset: int) -> None:
        self.missing -= 1
        written = self.written
        written.outcomes[index], written.errors[index] = Outcome.WRITTEN, ""
        written.partitions[index], written.offsets[index] = partition, offset

    def refuse(self, index: int, error: KafkaError, topic: str, partition: int | None) -> None:
        """A record is not written."""
        self.missing -= 1
        code = error.code()
        culprit = code in _OF_A_RECORD
        text = why(error, topic, partition)
        self.written.errors[index] = text
        self.written.outcomes[index] = Outcome.FAILED
        if culprit and code in OF_ITS_BATCH:
            # librdkafka fails a whole batch (see `outcomes.OF_ITS_BATCH`): the record may not be the cause.
            self.written.outcomes[index] = Outcome.TOO_LARGE if len(self.job.records) == 1 else Outcome.FAILED
        if self.error is None or (culprit and not self.is_culprit):
            self.error, self.text = error, text
        if culprit:
            self.refusals[index] = error

    def aborted(self, text: str) -> None:
        """None of the records is in Kafka for readers."""
        written = self.written
        for index, outcome in enumerate(written.outcomes):
            if outcome == Outcome.WRITTEN or written.errors[index] == NOT_SENT:
                written.outcomes[index], written.errors[index] = Outcome.FAILED, text
                written.partitions[index] = written.offsets[index] = -1


class Blame:
    """Who is to blame for an aborted transaction: jobs, or dead letters of them. Made after all was collected."""

    def __init__(self, results: Sequence[JobResults], *, each_alone: bool) -> None:
        """``each_alone``: each record was a batch of its own."""
        self.culprits: set[int] = set()
        """The jobs with another refused record than the ``letters``, by their index."""
        self.letters: dict[int, dict[int, RefusedLetter]] = {}
        """The refused dead letters, by the index of their job, and of the record in it."""
        self.is_mixed = False
        """A refusal may be meant for another record of the same batch."""
        self._results = results
        self._each_alone = each_alone
        for number, one in enumerate(results):
            for index, error in one.refusals.items():
                self._add(number, index, error)

    def _add(self, number: int, index: int, error: KafkaError) -> None:
        job = self._results[number].job
        topic = job.records[index].topic
        is_letter = index >= len(job.records) - job.dead_letters
        # A batch has records of one topic. Dead letters are few, so most are alone in theirs, whatever its size.
        if error.code() in OF_ITS_BATCH and not self._each_alone and not (is_letter and self._count(topic) == 1):
            self.is_mixed = True
            self.culprits.add(number)
        elif is_letter:
            text = f"{error.str()} (topic {topic})"
            self.letters.setdefault(number, {})[index] = RefusedLetter(text, error.code() in GONE)
        else:
            self.culprits.add(number)

    def _count(self, topic: str) -> int:
        """The records for this topic in the whole transaction."""
        return Counter(record.topic for one in self._results for record in one.job.records)[topic]
