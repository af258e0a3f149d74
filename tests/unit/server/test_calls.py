"""The unary calls: checkpoints and errors reach their lambda by the lease; operators get the status."""

import asyncio
from typing import Any

import pytest

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.mail import letters
from sidecar.partitions.vocabulary import (
    CheckpointOutcome,
    ClosedReason,
    ErrorAction,
    ErrorOutcome,
    Failure,
    Progress,
)

from .bench import PATIENCE
from .server_lab import Lab

STALE = pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_STALE_LEASE)


def call(method: Any, request: Any) -> asyncio.Future[Any]:
    """Begin a call that the test will answer."""

    async def response() -> Any:
        return await method(request, timeout=PATIENCE)

    return asyncio.ensure_future(response())


async def test_checkpoints_of_several_lambdas_are_answered_in_the_requests_order(lab: Lab) -> None:
    for name, lease in (("deli", "d1"), ("scribe", "s1"), ("deli", "d2")):
        await lab.running(name, lease, process_id=lease)
    request = pb.CheckpointRequest(
        entries=[
            pb.CheckpointEntry(lease="s1", offset=1, handled=4),
            pb.CheckpointEntry(
                lease="d1",
                offset=2,
                completed_beyond=3,
                completed_beyond_bytes=90,
                skipped=2,
                skipping=["t/a", "t/b"],
            ),
            pb.CheckpointEntry(lease="nobody's", offset=3),
            pb.CheckpointEntry(lease="d2"),
            pb.CheckpointEntry(lease="s1", offset=0),
        ]
    )
    response = call(lab.calls.Checkpoint, request)
    scribe = await lab.desks["scribe"].expect(letters.Checkpoints)
    assert scribe.entries == [("s1", Progress(1, 0, 0, 4)), ("s1", Progress(0))]
    lab.desks["scribe"].answer(
        scribe, [(CheckpointOutcome.ACCEPTED_DRAINING, None), (CheckpointOutcome.IGNORED_LOWER, None)]
    )
    deli = await lab.deli.expect(letters.Checkpoints)
    assert deli.entries == [
        ("d1", Progress(2, 3, 90, None, 2, ("t/a", "t/b"), 2)),
        ("d2", Progress(None)),
    ]
    lab.deli.answer(deli, [(CheckpointOutcome.BEYOND_DELIVERED, 0), (CheckpointOutcome.ACCEPTED, None)])
    assert list((await response).results) == [
        pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_ACCEPTED_DRAINING),
        pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_BEYOND_DELIVERED, delivered=0),
        STALE,
        pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_ACCEPTED),
        pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_IGNORED_LOWER),
    ]


async def test_a_lambda_that_is_slow_to_answer_does_not_keep_others_waiting(lab: Lab) -> None:
    await lab.running("deli", "d1")
    await lab.running("scribe", "s1")
    entries = [pb.CheckpointEntry(lease=lease, offset=6) for lease in ("d1", "s1")]
    response = call(lab.calls.Checkpoint, pb.CheckpointRequest(entries=entries))
    deli = await lab.deli.expect(letters.Checkpoints)
    scribe = await lab.desks["scribe"].expect(letters.Checkpoints)  # and deli has not answered yet
    lab.desks["scribe"].answer(scribe, [(CheckpointOutcome.ACCEPTED, None)])
    lab.deli.answer(deli, [(CheckpointOutcome.IGNORED_LOWER, None)])
    outcomes = [pb.CHECKPOINT_OUTCOME_IGNORED_LOWER, pb.CHECKPOINT_OUTCOME_ACCEPTED]
    assert [result.outcome for result in (await response).results] == outcomes


async def test_an_unknown_lease_is_stale_and_nobody_is_asked(lab: Lab) -> None:
    await lab.running(lease="mine")
    entries = [pb.CheckpointEntry(lease="lease-1", offset=1), pb.CheckpointEntry(lease="mine ", offset=1)]
    assert list((await call(lab.calls.Checkpoint, pb.CheckpointRequest(entries=entries))).results) == [STALE, STALE]
    error = pb.ErrorRequest(lease="lease-1", action=pb.ERROR_ACTION_RESTART)
    assert await call(lab.calls.Error, error) == pb.ErrorResponse(outcome=pb.ERROR_OUTCOME_STALE_LEASE)
    assert lab.deli.empty()


async def test_a_request_without_entries_has_no_results(lab: Lab) -> None:
    assert await call(lab.calls.Checkpoint, pb.CheckpointRequest()) == pb.CheckpointResponse()


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_a_lease_dies_with_its_stream(lab: Lab, how: str) -> None:
    stream = await lab.running(lease="mine")
    if how == "closed":
        await stream.say(closed=pb.Closed(reason=pb.CLOSED_REASON_STOPPED))
        assert await lab.deli.expect(letters.Closed) == letters.Closed(stream.id, ClosedReason.STOPPED, None)
    else:
        stream.cancel()
    await lab.deli.expect(letters.StreamLost)
    request = pb.CheckpointRequest(entries=[pb.CheckpointEntry(lease="mine", offset=9)])
    assert list((await call(lab.calls.Checkpoint, request)).results) == [STALE]


async def test_an_answer_to_a_caller_that_has_gone(lab: Lab) -> None:
    await lab.running(lease="mine")
    request = pb.CheckpointRequest(entries=[pb.CheckpointEntry(lease="mine", offset=9)])
    begun = lab.calls.Checkpoint(request)
    letter = await lab.deli.expect(letters.Checkpoints)
    gone = asyncio.Event()
    letter.reply.future.add_done_callback(lambda _: gone.set())
    begun.cancel()
    async with asyncio.timeout(PATIENCE):
        await gone.wait()
    lab.deli.answer(letter, [(CheckpointOutcome.ACCEPTED, None)])
    response = call(lab.calls.Checkpoint, request)
    lab.deli.answer(await lab.deli.expect(letters.Checkpoints), [(CheckpointOutcome.ACCEPTED, None)])
    assert (await response).results[0].outcome == pb.CHECKPOINT_OUTCOME_ACCEPTED


async def test_an_error_is_routed_and_answered(lab: Lab) -> None:
    await lab.running("deli", "d1")
    await lab.running("scribe", "s1")
    request = pb.ErrorRequest(
        lease="s1",
        action=pb.ERROR_ACTION_CRITICAL,
        offset=8,
        code="E7",
        message="m" * 9000,
        type="ValueError",
        stack="s" * 40_000,
        last_checkpoint=pb.CheckpointEntry(offset=7),
    )
    response = call(lab.calls.Error, request)
    letter = await lab.desks["scribe"].expect(letters.Failed)
    cut = Failure(ErrorAction.CRITICAL, 8, "E7", "m" * 8192, "ValueError", "s" * 32_768)
    assert (letter.lease, letter.failure, letter.last) == ("s1", cut, Progress(7))
    lab.desks["scribe"].answer(letter, (ErrorOutcome.RESTARTING, 1.25))
    assert await response == pb.ErrorResponse(outcome=pb.ERROR_OUTCOME_RESTARTING, retry_after_ms=1250)
    assert lab.deli.empty()


async def test_an_error_with_the_required_fields_only(lab: Lab) -> None:
    await lab.running(lease="d1")
    response = call(lab.calls.Error, pb.ErrorRequest(lease="d1", action=pb.ERROR_ACTION_REPORT))
    letter = await lab.deli.expect(letters.Failed)
    assert (letter.failure, letter.last) == (Failure(ErrorAction.REPORT), None)
    lab.deli.answer(letter, (ErrorOutcome.REPORTED, 0.0))
    assert await response == pb.ErrorResponse(outcome=pb.ERROR_OUTCOME_REPORTED)
