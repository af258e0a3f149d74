"""What a document and its partition's router are to each other."""

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from sdk_python._interfaces import IContext, IPartitionLambdaFactory

from ._ledger import Lane

if TYPE_CHECKING:
    from ._document import Document


class CorruptDocument(Exception):  # noqa: N818  named for what it says about the document
    """Raised by ``IPartitionLambdaFactory.create``: this document can never be opened; do not try again.

    It is corrupt from its first record on that is not done; the setting ``corrupt_documents`` decides what follows.

    Any exception with an attribute ``corrupt = True`` says the same.
    """

    corrupt = True


class Router(Protocol):
    """What a document needs of its partition."""

    context: IContext
    factory: IPartitionLambdaFactory
    activity_timeout: float
    held: bool
    """No handler call begins: the partition is paused, or it failed."""
    failed: bool
    """The partition's lambda has said that it cannot go on, and is closed soon: nothing is begun any more."""
    working: int
    """Documents of the partition that have a worker; they share the event loop."""

    def config_of(self, key: Hashable) -> Mapping[str, Any]:
        """What the document's lambda is made with."""
        ...

    def acknowledge(self, lane: Lane, offset: int) -> None:
        """Messages of the document are done."""
        ...

    def skip(self, count: int) -> None:
        """A document's lambda has skipped so many messages by itself."""
        ...

    def give_up(self, document: "Document", error: BaseException | str, offset: int | None) -> None:
        """The document cannot process the record at ``offset``, and gets nothing more; None: nobody knows which."""
        ...

    def leave(self, error: BaseException, offset: int | None) -> None:
        """A lambda asks for the end of the process (``sys.exit``), at the record at ``offset`` if it was at one."""
        ...

    def pause(self, reason: str, retry_after: float | None) -> None:
        """Pause the partition."""
        ...

    def stall(self, document: "Document") -> None:
        """Messages wait for the end of the pause: `Document.wake` is called then."""
        ...

    def schedule(self, document: "Document", seconds_from_now: float) -> None:
        """The document is idle at that time."""
        ...

    def report(self, key: Hashable, error: BaseException | str, offset: int | None, *, often: bool) -> None:
        """Report to the operators; ``often``: many documents may say the same at once."""
        ...

    async def rest(self, seconds: float) -> None:
        """Sleep, but not beyond the end of the partition's lambda."""
        ...
