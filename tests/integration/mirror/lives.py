"""Streams and checkpoints, from Offer to the end."""

from __future__ import annotations

import asyncio
import json

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.lives import offsets_of
from sidecar.conformance.records import TIME_MS, Rec, batch_of
from tests.integration.mirror.client import Client
from tests.integration.mirror.table import mirrors
from tests.servers.topics import Record

STALE = pb.CHECKPOINT_OUTCOME_STALE_LEASE


@mirrors("offer", "loads-first", "assigned-at-once", "closed-is-last", "checkpoint-zero", "checkpoints-asked-for",
         "unix-socket", "calls-have-their-own", "token")  # fmt: skip
async def a_life_in_order(client: Client) -> None:
    await client.fill(3)
    stream = await client.running()
    assert await stream.records(3) == [0, 1, 2]
    await client.accepted(stream, 0)
    await client.accepted(stream, 2)
    client.trace.add_signal()
    await stream.close(pb.CLOSED_REASON_STOPPED, 2)


@mirrors("one-spare", "one-process-id", "spare-is-read", "slow-create", "many-partitions", partitions=2)
async def one_spare(client: Client) -> None:
    first, _ = await client.offer()
    assigned = await first.hear("assigned")
    second = await client.running()
    await first.say(ready=pb.Ready(lease=assigned.lease))
    third, _ = await client.offer()
    await third.quiet(4.0)
    assert third.empty >= 1, "no empty frame came to a spare stream within 4 s"
    assert first.life.partition != second.life.partition


@mirrors("settings", "settings-overridden", settings={"text": "from the sidecar", "other": 1})
async def settings(client: Client) -> None:
    _, welcome = await client.offer()
    assert json.loads(welcome.settings_json) == {"text": "from the sidecar", "other": 1}


@mirrors("create-fails")
async def create_fails(client: Client) -> None:
    stream, _ = await client.offer()
    assigned = await stream.hear("assigned")
    assert assigned.attempt == 1
    response = await client.error(stream, pb.ERROR_ACTION_CRITICAL)
    assert response.outcome == pb.ERROR_OUTCOME_RESTARTING
    await stream.close(pb.CLOSED_REASON_ERROR)
    again, _ = await client.offer()
    assert (await again.ready()).attempt == 2


@mirrors("old-one-first", "seek", "lost", "lost-while-busy")
async def old_one_first(client: Client) -> None:
    await client.fill(5)
    old = await client.running()
    await old.records(5)
    await client.accepted(old, 4)
    new, _ = await client.offer()
    seeking = asyncio.create_task(client.operator_seeks(2))
    revoked = await old.hear("revoked")
    assert (revoked.reason, revoked.deadline_ms) == (pb.REVOKE_REASON_SEEK, 0)
    assert (await client.checkpoint(old, 4)).outcome == STALE
    await seeking
    assert (await new.hear("assigned")).start_offset == 2, "before Closed of the old lambda"
    await old.close(pb.CLOSED_REASON_REVOKED, 4)
    await new.say(ready=pb.Ready(lease=new.lease))
    assert await new.records(3) == [2, 3, 4]


@mirrors("one-stream-breaks", "all-streams-break", "old-one-after-break", "error-unanswered", "others-go-on",
         "sidecar-restarts", partitions=2)  # fmt: skip
async def one_stream_breaks(client: Client) -> None:
    await client.fill(3, partition=0)
    await client.fill(3, partition=1)
    first, second = await client.running(), await client.running()
    await first.records(3)
    await second.records(3)
    await client.accepted(first, 0)
    await first.cancel()
    again, _ = await client.offer()
    assigned = await again.ready()
    assert (assigned.start_offset, assigned.attempt) == (1, 2)
    assert await again.records(2) == [1, 2]
    await client.accepted(second, 2)


@mirrors("plain-record", "null-and-empty", "no-keys-column", "headers", "many-frames", "time-zero",
         "explicit-offsets", "a-window-of-records")  # fmt: skip
async def columns(client: Client) -> None:
    many = ((b"b", b"1"), (b"a", b"2"), (b"b", b"1"), (b"n", None), (b"e", b""))
    pairs = [(None, None), (b"", None), (None, b""), (b"", b""), (b"k", None), (b"k", b"v")]
    wanted = [Rec(i, key, value, timestamp=TIME_MS + i) for i, (key, value) in enumerate(pairs)]
    wanted += [Rec(6, headers=many, timestamp=TIME_MS + 6), Rec(7, timestamp=TIME_MS + 7)]
    wanted += [Rec(offset, None, b"no key", timestamp=TIME_MS + offset) for offset in range(8, 40)]
    rows = [Record(r.key, r.value, [(n.decode(), v) for n, v in r.headers], timestamp=r.timestamp) for r in wanted]
    await client.fill(*rows)
    stream = await client.running()
    seen = 0
    while seen < len(wanted):
        batch = await stream.hear("batch")
        offsets = offsets_of(batch)
        assert batch == batch_of([wanted[offset] for offset in offsets]), "the kit makes other columns"
        seen += len(offsets)


@mirrors("window-of-one", "window-fills", "calls-are-spaced", window={"messages": 1})
async def window_of_one(client: Client) -> None:
    await client.fill(3)
    stream = await client.running()
    for offset in range(3):
        assert await stream.records(1) == [offset]
        await stream.quiet(0.3)
        await client.accepted(stream, offset)


@mirrors("completed-beyond", "handled-is-told", window={"messages": 3})
async def completed_beyond(client: Client) -> None:
    await client.fill(8)
    stream = await client.running()
    assert await stream.records(3) == [0, 1, 2]
    await stream.quiet()
    await client.checkpoint(stream, None, completed_beyond=2, completed_beyond_bytes=4, handled=2)
    assert await stream.records(2) == [3, 4]
    await stream.quiet()
    await client.accepted(stream, 4)
    assert await stream.records(3) == [5, 6, 7]


@mirrors("all-leases-in-one-call", "one-checkpoint-call", "stale-lease", "checkpoint-again", "calls-break",
         partitions=2, breaks=(10,))  # fmt: skip
async def all_leases_in_one_call(client: Client) -> None:
    await client.fill(2, partition=0)
    await client.fill(2, partition=1)
    streams = [await client.running(), await client.running()]
    for stream in streams:
        await stream.records(2)
    entries = [pb.CheckpointEntry(lease=stream.lease, offset=1) for stream in streams]
    response = await client.checkpoints(entries[0], pb.CheckpointEntry(lease="of-nobody", offset=1), entries[1])
    accepted = pb.CHECKPOINT_OUTCOME_ACCEPTED
    assert [result.outcome for result in response.results] == [accepted, STALE, accepted]


@mirrors("beyond-delivered", "far-beyond")
async def beyond_delivered(client: Client) -> None:
    stream = await client.running()
    result = await client.checkpoint(stream, 4)
    assert result.outcome == pb.CHECKPOINT_OUTCOME_BEYOND_DELIVERED
    assert not result.HasField("delivered"), "nothing was delivered"
    await client.fill(3)
    await stream.records(3)
    result = await client.checkpoint(stream, 100)
    assert result.outcome == pb.CHECKPOINT_OUTCOME_BEYOND_DELIVERED
    assert result.delivered == 2


@mirrors("last-in-closed", "sigterm-with-partitions", "sigterm-in-a-handler", "sigterm-with-outputs",
         "sigterm-and-revoked", "stopped-in-pause")  # fmt: skip
async def stopped(client: Client) -> None:
    await client.fill(3)
    stream = await client.running()
    await stream.records(3)
    await client.offer()
    await client.until_spare_is_known()
    client.trace.add_signal()
    await stream.close(pb.CLOSED_REASON_STOPPED, 1)
    await client.streams[1].quiet(1.0)  # this process gets nothing any more
    await client.streams[1].cancel()
    client.trace.restarted()
    other, _ = await client.offer(process_id="the-next-process")
    assigned = await other.ready()
    assert (assigned.start_offset, assigned.attempt) == (2, 1)


@mirrors("sigterm-in-create", "sigterm-idle")
async def declined(client: Client) -> None:
    stream, _ = await client.offer()
    await stream.hear("assigned")
    await stream.close(pb.CLOSED_REASON_DECLINED)
    client.trace.restarted()
    other, _ = await client.offer(process_id="another-process")
    assert (await other.ready()).attempt == 1
