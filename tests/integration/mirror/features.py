"""Committed, Progress and lanes. The embedded broker has neither metadata for a state nor transactions."""

from __future__ import annotations

from sdk_python.protocol import lambda_pb2 as pb
from tests.integration.mirror.client import Client
from tests.integration.mirror.table import mirrors
from tests.servers.topics import Record


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


@mirrors("lanes-beside", "lane-is-told", "lane-fails-alone", "lane-breaks-alone", "lanes-pause-alone", lanes=2)
async def lanes(client: Client) -> None:
    await client.fill(*[Record(b"key-%d" % n, b"v") for n in range(20)])
    streams = []
    for _ in range(2):
        stream, _ = await client.offer()
        assigned = await stream.ready()
        assert (assigned.partition, assigned.lanes) == (0, 2)
        streams.append(stream)
    places = {stream.life.partition for stream in streams}
    assert {place[2] for place in places if place is not None} == {0, 1}
    first, second = streams
    while len(first.life.delivered) + len(second.life.delivered) < 20:
        emptier = min(streams, key=lambda one: len(one.life.delivered))
        await emptier.hear("batch")
    assert first.life.delivered | second.life.delivered == {*range(20)}
    await client.error(first, pb.ERROR_ACTION_RESTART, max(first.life.delivered))
    await first.close(pb.CLOSED_REASON_ERROR)
    await client.accepted(second, max(second.life.delivered))


@mirrors("lane-closes-first", lanes=2)
async def lane_again(client: Client) -> None:
    first, _ = await client.offer()
    assigned = await first.ready()
    other, _ = await client.offer()
    await other.ready()
    client.trace.add_signal()
    await first.close(pb.CLOSED_REASON_STOPPED)
    await other.quiet()
    client.trace.restarted()
    again, _ = await client.offer(process_id="the-next-process")
    assert (await again.ready()).lane == assigned.lane
