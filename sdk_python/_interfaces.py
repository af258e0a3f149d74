"""The four interfaces between a lambda and the sidecar.

Their names are those of Fluid Framework's kafka-service, "the seed" of this project.

They are protocols: a plain class with the right methods fits, without importing or inheriting anything, and a type
checker says where it does not.
"""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeAlias

from ._batch import Produced
from ._message import Message, MessageColumns
from ._record import Columns, Record


class CloseReason(StrEnum):
    """Why a partition's lambda is closed."""

    STOPPED = "stopped"
    """The process or the sidecar ends in order, or an operator pauses or moves the partition. A checkpoint made in
    ``close`` still counts."""
    REBALANCED = "rebalanced"
    """Another process gets the partition, or the lambda gave no sign of life for its ``deadline``. A checkpoint made
    in ``close`` still counts, until the lease is over."""
    ERROR = "error"
    """The lambda failed, its transaction was aborted, or the stream to the sidecar broke. Checkpoints made in
    ``close`` are ignored."""
    IDLE = "idle"
    """No message came for a long time. Only the document router uses it, for its documents."""


class IContext(Protocol):
    """What a lambda can say about its partition.

    One context belongs to one lambda. All methods but `committed` return at once and never wait for the network. They
    belong to the event loop's thread. From another thread, use
    ``loop.call_soon_threadsafe(context.checkpoint, offset)``.
    """

    @property
    def topic(self) -> str:
        """The topic of this partition."""
        ...

    @property
    def partition(self) -> int:
        """The number of this partition."""
        ...

    @property
    def lane(self) -> int:
        """Which lane of the partition this is, from 0. A lane has the messages of some of the partition's keys.

        To a lambda it is a partition with gaps in its offsets: what belongs to one lambda (an offset, a file's name)
        belongs to a lane, and other lambdas have the other lanes.
        """
        ...

    @property
    def lanes(self) -> int:
        """How many lanes the partition has, as the sidecar's config says; 1: this is the whole partition."""
        ...

    @property
    def lease(self) -> str:
        """The id of this assignment of the partition to this lambda. It is random, and new for each assignment."""
        ...

    @property
    def start_offset(self) -> int | None:
        """Where this lambda starts: its first message has this offset or a higher one. None: not known yet."""
        ...

    @property
    def attempt(self) -> int:
        """1 for the first lambda that starts at this offset, then 2, 3, ... while each fails without a checkpoint."""
        ...

    @property
    def state(self) -> bytes:
        """The state that came with the checkpoint where this lambda starts; ``b""``: none. It does not change."""
        ...

    @property
    def guarantee(self) -> Literal["at-least-once", "exactly-once"]:
        """What the sidecar's config says for this lambda. The same code works with both; see `produce`."""
        ...

    def checkpoint(self, offset: int, state: bytes | None = None) -> None:
        """Say that all messages up to and including ``offset`` are processed.

        Call it as often as you like: only the latest offset is sent. These offsets are ignored: one that is not above
        an earlier one; one at or above an offset that failed; any after ``error``.

        ``state``: a few bytes that belong to this offset. They are committed to Kafka with it, and the next lambda
        that starts from it gets them as `state`. None: the state of the checkpoint before holds. ``b""``: none from
        here on. Where the offset is ignored, so is the state.

        Raises ``TypeError`` when ``offset`` is not an int or ``state`` not bytes; ``ValueError`` when the offset is
        negative, when the state is longer than the sidecar takes (2 KiB, divided by the number of lanes), or when the
        sidecar keeps none.
        """
        ...

    async def committed(self, offset: int) -> None:
        """Wait until everything up to and including ``offset`` is committed in Kafka.

        Then no lambda gets these messages again, so it is time to delete a file or to answer a client. A checkpoint
        at ``offset`` or above it must be called, before or meanwhile: this calls none.

        Raises `NotCommittedError` when the lease ends before, or when the sidecar is too old to tell; ``TypeError``
        and ``ValueError`` as `checkpoint` does.
        """
        ...

    def progress(self, text: str = "") -> None:
        """Say that work goes on, and how far it is, such as ``"43 %"``: operators see the text in ``status``.

        A lambda with a ``deadline`` in the sidecar's config is replaced when it has messages and calls neither this
        nor `checkpoint` with a new offset for so long. Call it as often as you like: the sidecar gets the latest text
        once a second, cut after 256 bytes. What blocks the event loop blocks this too: do such work in a thread.

        Raises ``TypeError`` when ``text`` is no text.
        """
        ...

    def completed_beyond(self, count: int, size: int) -> None:
        """Say that ``count`` messages after the checkpoint are done too, with ``size`` bytes of keys and values.

        These messages no longer fill the window, so one message that takes long does not stop those after it. The
        numbers replace the earlier ones and stay until you call this again, so call it again when the checkpoint has
        caught up. After a restart, these messages are delivered again.

        Raises ``TypeError`` when a number is not an int, ``ValueError`` when it is negative.
        """
        ...

    def skipped(self, count: int, skipping: Sequence[str] = (), skipping_count: int | None = None) -> None:
        """Say that the checkpoint has passed ``count`` messages that were not handled, in total so far.

        Operators see it in ``status``, in a metric and in the sidecar's log. ``skipping`` names what is being skipped
        now, such as documents that cannot be processed, with the latest last; the last 10 names are shown.
        ``skipping_count``: how many such things there are; None: as many as there are names. Each call replaces all
        that was said before.

        Raises ``TypeError`` when a number is not an int or ``skipping`` is not a sequence of texts, ``ValueError``
        when a number is negative.
        """
        ...

    def error(self, error: BaseException | str, restart: bool, offset: int | None = None) -> None:
        """Say that this lambda cannot go on. Its handler is not called again; only the first error counts.

        ``restart=True``: recoverable, such as a database that is away. The sidecar starts a new lambda for the
        partition after a back-off, which gets the messages after the last checkpoint. ``restart=False``: critical;
        the lambda's ``on_critical`` policy in the sidecar's config decides. ``offset``: the message that failed.
        Without it, no message can be skipped or become a dead letter.

        Raises ``TypeError`` when an argument has another type (``restart`` is a bool, not an object with options),
        ``ValueError`` when ``offset`` is negative.
        """
        ...

    def report(self, error: BaseException | str, offset: int | None = None) -> None:
        """Report an error to the operators, who see and count it. The lambda goes on.

        Raises ``TypeError`` when an argument has another type, ``ValueError`` when ``offset`` is negative.
        """
        ...

    def produce(
        self,
        topic: str,
        value: bytes | str | None,
        key: bytes | str | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        partition: int | None = None,
        source: int | None = None,
    ) -> Awaitable[Produced]:
        """Write a record to Kafka through the sidecar. It is sent at once.

        A checkpoint that is called after this follows the record: it is sent when the record is in Kafka. So nothing
        has to be awaited. Await the result to learn the record's offset, or to handle its failure.

        Records of one lambda are written in the order in which they were produced. ``partition`` None: chosen by the
        key, as the Java client does. The lambda's ``produce`` in the sidecar's config lists the allowed topics. While
        some megabytes wait to be written, the handler is not called. At the lambda's end, records that are under way
        are awaited until its deadline.

        Awaiting raises `ProduceError`: the record was not written, or is not known to be. A failure that nobody
        awaits fails the lambda, as ``error(restart=True)`` does, and no checkpoint that is called after this passes
        it. So a checkpoint is only sent when the outcome of all records produced before it is known.

        With the `guarantee` exactly-once the sidecar holds the record until the first checkpoint that is called after
        this, and writes both in one transaction: readers see the record if the checkpoint counts, and never
        otherwise. The result says that the record is held; its ``partition`` and ``offset`` are -1 then. A failure
        after that starts the lambda again, as one that nobody awaits does. So does a transaction that is aborted.
        ``source``: the offset of the message that the record was made from, where handlers overlap: the record then
        waits for a checkpoint at this offset or above it. It means nothing with at-least-once.

        Raises ``TypeError`` when an argument has another type, ``ValueError`` when ``partition`` or ``source`` is
        negative.
        """
        ...

    def produce_many(
        self, topic: str, records: Iterable[Record] | Columns, source: int | None = None
    ) -> Awaitable[list[Produced]]:
        """Write these records, as `produce` does; await the result to learn their offsets, in the records' order.

        ``records``: a `Record` for each, or `Columns`, which cost less. ``source``: that of all of them.

        Awaiting raises the first `ProduceError`; its ``results`` say what became of each record.

        Raises ``TypeError`` or ``ValueError`` as `produce` does; the records before that one are sent. Columns of
        different lengths are a ``ValueError``.
        """
        ...

    def pause(self, reason: str = "", retry_after: float | None = None, offset: int | None = None) -> None:
        """Take no messages for now, such as while a dependency is down.

        From this moment no handler call begins; one that runs goes on. The lambda keeps the partition, checkpoints
        still count, and no attempt is counted. The pause ends after ``retry_after`` seconds, by `resume`, or by an
        operator. Operators see ``reason``. A second pause replaces the reason and the time of the first.

        Without ``offset``, messages that were delivered and not yet handled wait and are handled afterwards, none
        twice. With ``offset``, the messages from that offset on are delivered again, such as the one whose write
        failed, together with those not yet handled. The lower offset of two pauses counts.

        May be called in ``create`` too. After the lambda's end it is ignored.

        Raises ``TypeError`` when an argument has another type, ``ValueError`` when ``retry_after`` is not positive
        and finite, or when ``offset`` is not between the checkpoint and the last delivered message.
        """
        ...

    def resume(self) -> None:
        """End a pause. The handler is called again when the sidecar has heard it. Without a pause, logs a warning."""
        ...


class IPartitionLambda(Protocol):
    """The code for the messages of one partition.

    A lambda may also have a method ``close(reason: CloseReason)``, sync or async. It is called once when the
    partition goes away, after the last ``handler`` returned.
    """

    def handler(self, message: Message, /) -> Awaitable[object] | None:
        """Take one message.

        A sync handler runs on the event loop, is called again as soon as it returned, and must not block. An
        ``async def`` handler (or one that returns an awaitable) is awaited before the next message. That it returned
        does not mean that the message is processed: only ``context.checkpoint`` says so. An exception is critical.
        """
        ...


class IBatchLambda(Protocol):
    """An `IPartitionLambda` that takes its messages as lists: half the cost of a call for each.

    It may have a method ``close`` too.
    """

    def handle_batch(self, messages: Sequence[Message], /) -> Awaitable[object] | None:
        """Take the next messages, in order: those that are there, up to a thousand.

        A sync method gets fewer the longer it takes, since it must not block the event loop; an async one is awaited
        before the next batch. That it returned does not mean that the messages are processed: only
        ``context.checkpoint`` says so. An exception is critical; ``raise FailedAt(offset) from error`` names the
        message that failed, otherwise none can be skipped or become a dead letter.
        """
        ...


class IColumnsLambda(Protocol):
    """An `IPartitionLambda` that takes its messages as columns: a sixth of the cost of a call for each.

    It may have a method ``close`` too.
    """

    def handle_columns(self, columns: MessageColumns, /) -> Awaitable[object] | None:
        """Take the next messages, as `IBatchLambda.handle_batch` does."""
        ...


AnyLambda: TypeAlias = IPartitionLambda | IBatchLambda | IColumnsLambda


class IPartitionLambdaFactory(Protocol):
    """Makes the lambdas of one process."""

    async def create(self, config: Mapping[str, Any], context: IContext, /) -> AnyLambda:
        """Make the lambda for one partition. If it raises, the sidecar tries again after a back-off."""
        ...

    async def dispose(self) -> None:
        """Close what ``IPlugin.create`` opened. Called once, when the process ends and all lambdas are closed."""
        ...


class IPlugin(Protocol):
    """What a plugin module exports."""

    async def create(self, config: Mapping[str, Any], /) -> IPartitionLambdaFactory:
        """Load what all partitions share, once per process. ``config``: the lambda's settings, read-only."""
        ...
