"""A transactional producer of the native extension: no Python code runs for a record on its way to Kafka.

It has the calls of `confluent_kafka.Producer` that a transaction needs, but takes the records of a job in one call.
librdkafka's reports are noted in C, in the job's request. `transactions.py` owns it, in its thread.
"""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition as KafkaPartition

from sidecar.cluster.client_log import ClientLog
from sidecar.config.kafka_properties import Property
from sidecar.mail.outgoing import Outgoing
from sidecar.producing.native_outlet import REFUSED_BY_KAFKA, error_of, texts_of

if TYPE_CHECKING:
    from sidecar.records import _native as native

DONE, FAILED, FULL, REFUSED = 0, 2, 3, 4
"""What `TransactionalClient.transact` returns, as `Outlet.transact` does."""


def refusal_in(request: "native.Request") -> tuple[int, KafkaError]:
    """The index of the record that librdkafka did not take, and the error."""
    results = request.results()
    index = [state for state, *_ in results].index(REFUSED_BY_KAFKA)
    return index, error_of(REFUSED_BY_KAFKA, results[index][1])


class TransactionalClient:
    """A transactional producer. Only one thread may use it."""

    def __init__(self, extension: ModuleType, properties: Mapping[str, Property], log: ClientLog) -> None:
        """Raises ``ValueError`` when librdkafka does not take the properties."""
        self._outlet: native.Outlet = extension.Outlet(texts_of(properties), -1)
        self._requests: type[native.Request] = extension.Request
        self._name = self._outlet.name
        self._log = log

    def request(self, records: Sequence[Outgoing]) -> "native.Request":
        """The records up to the first that must not be written."""
        return self._requests.of(records)

    def transact(self, request: "native.Request") -> int:
        """Give the records that are left to librdkafka, in their order. Returns one of the numbers above."""
        return self._outlet.transact(request)

    def init_transactions(self, timeout: float, /) -> None:
        """As the binding's; so are the following ones. Raises ``KafkaException``."""
        self._look(self._outlet.init_transactions(timeout))

    def begin_transaction(self) -> None:
        """Raises ``KafkaException``."""
        self._look(self._outlet.begin_transaction())

    def send_offsets_to_transaction(
        self, positions: list[KafkaPartition], group_metadata: Any, timeout: float, /
    ) -> None:
        """Raises ``KafkaException``."""
        places = [(place.topic, place.partition, place.offset, place.metadata or "") for place in positions]
        self._look(self._outlet.send_offsets(places, group_metadata, timeout))

    def commit_transaction(self, timeout: float, /) -> None:
        """Raises ``KafkaException``."""
        self._look(self._outlet.commit_transaction(timeout))

    def abort_transaction(self, timeout: float, /) -> None:
        """Raises ``KafkaException``."""
        self._look(self._outlet.abort_transaction(timeout))

    def poll(self, timeout: float, /) -> int:
        """Serve reports; wait at most ``timeout`` seconds for the first. Returns 0.

        Raises ``KafkaException`` when the producer has failed for good.
        """
        self._serve(round(timeout * 1000))
        return 0

    def flush(self, timeout: float, /) -> int:
        """Wait for all reports. Returns how many are missing after ``timeout`` seconds. Raises as ``poll``."""
        left = self._outlet.flush(timeout)
        self._serve(0)
        return left

    def purge(self) -> None:
        """End the producer with all that it has."""
        self._outlet.close()

    def _look(self, said: "tuple[int, str, bool, bool, bool] | None") -> None:
        """Raise what librdkafka has said about a step."""
        if said is not None:
            raise KafkaException(KafkaError(*said))

    def _serve(self, milliseconds: int) -> None:
        again = True
        while again:
            _, lines, failure, again = self._outlet.serve(milliseconds)
            milliseconds = 0
            for level, facility, text in lines:
                self._log.log(level, "%s [%s] %s", facility, self._name, text)
            if failure is not None:
                code, text = failure
                raise KafkaException(KafkaError(code, text, True))
