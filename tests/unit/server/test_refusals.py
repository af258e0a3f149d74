"""Invalid messages are refused with a reason, and the server keeps working."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings, strategies as st

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.mail import letters
from sidecar.partitions.vocabulary import Assign, Lane
from sidecar.server import arrivals
from sidecar.server.frames import InvalidFrameError, parse

from .bench import offer
from .wire import HOST, P0, Client, Wire, entry

Code = grpc.StatusCode
GARBAGE = b"\x0a\xff\xff\xff\xff nonsense"


@pytest_asyncio.fixture(autouse=True)
async def survives(wire: Wire, client: Client) -> AsyncIterator[None]:
    """Check that the server works after the test's block."""
    yield
    await wire.works(client)


async def first_frame(client: Client, frame: pb.LambdaFrame | bytes) -> tuple[Code, str]:
    call = client.process()
    await call.send(frame)
    return await call.ended()


# --- the offer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (GARBAGE, "LambdaFrame: 14 bytes that are not this message; see proto/lambda.proto"),
        (
            b"\x0a\x05\x0a\x03\xff\xff\xff",
            "LambdaFrame: 7 bytes that are not this message",
        ),  # a name that is not UTF-8
        (b"", "offer: must be the first frame of a stream"),
        (pb.LambdaFrame(available=pb.Available()), "offer: must be the first frame of a stream"),
        (pb.LambdaFrame(closed=pb.Closed()), "offer: must be the first frame of a stream"),
        (pb.LambdaFrame(offer=offer(lambda_name="")), "offer.lambda_name: missing"),
        (pb.LambdaFrame(offer=offer(process_id="")), "offer.process_id: missing"),
        (pb.LambdaFrame(offer=offer(process_id="x" * 129)), "offer.process_id: longer than 128 bytes"),
        (pb.LambdaFrame(offer=offer(instance="ä" * 129)), "offer.instance: longer than 256 bytes"),
        (pb.LambdaFrame(offer=offer(lambda_version="ä" * 129)), "offer.lambda_version: longer than 256 bytes"),
        (pb.LambdaFrame(offer=offer(max_message_bytes=1023)), "offer.max_message_bytes: below 1024"),
    ],
)
async def test_a_first_frame_that_is_no_valid_offer(
    wire: Wire, client: Client, frame: pb.LambdaFrame | bytes, text: str
) -> None:
    status, told = await first_frame(client, frame)
    assert status is Code.INVALID_ARGUMENT
    assert told.startswith(text)
    assert wire.deli.empty()


async def test_a_stream_that_ends_before_its_offer(client: Client) -> None:
    call = client.process()
    await call.half_close()
    assert await call.ended() == (Code.INVALID_ARGUMENT, "offer: the stream ended before it")


async def test_a_stream_that_does_not_offer_in_time(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "OFFER_TIMEOUT_S", 0.01)
    status, text = await client.process().ended()
    assert status is Code.DEADLINE_EXCEEDED
    assert text.startswith("offer: did not come within")
    monkeypatch.undo()


async def test_the_refusal_of_an_unknown_lambda_names_the_known_ones(client: Client) -> None:
    status, text = await first_frame(client, pb.LambdaFrame(offer=offer(lambda_name="dali")))
    assert status is Code.NOT_FOUND
    assert text == "offer.lambda_name: the sidecar's config has no lambda 'dali'; it has: deli, scribe"


async def test_the_refusal_of_an_old_protocol_names_the_served_one(client: Client) -> None:
    status, text = await first_frame(client, pb.LambdaFrame(offer=offer(protocol_version=0)))
    assert status is Code.FAILED_PRECONDITION
    assert "0 is too old, this sidecar speaks 1" in text


# --- later frames -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (GARBAGE, "LambdaFrame: 14 bytes that are not this message"),
        (pb.LambdaFrame(offer=offer()), "offer: out of order"),
        (pb.LambdaFrame(available=pb.Available()), "available: out of order"),
        (pb.LambdaFrame(ready=pb.Ready(lease="L1")), "ready: out of order"),
        (
            pb.LambdaFrame(closed=pb.Closed(last_checkpoint=entry("", -3))),
            "closed.last_checkpoint.offset: -3 is negative",
        ),
    ],
)
async def test_a_frame_that_is_invalid_or_out_of_order(
    wire: Wire, client: Client, frame: pb.LambdaFrame | bytes, text: str
) -> None:
    call, stream = await wire.available(client)
    await call.send(frame)
    status, told = await call.ended()
    assert status is Code.INVALID_ARGUMENT
    assert told.startswith(text)
    assert await wire.deli.expect(letters.StreamLost) == letters.StreamLost(stream)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (pb.LambdaFrame(ready=pb.Ready(lease="L1")), "ready: out of order"),
        (pb.LambdaFrame(pause=pb.Pause(offset=3)), "pause.number: missing"),
        (pb.LambdaFrame(pause=pb.Pause(number=1, offset=-3)), "pause.offset: -3 is negative"),
    ],
)
async def test_an_invalid_frame_after_ready(wire: Wire, client: Client, frame: pb.LambdaFrame, text: str) -> None:
    call, stream = await wire.assigned(client, "L1")
    await call.send(frame)
    status, told = await call.ended()
    assert status is Code.INVALID_ARGUMENT
    assert told.startswith(text)
    assert await wire.deli.expect(letters.StreamLost) == letters.StreamLost(stream)


@pytest.mark.parametrize("frame", [pb.LambdaFrame(pause=pb.Pause(number=1)), pb.LambdaFrame(resume=pb.Resume())])
async def test_a_pause_before_ready_is_out_of_order(wire: Wire, client: Client, frame: pb.LambdaFrame) -> None:
    call, stream = await wire.available(client)
    wire.deli.say(Assign(stream, "L1", Lane(P0), 0, 1))
    await call.expect("assigned")
    await call.send(frame)
    status, told = await call.ended()
    assert status is Code.INVALID_ARGUMENT
    assert told.startswith(f"{frame.WhichOneof('frame')}: out of order")
    assert await wire.deli.expect(letters.StreamLost) == letters.StreamLost(stream)


# --- what comes from a newer client -----------------------------------------------------------------------------


async def test_unknown_fields_arms_and_capabilities_are_ignored(wire: Wire, client: Client) -> None:
    unknown_field = b"\xfa\x7f\x03new"  # field 2047, three bytes
    call = client.process()
    told = pb.LambdaFrame(offer=offer(protocol_version=9, capabilities=["telepathy"])).SerializeToString()
    await call.send(told + unknown_field)
    welcome = await call.expect("welcome")
    assert (welcome.protocol_version, list(welcome.capabilities)) == (1, [])
    await call.send(unknown_field)  # an arm that this version does not know
    await call.say(available=pb.Available())
    stream = (await wire.deli.expect(letters.Available)).stream
    await call.half_close()
    assert await wire.deli.expect(letters.StreamLost) == letters.StreamLost(stream)
    assert await client.unary("Checkpoint", unknown_field) == b""


# --- calls ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "request_", "text"),
    [
        ("Checkpoint", GARBAGE, "CheckpointRequest: 14 bytes that are not this message"),
        ("Checkpoint", pb.CheckpointRequest(entries=[entry("L1", 1), entry("", 1)]), "entries[1].lease: missing"),
        ("Checkpoint", pb.CheckpointRequest(entries=[entry("L1", -1)]), "entries[0].offset: -1 is negative"),
        ("Checkpoint", pb.CheckpointRequest(entries=[entry("L9", handled=-2)]), "entries[0].handled: -2 is negative"),
        ("Checkpoint", pb.CheckpointRequest(entries=[entry("L", 1)] * 10_001), "entries: 10001, at most 10000"),
        (
            "Checkpoint",
            pb.CheckpointRequest(entries=[entry("L1", 1, skipping=["x"] * 11)]),
            "entries[0].skipping: 11 names, at most 10",
        ),
        (
            "Checkpoint",
            pb.CheckpointRequest(entries=[entry("L9", 1, skipping=["x" * 256, "é" * 128 + "x"])]),
            "entries[0].skipping[1]: longer than 256 bytes",
        ),
        ("Error", GARBAGE, "ErrorRequest: 14 bytes that are not this message"),
        ("Error", pb.ErrorRequest(action=pb.ERROR_ACTION_RESTART), "lease: missing"),
        ("Error", pb.ErrorRequest(lease="L1"), "action: 0 is none of RESTART, CRITICAL, REPORT"),
        ("Error", b"\x0a\x02L1\x10\x2a", "action: 42 is none of RESTART, CRITICAL, REPORT"),
        ("Error", pb.ErrorRequest(lease="L1", action=pb.ERROR_ACTION_REPORT, offset=-7), "offset: -7 is negative"),
        (
            "Error",
            pb.ErrorRequest(lease="L1", action=pb.ERROR_ACTION_RESTART, last_checkpoint=entry("", -1)),
            "last_checkpoint.offset: -1 is negative",
        ),
        (
            "Error",
            pb.ErrorRequest(
                lease="L1", action=pb.ERROR_ACTION_RESTART, last_checkpoint=entry("", 1, skipping=["x" * 257])
            ),
            "last_checkpoint.skipping[0]: longer than 256 bytes",
        ),
    ],
)
async def test_an_invalid_call(wire: Wire, client: Client, method: str, request_: Any, text: str) -> None:
    await wire.assigned(client, "L1")
    status, told = await client.refused(method, request_)
    assert status is Code.INVALID_ARGUMENT
    assert told.startswith(text)
    assert wire.deli.checkpoints == []


async def test_ten_thousand_entries_are_accepted(wire: Wire, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(*_: object) -> None:
        """Skip the delay: so many dead leases are answered late."""

    monkeypatch.setattr(wire.host.refusals, "late", at_once)
    assert len(await client.checkpoint(*[entry("L", 1)] * 10_000)) == 10_000


async def test_a_call_that_ends_before_its_message(client: Client) -> None:
    call: Any = client.channel.stream_unary(f"{HOST}/Checkpoint")()
    await call.done_writing()
    assert await call.code() is Code.INVALID_ARGUMENT
    assert await call.details() == "message: the call ended before it"


async def test_a_call_whose_message_does_not_come(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "REQUEST_TIMEOUT_S", 0.01)
    call: Any = client.channel.stream_unary(f"{HOST}/Checkpoint")()
    assert await call.code() is Code.DEADLINE_EXCEEDED
    assert await call.details() == "message: did not come within 0.01 s"
    monkeypatch.undo()


async def test_a_refusal_names_the_index_of_a_late_entry(client: Client) -> None:
    entries = [*[entry("L", 1)] * 1_234, entry("L", -1)]
    status, text = await client.refused("Checkpoint", pb.CheckpointRequest(entries=entries))
    assert (status, text.partition(";")[0]) == (Code.INVALID_ARGUMENT, "entries[1234].offset: -1 is negative")


async def test_an_unknown_method_is_unimplemented(client: Client) -> None:
    assert (await client.refused("Nonsense"))[0] is Code.UNIMPLEMENTED


async def test_a_message_that_is_too_large_is_refused(client: Client) -> None:
    assert (await client.refused("Error", bytes(1024 * 1024 + 1)))[0] is Code.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("start", ["offer", "available", "assigned"])
async def test_random_bytes_at_every_stage(wire: Wire, client: Client, start: str) -> None:
    for seed in range(20):
        noise = b"".join(bytes([(seed * 37 + position * position * 11) % 256]) for position in range(seed + 1))
        call = client.process()
        if start != "offer":
            call, _ = await (wire.available(client) if start == "available" else wire.assigned(client, f"L{seed}"))
        await call.send(noise)
        await call.half_close()
        status, text = await call.ended()
        assert status in (Code.INVALID_ARGUMENT, Code.OK), text
        if status is Code.INVALID_ARGUMENT:
            assert text.startswith(("LambdaFrame: ", "offer", "available", "ready"))
        if start != "offer":
            await wire.deli.expect(letters.StreamLost)


@given(st.binary(max_size=200), st.sampled_from([pb.LambdaFrame, pb.CheckpointRequest, pb.ErrorRequest]))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_message_or_a_refusal_that_names_it(data: bytes, kind: Any) -> None:
    try:
        assert isinstance(parse(kind, data), kind)
    except InvalidFrameError as error:
        assert str(error).startswith(f"{kind.DESCRIPTOR.name}: {len(data)} bytes")  # noqa: PT017 - either is right
