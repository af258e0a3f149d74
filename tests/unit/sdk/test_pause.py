"""``context.pause`` and ``context.resume`` on the wire: a dependency is down, and comes back."""

import asyncio
import logging
from typing import Any

import grpc
import pytest

from sdk_python import CloseReason, IContext, Message
from sdk_python.protocol import lambda_pb2 as pb

from .host import PATIENCE, Host, running_client
from .pausing import Pausing, pausing_at, resumed, serving


async def test_a_sync_handler_pauses_in_the_middle_of_a_slice(host: Host) -> None:
    plugin = Pausing(pausing_at(300, reason="database away", retry_after=2.5))
    async with serving(host, plugin) as (_, stream, _):
        stream.batch([b"x"] * 1000)
        pause = await stream.expect("pause")
        assert (pause.number, pause.reason, pause.retry_after_ms) == (1, "database away", 2500)
        assert not pause.HasField("offset")
        stream.batch([b"x"] * 10, first=1000)  # was on its way
        assert plugin.handled == list(range(301))
        resumed(stream, 1, 1010)
        stream.batch([b"x"] * 10, first=1010)
        await plugin.until(lambda: len(plugin.handled) == 1020)
    assert plugin.handled == list(range(1020))
    assert plugin.closed == [CloseReason.STOPPED]
    assert host.errors == []


async def test_an_async_handler_pauses_and_runs_on(host: Host) -> None:
    release = asyncio.Event()
    ended: list[int] = []

    async def handle(message: Message, context: IContext) -> None:
        if message.offset == 1:
            context.pause()
            await release.wait()
        ended.append(message.offset)

    plugin = Pausing(handle)
    async with serving(host, plugin) as (_, stream, life):
        stream.batch([b"a", b"b", b"c", b"d"])
        await stream.expect("pause")
        release.set()
        await asyncio.wait_for(life.dispatcher.idle.wait(), PATIENCE)
        assert ended == plugin.handled == [0, 1]
        plugin.context.resume()
        await stream.expect("resume")
        assert plugin.handled == [0, 1]  # not before the sidecar says so
        resumed(stream, 1, 4)
        await plugin.until(lambda: len(ended) == 4)
    assert ended == [0, 1, 2, 3]


async def test_resumed_and_paused_again_while_one_async_handler_runs(host: Host) -> None:
    go_on, release = asyncio.Event(), asyncio.Event()

    async def handle(message: Message, context: IContext) -> None:
        if message.offset == 1:
            context.pause()
            await go_on.wait()
            context.pause()
            await release.wait()

    plugin = Pausing(handle)
    async with serving(host, plugin) as (_, stream, life):
        stream.batch([b"x"] * 5)
        await stream.expect("pause")
        resumed(stream, 1, 5)
        await plugin.until(lambda: not life.gate.paused)
        go_on.set()
        assert (await stream.expect("pause")).number == 2
        release.set()
        await asyncio.wait_for(life.dispatcher.idle.wait(), PATIENCE)
        assert plugin.handled == [0, 1]
        resumed(stream, 2, 5)
        await plugin.until(lambda: len(plugin.handled) == 5)
    assert plugin.handled == [0, 1, 2, 3, 4]


async def test_with_an_offset_the_messages_come_again(host: Host) -> None:
    """The write of 1 fails while 3 is handled: 1 to 3 come again, and what waits and flies is void."""

    def handle(message: Message, context: IContext) -> None:
        if message.offset == 0:
            context.checkpoint(0)
        if message.offset == 3 and plugin.handled.count(3) == 1:
            context.pause("away", offset=1)
        if message.offset == 6:
            context.checkpoint(6)

    plugin = Pausing(handle)
    async with serving(host, plugin) as (_, stream, _):
        stream.batch([b"x"] * 5)
        pause = await stream.expect("pause")
        assert (pause.number, pause.offset, pause.retry_after_ms) == (1, 1, 0)
        stream.batch([b"void"] * 5, first=5)
        resumed(stream, 1, 1)
        stream.batch([b"x"] * 6, first=1)
        await host.until(lambda: 6 in host.checkpoints)
        assert max(host.checkpoints) == 6
    assert plugin.handled == [0, 1, 2, 3, 1, 2, 3, 4, 5, 6]


async def test_messages_that_wait_below_the_offset_come_with_it(host: Host) -> None:
    plugin = Pausing(pausing_at(1, offset=4))
    async with serving(host, plugin) as (_, stream, _):
        stream.batch([b"x"] * 6)
        assert (await stream.expect("pause")).offset == 2
        resumed(stream, 1, 2)
        stream.batch([b"x"] * 4, first=2)
        await plugin.until(lambda: len(plugin.handled) == 6)
    assert plugin.handled == [0, 1, 2, 3, 4, 5]


async def test_resumed_may_go_on_after_the_offset_that_was_asked_for(host: Host) -> None:
    """Resumed says where the messages go on, such as after a checkpoint that came meanwhile."""
    plugin = Pausing(pausing_at(4, offset=1))
    async with serving(host, plugin) as (_, stream, _):
        stream.batch([b"x"] * 5)
        await stream.expect("pause")
        plugin.context.checkpoint(2)  # a save that went through after all
        await host.until(lambda: host.checkpoints == [0])  # as far as the sidecar takes for delivered now
        resumed(stream, 1, 3)
        stream.batch([b"x"] * 2, first=3)
        await plugin.until(lambda: len(plugin.handled) == 7)
        await host.until(lambda: 2 in host.checkpoints)
    assert plugin.handled == [0, 1, 2, 3, 4, 3, 4]


async def test_checkpoints_go_out_while_paused(host: Host) -> None:
    plugin = Pausing(pausing_at(2))
    async with serving(host, plugin) as (_, stream, _):
        stream.batch([b"x"] * 5)
        await stream.expect("pause")
        plugin.context.checkpoint(1)
        await host.until(lambda: host.checkpoints == [1])
        plugin.context.report("still here")
        await host.until(lambda: len(host.errors) == 1)
    assert plugin.handled == [0, 1, 2]


@pytest.mark.parametrize("resumes", [False, True])
async def test_a_pause_in_create_goes_out_after_ready_and_before_the_handler(host: Host, resumes: bool) -> None:
    plugin = Pausing()

    def on_create(context: IContext) -> None:
        context.pause("not yet")
        if resumes:
            context.resume()

    plugin.on_create = on_create
    async with serving(host, plugin) as (_, stream, life):
        stream.batch([b"a"])
        assert (await stream.expect("pause")).reason == "not yet"
        if resumes:
            await stream.expect("resume")
        await plugin.until(lambda: life.dispatcher.waiting == 1)
        assert plugin.handled == []
        resumed(stream, 1, 1)
        await plugin.until(lambda: plugin.handled == [0])


async def test_two_pauses_and_a_late_resumed_for_the_first(host: Host) -> None:
    plugin = Pausing(pausing_at(4, reason="first", offset=2, retry_after=1))
    async with serving(host, plugin) as (_, stream, life):
        stream.batch([b"x"] * 5)
        assert (await stream.expect("pause")).offset == 2
        plugin.context.pause("second", offset=3)
        second = await stream.expect("pause")
        assert (second.number, second.reason, second.offset, second.retry_after_ms) == (2, "second", 2, 0)
        resumed(stream, 1, 2)  # its time was over before the sidecar read the second
        stream.batch([b"void"] * 3, first=2)
        resumed(stream, 2, 2)
        stream.batch([b"x"] * 4, first=2)
        await plugin.until(lambda: len(plugin.handled) == 9)
        assert not life.gate.paused
    assert plugin.handled == [0, 1, 2, 3, 4, 2, 3, 4, 5]


async def test_a_second_pause_without_an_offset_keeps_the_first_ones(host: Host) -> None:
    """Its messages were dropped: they have to come again."""
    plugin = Pausing(pausing_at(4, offset=3))
    async with serving(host, plugin) as (_, stream, _):
        stream.batch([b"x"] * 5)
        await stream.expect("pause")
        plugin.context.pause("second")
        assert (await stream.expect("pause")).offset == 3
        plugin.context.pause(offset=1)
        assert (await stream.expect("pause")).offset == 1


async def test_an_offset_that_is_still_to_come_needs_no_rewind(host: Host) -> None:
    plugin = Pausing(pausing_at(4, offset=1))
    async with serving(host, plugin) as (_, stream, life):
        stream.batch([b"x"] * 5)
        await stream.expect("pause")
        resumed(stream, 1, 1)
        await plugin.until(lambda: not life.gate.paused)
        plugin.context.pause(offset=3)
        assert not (await stream.expect("pause")).HasField("offset")


async def test_pause_and_resume_arrive_in_their_order_and_closed_after_both(host: Host) -> None:
    def handle(message: Message, context: IContext) -> None:
        context.pause("first")
        context.pause("instead of the first, of which the sidecar never heard")
        context.resume()
        context.resume()
        context.error("and away", restart=True)
        context.pause("too late")
        context.resume()

    async with running_client(host, handle):
        stream = await host.offered()
        await stream.assign()
        stream.batch([b"a", b"b"])
        pause = await stream.expect("pause")
        assert (pause.number, pause.reason[:7]) == (1, "instead")
        await stream.expect("resume")
        assert (await stream.closed()).reason == pb.CLOSED_REASON_ERROR
    assert len(host.errors) == 1


async def test_resume_without_a_pause_is_a_warning(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    def handle(message: Message, context: IContext) -> None:
        context.resume()
        context.checkpoint(message.offset)

    async with running_client(host, handle):
        stream = await host.offered()
        await stream.assign()
        resumed(stream, 1, 0)  # of no pause: ignored
        stream.batch([b"a"])
        await host.until(lambda: 0 in host.checkpoints)
        stream.revoke()
        await stream.closed()  # nothing came before it
    assert [r.getMessage().split("] ")[1] for r in caplog.records if r.levelno == logging.WARNING] == [
        "resume() without a pause: ignored"
    ]


@pytest.mark.parametrize("offset", [None, 2])
async def test_revoked_while_paused(host: Host, offset: int | None) -> None:
    plugin = Pausing(pausing_at(3, offset=offset))
    host.checkpoint_gate.clear()
    async with serving(host, plugin) as (_, stream, _):
        stream.batch([b"x"] * 500)
        await stream.expect("pause")
        plugin.context.checkpoint(1)
        stream.revoke(reason=pb.REVOKE_REASON_PAUSED)
        closed = await stream.closed()
        host.checkpoint_gate.set()
        plugin.context.pause()  # after the end: ignored
        assert (closed.reason, closed.last_checkpoint.offset) == (pb.CLOSED_REASON_REVOKED, 1)
    assert plugin.handled == [0, 1, 2, 3]
    assert plugin.closed == [CloseReason.STOPPED]


async def test_stopped_while_paused(host: Host) -> None:
    plugin = Pausing(pausing_at(3))
    async with serving(host, plugin) as (client, stream, _):
        stream.batch([b"x"] * 500)
        await stream.expect("pause")
        client.stop()
        assert (await stream.closed()).reason == pb.CLOSED_REASON_STOPPED
    assert plugin.handled == [0, 1, 2, 3]
    assert plugin.closed == [CloseReason.STOPPED]


async def test_a_failure_while_paused(host: Host) -> None:
    plugin = Pausing(pausing_at(3))
    async with serving(host, plugin) as (_, stream, _):
        stream.batch([b"x"] * 500)
        await stream.expect("pause")
        plugin.context.error("gave up", restart=True)
        assert (await stream.closed()).reason == pb.CLOSED_REASON_ERROR
    assert plugin.handled == [0, 1, 2, 3]
    assert plugin.closed == [CloseReason.ERROR]


async def test_an_exception_after_the_pause_is_critical_as_ever(host: Host) -> None:
    def handle(message: Message, context: IContext) -> None:
        context.pause()
        raise ValueError("broken")

    async with running_client(host, handle):
        stream = await host.offered()
        await stream.assign()
        stream.batch([b"a", b"b"])
        await stream.expect("pause")
        await stream.closed()
    assert [(error.action, error.offset) for error in host.errors] == [(pb.ERROR_ACTION_CRITICAL, 0)]


async def test_the_stream_is_lost_while_paused(host: Host) -> None:
    plugin = Pausing(pausing_at(3))
    async with serving(host, plugin) as (_, stream, _):
        stream.batch([b"x"] * 500)
        await stream.expect("pause")
        stream.end(grpc.StatusCode.UNAVAILABLE, "gone")
        await plugin.until(lambda: plugin.closed == [CloseReason.ERROR])
        await (await host.offered()).welcome()  # the spare that was open all along, or the next
    assert plugin.handled == [0, 1, 2, 3]


async def test_a_pause_reads_on_beyond_a_full_queue(host: Host) -> None:
    """A lambda that checkpoints far ahead opens its window; Resumed must not wait for frames that are not read."""
    release = asyncio.Event()

    async def handle(message: Message, context: IContext) -> None:
        await release.wait()

    plugin = Pausing(handle)
    async with serving(host, plugin, window=2) as (_, stream, life):
        for first in range(20):
            stream.batch([b"x"], first=first)
        await plugin.until(lambda: life.dispatcher.waiting == 5)  # and there the reader waits
        plugin.context.pause()
        await stream.expect("pause")
        resumed(stream, 1, 20)
        await plugin.until(lambda: not life.gate.paused)
        release.set()
        await plugin.until(lambda: len(plugin.handled) == 20)
    assert plugin.handled == list(range(20))


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"reason": 5}, TypeError, "a text, got int"),
        ({"retry_after": "5"}, TypeError, "number of seconds or None, got str"),
        ({"retry_after": True}, TypeError, "bool"),
        ({"retry_after": 0}, ValueError, "positive, finite"),
        ({"retry_after": -1.0}, ValueError, "positive, finite"),
        ({"retry_after": float("nan")}, ValueError, "positive, finite"),
        ({"retry_after": float("inf")}, ValueError, "positive, finite"),
        ({"offset": "1"}, TypeError, "int or None"),
        ({"offset": -1}, ValueError, "an offset is 0"),
        ({"offset": 1}, ValueError, "this lambda's checkpoint is at 1, and what is checkpointed does not come again"),
        ({"offset": 3}, ValueError, "the last that came has 2"),
    ],
)
async def test_wrong_arguments_are_refused_and_nothing_is_paused(
    host: Host, arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    plugin = Pausing(lambda message, context: context.checkpoint(min(1, message.offset)))
    async with serving(host, plugin) as (_, stream, life):
        with pytest.raises(ValueError, match="none came yet"):
            plugin.context.pause(offset=0)
        stream.batch([b"x"] * 3)
        await plugin.until(lambda: len(plugin.handled) == 3)
        with pytest.raises(error, match=text):
            plugin.context.pause(**arguments)
        assert not life.gate.paused


async def test_reason_and_retry_after_are_cut_to_what_the_wire_takes(host: Host) -> None:
    plugin = Pausing()
    async with serving(host, plugin) as (_, stream, _):
        plugin.context.pause("ä" * 1000, retry_after=0.0001)
        pause = await stream.expect("pause")
        assert (len(pause.reason.encode()), pause.retry_after_ms) == (1024, 1)
        plugin.context.pause(retry_after=1e12)
        assert (await stream.expect("pause")).retry_after_ms == 2**32 - 1
