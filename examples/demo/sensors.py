"""The demo's lambda: statistics of temperature readings, a sensor at a time.

The pipeline is what to look at. ``handler`` returns at once; ten times a second what came meanwhile is saved in one
transaction, in a thread, while further readings come in. Only when it is saved, ``checkpoint`` says so. A process
that is killed in between loses what it had not saved, and gets exactly that again.

The store keeps the offset with the statistics, so a reading that comes a second time is not counted a second time.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from examples.demo.store import Statistics, Store
from examples.demo.tally import Tally
from sdk_python import CloseReason, IContext, IPartitionLambda, IPartitionLambdaFactory, Message

log = logging.getLogger(__name__)


class SensorLambda:
    """The readings of one partition."""

    def __init__(self, context: IContext, store: Store, tally: Tally, save_every: float) -> None:
        self.context = context
        self.store = store
        self.tally = tally
        self.save_every = save_every
        self.counted = store.next_offset - 1  # up to here the statistics know, saved or not
        self.last = self.saved = -1  # of what this lambda got: the last offset, and the last that is safe
        self.fresh: dict[str, Statistics] = {}  # not saved yet
        self.closing = asyncio.Event()
        self.saver = asyncio.create_task(self.keep_saving())

    def handler(self, message: Message) -> None:
        self.tally.add(message.offset)
        self.last = message.offset
        if message.offset <= self.counted:
            return  # an earlier process saved it and died before its checkpoint arrived
        self.counted = message.offset
        sensor = (message.key or b"?").decode()
        celsius = float(message.value or b"nan")
        known = self.fresh.get(sensor)
        if known is None:
            self.fresh[sensor] = Statistics(1, celsius, celsius, celsius)
        else:
            known.add(celsius)

    async def keep_saving(self) -> None:
        try:
            while not self.closing.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.closing.wait(), self.save_every)
                await self.save()
        except Exception as error:  # a disk that is full: again from the checkpoint, after a pause
            self.context.error(error, restart=True)

    async def save(self) -> None:
        if self.last == self.saved:
            return
        last, counted = self.last, self.counted
        fresh, self.fresh = self.fresh, {}
        await asyncio.to_thread(self.store.save, fresh, counted + 1)
        self.saved = last
        self.context.checkpoint(last)  # now, and not a moment earlier

    async def close(self, reason: CloseReason) -> None:  # noqa: ARG002
        self.closing.set()
        await self.saver  # saves once more; this checkpoint still travels
        self.store.close()
        self.tally.close()


class SensorFactory:
    """Makes a partition's lambda, with a store of its own."""

    def __init__(self, folder: Path, save_every: float) -> None:
        self.folder = folder
        self.save_every = save_every

    async def create(self, config: Mapping[str, Any], context: IContext) -> IPartitionLambda:  # noqa: ARG002
        partition = context.partition
        log.info("partition %d starts at offset %s, attempt %d", partition, context.start_offset, context.attempt)
        store = await asyncio.to_thread(Store, self.folder, partition)
        return SensorLambda(context, store, Tally(self.folder, partition), self.save_every)

    async def dispose(self) -> None:
        """Each lambda has closed its own store."""


class SensorPlugin:
    """What this module exports."""

    async def create(self, config: Mapping[str, Any]) -> IPartitionLambdaFactory:
        folder = Path(config["folder"])
        folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  nothing else runs yet
        return SensorFactory(folder, float(config.get("save_every", 0.1)))


plugin = SensorPlugin()
