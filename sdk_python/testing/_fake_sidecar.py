"""The simulated sidecar: the log of a partition, its leases, and what the lambda did."""

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from types import TracebackType
from typing import Any, Final, Literal

from sdk_python._awaiting import awaited
from sdk_python._counters import Counters
from sdk_python._fitting import check_guarantee, checked_factory
from sdk_python._handler_times import HandlerTimes
from sdk_python._host import Host
from sdk_python._interfaces import IPartitionLambdaFactory, IPlugin
from sdk_python._life import Life
from sdk_python._limits import Terms
from sdk_python._loading import as_plugin
from sdk_python._loop_budget import LoopBudget
from sdk_python._message import CREATE_TIME, NO_TIMESTAMP, Header, Message, batch_of
from sdk_python._settings import read_only
from sdk_python.protocol import lambda_pb2 as pb

from ._lambda_error import LambdaError
from ._sent import Sent, all_alike, sent_by
from ._wiring import Calls, Sink, Stream

_FRAME_MESSAGES: Final = 1000
"""Messages of one frame, at most."""


class FakeSidecar:
    """One partition with a log of messages that a test feeds, and a lambda for it."""

    def __init__(
        self,
        plugin: IPlugin | type[IPlugin] | Callable[..., Any],
        *,
        settings: Mapping[str, Any] | None = None,
        topic: str = "test",
        partition: int = 0,
        start_offset: int = 0,
        drain_timeout: float = 10.0,
        state: bytes = b"",
        lane: int = 0,
        lanes: int = 1,
        guarantee: Literal["at-least-once", "exactly-once"] = "at-least-once",
    ) -> None:
        """``plugin``: a plugin, its class, or a function as for `partition_lambda`. ``drain_timeout``: seconds.

        ``state``: what the first lambda starts with. ``lane``, ``lanes``: what the lambdas are told; all that is fed
        is of this lane. Raises ``ValueError`` when there is no such lane.
        """
        if not 0 <= lane < lanes:
            raise ValueError(f"FakeSidecar(lane={lane}, lanes={lanes}): lanes are numbered from 0")
        self.checkpoints: list[int] = []
        """Every checkpoint that counted, in order."""
        self.completed_beyond = (0, 0)
        """The latest numbers that the lambda gave: messages and bytes."""
        self.skipped = 0
        """How many messages the lambdas skipped, in all leases together."""
        self.skipping: tuple[str, ...] = ()
        """Names of the things that the lambda skips: the latest 10."""
        self.errors: list[LambdaError] = []
        """Every error and report, in order."""
        self.sent: list[Sent] = []
        """Every record that was written, in order; with exactly-once, together with a checkpoint."""
        self.held: list[Sent] = []
        """With exactly-once, every record that waits for a checkpoint. It is dropped when the lease ends without."""
        self.state = state
        """The state that the last checkpoint left, which the next lambda gets; ``b""``: none."""
        self.progress: list[str] = []
        """Every text of ``context.progress`` that was sent: the first at once, then the latest of each second."""
        self.leaving: BaseException | None = None
        """The ``SystemExit`` or ``KeyboardInterrupt`` with which the lambda asked for the end of its process."""
        self.produce_error: str | None = None
        """While this is a text, each record fails with it. A failure that nobody awaits fails the lambda."""
        self._ends: Counter[tuple[str, int]] = Counter()
        self._plugin = as_plugin(plugin, "plugin")
        self._config: Mapping[str, Any] = read_only(settings or {})
        self._topic = topic
        self._number = partition
        self._lane = (lane, lanes)
        self._terms = Terms(
            window=10_000,
            exactly_once=guarantee == "exactly-once",
            max_state_bytes=2048 // lanes,
            tells_commits=True,
        )
        self._sources: list[int] = []  # of `held`
        self._start = start_offset
        self._drain_timeout = drain_timeout
        self._log: list[Message] = []
        self._attempt = 0
        self._leases = 0
        self._skipped_before = 0  # by earlier leases
        self._factory: IPartitionLambdaFactory | None = None
        self._life: Life | None = None
        self._task: asyncio.Task[None] | None = None
        self._link = Stream(self._on_frame)
        self._position = start_offset
        self._pause: pb.Pause | None = None
        self._moved = asyncio.Event()

    async def __aenter__(self) -> "FakeSidecar":
        check_guarantee(self._plugin, exactly_once=self._terms.exactly_once)
        self._factory = checked_factory(await awaited(self._plugin.create(self._config)))
        await self.assign()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        await self.stop()
        if self._factory is not None:
            await awaited(self._factory.dispose())

    @property
    def checkpoint(self) -> int | None:
        """The last checkpoint; None: none yet."""
        return self.checkpoints[-1] if self.checkpoints else None

    @property
    def running(self) -> bool:
        """Whether a lambda has the partition. None has after an error, until `restart` or `assign`."""
        return self._life is not None and not self._life.ending.done()

    @property
    def paused(self) -> str | None:
        """The reason that the lambda gave for its pause, which may be empty; None: the lambda is not paused."""
        return self._pause.reason if self._pause is not None and self.running else None

    async def feed(
        self,
        *values: bytes | str | Message | None,
        key: bytes | None = None,
        headers: Sequence[Header] = (),
        timestamp: int | None = None,
    ) -> list[Message]:
        """Append to the partition's log; return the messages when the lambda has handled them, paused or ended.

        Without a running lambda, the messages wait for the next one; in a pause, they wait for its end. A `Message`
        is taken as it is; its offset must be higher than the last. ``timestamp``: milliseconds since the Unix epoch.
        """
        added = [
            value
            if isinstance(value, Message)
            else Message(
                self._topic,
                self._number,
                self._next_offset() + index,
                timestamp,
                NO_TIMESTAMP if timestamp is None else CREATE_TIME,
                key,
                value.encode() if isinstance(value, str) else value,
                tuple(headers),
            )
            for index, value in enumerate(values)
        ]
        self._log.extend(added)
        self._deliver()
        await self.handled()
        return added

    async def handled(self) -> None:
        """Wait until the lambda has handled all that was fed, or ended, or paused and its last handler returned."""
        life, task = self._life, self._task
        if life is None or task is None:
            return
        await self._first_of(self._link.drained(life), task)
        # A dispatcher is also idle while it is held because many records wait to be written.
        while not life.ending.done() and (life.gate.full or not life.dispatcher.idle.is_set()):
            await life.producing.drained()
            await self._first_of(self._link.drained(life), task)
        # Checkpoints wait for the outcome of what was produced before them, or are committed with it.
        await self._first_of(life.outcomes.released(), task)
        if self._terms.exactly_once:
            await life.producing.drained()
        if life.ending.done():
            await asyncio.wait({task})

    async def checkpointed(self, offset: int, timeout: float = 5.0) -> None:
        """Wait until the lambda's checkpoint is at ``offset`` or after it.

        Raises ``TimeoutError`` when that takes more than ``timeout`` seconds.
        """
        async with asyncio.timeout(timeout):
            while self.checkpoint is None or self.checkpoint < offset:
                self._moved.clear()
                await self._moved.wait()

    async def ended(self, timeout: float = 5.0) -> None:
        """Wait until the lambda ended and is closed, such as after ``context.error`` in a task of its own.

        Raises ``TimeoutError`` when that takes more than ``timeout`` seconds.
        """
        if self._task is not None:
            async with asyncio.timeout(timeout):
                await asyncio.wait({self._task})

    async def assign(self) -> None:
        """Make a lambda, and feed it the messages after the last checkpoint."""
        if self._factory is None:
            raise RuntimeError("use it as: async with FakeSidecar(...) as sidecar")
        if self._task is not None and not self._task.done():
            raise RuntimeError("the partition has a lambda: restart() or rebalance() ends it first")
        self._leases += 1
        self._attempt += 1
        self._skipped_before, self.skipping = self.skipped, ()
        start = self._start if self.checkpoint is None else self.checkpoint + 1
        assigned = pb.Assigned(
            lease=f"lease-{self._leases}",
            topic=self._topic,
            partition=self._number,
            start_offset=start,
            attempt=self._attempt,
            lane=self._lane[0],
            lanes=self._lane[1],
            state=self.state,
        )
        self._drop_held()
        self._link = Stream(self._on_frame)
        self._position = start
        self._pause = None
        host = Host(
            lambda_name="test",
            factory=self._factory,
            config=self._config,
            sink=Sink(self._accept),
            calls=Calls(self._on_error, self._on_produce),
            budget=LoopBudget(),
            times=HandlerTimes(),
            counters=Counters(),
            terms=self._terms,
            drain_timeout=self._drain_timeout,
            leave=self._left,
        )
        self._life = Life(assigned, self._link, host)
        self._task = asyncio.create_task(self._life.run())
        await self._first_of(self._link.ready.wait(), self._task)
        self._deliver()
        await self.handled()

    async def resume(self) -> None:
        """End the lambda's pause, as an operator or its ``retry_after`` does; returns as `feed` does."""
        await self.handled()  # a pause from a task of the lambda may still be on its way
        if self._pause is None or not self.running:
            raise RuntimeError("the lambda is not paused")
        self._end_pause()
        await self.handled()

    async def restart(self) -> None:
        """Make a new lambda, as after an error or a crash. A running one loses its stream."""
        if self._life is not None and self._task is not None:
            self._link.break_off()
            await asyncio.wait({self._task})
        await self.assign()

    async def rebalance(self, deadline: float = 2.0) -> None:
        """Take the partition away (``close(REBALANCED)``, within ``deadline`` seconds), and make a new lambda."""
        await self.revoke(deadline)
        self._attempt = 0
        await self.assign()

    async def revoke(self, deadline: float = 2.0) -> None:
        """Take the partition away within ``deadline`` seconds, as when Kafka gives it to another process."""
        self._revoke(pb.REVOKE_REASON_REBALANCE, deadline)
        await self._closed_lambda()

    async def abort(self) -> None:
        """Abort the transaction: drop what is held, end the lambda (``close(ERROR)``), and make a new one."""
        if not self._terms.exactly_once:
            raise RuntimeError('there are transactions only with guarantee="exactly-once"')
        self._drop_held()
        self._revoke(pb.REVOKE_REASON_ABORTED, 0.0)
        await self._closed_lambda()
        await self.assign()

    async def stop(self) -> None:
        """End the lambda as SIGTERM does: the running handler finishes, then ``close(STOPPED)``."""
        if self._life is not None and self._task is not None:
            self._life.stop()
            await asyncio.wait({self._task})

    # ------------------------------------------------------------------------------------------- inside

    def _revoke(self, reason: pb.RevokeReason, deadline: float) -> None:
        revoked = pb.Revoked(reason=reason, deadline_ms=int(deadline * 1000))
        self._link.send(pb.HostFrame(revoked=revoked))

    async def _closed_lambda(self) -> None:
        if self._task is not None:
            await asyncio.wait({self._task})

    def _drop_held(self) -> None:
        self.held.clear()
        self._sources.clear()

    def _left(self, error: BaseException) -> None:
        self.leaving = error

    def _accept(self, entry: pb.CheckpointEntry) -> None:
        self.completed_beyond = (entry.completed_beyond, entry.completed_beyond_bytes)
        self.skipped = max(self.skipped, self._skipped_before + entry.skipped)
        self.skipping = tuple(entry.skipping)
        if entry.HasField("offset") and entry.offset > (-1 if self.checkpoint is None else self.checkpoint):
            self.checkpoints.append(entry.offset)
            if entry.HasField("state"):
                self.state = entry.state
            self._attempt = 0
            self._moved.set()
            self._link.send(pb.HostFrame(committed=pb.Committed(offset=entry.offset)))

    async def _on_produce(self, request: pb.ProduceRequest) -> pb.ProduceResponse:
        count = len(request.values)
        has_commit = request.HasField("commit")
        if self.produce_error is not None:
            stale = pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_STALE_LEASE)
            if has_commit:  # the transaction is aborted
                self._drop_held()
                self._revoke(pb.REVOKE_REASON_ABORTED, 0.0)
            return all_alike(count, pb.PRODUCE_OUTCOME_FAILED, self.produce_error, stale if has_commit else None)
        records = sent_by(request)
        if not self._terms.exactly_once:
            response = pb.ProduceResponse(outcomes=[pb.PRODUCE_OUTCOME_WRITTEN] * count)
            for sent in records:
                partition, offset = self._written(sent)
                response.partitions.append(partition)
                response.offsets.append(offset)
            return response
        self.held += records
        self._sources += request.sources or [-1] * count
        if not has_commit:
            return all_alike(count, pb.PRODUCE_OUTCOME_HELD)
        before = len(self.held) - count
        places = self._commit(request.commit.offset)[before:]
        self._accept(request.commit)
        held, written = pb.PRODUCE_OUTCOME_HELD, pb.PRODUCE_OUTCOME_WRITTEN
        return pb.ProduceResponse(
            outcomes=[held if offset < 0 else written for _, offset in places],
            partitions=[partition for partition, _ in places],
            offsets=[offset for _, offset in places],
            commit=pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_ACCEPTED),
        )

    def _written(self, sent: Sent) -> tuple[int, int]:
        """Write the record; returns its partition and offset."""
        partition = sent.partition or 0
        offset = self._ends[sent.topic, partition]
        self._ends[sent.topic, partition] += 1
        self.sent.append(sent)
        return partition, offset

    def _commit(self, checkpoint: int) -> list[tuple[int, int]]:
        """Write what is held, except the records that wait for a higher checkpoint.

        Returns the partition and offset of each record that was held before; -1 and -1: it still is.
        """
        waiting = [*zip(self.held, self._sources, strict=True)]
        self._drop_held()
        places = []
        for sent, source in waiting:
            if source <= checkpoint:
                places.append(self._written(sent))
            else:
                places.append((-1, -1))
                self.held.append(sent)
                self._sources.append(source)
        return places

    def _on_error(self, request: pb.ErrorRequest) -> pb.ErrorResponse:
        if request.HasField("last_checkpoint"):
            self._accept(request.last_checkpoint)
        error = LambdaError.of(request)
        self.errors.append(error)
        return error.answer()

    def _on_frame(self, frame: pb.LambdaFrame) -> None:
        if frame.HasField("closed"):
            if frame.closed.HasField("last_checkpoint"):
                self._accept(frame.closed.last_checkpoint)
        elif frame.HasField("progress"):
            self.progress.append(frame.progress.text)
        elif frame.HasField("pause"):
            self._paused(frame.pause)
        elif frame.HasField("resume"):
            self._end_pause()

    def _next_offset(self) -> int:
        return self._log[-1].offset + 1 if self._log else self._start

    def _deliver(self) -> None:
        if not self.running or self._pause is not None:
            return
        left = self._log[bisect_left(self._log, self._position, key=attrgetter("offset")) :]
        # The messages of a frame have one timestamp type; those that a test made itself may differ in it.
        for _, alike in groupby(left, attrgetter("timestamp_type")):
            messages = [*alike]
            for first in range(0, len(messages), _FRAME_MESSAGES):
                self._link.send(pb.HostFrame(batch=batch_of(messages[first : first + _FRAME_MESSAGES])))
            self._position = messages[-1].offset + 1

    def _paused(self, pause: pb.Pause) -> None:
        self._pause = pause
        if pause.HasField("offset"):
            first = self._start if self.checkpoint is None else self.checkpoint + 1
            self._position = max(first, min(pause.offset, self._position))

    def _end_pause(self) -> None:
        if self._pause is not None:
            self._link.send(pb.HostFrame(resumed=pb.Resumed(number=self._pause.number, from_offset=self._position)))
            self._pause = None
            self._deliver()

    async def _first_of(self, waiting: Any, task: asyncio.Task[None]) -> None:
        waiter = asyncio.ensure_future(waiting)
        try:
            await asyncio.wait({waiter, task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
