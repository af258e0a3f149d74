"""The extension of `sidecar/records/native`. It belongs to the consumer's thread, except ``Source.wake``."""

from collections.abc import Sequence
from mmap import mmap
from typing import TypeAlias, final

from sidecar.mail.outgoing import Outgoing

_Said: TypeAlias = tuple[int, str, bool, bool, bool] | None

@final
class Records:
    """The rows of one lane of a partition. After the source is closed there are none."""

    def __len__(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def next_offset(self) -> int: ...
    def offset(self, index: int, /) -> int: ...
    def before(self, offset: int, /) -> int: ...
    def drop(self, count: int, /) -> None: ...
    def truncate(self, count: int, /) -> None: ...
    def remove(self, index: int, count: int = 1, /) -> None: ...
    def first(self) -> tuple[int, bytes | None, bytes | None, list[tuple[bytes, bytes | None]], int, int]:
        """Offset, value, key, headers, timestamp type, timestamp."""
    def frame(self, most: int, limit: int, /) -> tuple[bytes, int, int, int, list[int] | None]:
        """The data, the first and the last offset, the number of records, and their offsets (None: consecutive)."""
    def frame_size(self, most: int, limit: int, /) -> int:
        """How many bytes the data of ``frame`` would have."""
    def frame_into(
        self, most: int, limit: int, memory: mmap | bytearray, at: int, /
    ) -> tuple[int, int, int, int, list[int] | None]:
        """As ``frame``, with the data written to the memory from ``at`` on; in its place comes its size.

        Raises ``ValueError`` when it does not fit, ``BufferError`` when the memory cannot be written to."""

@final
class Source:
    """The records of the consumer that this thread has just made with this module's file as a plugin."""

    def __init__(self, most: int, lanes: int = 1) -> None:
        """``most``: the maximum number of records of one read; ``lanes``: how many each partition has.

        Raises ``RuntimeError`` when there is no such consumer, or it is in no group."""
    def lead(self, partition: tuple[str, int], /) -> tuple[Records, ...]:
        """Lead a partition's records here; to be called before it is assigned. Returns the records of each of its
        lanes; another call returns the same objects.

        Raises ``RuntimeError`` when the client has no queue for the partition."""
    def read(
        self,
    ) -> tuple[
        list[tuple[tuple[str, int], int, int]],
        list[tuple[str, int, int, int, str, int]],
        list[tuple[str, int, int]],
    ]:
        """Read without waiting. Returns three lists: the partition and number of the lanes that got records, and how
        many; the topic, partition, offset, code, text and lane of each error (errors of the client itself have no
        topic); the topic, partition and offset of misrouted records, which were dropped because their partition is
        not led (the first of each run).

        Raises ``RuntimeError`` when the client refuses, ``MemoryError`` when memory runs out."""
    def wait(self, seconds: float, /) -> None:
        """Wait until there may be something to read or to poll, or `wake` was called since the last wait."""
    def wake(self) -> None:
        """End a wait. May be called from any thread."""
    def close(self) -> None:
        """End reading; to be called before the consumer is closed."""

@final
class Request:
    """The records of one call Produce, or of one job of a transaction. Owned by one thread: the event loop's, or that
    of the transactions."""

    def __init__(self, data: bytes, records: int, topics: int) -> None:
        """``records``, ``topics``: how many it may have.

        Raises ``ValueError`` when the request is not well-formed, or not in the form in which protobuf's own writers
        make it."""
    @classmethod
    def of(cls, records: Sequence[Outgoing], /) -> Request:
        """These records, up to the first one that has a refusal. They are not copied.

        Raises ``TypeError`` when a field has another type, ``ValueError`` when a partition is no number of one."""
    def __len__(self) -> int:
        """The number of records."""
    @property
    def lease(self) -> str:
        """Raises ``ValueError`` when it is not UTF-8."""
    @property
    def topics(self) -> list[str]:
        """Raises ``ValueError`` when one is not UTF-8."""
    @property
    def size(self) -> int:
        """The bytes that it was read from; of ``of``: the bytes of keys and values."""
    @property
    def written(self) -> int:
        """How many records are reported as written."""
    def end(self) -> bool:
        """No more records are given to an outlet. Returns whether all that were given are reported; if not, the serve
        that hears of the last one returns this request."""
    def places(self) -> tuple[list[int], list[int]]:
        """The partition and the offset of each record; they are known when all are written."""
    def answer(self) -> bytes:
        """The serialized response. Raises ``RuntimeError`` unless all records are written."""
    def results(self) -> list[tuple[int, int, int, int, int, int]]:
        """Of each record: its state (`RECORD_...` in `request.h`), the code of its refusal or report, the index of
        its topic, its partition and offset, and the bytes of its key and value."""

@final
class Outlet:
    """A Kafka producer that writes requests. Owned by one thread; only ``close`` may run in another one, as the last
    call.

    With the property `transactional.id` it has transactions. Their steps are those of `confluent_kafka.Producer`;
    ``seconds`` below 0: until the transaction's own timeout is over. They return what librdkafka's error says, if
    there is one: its code and text, and whether it is fatal, whether the step is to be repeated, and whether the
    transaction is to be aborted."""

    def __init__(self, properties: dict[str, str], fd: int) -> None:
        """``fd``: gets a byte whenever there is something to serve; it is not to block. -1: there is none.

        Raises ``ValueError`` when Kafka's client does not take the properties."""
    @property
    def name(self) -> str: ...
    def produce(self, request: Request, most: int, /) -> int:
        """Queue the next records of the request, at most ``most``. Returns 0: none is left; 1: some are; 2: the
        producer has failed for good, and the other records need another one."""
    def serve(
        self, milliseconds: int = 0, /
    ) -> tuple[list[Request], list[tuple[int, str, str]], tuple[int, str] | None, bool]:
        """Serve; wait at most so long for something. Returns the requests that are finished; the level, facility and
        text of each log line; the code and the text of the error with which the producer has failed for good (None:
        it has not, or this was returned before); whether there may be more to serve."""
    def transact(self, request: Request, /) -> int:
        """Queue the records of the request that are left, for a transaction. Returns 0: none is left; 2: the producer
        has failed for good; 3: its queue is full, call again when some are reported; 4: the last one of those that
        ``results`` knows of was refused."""
    def flush(self, seconds: float, /) -> int:
        """Send at once, and serve until all is reported, at most ``seconds``. Returns how many reports are left."""
    def init_transactions(self, seconds: float, /) -> _Said: ...
    def begin_transaction(self) -> _Said: ...
    def send_offsets(self, places: list[tuple[str, int, int, str]], group: bytes, seconds: float, /) -> _Said:
        """``places``: topic, partition, offset and metadata. ``group``: as `Consumer.consumer_group_metadata`."""
    def commit_transaction(self, seconds: float, /) -> _Said: ...
    def abort_transaction(self, seconds: float, /) -> _Said: ...
    def purge(self) -> None:
        """Give up all records; they are reported as purged."""
    def close(self) -> int:
        """End the producer; waits for its threads. Returns how many records are left without a report."""
