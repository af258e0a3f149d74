"""Pauses at any moment, with frames on their way in both directions: the order is kept and nothing is lost.

The sidecar here is a model of what the contract says; the wire is two queues, which let frames through one by one.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings, strategies as st

from sdk_python import Message
from sdk_python._checkpoints import LeaseProgress
from sdk_python._counters import Counters
from sdk_python._handler_times import HandlerTimes
from sdk_python._host import Host
from sdk_python._life import Life
from sdk_python._limits import Terms
from sdk_python._loop_budget import LoopBudget
from sdk_python.protocol import lambda_pb2 as pb

STEPS = st.one_of(
    st.tuples(st.sampled_from(["send", "flow", "flow", "arrive", "return"]), st.integers(1, 6)),
    st.tuples(st.sampled_from(["hear", "hear", "checkpoint", "checkpoint", "time", "resume"]), st.integers(1, 3)),
    st.tuples(st.sampled_from(["pause", "pause in handler"]), st.none() | st.integers(-5, 4)),
)


class Sidecar:
    """The other side, with a log of messages; also the link to it and the sink of the checkpoints."""

    def __init__(self, log: list[int]) -> None:
        self.log = log
        self.position = 0  # index of the next message to send
        self.checkpoint = -1
        self.pausing: pb.Pause | None = None
        self.numbers: list[int] = []
        self.outgoing: deque[pb.HostFrame] = deque()
        self.incoming: deque[pb.LambdaFrame] = deque()
        self.arrived: asyncio.Queue[pb.HostFrame | None] = asyncio.Queue()

    def send(self, most: int) -> None:
        offsets = self.log[self.position : self.position + most]
        if offsets and self.pausing is None:
            self.position += len(offsets)
            batch = pb.Batch(first_offset=offsets[0], offsets=offsets, values=[b"x"] * len(offsets))
            self.outgoing.append(pb.HostFrame(batch=batch))

    def hear(self) -> None:
        match self.incoming.popleft() if self.incoming else None:
            case pb.LambdaFrame() as frame if frame.HasField("pause"):
                self.pausing = frame.pause
                self.numbers.append(frame.pause.number)
                if frame.pause.HasField("offset"):
                    first = max(frame.pause.offset, self.checkpoint + 1)
                    self.position = min(self.position, sum(offset < first for offset in self.log))
            case pb.LambdaFrame() as frame if frame.HasField("resume"):
                self.time()

    def time(self) -> None:
        if self.pausing is not None:
            delivered = self.log[self.position - 1] if self.position else -1
            resumed = pb.Resumed(number=self.pausing.number, from_offset=max(delivered, self.checkpoint) + 1)
            self.pausing = None
            self.outgoing.append(pb.HostFrame(resumed=resumed))

    def arrive(self, most: int) -> None:
        for _ in range(min(most, len(self.outgoing))):
            self.arrived.put_nowait(self.outgoing.popleft())

    # the link

    async def read(self) -> pb.HostFrame | None:
        return await self.arrived.get()

    async def write(self, frame: pb.LambdaFrame) -> None:
        if not frame.HasField("ready"):
            self.incoming.append(frame)

    async def half_close(self) -> None:
        self.arrived.put_nowait(None)

    def close(self) -> None: ...

    # the sink

    def changed(self, progress: LeaseProgress) -> None:
        entry = progress.take()
        if entry is not None and entry.HasField("offset"):
            # Where the log has a gap, it may say what is true of the offsets below the next record: nothing is there.
            below = self.log[self.position] - 1 if self.position < len(self.log) else self.log[-1]
            assert entry.offset <= below, "beyond what was delivered"
            self.checkpoint = max(self.checkpoint, entry.offset)
            progress.answered(entry, pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_ACCEPTED))

    def hurry(self) -> None: ...

    def forget(self, progress: LeaseProgress) -> None: ...


class Lambda:
    """Sync, or async with as many returns as it is allowed."""

    def __init__(self, is_async: bool, log: list[int]) -> None:
        self.log = log
        self.handled: list[int] = []
        self.rewound = False
        self.returns = asyncio.Semaphore(0) if is_async else None
        self.pause_next: list[int | None] = []
        self.life: Any = None

    def handler(self, message: Message) -> Awaitable[object] | None:
        assert not self.life.gate.paused, "called in a pause"
        came, last = self.log.index(message.offset), self._last()
        if came > last + 1:
            assert self.log[came - 1] <= self.life.progress.offset, "a message was left out"
        if came <= last:
            assert self.rewound, "came twice"
        self.handled.append(message.offset)
        if self.pause_next:
            self.pause(self.pause_next.pop())
        return self.returns.acquire() if self.returns is not None else None

    def _last(self) -> int:
        return self.log.index(self.handled[-1]) if self.handled else -1

    def pause(self, nearby: int | None) -> None:
        """With ``nearby``: again from the message so far from the last that was handled, if that can be."""
        offset = None if nearby is None else self.log[min(max(0, self._last() + nearby), len(self.log) - 1)]
        if offset is not None and not self.life.progress.offset < offset <= self.life.gate._highest:
            offset = None
        self.rewound |= offset is not None
        self.life.context.pause("away", offset=offset)

    def checkpoint(self) -> None:
        """All but the latest, which may not have returned; after a rewind less than before: ignored then."""
        if len(self.handled) > 1 and self.handled[-2] < self.handled[-1]:
            self.life.context.checkpoint(self.handled[-2])


async def turns() -> None:
    """Let everything on the loop that can run do so."""
    for _ in range(12):
        await asyncio.sleep(0)


def do(step: str, argument: Any, sidecar: Sidecar, made: Lambda) -> None:
    match step:
        case "send":
            sidecar.send(argument)
        case "hear" | "time":
            getattr(sidecar, step)()
        case "arrive":
            sidecar.arrive(argument)
        case "flow":
            sidecar.send(argument)
            sidecar.arrive(10)
        case "resume" | "checkpoint":
            (made.life.context.resume if step == "resume" else made.checkpoint)()
        case "return" if made.returns is not None:
            for _ in range(argument):
                made.returns.release()
        case "pause":
            made.pause(argument)
        case "pause in handler":
            made.pause_next = [argument]


async def play(log: list[int], is_async: bool, steps: list[tuple[str, Any]]) -> None:
    sidecar, made = Sidecar(log), Lambda(is_async, log)

    async def create(*_: Any) -> Lambda:
        return made

    async def no_call(request: Any) -> Any:
        raise AssertionError(request)

    factory: Any = SimpleNamespace(create=create)
    calls: Any = SimpleNamespace(error=no_call, produce=no_call)
    host = Host(
        "test",
        factory,
        {},
        sidecar,
        calls,
        LoopBudget(),
        HandlerTimes(),
        Counters(),
        terms=Terms(),
        leave=lambda _: None,
        drain_timeout=1.0,
    )
    made.life = Life(pb.Assigned(lease="lease", topic="t", attempt=1), sidecar, host)
    living = asyncio.create_task(made.life.run())
    await turns()
    for step, argument in steps:
        do(step, argument, sidecar, made)
        await turns()
        assert not made.life.ending.done(), made.life.ending.result()
    made.pause_next = []
    for _ in range(2 * len(log) + 10):  # and now nothing stands in the way
        for step in ("hear", "time", "flow", "return"):
            do(step, 10, sidecar, made)
        await turns()
        assert not made.life.ending.done(), made.life.ending.result()
    handled = made.handled
    assert set(handled) == {offset for offset in log if offset in handled or offset <= sidecar.checkpoint}
    assert handled[-1:] == log[-1:]
    assert made.rewound or handled == log
    assert sidecar.numbers == list(range(1, len(sidecar.numbers) + 1))
    made.life.stop()
    await living
    assert sidecar.incoming[-1].HasField("closed")


@settings(deadline=None, max_examples=200)
@given(
    gaps=st.lists(st.integers(1, 3), min_size=1, max_size=25),
    is_async=st.booleans(),
    steps=st.lists(STEPS, min_size=5, max_size=60),
)
def test_any_interleaving_keeps_the_order_and_loses_nothing(
    gaps: list[int], is_async: bool, steps: list[tuple[str, Any]]
) -> None:
    log = [sum(gaps[: index + 1]) for index in range(len(gaps))]
    asyncio.run(play(log, is_async, steps))
