"""What the script of a case acts with: the streams, the calls, the process, and the address.

Each wait has a time limit, and says which rule is broken when it passes.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.answering import Answering
from sidecar.conformance.desk import Call, Desk
from sidecar.conformance.events import Event, Kind
from sidecar.conformance.front import Front
from sidecar.conformance.host import Host
from sidecar.conformance.program import Program
from sidecar.conformance.records import topics_of
from sidecar.conformance.rules import BrokenError
from sidecar.conformance.stream import Stream
from sidecar.conformance.trace import Trace
from sidecar.server.stream import PROBE_INTERVAL_S

PATIENCE_S = 12.0
"""Seconds that a script waits for what has to come."""
QUIET_S = 0.6
"""Seconds in which what must not come would have come."""
TOPIC = "words"

R = TypeVar("R", bound=Message)


class Stage:
    """The kit's side of one case. Owned by the event loop."""

    def __init__(self, trace: Trace, host: Host, front: Front, program: Program, rule: int) -> None:
        """``rule``: the number that is broken where a wait names none."""
        self.trace = trace
        self.host = host
        self.front = front
        self.program = program
        self.rule = rule
        answering = self._answering = Answering(host, trace)
        self.log = answering.log
        """What is visible of all that the client has produced."""
        self.transactions = answering.transactions
        """With exactly-once: what has become visible together."""
        self.welcome = pb.Welcome()
        """What each stream is welcomed with, besides its capabilities."""
        self.capabilities: Sequence[str] = ()
        """What the sidecar accepts of what a client offers."""
        self._leases = 0
        self._tasks: set[asyncio.Task[None]] = set()
        host.on_stream = self._opened

    def close(self) -> None:
        """End the tasks that greet and probe streams."""
        for task in self._tasks:
            task.cancel()

    # --- waiting ----------------------------------------------------------------------------------------------

    async def until(self, true: Callable[[], object], what: str, rule: int = 0, timeout: float = PATIENCE_S) -> None:
        """Wait until ``true()`` is. Raises ``BrokenError`` with ``what`` was to happen when it does not in time."""
        program = self.program
        if not await self.trace.until(lambda: true() or program.ended_by_itself, timeout):
            raise BrokenError(rule or self.rule, f"{what}: not within {timeout:g} s")
        if not true():
            raise BrokenError(
                rule or self.rule, f"{what}: the process ended by itself before it, with {program.code}"
            )

    async def never(self, true: Callable[[], object], what: str, rule: int = 0, timeout: float = QUIET_S) -> None:
        """Wait a while. Raises ``BrokenError`` with ``what`` happened when ``true()`` is meanwhile."""
        if await self.trace.until(true, timeout):
            raise BrokenError(rule or self.rule, what)

    def check(self, is_true: object, what: str, rule: int = 0) -> None:
        """Raise ``BrokenError`` with ``what`` is wrong unless ``is_true``."""
        if not is_true:
            raise BrokenError(rule or self.rule, what)

    # --- streams ----------------------------------------------------------------------------------------------

    @property
    def streams(self) -> list[Stream]:
        """All streams that the client ever opened."""
        return self.host.streams

    async def spare(self, timeout: float = PATIENCE_S, rule: int = 4) -> Stream:
        """The stream that waits for a partition."""
        await self.until(self._spares, "a spare stream with Available", rule, timeout)
        return self._spares()[0]

    def _spares(self) -> list[Stream]:
        return [one for one in self.streams if one.life.spare and one.life.available]

    async def assign(
        self, partition: int = 0, start: int | None = 0, *, topic: str = TOPIC, attempt: int = 1, **fields: Any
    ) -> Stream:
        """Assign a partition to the spare stream, and return that. ``fields``: others of Assigned."""
        stream = await self.spare()
        self._leases += 1
        assigned = pb.Assigned(
            lease=f"lease-{self._leases}",
            topic=topic,
            partition=partition,
            start_offset=start,
            attempt=attempt,
            **fields,
        )
        await stream.send(assigned=assigned)
        return stream

    async def running(self, partition: int = 0, start: int | None = 0, *, rule: int = 5, **fields: Any) -> Stream:
        """Assign a partition and wait for Ready."""
        stream = await self.assign(partition, start, **fields)
        await stream.expect("ready", rule, PATIENCE_S)
        return stream

    async def checkpointed(self, stream: Stream, offset: int, rule: int = 0, timeout: float = PATIENCE_S) -> None:
        """Wait until this offset is checkpointed."""
        what = f"a checkpoint of {offset} for {stream}"
        await self.until(lambda: stream.life.accepted >= offset, what, rule, timeout)

    async def closed(self, stream: Stream, rule: int = 0, timeout: float = PATIENCE_S) -> pb.Closed:
        """Wait for Closed and the end of the client's side."""
        closed = await stream.expect("closed", rule or self.rule, timeout)
        await self.until(lambda: stream.life.half_closed or stream.life.over, f"the end of {stream}", 7)
        assert isinstance(closed, pb.Closed)
        return closed

    async def over(self, stream: Stream, what: str, rule: int = 0, timeout: float = PATIENCE_S) -> None:
        """Wait until a stream is over or half-closed."""
        await self.until(lambda: stream.life.over or stream.life.half_closed, what, rule, timeout)

    def _opened(self, stream: Stream) -> None:
        stream.came = lambda frame: self._took(stream, frame)

    def _took(self, stream: Stream, frame: pb.LambdaFrame) -> None:
        kind = frame.WhichOneof("frame")
        if kind == "closed":
            self._answering.closed(stream.life)
        if kind == "offer":
            self._begin(self._greet(stream, frame.offer))
        elif kind not in ("available", "progress"):
            stream.put(frame)

    async def _greet(self, stream: Stream, offer: pb.Offer) -> None:
        """Welcome a stream, and send it an empty frame now and then while it is spare."""
        if self.welcome.guarantee == pb.GUARANTEE_EXACTLY_ONCE and "exactly-once" not in offer.capabilities:
            text = "this lambda's guarantee is exactly-once, and the client does not offer the capability"
            self.trace.add(Kind.INVALID, stream=stream.number, note=f"Offer.capabilities: {text}", rule=58)
            stream.end(grpc.StatusCode.FAILED_PRECONDITION, text)
            return
        welcome = pb.Welcome()
        welcome.CopyFrom(self.welcome)
        welcome.capabilities.extend(one for one in self.capabilities if one in offer.capabilities)
        await stream.send(welcome=welcome)
        while stream.life.spare:
            await self.trace.until(lambda: not stream.life.spare, PROBE_INTERVAL_S)
            if stream.life.spare:
                await stream.send(pb.HostFrame())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- calls ------------------------------------------------------------------------------------------------

    async def taken(self, desk: Desk, kind: type[R], what: str, rule: int = 0) -> tuple[Call, R]:
        """The next call that waits for the script, and its request."""
        await self.until(lambda: any(call.open for call in desk.waiting), what, rule)
        desk.waiting = [call for call in desk.waiting if call.open]
        call = desk.waiting.pop(0)
        assert isinstance(call.request, kind)
        return call, call.request

    async def produce(self, what: str = "a call of Produce", rule: int = 0) -> tuple[Call, pb.ProduceRequest]:
        """The next call of Produce that waits for the script."""
        return await self.taken(self.host.produces, pb.ProduceRequest, what, rule or 28)

    async def checkpoint(
        self, what: str = "a call of Checkpoint", rule: int = 0
    ) -> tuple[Call, pb.CheckpointRequest]:
        """The next call of Checkpoint that waits for the script."""
        return await self.taken(self.host.checkpoints, pb.CheckpointRequest, what, rule or 17)

    async def error(self, what: str = "a call of Error", rule: int = 0) -> tuple[Call, pb.ErrorRequest]:
        """The next call of Error that waits for the script."""
        return await self.taken(self.host.errors, pb.ErrorRequest, what, rule or 27)

    def errors(self) -> list[pb.ErrorRequest]:
        """All calls of Error so far."""
        return [e.message for e in self.trace.of(Kind.CALL) if isinstance(e.message, pb.ErrorRequest)]

    def writes(self) -> list[pb.ProduceRequest]:
        """All calls of Produce so far."""
        return [e.message for e in self.trace.of(Kind.CALL) if isinstance(e.message, pb.ProduceRequest)]

    async def failed(self, rule: int = 0) -> pb.ErrorRequest:
        """Wait for the first Error, which may have been answered already."""
        await self.until(self.errors, "a call of Error", rule or 27)
        return self.errors()[0]

    def written(self, topic: str) -> list[bytes | None]:
        """The values that were written to a topic."""
        return [record.value for record in self.log.records if record.topic == topic]

    async def told(self, topic: str, count: int) -> str:
        """The line of `tell` that is the record with this number, from 1, in a topic."""
        await self.until(lambda: len(self.written(topic)) >= count, "the line of `tell`")
        return (self.written(topic)[count - 1] or b"").decode()

    def asked(self, topic: str) -> int:
        """How many records to this topic the calls of Produce have had in all."""
        return sum(topics_of(request).count(topic) for request in self.writes())

    # --- the process ------------------------------------------------------------------------------------------

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.program.signal(signal.SIGTERM)

    async def exited(self, rule: int = 41, timeout: float = 15.0) -> int:
        """Wait for the end of the process; returns its exit code."""
        await self.until(lambda: not self.program.running, "the end of the process", rule, timeout)
        return self.program.code or 0

    def last(self, kind: Kind) -> Event | None:
        """The last event of a kind."""
        return next((e for e in reversed(self.trace.events) if e.kind is kind), None)
