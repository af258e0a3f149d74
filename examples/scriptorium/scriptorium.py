"""The four interfaces: messages become inserts and checkpoints."""

import asyncio
import logging
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from examples.deli.javascript import Malformed
from examples.scriptorium.batches import Batch, Batches, slices
from examples.scriptorium.operations import Operation, operations_of
from examples.scriptorium.settings import Settings
from examples.scriptorium.store import Away, Different, Refused, Store
from sdk_python import CloseReason, IContext, IPartitionLambda, IPartitionLambdaFactory, Message

log = logging.getLogger("kafka_sidecar.scriptorium")


class Operations(Protocol):
    """The part of the `Store` that a lambda needs."""

    async def insert(self, operations: Sequence[Operation], different: Different, /) -> None:
        """See `Store.insert`."""
        ...

    async def ping(self) -> None:
        """See `Store.ping`."""
        ...


class ScriptoriumLambda:
    """Stores the operations of one partition.

    At any time at most one of two tasks runs: `_store` while the database is up, `_wait_until_up` in a pause.
    """

    def __init__(self, store: Operations, settings: Settings, context: IContext) -> None:
        self._store = store
        self._settings = settings
        self._context = context
        self._batches = Batches()
        self._storing: asyncio.Task[None] | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()
        self._failing = 0
        self._over = False

    def handler(self, message: Message) -> Awaitable[None] | None:
        """Take a message. It returns an awaitable only when operations must be stored before the next message.

        So the common case is a plain call, and memory is bounded all the same: the sidecar bounds messages and bytes
        (``window``), but a boxcar may hold many operations. A pause instead would cost a round trip to the sidecar
        for each batch.
        """
        self._stop_waiting()  # the pause is over: this message is the trial
        try:
            operations = operations_of(message.value, message.offset)
        except Malformed as error:
            return self._refuse(error)
        except Exception as error:
            # A fault of ours, but this record fails at every attempt: the records before it must not wait for it.
            log.exception("the record at offset %d is not understood", message.offset)
            return self._refuse(Malformed(f"{type(error).__name__}: {error}"))
        reached = self._batches.add(message.offset, operations)
        if reached is not None:
            self._context.checkpoint(reached)
        elif self._storing is None:
            self._storing = asyncio.create_task(self._store_batches())
        return self._room() if self._batches.pending >= self._settings.max_pending else None

    async def close(self, reason: CloseReason) -> None:
        """Wait for the batch in flight, so that its checkpoint counts; other operations come again (SC-12)."""
        self._stop_waiting()
        self._over = True
        self._batches.drop_pending()
        self._moved.set()
        storing = self._storing
        if storing is None:
            return
        if reason is CloseReason.ERROR or self._failing:
            storing.cancel()
        await asyncio.wait({storing})

    # ------------------------------------------------------------------------------------------- inside

    async def _room(self) -> None:
        while self._batches.pending >= self._settings.max_pending:
            self._moved.clear()
            await self._moved.wait()

    async def _refuse(self, error: Malformed) -> None:
        """Fail with this message when all messages before it are stored: an operator who skips it then skips nothing
        else.

        The exception is critical for its offset: ``on_critical`` in the sidecar's config says whether the partition
        halts or the record becomes a dead letter.
        """
        while self._batches.first is not None:
            self._moved.clear()
            await self._moved.wait()
        if self._waiting is None and not self._over:  # else it is delivered again, with the messages before it
            raise error

    async def _store_batches(self) -> None:
        try:
            while (batch := self._batches.take()) is not None:
                await self._store_one(batch)
                self._context.checkpoint(self._batches.stored())
                self._moved.set()
        except Away as error:
            self._pause(error)
        except Refused as error:
            self._over = True
            self._context.error(error, restart=False, offset=error.offset)
        except Exception as error:
            # A fault of ours or of the driver. Nothing is stuck (SC-9): the next lambda starts after the checkpoint.
            self._over = True
            self._context.error(error, restart=True)
        finally:
            self._storing = None
            self._batches.clear()
            self._moved.set()

    async def _store_one(self, batch: Batch) -> None:
        """Do all inserts at once (SC-5). Returns when all have succeeded; each is retried by itself."""
        inserts = [self._insert(part) for part in slices(batch.documents, self._settings.max_db_batch_size)]
        failures = [result for result in await asyncio.gather(*inserts, return_exceptions=True) if result is not None]
        refused = [failure for failure in failures if isinstance(failure, Refused)]
        others = [failure for failure in failures if not isinstance(failure, Refused)]
        if others:  # first, so that unstored operations are delivered again
            raise others[0]
        if refused:
            raise min(refused, key=lambda failure: failure.offset)

    async def _insert(self, operations: Sequence[Operation]) -> None:
        waits = iter(self._settings.retry_waits)
        failed = False
        try:
            while True:
                try:
                    await self._store.insert(operations, self._different)
                except Away as error:
                    if not failed:
                        failed = True
                        self._failing += 1
                    wait = next(waits, None)
                    if wait is None or self._over:
                        raise
                    log.info("an insert failed, again in %g s: %s", wait, error)
                    await asyncio.sleep(wait)
                else:
                    return
        finally:
            self._failing -= failed

    def _different(self, text: str, offset: int) -> None:
        self._context.report(text, offset)

    def _pause(self, error: Away) -> None:
        """The database is down: no restart helps. All unstored operations are delivered again after the pause.

        It has no ``retry_after``: `_wait_until_up` finds out when the pause is over, not a timer.
        """
        if self._over:
            return
        self._context.pause(f"operations cannot be stored: {error}", offset=self._batches.first)
        self._waiting = asyncio.create_task(self._wait_until_up())

    async def _wait_until_up(self) -> None:
        """It sleeps first: a server that answers a ping but refuses inserts must not be tried in a tight loop."""
        while True:
            await asyncio.sleep(self._settings.health_interval)
            try:
                await self._store.ping()
            except Away as error:
                log.debug("still away: %s", error)
            else:
                self._waiting = None
                self._context.resume()
                return

    def _stop_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()


class ScriptoriumFactory:
    """Creates the lambdas of one process, and has the connections that they share."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = Store(settings)

    async def create(self, _config: Mapping[str, Any], context: IContext) -> IPartitionLambda:
        """See `IPartitionLambdaFactory`."""
        return ScriptoriumLambda(self._store, self._settings, context)

    async def dispose(self) -> None:
        """See `IPartitionLambdaFactory`."""
        await self._store.close()


class ScriptoriumPlugin:
    """The plugin that the module exports."""

    async def create(self, config: Mapping[str, Any]) -> IPartitionLambdaFactory:
        """See `IPlugin`. Raises ``ValueError`` when a setting is wrong. It needs no database yet."""
        return ScriptoriumFactory(Settings.of(config))
