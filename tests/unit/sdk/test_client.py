"""A process and its sidecar: offers, partitions, endings, over real gRPC."""

import asyncio
import logging
import sys
from collections.abc import Mapping
from typing import Any

import grpc
import pytest

from sdk_python import CloseReason, IContext, Message, RefusedError, _client
from sdk_python._connection import Connection, Endpoint, LinkError, TooLargeError
from sdk_python.protocol import lambda_pb2 as pb

from .host import Host, running_client


class Recording:
    """A plugin that is its own factory and remembers everything."""

    def __init__(self) -> None:
        self.config: Mapping[str, Any] | None = None
        self.plugins_created = 0
        self.contexts: list[IContext] = []
        self.handled: list[int] = []
        self.closed: list[CloseReason] = []
        self.disposed = 0
        self.allow_close = asyncio.Event()
        self.allow_close.set()
        self.checkpoint_in_close: int | None = None
        self.fail_create: Exception | None = None
        self.on_message: Any = None
        self.seen = asyncio.Condition()

    async def create(self, config: Mapping[str, Any], context: IContext | None = None) -> Any:
        if context is None:
            self.plugins_created += 1
            self.config = config
            return self
        if self.fail_create is not None:
            raise self.fail_create
        self.contexts.append(context)
        return _Lambda(self, context)

    async def dispose(self) -> None:
        self.disposed += 1

    async def until_handled(self, count: int) -> None:
        async with self.seen:
            await self.seen.wait_for(lambda: len(self.handled) >= count)


class _Lambda:
    def __init__(self, owner: Recording, context: IContext) -> None:
        self.owner = owner
        self.context = context

    async def handler(self, message: Message) -> None:
        if self.owner.on_message is not None:
            result = self.owner.on_message(message, self.context)
            if result is not None:
                await result
        self.owner.handled.append(message.offset)
        async with self.owner.seen:
            self.owner.seen.notify_all()

    async def close(self, reason: CloseReason) -> None:
        await self.owner.allow_close.wait()
        if self.owner.checkpoint_in_close is not None:
            self.context.checkpoint(self.owner.checkpoint_in_close)
        self.owner.closed.append(reason)


async def test_offer_says_who_we_are_and_create_gets_the_settings(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = Recording()
    monkeypatch.setenv("KAFKA_SIDECAR_LAMBDA_VERSION", "v" * 300)
    async with running_client(host, plugin, assignments=[(("a", "b"), 2)], token="secret"):
        spare = await host.offered()
        assert spare.offer.lambda_name == "counter"
        assert spare.offer.process_id
        assert spare.offer.protocol_version == 1
        assert spare.offer.lambda_version == "v" * 256
        assert spare.offer.max_message_bytes == 64 * 1024 * 1024
        await spare.welcome('{"a": {"b": 1, "c": 3}}')
        assert plugin.config == {"a": {"b": 2, "c": 3}}
        assert host.metadata[0]["authorization"] == "Bearer secret"
    assert plugin.disposed == 1


async def test_exactly_one_spare_offer_and_the_next_when_it_is_taken(host: Host) -> None:
    plugin = Recording()
    async with running_client(host, plugin):
        for number in range(3):
            stream = await host.offered()
            await stream.assign(partition=number)
            assert len(host.streams) <= number + 2
        spare = await host.offered()
        await spare.welcome()
        assert len(host.streams) == 4
        assert len({stream.offer.process_id for stream in host.streams}) == 1
        assert plugin.plugins_created == 1
        assert [context.partition for context in plugin.contexts] == [0, 1, 2]


async def test_max_partitions_bounds_the_offers(host: Host) -> None:
    async with running_client(host, Recording(), max_partitions=1):
        stream = await host.offered()
        await stream.assign()
        assert host.offers.empty()
        stream.revoke()
        await stream.closed()
        await (await host.offered()).welcome()  # only now


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


async def test_stop_drains_every_partition_then_disposes(host: Host) -> None:
    plugin = Recording()
    plugin.checkpoint_in_close = 0
    async with running_client(host, plugin) as client:
        streams = []
        for number in range(2):
            stream = await host.offered()
            await stream.assign(partition=number)
            stream.batch([b"a"])
            streams.append(stream)
        await plugin.until_handled(2)
        client.stop()
        for stream in streams:
            closed = await stream.closed()
            assert closed.reason == pb.CLOSED_REASON_STOPPED
            assert closed.last_checkpoint.offset == 0
    assert plugin.closed == [CloseReason.STOPPED] * 2
    assert plugin.disposed == 1


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


async def test_reconnects_after_the_host_was_away(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    plugin = Recording()
    caplog.set_level(logging.INFO, "kafka_sidecar.sdk")
    async with running_client(host, plugin):
        stream = await host.offered()
        await stream.assign()
        spare = await host.offered()
        await spare.welcome()
        await host.stop()
        await host.start()
        again = await host.offered()
        await again.assign()
        assert again.offer.process_id == stream.offer.process_id
        assert plugin.plugins_created == 1
        assert plugin.closed == [CloseReason.ERROR]
    assert sum("waits for the sidecar" in line for line in caplog.messages) == 1


async def test_a_partition_waits_for_its_earlier_lambda_to_close(host: Host) -> None:
    plugin = Recording()
    plugin.allow_close.clear()
    async with running_client(host, plugin):
        first = await host.offered()
        await first.assign()
        second = await host.offered()
        await second.welcome()
        first.end(grpc.StatusCode.UNAVAILABLE, "cut")
        second.send(assigned=pb.Assigned(lease="second", topic="words", partition=0, attempt=2))
        await host.offered()  # the process is alive and offers; the partition itself is not ready
        assert second.frames.empty()
        assert len(plugin.contexts) == 1
        plugin.allow_close.set()
        assert (await second.expect("ready")).lease == "second"
        assert plugin.closed == [CloseReason.ERROR]


async def test_the_first_refusal_ends_the_client(host: Host) -> None:
    host.refuse = (grpc.StatusCode.NOT_FOUND, "no lambda 'counter'; there is: deli")
    with pytest.raises(RefusedError, match="there is: deli") as caught:
        async with running_client(host, Recording()) as client:
            await asyncio.wait_for(client._stopping.wait(), 60)
    assert caught.value.code == "NOT_FOUND"


async def test_a_later_refusal_is_logged_and_asked_again(
    host: Host, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_client, "_MIN_REFUSED_BACKOFF_S", 0.01)
    async with running_client(host, Recording()):
        spare = await host.offered()
        await spare.welcome()
        host.refuse = (grpc.StatusCode.UNAUTHENTICATED, "wrong token")
        spare.end(grpc.StatusCode.UNAVAILABLE, "restarting")
        await spare.expect("end")
        await host.refusals.get()
        await host.refusals.get()
        host.refuse = None
        await (await host.offered()).welcome()
    refused = [record for record in caplog.records if "wrong token" in record.message]
    assert [record.levelname for record in refused] == ["WARNING"]


async def test_a_hundred_streams_are_spread_over_connections(host: Host) -> None:
    connection = Connection(Endpoint(host.address))
    streams = [connection.open() for _ in range(100)]
    for stream in streams:
        await stream.write(pb.LambdaFrame(offer=pb.Offer(lambda_name="x")))
    for _ in streams:
        await host.offered()
    assert len(host.peers) == 2
    streams[0].close()
    streams[0].close()  # gives its place back once
    again = connection.open()
    assert sorted(connection._streaming.values()) == [36, 64]
    for stream in (*streams, again):
        stream.close()
    await connection.close()


async def test_the_client_written_by_hand_speaks_the_contract(host: Host) -> None:
    program = f"from examples.by_hand import serve; serve('words', {host.address!r})"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    stream = await host.offered()
    await stream.assign()
    stream.batch([b"a", b"b"], first=5)
    await host.until(lambda: host.checkpoints == [6])
    stream.revoke()
    assert (await stream.closed()).reason == pb.CLOSED_REASON_REVOKED
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert (output, process.returncode) == (b"b'a'\nb'b'\n", 0)


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


class Refusing(Host):
    """Answers Produce with a status that is not OK."""

    code = grpc.StatusCode.OK

    async def Produce(self, _: pb.ProduceRequest, context: Any) -> pb.ProduceResponse:  # noqa: N802
        await context.abort(self.code, "not now")
        raise AssertionError


@pytest.mark.parametrize(
    ("code", "error", "text"),
    [
        (grpc.StatusCode.UNAVAILABLE, LinkError, "UNAVAILABLE: not now"),
        (grpc.StatusCode.NOT_FOUND, RefusedError, r"\(NOT_FOUND\): not now"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, TooLargeError, "larger than a call may be: not now"),
    ],
)
async def test_the_status_of_a_failed_call_says_whether_asking_again_may_help(
    code: grpc.StatusCode, error: type[Exception], text: str
) -> None:
    host = Refusing()
    host.code = code
    await host.start()
    connection = Connection(Endpoint(host.address))
    try:
        with pytest.raises(error, match=text) as caught:
            await connection.produce(pb.ProduceRequest())
        assert type(caught.value) is error
    finally:
        await connection.close()
        await host.stop()
