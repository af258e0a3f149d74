"""What is sent of what a lambda says, and when."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sdk_python._checkpoints import CheckpointSender, LeaseProgress
from sdk_python._connection import LinkError
from sdk_python._handler_times import HandlerTimes
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
) -> AsyncIterator[Callable[..., LeaseProgress]]:
    """A running sender; answers a function that makes places on it."""
    sender = CheckpointSender(call, HandlerTimes(), spacing=spacing, handled_interval=handled_interval)

    def begin(
        lease: str = "lease", window: int = 100, delivered: int = 1000, window_bytes: int = 1 << 40
    ) -> LeaseProgress:
        made = LeaseProgress(lease, window, 0, sender, window_bytes=window_bytes)
        made.delivered_to(delivered)
        sender.add(made)
        return made

    task = asyncio.create_task(sender.run())
    try:
        yield begin
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def turns() -> None:
    """Let everything on the loop that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_first_goes_at_once_and_later_ones_are_coalesced() -> None:
    call = Call()
    async with sending(call) as begin:
        one, two = begin("one"), begin("two")
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
    async with sending(call, spacing=3600) as begin:
        one = begin(window=100)
        one.checkpoint(0)
        await call.request()
        call.accept()
        one.checkpoint(24)
        await turns()
        assert call.requests.empty()
        one.checkpoint(25)
        assert (await call.request())["lease"].offset == 25
        call.accept()


async def test_the_quarter_counts_messages_where_offsets_have_gaps() -> None:
    """In a lane, one of eight, the window of 100 messages takes some 800 offsets."""
    call = Call()
    async with sending(call, spacing=3600) as begin:
        one = begin(window=100, delivered=-1)
        one.came(50, 399, 50)
        one.checkpoint(0)
        await call.request()
        call.accept()
        for urgent, last in ((200, 449), (225, 450)):
            one.came(50, last, 50)  # from now on without gaps: that holds for what is sent after the next call
            one.checkpoint(urgent - 1)
            await turns()
            assert call.requests.empty()
            one.checkpoint(urgent)
            assert (await call.request())["lease"].offset == urgent
            call.accept()
            await turns()


async def test_the_quarter_counts_bytes_where_messages_are_large() -> None:
    """Of 1 kB, and then of 3 kB, each: the window of 32 kB holds fewer of them than the window of 100 messages."""
    call = Call()
    async with sending(call, spacing=3600) as begin:
        one = begin(window=100, delivered=-1, window_bytes=32_000)
        one.came(20, 19, 20_000)
        one.checkpoint(0)
        await call.request()
        call.accept()
        for last, size, urgent in ((20, 3_000, 8), (21, 3_000, 10), (22, 100_000, 12), (23, 100_000, 13)):
            one.came(1, last, size)  # what it says of sizes holds for what is sent after the next call
            one.checkpoint(urgent - 1)
            await turns()
            assert call.requests.empty()
            one.checkpoint(urgent)
            assert (await call.request())["lease"].offset == urgent
            call.accept()
            await turns()


class Hurried:
    """A sink that counts how often it is told to hurry."""

    def __init__(self) -> None:
        self.hurried = 0

    def changed(self, progress: LeaseProgress) -> None: ...

    def hurry(self) -> None:
        self.hurried += 1

    def forget(self, progress: LeaseProgress) -> None: ...


async def test_a_call_is_hurried_once() -> None:
    sink = Hurried()
    one = LeaseProgress("lease", 100, 0, sink)
    one.delivered_to(1000)
    for first in (0, 100):
        for offset in range(first, first + 100):
            one.checkpoint(offset)
        assert one.urgent
        assert one.take() is not None
    assert sink.hurried == 2


async def test_lower_and_equal_checkpoints_are_ignored() -> None:
    call = Call()
    async with sending(call) as begin:
        one = begin()
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
async def test_a_checkpoint_that_is_no_offset_is_refused(offset: Any, error: type[Exception], text: str) -> None:
    async with sending(Call()) as begin:
        with pytest.raises(error, match=text):
            begin().checkpoint(offset)


async def test_a_checkpoint_with_a_whole_message_gets_a_hint() -> None:
    class Anything:
        offset = 3

    async with sending(Call()) as begin:
        with pytest.raises(TypeError, match="pass its offset"):
            begin().checkpoint(Anything())  # type: ignore[arg-type]


async def test_beyond_delivered_is_kept_and_sent_with_each_frame() -> None:
    """A full window must not wait for a checkpoint after its end."""
    call = Call()
    async with sending(call) as begin:
        one = begin(delivered=9)
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
    async with sending(call) as begin:
        one = begin(delivered=9)
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
    async with sending(call) as begin:
        one, two = begin("one"), begin("two")
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
    async with sending(call) as begin:
        one = begin()
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


async def test_handled_is_sent_without_a_checkpoint_once_it_moved() -> None:
    call = Call()
    async with sending(call, handled_interval=0.01) as begin:
        one = begin()
        one.handled = 5
        entry = (await call.request())["lease"]
        assert not entry.HasField("offset")
        assert entry.handled == 5
        call.accept()


async def test_the_last_checkpoint_is_what_was_not_accepted() -> None:
    call = Call()
    async with sending(call) as begin:
        one = begin()
        one.checkpoint(4)
        await call.request()
        one.handled = 6
        entry = one.seal()
        assert entry is not None
        assert (entry.offset, entry.handled) == (4, 6)  # under way is not accepted
        one.checkpoint(9)
        assert one.seal() is None


@pytest.mark.parametrize(("failing", "last"), [(5, 4), (4, None), (3, None)])
async def test_no_checkpoint_at_or_above_a_failure_is_kept(failing: int, last: int | None) -> None:
    async with sending(Call()) as begin:
        one = begin()
        one.checkpoint(4)
        entry = one.seal(below=failing)
        assert (entry.offset if entry is not None else None) == last
        one.checkpoint(2)
        one.checkpoint(20)
        assert one.take() is None


async def test_skipped_messages_are_sent_with_the_checkpoint() -> None:
    call = Call()
    async with sending(call) as begin:
        one = begin()
        one.skipped(2, [f"{number}" for number in range(12)])
        one.checkpoint(4)
        entry = (await call.request())["lease"]
        assert (entry.offset, entry.skipped, entry.skipping_count) == (4, 2, 12)
        assert list(entry.skipping) == [f"{number}" for number in range(2, 12)]
        call.accept()
        one.skipped(2, [f"{number}" for number in range(12)])
        one.checkpoint(5)
        assert len((await call.request())["lease"].skipping) == 10, "each entry has what is so now"
        call.accept()
        one.skipped(2, ())
        entry = (await call.request())["lease"]
        assert (entry.HasField("offset"), entry.skipped, list(entry.skipping), entry.skipping_count) == (
            False,
            2,
            [],
            0,
        )
        call.answers.put_nowait(LinkError("away"))
        entry = (await call.request())["lease"]
        assert (entry.skipped, list(entry.skipping)) == (2, []), "that nothing is skipped any more is news as well"
        call.accept()


async def test_skipped_messages_go_with_the_last_checkpoint() -> None:
    async with sending(Call()) as begin:
        one = begin()
        one.skipped(3, ["a"], 7)
        one.checkpoint(4)
        entry = one.seal()
        assert entry is not None
        assert (entry.offset, entry.skipped, list(entry.skipping), entry.skipping_count) == (4, 3, ["a"], 7)


async def test_no_record_that_comes_again_is_counted_as_skipped() -> None:
    """The lambda's checkpoint is above what was delivered: so may be what it counts."""
    call = Call()
    async with sending(call) as begin:
        one = begin(delivered=4)
        one.skipped(3, ["a"])
        one.checkpoint(6)
        entry = (await call.request())["lease"]
        assert (entry.offset, entry.skipped, list(entry.skipping)) == (4, 0, ["a"])
        call.accept()
        one.delivered_to(9)
        entry = (await call.request())["lease"]
        assert (entry.offset, entry.skipped) == (6, 3)
        call.accept()


@pytest.mark.parametrize(
    ("name", "told"),
    [("x" * 300, "x" * 256), ("é" * 200, "é" * 128), ("a" + "é" * 200, "a" + "é" * 127), ("a\ud800b", "a\\ud800b")],
)
async def test_names_of_skipped_things_are_cut_to_what_the_wire_takes(name: str, told: str) -> None:
    call = Call()
    async with sending(call) as begin:
        begin().skipped(2**80, [name], 2**80)
        entry = (await call.request())["lease"]
        assert list(entry.skipping) == [told]
        assert entry.skipping_count == 2**32 - 1
        call.accept()


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ((-1,), ValueError),
        ((1, (), -1), ValueError),
        ((True,), TypeError),
        ((1.0,), TypeError),
        ((1, "names"), TypeError),
        ((1, [None]), TypeError),
        ((1, (), "1"), TypeError),
    ],
)
async def test_wrong_arguments_of_skipped_are_refused(arguments: Any, kind: type[Exception]) -> None:
    async with sending(Call()) as begin:
        with pytest.raises(kind, match=r"^skipped\("):
            begin().skipped(*arguments)


@pytest.mark.parametrize("offset", [2**63, 2**70])
async def test_an_offset_that_cannot_be_sent_is_refused_at_once(offset: int) -> None:
    progress = LeaseProgress("L", 100, 0, Hurried())
    progress.delivered_to(10)
    progress.checkpoint(5)
    with pytest.raises(ValueError, match=r"checkpoint\(offset\): an offset is 0 to 9223372036854775807"):
        progress.checkpoint(offset)
    progress.completed_beyond(2**40, 2**70)
    entry = progress.take()
    assert entry is not None
    assert (entry.offset, entry.completed_beyond, entry.completed_beyond_bytes) == (5, 2**32 - 1, 2**64 - 1)
