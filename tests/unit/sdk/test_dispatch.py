"""The order of handler calls, and what stops them."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest

from sdk_python import Message
from sdk_python._checkpoints import LeaseProgress
from sdk_python._dispatch import _MAX_SLICE, Dispatcher
from sdk_python._errors import HandlerFailedError
from sdk_python._handler_times import HandlerTimes
from sdk_python._handling import Handling, Kind
from sdk_python._loop_budget import LoopBudget
from sdk_python.protocol import lambda_pb2 as pb


class NoSink:
    def changed(self, progress: LeaseProgress) -> None: ...
    def hurry(self) -> None: ...
    def forget(self, progress: LeaseProgress) -> None: ...


def each(handler: Callable[[Message], Any]) -> Handling:
    return Handling(handler, Kind.EACH)


def dispatcher(*counts: int) -> Dispatcher:
    made = Dispatcher("t", 0, LeaseProgress("lease", 1000, 0, NoSink()), LoopBudget(), HandlerTimes())
    first = 0
    for count in counts:
        made.put(pb.Batch(first_offset=first, values=[b"x"] * count), count)
        first += count
    return made


async def run_until_idle(made: Dispatcher, handler: Callable[[Message], Any]) -> None:
    task = asyncio.create_task(made.run(each(handler)))
    await made.idle.wait()
    made.stop()
    await task


async def test_sync_handlers_get_every_message_in_order() -> None:
    seen: list[int] = []
    made = dispatcher(1, 1000, 3)
    await run_until_idle(made, lambda message: seen.append(message.offset))
    assert seen == list(range(1004))
    assert made._progress.handled == 1003


async def test_the_loop_has_a_turn_to_tell_of_each_quarter_of_the_window() -> None:
    """However quick the handler is, and in the middle of a frame: the sidecar has sent what the window allows."""
    made = dispatcher(1000)
    progress = made._progress
    progress.delivered_to(999)
    told: list[int] = []

    async def tell() -> None:
        while True:
            entry = progress.take()
            if entry is not None:
                told.append(entry.offset)
            await asyncio.sleep(0)

    sender = asyncio.create_task(tell())
    await run_until_idle(made, lambda message: progress.checkpoint(message.offset))
    sender.cancel()
    assert told[-1] >= 750
    assert max(b - a for a, b in pairwise([0, *told])) <= 250 + _MAX_SLICE


async def test_async_handlers_are_awaited_one_after_another() -> None:
    log: list[tuple[str, int]] = []

    async def handle(message: Message) -> None:
        log.append(("begin", message.offset))
        await asyncio.sleep(0)
        log.append(("end", message.offset))

    await run_until_idle(dispatcher(3, 2), handle)
    assert log == [(word, offset) for offset in range(5) for word in ("begin", "end")]


async def test_a_sync_handler_that_sometimes_answers_with_an_awaitable() -> None:
    log: list[str] = []

    async def save(offset: int) -> None:
        await asyncio.sleep(0)
        log.append(f"saved {offset}")

    def handle(message: Message) -> Awaitable[None] | bool:
        log.append(f"got {message.offset}")
        return save(message.offset) if message.offset % 2 else True

    await run_until_idle(dispatcher(4), handle)
    assert log == ["got 0", "got 1", "saved 1", "got 2", "got 3", "saved 3"]


async def test_stop_inside_a_handler_ends_the_slice() -> None:
    seen: list[int] = []
    made = dispatcher(1000, 10)

    def handle(message: Message) -> None:
        seen.append(message.offset)
        if message.offset == 500:
            made.stop()

    await made.run(each(handle))
    assert seen == list(range(501))
    assert made._progress.handled == 500


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_exception_names_the_offset_and_nothing_follows(is_async: bool) -> None:
    seen: list[int] = []

    def handle(message: Message) -> None:
        seen.append(message.offset)
        if message.offset == 300:
            raise KeyError("k")

    async def handle_async(message: Message) -> None:
        handle(message)

    with pytest.raises(HandlerFailedError) as caught:
        await dispatcher(1000).run(each(handle_async if is_async else handle))
    assert caught.value.offset == 300
    assert isinstance(caught.value.__cause__, KeyError)
    assert seen == list(range(301))


async def test_a_cancellation_inside_the_handler_is_a_failure_not_an_end() -> None:
    async def handle(message: Message) -> None:
        inner = asyncio.ensure_future(asyncio.Event().wait())
        inner.cancel()
        await inner

    with pytest.raises(HandlerFailedError) as caught:
        await dispatcher(1).run(each(handle))
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)


async def test_a_slow_sync_handler_lets_others_run() -> None:
    """Each message takes a turn: whatever else is on the loop runs in between."""
    loop = asyncio.get_running_loop()
    turns = 0

    def handle(message: Message) -> None:
        until = loop.time() + 0.006
        while loop.time() < until:
            pass

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await run_until_idle(dispatcher(5), handle)
    task.cancel()
    assert turns >= 5


async def test_frames_after_stop_are_dropped() -> None:
    made = dispatcher()
    made.stop()
    made.put(pb.Batch(first_offset=0, values=[b"x"]), 1)
    assert made.waiting == 0


async def test_a_cancelled_error_in_a_sync_handler_is_a_failure_at_its_message() -> None:
    def handler(_: Message) -> None:
        cancelled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        cancelled.result()

    with pytest.raises(HandlerFailedError) as failed:
        await dispatcher(3).run(each(handler))
    assert failed.value.offset == 0


@pytest.mark.parametrize("is_async", [False, True])
async def test_hold_inside_a_handler_keeps_the_rest_of_the_slice_and_of_the_frame(is_async: bool) -> None:
    seen: list[int] = []
    made = dispatcher(1000, 10)

    def handle(message: Message) -> None:
        seen.append(message.offset)
        if message.offset in (0, 500, 999, 1009):
            made.hold()
            made.hold()

    async def handle_async(message: Message) -> None:
        handle(message)

    task = asyncio.create_task(made.run(each(handle_async if is_async else handle)))
    for handled, following in ((1, 1), (501, 501), (1000, 1000), (1010, None)):
        await made.idle.wait()
        assert seen == list(range(handled))
        assert made._progress.handled == handled - 1
        assert made.next_offset == following
        made.release()
    await made.idle.wait()
    made.stop()
    await task
    assert seen == list(range(1010))


async def test_drop_after_hold_forgets_what_waits() -> None:
    seen: list[int] = []
    made = dispatcher(1000, 10)
    task = asyncio.create_task(made.run(each(lambda message: seen.append(message.offset))))
    made.hold()
    await made.idle.wait()
    assert (seen, made.next_offset, made.waiting) == ([], 0, 1010)
    made.drop()
    assert (made.next_offset, made.waiting) == (None, 0)
    made.put(pb.Batch(first_offset=7, values=[b"x"]), 1)
    made.release()
    await made.idle.wait()
    assert seen == [7]
    made.hold()
    made.stop()
    await task
    made.release()
    assert made.idle.is_set()
