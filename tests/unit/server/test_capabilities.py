"""States, commits and progress on the wire: what a lambda sends and hears of them."""

from typing import Any

import grpc
import pytest

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.mail import letters
from sidecar.partitions.vocabulary import (
    Assign,
    CheckpointOutcome,
    ClosedReason,
    Committed,
    ErrorOutcome,
    Hung,
    Lane,
    Progress,
)
from sidecar.server import reading

from .bench import Call
from .wire import P0, Client, Wire, entry

Code = grpc.StatusCode
CAPABLE: dict[str, Any] = {"capabilities": ["committed"]}


async def welcomed(client: Client, **fields: Any) -> tuple[Call, pb.Welcome]:
    """A stream after its Welcome."""
    call = client.process()
    await call.say(offer=pb.Offer(lambda_name="deli", process_id="p", protocol_version=1, **fields))
    return call, await call.expect("welcome")


# --- states ---------------------------------------------------------------------------------------------------------


async def test_welcome_tells_how_long_a_state_may_be(wire: Wire, client: Client) -> None:
    _, welcome = await welcomed(client)
    assert welcome.max_state_bytes == 2048


async def test_a_state_is_told_apart_from_none_and_from_an_empty_one(wire: Wire, client: Client) -> None:
    await wire.assigned(client, "L1")
    await client.checkpoint(
        entry("L1", 1, state=b"\x00\xff"),
        entry("L1", 2, state=b""),
        entry("L1", 3),
        entry("L1", 4, state=b"s", skipped=1),
    )
    ((first, empty, none, skips),) = wire.deli.checkpoints
    assert first == ("L1", Progress(1, state=b"\x00\xff"))
    assert empty == ("L1", Progress(2, state=b""))
    assert none == ("L1", Progress(3))
    assert skips == ("L1", Progress(4, skipped=1, state=b"s"))


async def test_a_state_that_is_too_large_is_an_outcome(wire: Wire, client: Client) -> None:
    await wire.assigned(client, "L1")
    wire.deli.answer_checkpoints = lambda entries: [(CheckpointOutcome.STATE_TOO_LARGE, None)] * len(entries)
    (result,) = await client.checkpoint(entry("L1", 1, state=b"x" * 5000))
    assert result == pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_STATE_TOO_LARGE)


async def test_the_last_checkpoint_has_its_state_too(wire: Wire, client: Client) -> None:
    wire.deli.answers[letters.Failed] = (ErrorOutcome.RESTARTING, 0.0)
    await wire.assigned(client, "L1")
    last = pb.CheckpointEntry(offset=3, state=b"three")
    await client.unary("Error", pb.ErrorRequest(lease="L1", action=pb.ERROR_ACTION_RESTART, last_checkpoint=last))
    assert (await wire.deli.expect(letters.Failed)).last == Progress(3, state=b"three")
    call, stream = await wire.assigned(client, "L2")
    await call.say(closed=pb.Closed(reason=pb.CLOSED_REASON_STOPPED, last_checkpoint=last))
    said = await wire.deli.expect(letters.Closed)
    assert said == letters.Closed(stream, ClosedReason.STOPPED, Progress(3, state=b"three"))


async def test_assigned_hands_the_state_back(wire: Wire, client: Client) -> None:
    call, stream = await wire.available(client)
    wire.deli.say(Assign(stream, "L1", Lane(P0), 4, 1, b"\x00state"))
    assert (await call.expect("assigned")).state == b"\x00state"


# --- commits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "accepted"),
    [([], []), (["committed"], ["committed"]), (["of-a-newer-client", "committed", "committed"], ["committed"])],
)
async def test_welcome_has_the_capabilities_that_both_have(
    wire: Wire, client: Client, offered: list[str], accepted: list[str]
) -> None:
    _, welcome = await welcomed(client, capabilities=offered)
    assert [*welcome.capabilities] == accepted


async def test_who_can_hear_it_is_told_of_commits(wire: Wire, client: Client) -> None:
    call, stream = await wire.assigned(client, "L1", **CAPABLE)
    wire.deli.say(Committed(stream, 0))
    assert await call.expect("committed") == pb.Committed(offset=0)
    wire.deli.say(Committed(stream, 7))
    assert await call.expect("committed") == pb.Committed(offset=7)


async def test_nobody_else_is_told(wire: Wire, client: Client) -> None:
    call, stream = await wire.assigned(client, "L1")
    wire.deli.say(Committed(stream, 7), letters.Send(stream, pb.HostFrame(batch=pb.Batch()).SerializeToString()))
    await call.expect("batch")


async def test_the_latest_of_those_that_wait_is_enough_and_comes_after_what_came_before(
    wire: Wire, client: Client
) -> None:
    """A lambda hears of no commit before it is told of its lease."""
    call, stream = await wire.available(client, **CAPABLE)
    wire.deli.say(Assign(stream, "L1", Lane(P0), 4, 1), *(Committed(stream, number) for number in range(1000)))
    await call.expect("assigned")
    assert await call.expect("committed") == pb.Committed(offset=999)
    wire.deli.say(Committed(stream, 1000))
    assert await call.expect("committed") == pb.Committed(offset=1000)


# --- progress -------------------------------------------------------------------------------------------------------


async def test_progress_reaches_the_thread(wire: Wire, client: Client) -> None:
    call, stream = await wire.assigned(client, "L1")
    await call.say(progress=pb.Progress(text="43 %"))
    assert await wire.deli.expect(letters.LeaseProgress) == letters.LeaseProgress(stream, "43 %")
    await call.say(progress=pb.Progress())
    assert await wire.deli.expect(letters.LeaseProgress) == letters.LeaseProgress(stream, "")


async def test_a_long_text_is_cut_between_characters(wire: Wire, client: Client) -> None:
    call, _ = await wire.assigned(client, "L1")
    await call.say(progress=pb.Progress(text="x" + "€" * 1000))
    assert (await wire.deli.expect(letters.LeaseProgress)).text == "x" + "€" * 85


async def test_more_than_one_a_second_is_dropped(wire: Wire, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(reading, "monotonic", lambda: now[0])
    call, stream = await wire.assigned(client, "L1")
    for number in range(20):
        await call.say(progress=pb.Progress(text=str(number)))
    await call.say(pause=pb.Pause(number=1))
    assert [(await wire.deli.expect(letters.LeaseProgress)).text for _ in range(2)] == ["0", "1"]
    await wire.deli.expect(letters.PauseLease)
    now[0] += 1.0
    await call.say(progress=pb.Progress(text="later"))
    assert await wire.deli.expect(letters.LeaseProgress) == letters.LeaseProgress(stream, "later")


async def test_progress_before_ready_is_out_of_order(wire: Wire, client: Client) -> None:
    call, stream = await wire.available(client)
    wire.deli.say(Assign(stream, "L1", Lane(P0), 0, 1))
    await call.expect("assigned")
    await call.say(progress=pb.Progress(text="0 %"))
    status, told = await call.ended()
    assert status is Code.INVALID_ARGUMENT
    assert told.startswith("progress: out of order")


async def test_a_process_that_may_be_stuck_is_named_as_it_named_itself(wire: Wire, client: Client) -> None:
    _, stream = await wire.assigned(client, "L1", pid=4711)
    wire.host.deliver([Hung(stream), Hung(12345)])
    assert wire.stuck == [("deli", 4711)]
