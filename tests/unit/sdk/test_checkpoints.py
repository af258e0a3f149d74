"""What is sent of what a lambda says, and when."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sdk_python._checkpoints import CheckpointSender, Place
from sdk_python._connection import LinkError
from sdk_python.protocol import lambda_pb2 as pb

from .host import PATIENCE

ACCEPTED = pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_ACCEPTED)


class Call:
    """The Checkpoint call: hands each request to the test, which answers it."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[pb.CheckpointRequest] = asyncio.Queue()
        self.answers: asyncio.Queue[pb.CheckpointResponse | Exception] = asyncio.Queue()

    async def __call__(self, request: pb.CheckpointRequest) -> pb.CheckpointResponse:
        self.requests.put_nowait(request)
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def request(self) -> dict[str, pb.CheckpointEntry]:
        async with asyncio.timeout(PATIENCE):
            request = await self.requests.get()
        return {entry.lease: entry for entry in request.entries}

    def accept(self, count: int = 1) -> None:
        self.answers.put_nowait(pb.CheckpointResponse(results=[ACCEPTED] * count))

    def outcome(self, outcome: Any, delivered: int | None = None) -> None:
        result = pb.CheckpointResult(outcome=outcome, delivered=delivered)
        self.answers.put_nowait(pb.CheckpointResponse(results=[result]))


@asynccontextmanager
async def sending(
    call: Call, *, spacing: float = 0.0, handled_interval: float = 60.0
) -> AsyncIterator[Callable[..., Place]]:
    """A running sender; answers a function that makes places on it."""
    sender = CheckpointSender(call, spacing=spacing, handled_interval=handled_interval)

    def place(lease: str = "lease", window: int = 100, delivered: int = 1000) -> Place:
        made = Place(lease, window, 0, sender)
        made.delivered_to(delivered)
        sender.add(made)
        return made

    task = asyncio.create_task(sender.run())
    try:
        yield place
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def turns() -> None:
    """Let everything on the loop that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_first_goes_at_once_and_later_ones_are_coalesced() -> None:
    call = Call()
    async with sending(call) as place:
        one, two = place("one"), place("two")
        one.checkpoint(0)
        assert (await call.request())["one"].offset == 0
        for offset in range(1, 50):  # while the first call is under way
            one.checkpoint(offset)
            two.checkpoint(offset * 2)
        call.accept()
        request = await call.request()
        assert {lease: entry.offset for lease, entry in request.items()} == {"one": 49, "two": 98}
        call.accept(2)


async def test_spacing_holds_unless_a_quarter_of_the_window_waits() -> None:
    call = Call()
    async with sending(call, spacing=3600) as place:
        one = place(window=100)
        one.checkpoint(0)
        await call.request()
        call.accept()
        one.checkpoint(24)
        await turns()
        assert call.requests.empty()
        one.checkpoint(25)
        assert (await call.request())["lease"].offset == 25
        call.accept()


async def test_lower_and_equal_are_ignored() -> None:
    call = Call()
    async with sending(call) as place:
        one = place()
        one.checkpoint(10)
        await call.request()
        call.accept()
        one.checkpoint(10)
        one.checkpoint(3)
        one.completed_beyond(2, 20)
        entry = (await call.request())["lease"]
        assert not entry.HasField("offset")
        assert (entry.completed_beyond, entry.completed_beyond_bytes) == (2, 20)
        call.accept()


@pytest.mark.parametrize(
    ("offset", "error", "text"),
    [
        (-1, ValueError, "not negative"),
        ("5", TypeError, "takes an int, got str"),
        (True, TypeError, "bool"),
        (1.0, TypeError, "float"),
        (pytest, TypeError, "module"),
    ],
)
async def test_what_is_no_offset_is_refused(offset: Any, error: type[Exception], text: str) -> None:
    async with sending(Call()) as place:
        with pytest.raises(error, match=text):
            place().checkpoint(offset)


async def test_a_whole_message_gets_a_hint() -> None:
    class Anything:
        offset = 3

    async with sending(Call()) as place:
        with pytest.raises(TypeError, match="pass its offset"):
            place().checkpoint(Anything())  # type: ignore[arg-type]


async def test_beyond_delivered_is_kept_and_sent_with_each_frame() -> None:
    """A full window must not wait for a checkpoint that lies behind it."""
    call = Call()
    async with sending(call) as place:
        one = place(delivered=9)
        one.checkpoint(25)  # the lambda's own store knows
        assert (await call.request())["lease"].offset == 9
        call.accept()
        one.delivered_to(19)
        assert (await call.request())["lease"].offset == 19
        call.accept()
        one.delivered_to(29)
        assert (await call.request())["lease"].offset == 25
        call.accept()


async def test_an_answer_of_beyond_delivered_is_sent_again_when_more_came() -> None:
    call = Call()
    async with sending(call) as place:
        one = place(delivered=9)
        one.checkpoint(9)
        await call.request()
        call.outcome(pb.CHECKPOINT_OUTCOME_BEYOND_DELIVERED, delivered=5)
        await turns()
        assert call.requests.empty()
        one.delivered_to(12)
        assert (await call.request())["lease"].offset == 9
        call.accept()


async def test_a_stale_lease_sends_nothing_more() -> None:
    call = Call()
    async with sending(call) as place:
        one, two = place("one"), place("two")
        one.checkpoint(1)
        await call.request()
        call.outcome(pb.CHECKPOINT_OUTCOME_STALE_LEASE)
        two.checkpoint(1)
        assert list(await call.request()) == ["two"]
        call.accept()
        one.checkpoint(2)
        two.checkpoint(2)
        assert list(await call.request()) == ["two"]
        call.accept()


async def test_a_failed_call_is_tried_again_with_the_latest(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kafka_sidecar.sdk")
    call = Call()
    async with sending(call) as place:
        one = place()
        one.checkpoint(1)
        await call.request()
        one.checkpoint(2)
        call.answers.put_nowait(LinkError("away"))
        assert (await call.request())["lease"].offset == 2
        call.accept()
        one.checkpoint(3)
        await call.request()
    assert [line.split(",")[0] for line in caplog.messages] == [
        "checkpoints do not come through",
        "checkpoints come through again",
    ]


async def test_handled_is_told_without_a_checkpoint_once_it_moved() -> None:
    call = Call()
    async with sending(call, handled_interval=0.01) as place:
        one = place()
        one.handled = 5
        entry = (await call.request())["lease"]
        assert not entry.HasField("offset")
        assert entry.handled == 5
        call.accept()


async def test_the_last_checkpoint_is_what_was_not_accepted() -> None:
    call = Call()
    async with sending(call) as place:
        one = place()
        one.checkpoint(4)
        await call.request()
        one.handled = 6
        entry = one.seal()
        assert entry is not None
        assert (entry.offset, entry.handled) == (4, 6)  # under way is not accepted
        one.checkpoint(9)
        assert one.seal() is None


@pytest.mark.parametrize(("failing", "last"), [(5, 4), (4, None), (3, None)])
async def test_nothing_at_or_above_a_failure_is_kept(failing: int, last: int | None) -> None:
    async with sending(Call()) as place:
        one = place()
        one.checkpoint(4)
        entry = one.seal(below=failing)
        assert (entry.offset if entry is not None else None) == last
        one.checkpoint(2)
        one.checkpoint(20)
        assert one.take() is None
