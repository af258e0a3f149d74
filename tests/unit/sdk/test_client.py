"""A process and its sidecar over real gRPC: its offers, its partitions together, and its end."""

import asyncio
import logging
import sys

import grpc
import pytest

from sdk_python import CloseReason, RefusedError, _client
from sdk_python.protocol import lambda_pb2 as pb

from .host import Host, running_client
from .recording_plugin import Recording


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
