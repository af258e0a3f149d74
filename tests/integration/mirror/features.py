"""Committed and Progress. The embedded broker has neither metadata for a state nor transactions."""

from __future__ import annotations

from sdk_python.protocol import lambda_pb2 as pb
from tests.integration.mirror.client import Client
from tests.integration.mirror.table import mirrors


@mirrors("committed", "committed-covers", "committed-before")
async def committed(client: Client) -> None:
    await client.fill(3)
    stream, welcome = await client.offer(capabilities=["committed", "of-a-newer-version"])
    assert [*welcome.capabilities] == ["committed"]
    await stream.ready()
    await stream.records(3)
    await client.accepted(stream, 1)
    assert (await stream.hear("committed")).offset == 1
    await client.accepted(stream, 2)
    assert (await stream.hear("committed")).offset == 2


@mirrors("committed-not-told")
async def committed_to_nobody(client: Client) -> None:
    await client.fill(1)
    stream, welcome = await client.offer()
    assert not welcome.capabilities
    await stream.ready()
    await stream.records(1)
    await client.accepted(stream, 0)
    await stream.quiet(3.0)


@mirrors("progress", "progress-latest", "progress-of-each", "progress-in-drain", deadline="2s", shutdown_drain="1s")
async def progress(client: Client) -> None:
    await client.fill(2)
    stream = await client.running()
    await stream.records(2)
    for text in ("1", "2", "3"):
        await stream.quiet(1.0)
        await stream.say(progress=pb.Progress(text=text))
    revoked = await stream.hear("revoked")
    assert revoked.reason == pb.REVOKE_REASON_DEADLINE
    await stream.close(pb.CLOSED_REASON_REVOKED, 0)
    again, _ = await client.offer()
    assigned = await again.ready()
    assert assigned.start_offset == 1, "a checkpoint of the drain counts"
