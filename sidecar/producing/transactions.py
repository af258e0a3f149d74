"""Transactions: the records of a lambda and the places that they belong to, written together or not at all.

There is one thread for each lambda with `guarantee: exactly-once`. It owns a transactional producer, whose calls wait
for the broker. The consumer thread gives it rounds of jobs, and is told by letter what became of each round:

1. Begin a transaction. Produce the records of the jobs.
2. Wait until Kafka has all records.
3. Send the places, with the consumer's group metadata: a member that the group has given up is refused (KIP-447).
4. Commit.

A step that fails aborts the transaction, and with it all jobs of the round. Nothing is guessed: an error says whether
the same call is to be repeated, the transaction aborted, or the producer given up (`_Step`). After a commit without
an answer the producer is asked again; if it fails for good, the consumer thread asks Kafka what is committed.
"""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, NoReturn, Protocol, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition as KafkaPartition

from sidecar.cluster.client_log import ClientLog
from sidecar.cluster.errors import is_fatal, is_forbidden
from sidecar.config.kafka_properties import Property
from sidecar.logs import get_logger
from sidecar.mail import letters
from sidecar.mail.boxes import Mailbox
from sidecar.mail.outgoing import Job, Refused
from sidecar.producing.bounded_calls import BoundedCalls
from sidecar.producing.job_results import Blame, JobResults
from sidecar.producing.outcomes import why
from sidecar.producing.transactional_client import DONE, FULL, TransactionalClient, refusal_in
from sidecar.records.extension import extension

REMAINING = -1.0
"""The timeout of librdkafka's calls: what is left of the transaction's own. Its manual advises against any other."""

OVERDUE_S = 5.0
"""Seconds beyond the transaction's timeout after which a call will never return, and its producer is given up."""

INIT_S = 5.0
"""Seconds of one attempt to begin with a new producer; it is resumed, or repeated after a while."""

FLUSH_S = 0.5
"""Seconds of one wait for deliveries, after which the thread looks whether it must end."""

IDLE_S = 1.0
"""Seconds after which an idle producer is served: it renews tokens, and has something for the log."""

END_S = 2.0
"""Seconds that aborting the open transaction may take when the thread ends."""

RETRY_S = (0.1, 5.0)
"""Seconds until a call, or a new producer, is tried again: at first, and at most."""

_STALE_MEMBER = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.STALE_MEMBER_EPOCH,
    }
)
"""The broker refuses places of a former generation of the group."""

MIXED = "the topic refused a batch, for this record or others in it; from now on each goes alone"


class Client(Protocol):
    """What the thread needs of `confluent_kafka.Producer`."""

    def init_transactions(self, timeout: float, /) -> None: ...
    def begin_transaction(self) -> None: ...
    def produce(self, topic: str, value: bytes | None, key: bytes | None, /, *rest: Any) -> None: ...
    def poll(self, timeout: float, /) -> int: ...
    def flush(self, timeout: float, /) -> int: ...
    def purge(self) -> None: ...
    def send_offsets_to_transaction(
        self, positions: list[KafkaPartition], group_metadata: Any, timeout: float, /
    ) -> None: ...
    def commit_transaction(self, timeout: float, /) -> None: ...
    def abort_transaction(self, timeout: float, /) -> None: ...


AnyClient: TypeAlias = Client | TransactionalClient

Make: TypeAlias = Callable[[dict[str, Property], ClientLog], AnyClient]
"""Makes a client with these properties. Raises ``KafkaException`` or ``ValueError`` when librdkafka refuses them."""


def make_client(properties: dict[str, Property], log: ClientLog) -> AnyClient:
    """The native extension's client; without the extension, the binding's. See `Make`."""
    module = extension()
    if module is not None:
        return TransactionalClient(module, properties, log)
    return Producer(properties, logger=log)


class _Ending(Exception):  # noqa: N818 - no error: the thread is to end
    """The thread is to end; what is not committed is aborted by the broker."""


class _Aborts(Exception):  # noqa: N818 - named as what it does
    """The transaction is to be aborted; the producer goes on."""

    def __init__(self, text: str, error: KafkaError | None = None) -> None:
        super().__init__(text)
        self.error = error


class _Lost(_Aborts):
    """The producer has failed for good: another one aborts its transaction, and the outcome is what Kafka says."""


class Transactions(threading.Thread):
    """Writes one lambda's transactions. Other threads may call only ``submit`` and ``stop``."""

    def __init__(
        self,
        lambda_name: str,
        properties: Mapping[str, Property],
        mailbox: Mailbox,
        make: Make = make_client,
    ) -> None:
        """``properties``: of the producer."""
        super().__init__(name=f"transactions-{lambda_name}", daemon=True)
        self._properties = dict(properties)
        self._id = properties.get("transactional.id", "")
        self._longest = float(properties.get("transaction.timeout.ms", 60_000)) / 1000 + OVERDUE_S
        self._calls = BoundedCalls(f"transaction-calls-{lambda_name}")
        self._mailbox = mailbox
        self._make = make
        self._rounds: queue.SimpleQueue[Sequence[Job] | None] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._producer: AnyClient | None = None
        self._is_open = False
        """A transaction is begun and not ended."""
        self._failures = 0
        """Aborts and failed attempts in a row that no record is to blame for."""
        self._alone = False
        """Each record is a batch of its own, since a topic has refused a batch."""
        self._log = get_logger(__name__).bind(lambda_=lambda_name)
        self._client_log = ClientLog(get_logger("librdkafka").bind(lambda_=lambda_name))

    def submit(self, jobs: Sequence[Job]) -> None:
        """Write these in one transaction. They are of different partitions, and of one generation of the group.

        Never blocks. The answer is a `Transacted` in the mailbox, with the jobs that were not withdrawn before; there
        is none if all were.
        """
        self._rounds.put(jobs)

    def stop(self) -> None:
        """End after the transaction that is under way."""
        self._ending.set()
        self._rounds.put(None)

    def run(self) -> None:
        """Write transactions until ``stop``."""
        with suppress(_Ending):
            while True:
                # Also with nothing to write: the new producer aborts what the last one left open, and until then
                # Kafka does not say what is committed.
                producer = self._opened()
                self._round(producer, self._next(producer))
        if self._is_open and self._producer is not None:
            # Otherwise those who read the topics, and the next owner, would wait until the broker aborts it.
            with suppress(KafkaException):
                self._producer.abort_transaction(END_S)
        self._discard()
        self._calls.end()

    # --- taking a round ---------------------------------------------------------------------------------------

    def _next(self, producer: AnyClient) -> Sequence[Job]:
        """Wait for a round. Raises ``_Ending``."""
        while True:
            try:
                jobs = self._rounds.get(timeout=IDLE_S)
            except queue.Empty:
                with suppress(Exception):  # a fatal error: the next call of the producer says so too
                    producer.poll(0)
                continue
            if jobs is None or self._ending.is_set():
                raise _Ending
            there = [job for job in jobs if not job.withdrawn]
            if there:
                return there

    # --- a round ----------------------------------------------------------------------------------------------

    def _round(self, producer: AnyClient, jobs: Sequence[Job]) -> None:
        """Write one transaction, and tell the consumer thread what became of it. Raises ``_Ending``."""
        began_at, results = monotonic(), [JobResults(job) for job in jobs]
        try:
            try:
                self._write(producer, jobs, results)
            except (_Aborts, _Ending):
                raise
            except Exception as broken:
                # The binding raises a SystemError when a report comes together with a fatal error. Whatever it is,
                # the state of the producer is not known, and the partitions wait for an answer.
                raise _Lost(f"{type(broken).__name__}: {broken.__cause__ or broken}") from broken
        except _Aborts as failure:
            blame = self._abort(producer, failure, results)
            self._is_open = False
            refused = self._refused(failure, results, blame)
            self._mailbox.put(letters.Transacted(jobs, [r.written for r in results], refused, began_at))
            if not (refused.culprits or refused.letters or refused.is_stale_member):
                self._back_off()
        else:
            self._failures = 0
            self._mailbox.put(letters.Transacted(jobs, [r.written for r in results], None, began_at))

    def _write(self, producer: AnyClient, jobs: Sequence[Job], results: Sequence[JobResults]) -> None:
        """Write the transaction. Raises ``_Aborts`` and ``_Ending``."""
        self._step(producer.begin_transaction)
        self._is_open = True
        for one in results:
            self._queue(producer, one)
        self._deliver(producer, results)
        places = [KafkaPartition(job.tp.topic, job.tp.partition, job.offset, metadata=job.metadata) for job in jobs]
        self._step(producer.send_offsets_to_transaction, places, jobs[0].group, REMAINING)
        self._step(producer.commit_transaction, REMAINING)
        self._is_open = False

    def _queue(self, producer: AnyClient, results: JobResults) -> None:
        """Give the records of a job to librdkafka. Raises ``_Aborts``."""
        if isinstance(producer, TransactionalClient):
            self._queue_at_once(producer, results)
            return
        for index, record in enumerate(results.job.records):
            topic, key, value, partition, headers, refusal_of_ours = record
            if refusal_of_ours:
                self._must_not(results, index)
            report = partial(results.report, index)
            while True:
                try:
                    producer.produce(topic, value, key, partition, report, None, 0, [*headers])
                    break
                except BufferError:
                    self._serve(producer, FLUSH_S)
                except KafkaException as refusal:
                    error = refusal.args[0]
                    if is_fatal(error):
                        raise _Lost(error.str(), error) from None
                    results.refuse(index, error, topic, partition)
                    raise _Aborts(why(error, topic, partition), error) from None
                except SystemError:
                    raise  # see `_round`
                except Exception as refusal:  # the binding does not take it
                    text = f"the Kafka client does not take the record: {refusal}"
                    results.refuse(index, KafkaError(KafkaError._INVALID_ARG, text), topic, partition)  # noqa: SLF001
                    raise _Aborts(text) from None

    def _queue_at_once(self, producer: TransactionalClient, results: JobResults) -> None:
        """The same, without Python code for each record. Raises ``_Aborts``."""
        records = results.job.records
        if not records:
            return
        request = results.request = producer.request(records)
        try:
            while (state := producer.transact(request)) == FULL:
                self._serve(producer, FLUSH_S)
        finally:
            request.end()
        if state != DONE:
            index, error = refusal_in(request)
            if is_fatal(error):
                raise _Lost(error.str(), error)
            results.refuse(index, error, records[index].topic, records[index].partition)
            raise _Aborts(results.text, error)
        if len(request) < len(records):
            self._must_not(results, len(request))

    def _must_not(self, results: JobResults, index: int) -> NoReturn:
        """This record must not be written. Raises ``_Aborts``."""
        topic, _, _, partition, _, refusal = results.job.records[index]
        results.refuse(index, KafkaError(KafkaError._INVALID_ARG, refusal), topic, partition)  # noqa: SLF001
        raise _Aborts(refusal)

    def _deliver(self, producer: AnyClient, results: Sequence[JobResults]) -> None:
        """Wait until Kafka has all records. Raises ``_Aborts``."""
        while self._serve(producer, FLUSH_S, flush=True):
            pass
        for one in results:
            one.collect()
        for one in sorted(results, key=lambda one: not one.is_culprit):  # the records of others fail for its sake
            if one.error is not None:
                raise _Aborts(one.text, one.error)
        if any(one.missing for one in results):
            raise _Aborts("librdkafka did not say what became of a record")

    def _serve(self, producer: AnyClient, seconds: float, *, flush: bool = False) -> int:
        """Serve librdkafka's reports; ``flush``: until all have come. Returns how many records are under way then.

        Raises ``_Aborts`` and ``_Ending``.
        """
        if self._ending.is_set() and not flush:
            raise _Ending
        try:
            return producer.flush(seconds) if flush else producer.poll(seconds)
        except KafkaException as failure:  # the binding raises it when the producer failed for good
            raise _Lost(failure.args[0].str(), failure.args[0]) from None
        except SystemError as failure:  # see `_round`
            raise _Lost(str(failure.__cause__ or failure)) from failure

    def _step(self, call: Callable[..., None], *arguments: Any) -> None:
        """Make a call of the transaction, again while librdkafka says that this is right. Raises ``_Aborts``.

        Its errors say what to do: repeat the call (a commit or an abort is then resumed, not begun again), abort, or
        give the producer up.
        """
        delay = RETRY_S[0]
        while True:
            try:
                self._calls.make(self._longest, call, *arguments)
            except TimeoutError as failure:  # its thread keeps the producer until the call returns
                raise _Lost(str(failure)) from None
            except KafkaException as failure:
                error: KafkaError = failure.args[0]
                if is_fatal(error):
                    raise _Lost(error.str(), error) from None
                if error.txn_requires_abort():
                    raise _Aborts(error.str(), error) from None
                if not error.retriable():
                    raise _Lost(error.str(), error) from None  # it cannot be known what is open
                if self._ending.wait(delay):
                    raise _Ending from None
                delay = min(2 * delay, RETRY_S[1])
            else:
                return

    # --- after a failure --------------------------------------------------------------------------------------

    def _abort(self, producer: AnyClient, failure: _Aborts, results: Sequence[JobResults]) -> Blame:
        """Abort the transaction, or give the producer up. Raises ``_Ending``."""
        is_aborted = not isinstance(failure, _Lost) and self._is_aborted(producer)
        for one in results:
            one.collect()  # before the producer is given up: then all else is reported as purged
        blame = Blame(results, each_alone=self._alone)
        # A dead letter that was refused is tried again, when somebody, or the sidecar, has mended its topic. This
        # producer would then refuse it once more: it knows a topic as missing for up to a second, and it counts
        # refused batches in its sequence numbers, which the broker does not (OUT_OF_ORDER_SEQUENCE_NUMBER).
        if not is_aborted or blame.letters or self._alone_next(blame):
            self._discard()
        return blame

    def _is_aborted(self, producer: AnyClient) -> bool:
        """Whether the transaction could be aborted. Raises ``_Ending``."""
        try:
            # The coordinator may not know yet that the transaction has begun, and then refuses to abort it:
            # librdkafka#4849. It knows when a record has arrived, or was refused.
            self._serve(producer, FLUSH_S, flush=True)
            self._step(producer.abort_transaction, REMAINING)
        except _Aborts as another:
            self._log.warning("the transaction cannot be aborted; with a new producer it is", error=str(another))
            return False
        return True

    def _alone_next(self, blame: Blame) -> bool:
        """Whether a new producer is needed: one that makes a batch of each record. See `MIXED`."""
        if self._alone or not blame.is_mixed:
            return False
        self._log.warning("a topic takes no batch as ours are: records go one by one, which is slower")
        self._alone = True
        return True

    def _refused(self, failure: _Aborts, results: Sequence[JobResults], blame: Blame) -> Refused:
        code = None if failure.error is None else failure.error.code()
        for one in results:
            one.aborted(f"not written: its transaction was aborted: {failure}")
        event = "transaction aborted"
        self._log.warning(
            event, reason=str(failure), jobs=len(results), records=sum(len(r.job.records) for r in results)
        )
        forbidden = failure.error is not None and is_forbidden(failure.error)
        return Refused(
            str(failure),
            frozenset(blame.culprits),
            blame.letters,
            is_forbidden=forbidden,
            is_stale_member=code in _STALE_MEMBER,
        )

    def _back_off(self) -> None:
        """Wait before the next round: the last ones failed, and no record is to blame. Raises ``_Ending``."""
        self._failures += 1
        if self._ending.wait(min(RETRY_S[0] * 2 ** min(self._failures, 10), RETRY_S[1])):
            raise _Ending

    def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(Exception):
                producer.purge()

    def _opened(self) -> AnyClient:
        """The producer; a new one after a failure, when Kafka has taken it. Raises ``_Ending``."""
        while self._producer is None:
            try:
                producer = self._make(
                    {**self._properties, **({"batch.size": 1} if self._alone else {})}, self._client_log
                )
                while not self._initialised(producer):
                    pass
            except KafkaException as failure:
                self._mailbox.put(letters.NoTransactions(str(self._id), failure.args[0]))
                self._back_off()
            except (SystemError, ValueError) as failure:  # as in `_round`
                error = KafkaError(KafkaError._FAIL, f"{type(failure).__name__}: {failure}")  # noqa: SLF001
                self._mailbox.put(letters.NoTransactions(str(self._id), error))
                self._back_off()
            else:
                self._producer = producer
                self._mailbox.put(letters.NoTransactions(str(self._id), None))
        return self._producer

    def _initialised(self, producer: AnyClient) -> bool:
        """One attempt. Returns False when it is to be resumed. Raises ``KafkaException`` and ``_Ending``."""
        if self._ending.is_set():
            raise _Ending
        try:
            producer.init_transactions(INIT_S)
        except KafkaException as failure:
            error: KafkaError = failure.args[0]
            if is_fatal(error) or not error.retriable():
                raise
            self._mailbox.put(letters.NoTransactions(str(self._id), error))
            self._ending.wait(RETRY_S[0])
            return False
        return True
