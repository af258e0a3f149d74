"""A lambda that saves each message, which takes `SAVE` seconds, for each of the compared models.

As a plugin it is pipelined: the handler returns at once, and the lambda checkpoints up to the first gap in the saved
messages. Settings as for `benchmarks.counting`.

    python -m benchmarks.saving ADDRESS one|together     as a service that answers a batch when all of it is saved
"""

import asyncio
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio

from benchmarks.clock import Clock
from benchmarks.counting import LOOK, note
from sdk_python import IContext, Message
from sdk_python.protocol import lambda_pb2 as pb

SAVE = 0.010
"""Seconds of a save, which are spent waiting as for a database."""

SERVICE, METHOD = "benchmarks.Saving", "Handle"


async def save() -> None:
    """The database."""
    await asyncio.sleep(SAVE)


class Prefix:
    """Finds the highest offset up to which all work is done; work begins in order and ends in any order."""

    def __init__(self) -> None:
        self._begun: deque[int] = deque()
        self._done: set[int] = set()

    def __len__(self) -> int:
        """How many offsets are begun and not done."""
        return len(self._begun) - len(self._done)

    def begin(self, offset: int) -> None:
        """Work on ``offset`` begins; it is above all earlier ones."""
        self._begun.append(offset)

    def finish(self, offset: int) -> int | None:
        """Work on ``offset`` is done. Returns the offset up to which all is done now; None: it has not changed."""
        self._done.add(offset)
        last = None
        while self._begun and self._begun[0] in self._done:
            last = self._begun.popleft()
            self._done.remove(last)
        return last


class _Lambda:
    def __init__(self, factory: "_Factory", context: IContext) -> None:
        self._factory = factory
        self._context = context
        self._saves: set[asyncio.Task[None]] = set()  # the event loop itself holds no reference to a task
        self.prefix = Prefix()

    def handler(self, message: Message) -> None:
        self.prefix.begin(message.offset)
        task = asyncio.create_task(self._save(message.offset))
        self._saves.add(task)
        task.add_done_callback(self._saves.discard)

    async def _save(self, offset: int) -> None:
        await save()
        self._factory.saved += 1
        done = self.prefix.finish(offset)
        if done is not None:
            self._context.checkpoint(done)


class _Factory:
    def __init__(self, config: Mapping[str, Any]) -> None:
        self.saved = 0
        self._config = config
        self._lambdas: list[_Lambda] = []
        self._watch = asyncio.ensure_future(self._report())

    async def create(self, _: Mapping[str, Any], context: IContext) -> _Lambda:
        lambda_ = _Lambda(self, context)
        self._lambdas.append(lambda_)
        return lambda_

    async def dispose(self) -> None:
        """Nothing to close."""

    async def _report(self) -> None:
        clock = Clock(int(self._config["warm"]), int(self._config["lambdas"]))
        most = 0
        while self.saved < int(self._config["total"]):
            await asyncio.sleep(LOOK)
            most = max(most, sum(len(lambda_.prefix) for lambda_ in self._lambdas))
            if clock.look(time.perf_counter(), self.saved, len(self._lambdas)):
                note(self._config, "warmed")
        note(self._config, "result", {**clock.result(time.perf_counter(), self.saved), "most_at_once": most})


class _Plugin:
    async def create(self, config: Mapping[str, Any]) -> _Factory:
        return _Factory(config)


plugin = _Plugin()


async def _serve(address: str, *, together: bool) -> None:
    async def handle(batch: pb.Batch, _: object) -> pb.Batch:
        if together:
            await asyncio.gather(*(save() for _ in batch.values))
        else:
            for _ in batch.values:
                await save()
        return pb.Batch(first_offset=len(batch.values))  # the number of saved messages

    method = grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=pb.Batch.FromString, response_serializer=pb.Batch.SerializeToString
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {METHOD: method})])
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], together=sys.argv[2] == "together"))
