"""One partition's life in a process, over real gRPC: what the sidecar sends, and what it and the lambda get."""

import asyncio
from collections.abc import Mapping
from typing import Any

from sdk_python import CloseReason, IContext, Message
from sdk_python.protocol import lambda_pb2 as pb

from .host import Host, running_client
from .recording_plugin import Recording


async def test_messages_in_order_and_the_checkpoint_arrives(host: Host) -> None:
    seen: list[tuple[int, bytes | None]] = []

    def handle(message: Message, context: IContext) -> None:
        seen.append((message.offset, message.value))
        context.checkpoint(message.offset)

    async with running_client(host, handle):
        stream = await host.offered()
        await stream.assign()
        stream.batch([b"a", b"b"])
        stream.batch([b"c"], first=2)
        await host.until(lambda: 2 in host.checkpoints)
    assert seen == [(0, b"a"), (1, b"b"), (2, b"c")]
    assert host.requests[-1].entries[0].lease == stream.lease
    assert host.requests[-1].entries[0].handled == 2


async def test_an_exception_is_critical_and_nothing_at_or_above_it_is_checkpointed(host: Host) -> None:
    plugin = Recording()

    def fail_at_2(message: Message, context: IContext) -> None:
        context.checkpoint(message.offset)
        if message.offset == 2:
            raise ValueError("broken message")

    plugin.on_message = fail_at_2
    host.checkpoint_gate.clear()  # the first request stays under way, so that nothing above it was sent before
    async with running_client(host, plugin):
        stream = await host.offered()
        await stream.assign()
        stream.batch([b"a"])
        await host.until(lambda: host.checkpoints == [0])
        stream.batch([b"b", b"c", b"d"], first=1)
        await host.until(lambda: bool(host.errors))
        (error,) = host.errors
        assert (error.action, error.offset, error.lease) == (pb.ERROR_ACTION_CRITICAL, 2, stream.lease)
        assert (error.code, error.type, error.message) == ("handler_failed", "ValueError", "broken message")
        assert "fail_at_2" in error.stack
        closed = await stream.closed()
        plugin.contexts[0].checkpoint(7)  # a task of the lambda that runs on
        host.checkpoint_gate.set()
        assert closed.reason == pb.CLOSED_REASON_ERROR
        assert not closed.HasField("last_checkpoint")
    assert plugin.handled == [0, 1]
    assert plugin.closed == [CloseReason.ERROR]
    assert max(host.checkpoints) < 2


async def test_error_carries_the_last_checkpoint_below_the_failure(host: Host) -> None:
    plugin = Recording()

    def handle(message: Message, context: IContext) -> None:
        if message.offset == 2:
            raise ValueError
        context.checkpoint(message.offset)

    plugin.on_message = handle
    host.checkpoint_gate.clear()
    async with running_client(host, plugin):
        stream = await host.offered()
        await stream.assign()
        stream.batch([b"a", b"b", b"c"])
        await host.until(lambda: bool(host.errors))
        assert host.errors[0].last_checkpoint.offset == 1
        host.checkpoint_gate.set()
        await stream.closed()


async def test_context_error_restarts_and_calls_no_handler_any_more(host: Host) -> None:
    calls: list[int] = []

    def handle(message: Message, context: IContext) -> None:
        calls.append(message.offset)
        if message.offset == 1:
            context.error(ConnectionError("database away"), restart=True)
            context.error(ValueError("only the first counts"), restart=False)
            context.checkpoint(1)

    async with running_client(host, handle):
        stream = await host.offered()
        await stream.assign()
        stream.batch([b"x"] * 500)
        closed = await stream.closed()
        assert closed.reason == pb.CLOSED_REASON_ERROR
    assert calls == [0, 1]
    (error,) = host.errors
    assert (error.action, error.code, error.message) == (pb.ERROR_ACTION_RESTART, "lambda_error", "database away")
    assert not error.HasField("offset")
    assert host.checkpoints == []


async def test_the_lambda_goes_on_after_a_report(host: Host) -> None:
    def handle(message: Message, context: IContext) -> None:
        if message.offset == 0:
            context.report("odd", offset=0)
        context.checkpoint(message.offset)

    async with running_client(host, handle):
        stream = await host.offered()
        await stream.assign()
        stream.batch([b"a", b"b"])
        await host.until(lambda: 1 in host.checkpoints and bool(host.errors))
        assert host.errors[0].action == pb.ERROR_ACTION_REPORT


async def test_a_failing_create_is_recoverable_and_never_ready(host: Host) -> None:
    plugin = Recording()
    plugin.fail_create = ConnectionError("no database")
    async with running_client(host, plugin):
        stream = await host.offered()
        await stream.assign(ready=False)
        closed = await stream.closed()
        assert closed.reason == pb.CLOSED_REASON_ERROR
        (error,) = host.errors
        assert (error.action, error.code) == (pb.ERROR_ACTION_RESTART, "create_failed")


async def test_revoked_closes_within_the_deadline_with_the_last_checkpoint(host: Host) -> None:
    plugin = Recording()
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(message: Message, _: IContext) -> None:
        started.set()
        await release.wait()

    plugin.on_message = slow
    plugin.checkpoint_in_close = 0
    host.checkpoint_gate.clear()
    async with running_client(host, plugin) as client:
        stream = await host.offered()
        await stream.assign()
        stream.batch([b"a", b"b", b"c"])
        await started.wait()
        stream.revoke()
        stream.batch([b"late"], first=3)
        (life,) = client._lives.values()
        await asyncio.shield(life.ending)
        release.set()  # the running handler may finish
        closed = await stream.closed()
        host.checkpoint_gate.set()
        assert closed.reason == pb.CLOSED_REASON_REVOKED
        assert closed.last_checkpoint.offset == 0
    assert plugin.handled == [0]  # what was not yet handled is dropped
    assert plugin.closed == [CloseReason.REBALANCED]


async def test_a_handler_that_outlives_the_deadline_is_cancelled(host: Host) -> None:
    plugin = Recording()
    started = asyncio.Event()

    async def never(message: Message, _: IContext) -> None:
        started.set()
        await asyncio.Event().wait()

    plugin.on_message = never
    async with running_client(host, plugin):
        stream = await host.offered()
        await stream.assign()
        stream.batch([b"a"])
        await started.wait()
        stream.revoke(deadline_ms=50, reason=pb.REVOKE_REASON_SHUTDOWN)
        assert (await stream.closed()).reason == pb.CLOSED_REASON_REVOKED
    assert plugin.closed == [CloseReason.STOPPED]
    assert plugin.handled == []
    assert host.errors == []


async def test_a_failure_while_draining_only_bounds_the_last_checkpoint(host: Host) -> None:
    """The next owner meets the same message with a lease that can tell the failure."""
    plugin = Recording()
    started, release = asyncio.Event(), asyncio.Event()

    async def fail_at_1(message: Message, context: IContext) -> None:
        if message.offset == 1:
            started.set()
            await release.wait()
            raise ValueError("while draining")
        context.checkpoint(message.offset)

    plugin.on_message = fail_at_1
    plugin.checkpoint_in_close = 1
    host.checkpoint_gate.clear()
    async with running_client(host, plugin) as client:
        stream = await host.offered()
        await stream.assign()
        stream.batch([b"a", b"b"])
        await started.wait()
        stream.revoke()
        (life,) = client._lives.values()
        await asyncio.shield(life.ending)
        release.set()
        closed = await stream.closed()
        host.checkpoint_gate.set()
        assert (closed.reason, closed.last_checkpoint.offset) == (pb.CLOSED_REASON_REVOKED, 0)
    assert host.errors == []


async def test_assigned_while_stopping_in_create_is_declined(host: Host) -> None:
    plugin = Recording()
    creating, release = asyncio.Event(), asyncio.Event()
    create = plugin.create

    async def slow_create(config: Mapping[str, Any], context: IContext | None = None) -> Any:
        if context is not None:
            creating.set()
            await release.wait()
        return await create(config, context)

    plugin.create = slow_create  # type: ignore[method-assign]
    async with running_client(host, plugin) as client:
        stream = await host.offered()
        await stream.assign(ready=False)
        await creating.wait()
        (life,) = client._lives.values()
        client.stop()
        await asyncio.shield(life.ending)
        release.set()
        assert (await stream.closed()).reason == pb.CLOSED_REASON_DECLINED


async def test_a_frame_that_breaks_the_contract_ends_only_its_stream(host: Host) -> None:
    plugin = Recording()
    async with running_client(host, plugin):
        stream = await host.offered()
        await stream.assign()
        stream.send(batch=pb.Batch(first_offset=0, values=[b"a", b"b"], keys=[b"k"]))
        await stream.expect("end")
        await (await host.offered()).assign(partition=1)
        assert plugin.closed == [CloseReason.ERROR]
    assert plugin.handled == []


async def test_a_batch_before_the_partition_breaks_the_stream(host: Host) -> None:
    async with running_client(host, Recording()):
        stream = await host.offered()
        stream.batch([b"a"])
        while await stream.frames.get() is not None:  # Available may have been sent already
            pass
        await (await host.offered()).assign()


async def test_the_stream_is_read_ahead_of_a_slow_handler(host: Host) -> None:
    """Revoked comes through although more messages wait than the handler will ever take."""
    plugin = Recording()
    release = asyncio.Event()

    async def slow(message: Message, _: IContext) -> None:
        await release.wait()

    plugin.on_message = slow
    async with running_client(host, plugin):
        stream = await host.offered()
        await stream.assign()
        for first in range(0, 1000, 100):
            stream.batch([b"x"] * 100, first=first)
        stream.revoke(deadline_ms=200)
        assert (await stream.closed()).reason == pb.CLOSED_REASON_REVOKED
    assert len(plugin.handled) <= 1
