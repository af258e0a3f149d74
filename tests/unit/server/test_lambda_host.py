"""Edge cases of streams and calls of lambda processes, over a real connection."""

import asyncio

import grpc
import pytest

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.mail import letters
from sidecar.partitions.vocabulary import (
    Assign,
    CheckpointOutcome,
    EndReason,
    EndStream,
    ErrorAction,
    ErrorOutcome,
    Failure,
    Lane,
    Pausing,
    Progress,
    Resumed,
    Revoke,
    RevokeReason,
)

from .bench import PATIENCE
from .wire import P0, Client, Wire, entry

Code = grpc.StatusCode


async def test_offset_zero_is_a_valid_offset(wire: Wire, client: Client) -> None:
    call, stream = await wire.available(client)
    wire.deli.say(Assign(stream, "L1", Lane(P0), 0, 1))
    assert (await call.expect("assigned")).HasField("start_offset")
    await call.say(closed=pb.Closed(reason=pb.CLOSED_REASON_STOPPED, last_checkpoint=entry("", 0)))
    assert (await wire.deli.expect(letters.Closed)).last == Progress(0)


async def test_a_delivery_to_an_ended_stream_is_ignored(wire: Wire, client: Client) -> None:
    call, stream = await wire.available(client)
    await call.half_close()
    await wire.deli.expect(letters.StreamLost)
    wire.host.deliver(
        [
            Assign(stream, "L1", Lane(P0), 0, 1),
            letters.Send(stream, b""),
            Revoke(stream, RevokeReason.LOST, 0.0),
            EndStream(stream, EndReason.TOO_LATE, "too late"),
        ]
    )
    results = await client.checkpoint(entry("L1", 1))
    assert [result.outcome for result in results] == [pb.CHECKPOINT_OUTCOME_STALE_LEASE]
    await wire.works(client)


async def test_a_connection_that_is_gone_loses_all_its_streams(wire: Wire) -> None:
    async with wire.client() as other:
        streams = {(await wire.available(other))[1] for _ in range(3)}
    assert {(await wire.deli.expect(letters.StreamLost)).stream for _ in range(3)} == streams


async def test_every_field_of_an_entry_arrives(wire: Wire, client: Client) -> None:
    await wire.assigned(client, "L1")
    said = entry("L1", None, completed_beyond=3, completed_beyond_bytes=1 << 40, handled=0)
    await client.checkpoint(said, entry("L1", 0))
    assert wire.deli.checkpoints == [[("L1", Progress(None, 3, 1 << 40, 0)), ("L1", Progress(0))]]


async def test_many_calls_at_once_get_their_own_answers(wire: Wire, client: Client) -> None:
    await wire.assigned(client, "L1")
    wire.deli.answer_checkpoints = lambda entries: [
        (CheckpointOutcome.BEYOND_DELIVERED, progress.offset) for _, progress in entries
    ]
    async with asyncio.timeout(PATIENCE):
        answers = await asyncio.gather(*(client.checkpoint(entry("L1", number)) for number in range(100)))
    assert [results[0].delivered for results in answers] == [*range(100)]


async def test_long_texts_of_an_error_are_cut(wire: Wire, client: Client) -> None:
    await wire.assigned(client, "L1")
    wire.deli.answers[letters.Failed] = (ErrorOutcome.REPORTED, 0.0)
    long = "x" * 100_000
    request = pb.ErrorRequest(
        lease="L1", action=pb.ERROR_ACTION_REPORT, code=long, message=long, type=long, stack=long
    )
    await client.unary("Error", request)
    failure = (await wire.deli.expect(letters.Failed)).failure
    assert [*map(len, (failure.code, failure.message, failure.type, failure.stack))] == [128, 8192, 256, 32768]
    assert failure.offset is None


async def test_texts_are_cut_by_bytes_and_between_characters(wire: Wire, client: Client) -> None:
    await wire.assigned(client, "L1")
    wire.deli.answers[letters.Failed] = (ErrorOutcome.REPORTED, 0.0)
    odd = "x" + "ß" * 20_000
    request = pb.ErrorRequest(lease="L1", action=pb.ERROR_ACTION_REPORT, code=odd, message="€" * 9_000, stack=odd)
    await client.unary("Error", request)
    failure = (await wire.deli.expect(letters.Failed)).failure
    assert (failure.code, failure.message) == ("x" + "ß" * 63, "€" * 2730)
    assert failure.stack == "x" + "ß" * 16_383


async def test_an_error_carries_the_version_of_its_lambda(wire: Wire, client: Client) -> None:
    wire.deli.answers[letters.Failed] = (ErrorOutcome.DEAD_LETTERED, 0.0)
    await wire.assigned(client, "L1", lambda_version="7.1")
    answer = await client.unary("Error", pb.ErrorRequest(lease="L1", action=pb.ERROR_ACTION_CRITICAL, offset=3))
    assert pb.ErrorResponse.FromString(answer).outcome == pb.ERROR_OUTCOME_DEAD_LETTERED
    assert (await wire.deli.expect(letters.Failed)).failure == Failure(ErrorAction.CRITICAL, 3, version="7.1")


@pytest.mark.parametrize(
    ("pause", "pausing"),
    [
        (pb.Pause(number=1), Pausing(1)),
        (
            pb.Pause(number=2, offset=0, reason="the database is away", retry_after_ms=1500),
            Pausing(2, 0, "the database is away", 1.5),
        ),
        (pb.Pause(number=3, reason="€" * 1000), Pausing(3, None, "€" * 341)),
    ],
)
async def test_a_pause_and_its_end(wire: Wire, client: Client, pause: pb.Pause, pausing: Pausing) -> None:
    call, stream = await wire.assigned(client, "L1")
    await call.say(pause=pause)
    assert await wire.deli.expect(letters.PauseLease) == letters.PauseLease(stream, pausing)
    await call.say(resume=pb.Resume())
    assert await wire.deli.expect(letters.ResumeLease) == letters.ResumeLease(stream)
    wire.deli.say(Resumed(stream, pause.number, 17))
    assert await call.expect("resumed") == pb.Resumed(number=pause.number, from_offset=17)


async def test_on_critical_exit_ends_the_sidecar(wire: Wire) -> None:
    wire.host.deliver([letters.Exit("deli", "words/0: too bad")])
    assert wire.exits == [("deli", "words/0: too bad")]
