"""``context.committed``, ``context.progress``, lanes and state, on a played sidecar."""

import asyncio
import logging
from typing import Any

import pytest

from sdk_python import CloseReason, IContext, Message, NotCommittedError, ProduceError
from sdk_python._commits import Commits
from sdk_python._life_signs import LifeSigns
from sdk_python._outbox import Outbox
from sdk_python._place import Place
from sdk_python.protocol import lambda_pb2 as pb

from .host import running_client, running_host
from .pausing import Pausing


async def test_committed_goes_on_when_the_sidecar_tells_of_the_offset() -> None:
    commits = Commits(told=True)
    five, seven, given_up = (asyncio.ensure_future(commits.reach(offset)) for offset in (5, 7, 6))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.sleep(0)
    commits.reached(6)
    await five
    assert not seven.done()
    await commits.reach(2)
    commits.end("the lease has ended")
    with pytest.raises(NotCommittedError, match=r"offset 7 is not .* committed: the lease has ended") as caught:
        await seven
    assert caught.value.offset == 7
    with pytest.raises(NotCommittedError):
        await commits.reach(8)
    await commits.reach(6)  # known before the end


async def test_an_old_sidecar_tells_of_no_commits() -> None:
    with pytest.raises(NotCommittedError, match="newer version"):
        await Commits(told=False).reach(0)


async def test_progress_is_told_at_once_and_then_with_the_latest_text() -> None:
    outbox = Outbox()
    told: list[str] = []
    came = asyncio.Event()

    async def write(frame: pb.LambdaFrame) -> bool:
        told.append(frame.progress.text)
        came.set()
        return True

    signs = LifeSigns(outbox, spacing=0.02)
    writer = asyncio.create_task(outbox.write_out(write))
    for percent in range(10):
        signs.say(f"{percent} %")
    async with asyncio.timeout(10):
        while len(told) < 2:
            came.clear()
            await came.wait()
    signs.say("ü" * 200)
    async with asyncio.timeout(10):
        while len(told) < 3:
            came.clear()
            await came.wait()
    signs.end()
    signs.say("too late")
    outbox.end()
    await writer
    assert told == ["0 %", "9 %", "ü" * 128]
    with pytest.raises(TypeError, match="text"):
        signs.say(43)  # type: ignore[arg-type]


async def test_a_frame_that_is_not_written_yet_is_replaced() -> None:
    outbox = Outbox()
    signs = LifeSigns(outbox, spacing=0.01)
    signs.say("one")
    signs.say("two")
    await asyncio.sleep(0.05)
    assert [frame.progress.text for frame in outbox._frames] == ["two"]
    signs.end()


@pytest.mark.parametrize(
    ("one", "other", "overlaps"),
    [
        (Place("t", 1, 0, 1), Place("t", 1, 0, 1), True),
        (Place("t", 1, 0, 1), Place("t", 2, 0, 1), False),
        (Place("t", 1, 0, 8), Place("t", 1, 1, 8), False),
        (Place("t", 1, 3, 8), Place("t", 1, 3, 8), True),
        (Place("t", 1, 3, 8), Place("t", 1, 4, 16), True),  # the config has changed
        (Place("t", 1, 3, 8), Place("u", 1, 3, 8), False),
    ],
)
def test_places_overlap(one: Place, other: Place, overlaps: bool) -> None:
    assert one.overlaps(other) is other.overlaps(one) is overlaps


async def test_two_lanes_of_a_partition_live_side_by_side_and_are_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kafka_sidecar.sdk")
    seen: list[Any] = []

    def handle(message: Message, context: IContext) -> None:
        seen.append((context.partition, context.lane, context.lanes, context.state, message.offset))
        context.checkpoint(message.offset, b"after %d" % message.offset)

    async with running_host() as host, running_client(host, handle) as client:
        streams = []
        for lane in (3, 5):
            stream = await host.offered()
            assert [*stream.offer.capabilities] == ["committed", "exactly-once"]
            await stream.assign(7, lane=lane, lanes=8, state=b"state %d" % lane, max_state_bytes=100)
            streams.append(stream)
        assert [str(life.place) for life in client._lives.values()] == ["words/7 lane 3", "words/7 lane 5"]
        for stream in streams:
            stream.batch([b"x"], first=10)
        await host.until(lambda: len(host.checkpoints) == 2)
        assert sorted(seen) == [(7, 3, 8, b"state 3", 10), (7, 5, 8, b"state 5", 10)]
        assert {entry.state for request in host.requests for entry in request.entries} == {b"after 10"}
    assert any("words/7 lane 3 [" in line for line in caplog.messages)


async def test_a_lambda_waits_for_its_commit_and_the_end_of_the_lease_ends_the_wait() -> None:
    log: list[Any] = []
    waits: list[asyncio.Task[None]] = []

    async def handle(message: Message, context: IContext) -> None:
        context.checkpoint(message.offset)
        if message.value == b"background":
            waits.append(asyncio.create_task(context.committed(message.offset)))
            return
        await context.committed(message.offset)
        log.append(message.offset)

    async with running_host() as host, running_client(host, handle):
        stream = await host.offered()
        await stream.assign(capabilities=["committed"])
        stream.batch([b"a", b"b", b"background"])
        await host.until(lambda: host.checkpoints[-1:] == [0])
        assert log == []
        stream.send(committed=pb.Committed(offset=0))
        await host.until(lambda: host.checkpoints[-1:] == [1])
        assert log == [0]
        stream.send(committed=pb.Committed(offset=1))
        await host.until(lambda: host.checkpoints[-1:] == [2])
        stream.revoke()
        await stream.closed()
        with pytest.raises(NotCommittedError, match="lease has ended"):
            await waits[0]
    assert log == [0, 1]
    assert host.errors == []


@pytest.mark.parametrize(
    ("reason", "closed", "checkpoint"),
    [
        (pb.REVOKE_REASON_DEADLINE, CloseReason.REBALANCED, 0),
        (pb.REVOKE_REASON_ABORTED, CloseReason.ERROR, None),
        (pb.REVOKE_REASON_LOST, CloseReason.REBALANCED, None),
        (pb.REVOKE_REASON_SEEK, CloseReason.STOPPED, None),
    ],
)
async def test_the_new_reasons_close_as_they_should(
    reason: Any, closed: CloseReason, checkpoint: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kafka_sidecar.sdk")
    plugin = Pausing(lambda message, context: context.checkpoint(message.offset))
    async with running_host() as host, running_client(host, plugin):
        host.checkpoint_gate.clear()  # no checkpoint is answered, so the last one would travel in Closed
        stream = await host.offered()
        await stream.assign()
        stream.batch([b"a"])
        await plugin.until(lambda: plugin.handled == [0])
        stream.revoke(0 if checkpoint is None else 2000, reason)
        last = await stream.closed()
        assert (last.last_checkpoint.offset if last.HasField("last_checkpoint") else None) == checkpoint
        host.checkpoint_gate.set()
    assert plugin.closed == [closed]
    if reason == pb.REVOKE_REASON_DEADLINE:
        assert any("`deadline`" in line for line in caplog.messages)


async def test_exactly_once_over_a_real_stream() -> None:
    def handle(message: Message, context: IContext) -> None:
        assert context.guarantee == "exactly-once"
        context.produce("out", message.value)
        context.checkpoint(message.offset)

    async with running_host() as host, running_client(host, handle):
        stream = await host.offered()
        await stream.assign(guarantee=pb.GUARANTEE_EXACTLY_ONCE)
        stream.batch([b"a", b"b"])
        await host.until(lambda: host.committed_to == 1)
        stream.revoke()
        assert not (await stream.closed()).HasField("last_checkpoint")
    assert [value for request in host.produced for value in request.values] == [b"a", b"b"]
    assert host.checkpoints == []


async def test_a_call_that_breaks_ends_an_exactly_once_lambda() -> None:
    errors: list[BaseException] = []

    async def handle(message: Message, context: IContext) -> None:
        try:
            await context.produce("out", message.value)
        except ProduceError as error:
            errors.append(error)
            raise

    async with running_host() as host, running_client(host, handle):
        stream = await host.offered()
        await stream.assign(guarantee=pb.GUARANTEE_EXACTLY_ONCE)
        host.produce_breaks = True
        stream.batch([b"a"])
        await host.until(lambda: host.errors != [])
        (error,) = host.errors
        assert (error.action, error.code) == (pb.ERROR_ACTION_RESTART, "produce_failed")
        assert "may be written or not" in error.message
        await stream.closed()
    assert len(errors) == 1
