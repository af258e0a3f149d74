"""The four interfaces between a lambda and the sidecar, with the names of the seed.

They are protocols: a plain class with the right methods fits, without importing or inheriting anything, and a type
checker says where it does not.
"""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

from ._message import Message
from ._produce import Produced, Record


class CloseReason(StrEnum):
    """Why a partition's lambda is closed."""

    STOPPED = "stopped"
    """The process or the sidecar ends in order, or an operator pauses or moves the partition. A checkpoint made in
    ``close`` still counts."""
    REBALANCED = "rebalanced"
    """Another process gets the partition. A checkpoint made in ``close`` still counts, until the deadline."""
    ERROR = "error"
    """The lambda failed, or the stream to the sidecar broke. Checkpoints made in ``close`` are ignored."""
    IDLE = "idle"
    """Nothing came for long. Used by the document router for its documents."""


class IContext(Protocol):
    """What a lambda can say about its partition.

    One context belongs to one lambda. All methods return at once and never wait for the network. They belong to the
    event loop's thread: from another thread use ``loop.call_soon_threadsafe(context.checkpoint, offset)``.
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
    def lease(self) -> str:
        """The assignment of the partition to this lambda: random, and another one each time."""
        ...

    @property
    def start_offset(self) -> int | None:
        """Where this lambda starts: its first message has this offset or a higher one. None: not known yet."""
        ...

    @property
    def attempt(self) -> int:
        """1 for the first lambda from this place, then 2, 3, ... while it fails without a new checkpoint."""
        ...

    def checkpoint(self, offset: int) -> None:
        """Say that everything up to and including ``offset`` is processed.

        Call it as often as you like: only the latest offset is sent. One below an earlier one is ignored, as in the
        seed, and so is one at or above an offset that failed, and each one after ``error``.

        Raises:
            TypeError: ``offset`` is not an int.
            ValueError: ``offset`` is negative.
        """
        ...

    def completed_beyond(self, count: int, size: int) -> None:
        """Say that ``count`` messages after the checkpoint are done too, with ``size`` bytes of keys and values.

        They no longer fill the window, so one message that takes long does not stop those after it. The numbers
        replace those given before and stay until replaced: call it again when the checkpoint has caught up. After a
        restart these messages come again.

        Raises:
            TypeError: a number is not an int.
            ValueError: a number is negative.
        """
        ...

    def skipped(self, count: int, skipping: Sequence[str] = (), skipping_count: int | None = None) -> None:
        """Say that the checkpoint has passed ``count`` messages that were not handled, in total so far.

        For operators: ``status``, a metric and the sidecar's log tell it. ``skipping`` names what is being skipped
        now, such as documents that cannot be processed, the latest last; the last 10 are told.
        ``skipping_count``: how many there are; None: as many as there are names. All replace what was said before.

        Raises:
            TypeError: a number is not an int, or ``skipping`` not a sequence of texts.
            ValueError: a number is negative.
        """
        ...

    def error(self, error: BaseException | str, restart: bool, offset: int | None = None) -> None:
        """Say that this lambda cannot go on. Its handler is not called again; only the first error counts.

        ``restart=True``: recoverable, such as a database that is away. The partition's lambda is made again after a
        back-off, and gets the messages after the last checkpoint. ``restart=False``: critical, the lambda's
        ``on_critical`` policy in the sidecar's config decides. ``offset`` is the message that failed; without it no
        message can be skipped or become a dead letter.

        Raises:
            TypeError: an argument has another type; ``restart`` is a bool and no options object.
            ValueError: ``offset`` is negative.
        """
        ...

    def report(self, error: BaseException | str, offset: int | None = None) -> None:
        """Have an error seen and counted by the operators. Nothing stops, and the lambda goes on.

        Raises:
            TypeError: an argument has another type.
            ValueError: ``offset`` is negative.
        """
        ...

    def produce(
        self,
        topic: str,
        value: bytes | str | None,
        key: bytes | str | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        partition: int | None = None,
    ) -> Awaitable[Produced]:
        """Write a record to Kafka, through the sidecar. It is on its way at once; await the answer to know its place.

        Records of one lambda are written in the order in which they were produced. ``partition`` None: by key, as the
        Java client does. The lambda's ``produce`` in the sidecar's config lists the topics that are allowed. While
        some megabytes wait to be written, the handler is not called. At the lambda's end, those under way are
        awaited within its deadline.

        Awaiting raises `ProduceError`: the record was not written, or is not known to be. A failure that nobody
        awaits fails the lambda, as ``error(restart=True)`` does, and no checkpoint that is called after this passes
        it. So a checkpoint waits until the outcome of all that was produced before it is known.

        Raises:
            TypeError: an argument has another type.
            ValueError: ``partition`` is negative.
        """
        ...

    def produce_many(self, topic: str, records: Iterable[Record]) -> Awaitable[list[Produced]]:
        """Write these records, as `produce` does; await the answer to know their places, in their order.

        Awaiting raises the first `ProduceError`; its ``results`` say what became of each record.

        Raises:
            TypeError, ValueError: as `produce`; the records before that one are on their way.
        """
        ...

    def pause(self, reason: str = "", retry_after: float | None = None, offset: int | None = None) -> None:
        """Take no messages for now, such as while a dependency is down.

        From this moment no handler call begins; one that runs goes on. The lambda stays, checkpoints go on, and no
        attempt is counted. The pause ends after ``retry_after`` seconds, by `resume`, or by an operator. Operators
        see ``reason``. A second pause replaces the first one's reason and time.

        Without ``offset``, messages that were delivered and not yet handled wait and are handled afterwards, none
        twice. With it, the messages from ``offset`` on come again, such as the one whose write failed; what was not
        yet handled comes with them, and of two offsets the lower one counts.

        May be called in ``create`` too. After the lambda's end it is ignored.

        Raises:
            TypeError: an argument has another type.
            ValueError: ``retry_after`` is not positive and finite, or ``offset`` is not between the checkpoint and
                the last delivered message.
        """
        ...

    def resume(self) -> None:
        """End a pause: the handler goes on when the sidecar has heard it. Without a pause, a warning in the log."""
        ...


class IPartitionLambda(Protocol):
    """The code for the messages of one partition.

    A lambda may also have ``close(reason: CloseReason)``, sync or async: called once when the partition goes away,
    after the last ``handler`` returned.
    """

    def handler(self, message: Message, /) -> Awaitable[object] | None:
        """Take one message.

        A sync handler runs on the event loop, is called again as soon as it returned, and must not block. An
        ``async def`` handler (or one that returns an awaitable) is awaited before the next message. Returning does
        not mean that the message is processed: only ``context.checkpoint`` does. An exception is critical.
        """
        ...


class IPartitionLambdaFactory(Protocol):
    """Makes the lambdas of one process."""

    async def create(self, config: Mapping[str, Any], context: IContext, /) -> IPartitionLambda:
        """Make the lambda for one partition. An exception makes the sidecar try again after a pause."""
        ...

    async def dispose(self) -> None:
        """Close what ``IPlugin.create`` opened. Called once, when the process ends and all lambdas are closed."""
        ...


class IPlugin(Protocol):
    """What a plugin module exports."""

    async def create(self, config: Mapping[str, Any], /) -> IPartitionLambdaFactory:
        """Load what all partitions share, once per process. ``config`` is read-only: the lambda's settings."""
        ...
