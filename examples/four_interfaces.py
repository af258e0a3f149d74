"""The four interfaces: a connection per process, state per partition, and batches that are saved in between.

python -m sdk_python.serve archive examples.four_interfaces --set folder=/tmp/archive
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdk_python import CloseReason, IContext, IPartitionLambda, IPartitionLambdaFactory, Message


class ArchiveLambda:
    """Appends the messages of one partition to one file."""

    def __init__(self, path: Path, batch: int, context: IContext) -> None:
        self.path = path
        self.batch = batch
        self.context = context
        self.pending: list[Message] = []

    def handler(self, message: Message) -> None:
        self.pending.append(message)
        if len(self.pending) >= self.batch:
            self.flush()

    def flush(self) -> None:
        if not self.pending:
            return
        try:
            with self.path.open("ab") as file:
                file.writelines((message.value or b"") + b"\n" for message in self.pending)
        except OSError as error:  # a full disk is temporary: pause, and get these messages again
            self.context.pause(str(error), retry_after=5, offset=self.pending[0].offset)
        else:
            self.context.checkpoint(self.pending[-1].offset)
        self.pending.clear()

    def close(self, reason: CloseReason) -> None:
        if reason is not CloseReason.ERROR:
            self.flush()  # this checkpoint is still sent


class ArchiveFactory:
    """Has what all partitions of the process share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def create(self, config: Mapping[str, Any], context: IContext) -> IPartitionLambda:
        batch = config.get("batch", 100)
        return ArchiveLambda(self.folder / f"{context.topic}-{context.partition}", batch, context)

    async def dispose(self) -> None:
        """A database connection would be closed here."""


class ArchivePlugin:
    """The plugin that this module exports."""

    async def create(self, config: Mapping[str, Any]) -> IPartitionLambdaFactory:
        folder = Path(config.get("folder", "archive"))
        folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  nothing else runs yet
        return ArchiveFactory(folder)


plugin = ArchivePlugin()
