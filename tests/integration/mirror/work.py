"""Errors, what is produced, pauses, and revocation."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from sdk_python.protocol import lambda_pb2 as pb
from tests.integration.mirror.client import Client
from tests.integration.mirror.table import mirrors

RESTART, CRITICAL, REPORT = pb.ERROR_ACTION_RESTART, pb.ERROR_ACTION_CRITICAL, pb.ERROR_ACTION_REPORT
WRITTEN, FAILED, BUSY = pb.PRODUCE_OUTCOME_WRITTEN, pb.PRODUCE_OUTCOME_FAILED, pb.PRODUCE_OUTCOME_BUSY


# --- errors -------------------------------------------------------------------------------------------------------


@mirrors("error-restart", "error-carries-last", "closed-waits-for-error", "nothing-after-error", "awaited-failure",
         "unawaited-failure", "never-answered", "unknown-error-outcome")  # fmt: skip
async def error_restart(client: Client) -> None:
    await client.fill(5)
    stream = await client.running()
    await stream.records(5)
    response = await client.error(stream, RESTART, 3, 1)
    assert response.outcome == pb.ERROR_OUTCOME_RESTARTING
    result = await client.checkpoint(stream, 4)
    assert result.outcome == pb.CHECKPOINT_OUTCOME_STALE_LEASE
    produced = await client.produce(stream, b"late")
    assert [*produced.outcomes] == [pb.PRODUCE_OUTCOME_STALE_LEASE]
    await stream.close(pb.CLOSED_REASON_ERROR)
    again, _ = await client.offer()
    assigned = await again.ready()
    assert assigned.start_offset == 2, "the last checkpoint of the Error counts"


@mirrors("error-critical", "handler-fails")
async def error_critical(client: Client) -> None:
    await client.fill(3)
    stream = await client.running()
    await stream.records(3)
    assert (await client.error(stream, CRITICAL, 0)).outcome == pb.ERROR_OUTCOME_HALTED
    await stream.close(pb.CLOSED_REASON_ERROR)
    again, _ = await client.offer()
    await again.quiet()
    await client.operator_resumes(skip=True)
    await again.ready()
    assert await again.records(2) == [1, 2]


@mirrors("error-without-offset")
async def error_without_offset(client: Client) -> None:
    await client.fill(5)
    stream = await client.running()
    await stream.records(5)
    await client.error(stream, RESTART, None, 3)
    await stream.close(pb.CLOSED_REASON_ERROR)
    again, _ = await client.offer()
    assert (await again.ready()).start_offset == 4


@mirrors("error-below-offset", breaks=(23,))
async def error_below_offset(client: Client) -> None:
    await client.fill(5)
    stream = await client.running()
    await stream.records(5)
    await client.accepted(stream, 0)
    await client.error(stream, RESTART, 3, 3)
    await stream.close(pb.CLOSED_REASON_ERROR)
    again, _ = await client.offer()
    assert (await again.ready()).start_offset == 1, "a last checkpoint at the failing offset is ignored"


@mirrors("report")
async def report(client: Client) -> None:
    await client.fill(2)
    stream = await client.running()
    await stream.records(2)
    assert (await client.error(stream, REPORT, 1)).outcome == pb.ERROR_OUTCOME_REPORTED
    await client.accepted(stream, 1)


# --- produce ------------------------------------------------------------------------------------------------------


@mirrors("produce-in-order", "busy-once", "busy-twice", "many-bytes", "fits-just", breaks=(28,))
async def busy(client: Client) -> None:
    stream = await client.running()
    calls = [client.produce(stream, *[b"x" * 100] * 8000) for _ in range(4)]
    responses = await asyncio.gather(*calls)
    busy_ones = [response for response in responses if BUSY in response.outcomes]
    assert 0 < len(busy_ones) < len(calls), "one call of the lease is under way at a time"
    assert all(response.retry_after_ms > 0 for response in busy_ones)
    again = await client.produce(stream, b"second")
    assert [*again.outcomes] == [WRITTEN]


@mirrors("not-allowed", "others-allowed", "checkpoint-waits", "taken-failure")
async def not_allowed(client: Client) -> None:
    stream = await client.running()
    both = [f"{client.topic}-out", "forbidden"]
    response = await client.produce(stream, b"a", b"b", topics=both, topic_indexes=[0, 1])
    assert {*response.outcomes} == {pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED}
    assert "forbidden" in response.errors[0]
    assert [*(await client.produce(stream, b"a")).outcomes] == [WRITTEN]


@mirrors("copy-headers", "copy-null-keys", "header-names-are-bytes")
async def copies(client: Client) -> None:
    stream = await client.running()
    response = await client.produce(
        stream,
        *(b"a", b"", b"c"),
        keys=[b"", b"k", b""],
        null_keys=[0],
        null_values=[1],
        header_counts=[0, 1, 2],
        header_names=[b"\xff\xfe", b"n", b"n"],
        header_values=[b"x", b"", b""],
        null_header_values=[1],
    )
    assert [*response.outcomes] == [WRITTEN, FAILED, WRITTEN], "a name that is not UTF-8 fails its record alone"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.produce(stream, b"a", null_keys=[0])
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "null_keys" in (refused.value.details() or "")


# --- pauses -------------------------------------------------------------------------------------------------------


@mirrors("pause", "resume", "checkpoints-in-pause")
async def pause(client: Client) -> None:
    await client.fill(2)
    stream = await client.running()
    await stream.records(2)
    await stream.say(pause=pb.Pause(number=1, reason="planned"))
    await client.accepted(stream, 1)
    await client.fill(2)
    await stream.quiet()
    await stream.say(resume=pb.Resume())
    resumed = await stream.hear("resumed")
    assert (resumed.number, resumed.from_offset) == (1, 2)
    assert await stream.records(2) == [2, 3]


@mirrors("pause-again", "old-resumed")
async def pause_again(client: Client) -> None:
    await client.fill(4)
    stream = await client.running()
    await stream.records(4)
    await client.accepted(stream, 0)
    await stream.say(pause=pb.Pause(number=1, offset=2, reason="planned"))
    await stream.say(pause=pb.Pause(number=2, offset=1, reason="planned"))
    await stream.say(resume=pb.Resume())
    resumed = await stream.hear("resumed")
    while resumed.number == 1:  # it crossed the second pause
        resumed = await stream.hear("resumed")
    assert (resumed.number, resumed.from_offset) == (2, 1)
    assert await stream.records(3) == [1, 2, 3]


@mirrors("pause-at-zero", "pause-for-a-time")
async def pause_at_zero(client: Client) -> None:
    await client.fill(2)
    stream = await client.running()
    await stream.records(2)
    await stream.say(pause=pb.Pause(number=1, offset=0, reason="planned", retry_after_ms=500))
    await stream.quiet(0.3)
    resumed = await stream.hear("resumed")
    assert (resumed.number, resumed.from_offset) == (1, 0)
    assert await stream.records(2) == [0, 1]


@mirrors("revoked-in-pause")
async def revoked_in_pause(client: Client) -> None:
    await client.fill(2)
    stream = await client.running()
    await stream.records(2)
    await stream.say(pause=pb.Pause(number=1, reason="planned"))
    pausing = asyncio.create_task(client.operator_pauses())
    assert (await stream.hear("revoked")).reason == pb.REVOKE_REASON_PAUSED
    await stream.close(pb.CLOSED_REASON_REVOKED, 0)
    await pausing


# --- revocation ---------------------------------------------------------------------------------------------------


@mirrors("revoked-idle", "running-handler-finishes", "outcome-in-time", "not-begun-is-dropped", "read-ahead",
         "revoke-all", "outcome-before-closed")  # fmt: skip
async def revoked(client: Client) -> None:
    await client.fill(3)
    stream = await client.running()
    await stream.records(3)
    pausing = asyncio.create_task(client.operator_pauses())
    told = await stream.hear("revoked")
    assert told.reason == pb.REVOKE_REASON_PAUSED
    assert 9_000 < told.deadline_ms <= 10_000
    result = await client.checkpoint(stream, 0)
    assert result.outcome == pb.CHECKPOINT_OUTCOME_ACCEPTED_DRAINING
    await stream.close(pb.CLOSED_REASON_REVOKED, 1)
    await pausing
    again, _ = await client.offer()
    await client.operator_resumes()
    assert (await again.ready()).start_offset == 2


@mirrors("short-deadline", "slow-close", "handler-cancelled", shutdown_drain="1s")
async def too_late(client: Client) -> None:
    await client.fill(1)
    stream = await client.running()
    await stream.records(1)
    pausing = asyncio.create_task(client.operator_pauses())
    assert (await stream.hear("revoked")).deadline_ms <= 1_000
    assert await stream.ended() is grpc.StatusCode.DEADLINE_EXCEEDED
    await pausing


@mirrors("revoked-in-create")
async def revoked_in_create(client: Client) -> None:
    stream, _ = await client.offer()
    await stream.hear("assigned")
    pausing = asyncio.create_task(client.operator_pauses())
    await stream.hear("revoked")
    await stream.close(pb.CLOSED_REASON_REVOKED)
    await pausing


@mirrors("revoke-one-of-two", partitions=2)
async def revoke_one_of_two(client: Client) -> None:
    await client.fill(1, partition=0)
    await client.fill(1, partition=1)
    streams = [await client.running(), await client.running()]
    first, second = sorted(streams, key=lambda stream: stream.life.partition or ("", 0, 0))
    await first.records(1)
    await second.records(1)
    pausing = asyncio.create_task(client.operator_pauses())
    await first.hear("revoked")
    await first.close(pb.CLOSED_REASON_REVOKED)
    await pausing
    await client.accepted(second, 0)
