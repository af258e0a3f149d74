"""What the sidecar refuses, ignores, and cannot send."""

from __future__ import annotations

import grpc
import pytest

from sdk_python.protocol import lambda_pb2 as pb
from tests.integration.mirror.client import Client
from tests.integration.mirror.table import mirrors
from tests.servers.topics import Record


@mirrors("unknown-lambda", "version-too-old", "invalid-offer", "no-token", "refused-later", "backs-off")
async def refused(client: Client) -> None:
    async def status(**fields: object) -> tuple[grpc.StatusCode, str]:
        stream = client.open()
        offered = {"lambda_name": client.name, "process_id": "p", "protocol_version": 1, **fields}
        await stream.say(offer=pb.Offer(**offered))  # type: ignore[arg-type]
        return await stream.ended(), stream.details

    code, text = await status(protocol_version=0)
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "too old" in text
    code, text = await status(instance="x" * 300)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "offer.instance" in text
    client.trace.client._name = ""
    code, text = await status(lambda_name="of-nobody")
    assert code is grpc.StatusCode.NOT_FOUND
    assert client.name in text
    stream = client.open(metadata=())
    assert await stream.ended() is grpc.StatusCode.UNAUTHENTICATED


@mirrors("backs-off-when-full", breaks=(4,))
async def full(client: Client) -> None:
    await client.running()
    for _ in range(4):
        await client.offer()
    stream = client.open()
    await stream.say(offer=pb.Offer(lambda_name=client.name, process_id="process-of-the-mirror", protocol_version=1))
    assert await stream.ended() is grpc.StatusCode.RESOURCE_EXHAUSTED


@mirrors("unknown-frame", "unknown-fields", "unknown-in-welcome", "capability-absent", "limits-absent",
         "start-offset-absent")  # fmt: skip
async def unknown_frame(client: Client) -> None:
    await client.fill(1)
    stream, welcome = await client.offer(capabilities=["of-a-newer-version"])
    assert not welcome.capabilities
    await stream.say_bytes(b"\xfa\x3e\x03new")
    await stream.ready()
    await stream.say_bytes(b"\xfa\x3e\x03new")
    assert await stream.records(1) == [0]
    await client.accepted(stream, 0)


@mirrors("large-record")
async def large_record(client: Client) -> None:
    await client.fill(1, Record(b"k", bytes(5000)))
    stream = await client.running(max_message_bytes=2048)
    assert await stream.records(1) == [0]
    revoked = await stream.hear("revoked")
    assert revoked.reason == pb.REVOKE_REASON_HALTED, "a record that does not fit is critical for its offset"
    await stream.close(pb.CLOSED_REASON_REVOKED)


@mirrors("lower-limits", "never-fits", breaks=(10,))
async def limits(client: Client) -> None:
    stream, welcome = await client.offer()
    await stream.ready()
    entries = [pb.CheckpointEntry(lease="x")] * (welcome.limits.max_checkpoint_entries + 1)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.checkpoints(*entries)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.produce(stream, *[b""] * (welcome.limits.max_produce_records + 1))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.produce(stream, bytes(welcome.limits.max_request_bytes))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
