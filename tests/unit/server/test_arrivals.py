"""Calls and streams without a first message end in time, or to make room for others, and keep nobody out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.server import arrivals, lambda_host, refusals
from sidecar.server.arrivals import MAX_REQUEST_BYTES
from sidecar.server.refusals import is_one_connection

from .bench import PATIENCE, Call, offer
from .wire import HOST, Client, Wire, running

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
STATUS = "/kafka_sidecar.admin.v1.Admin/Status"
UNARY = [f"{HOST}/Checkpoint", f"{HOST}/Error", f"{HOST}/Produce", STATUS, CHECK]


@pytest.fixture(params=["tcp", "unix"])
async def any_wire(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Wire]:
    """A server on each kind of address: all connections of a Unix socket look alike."""
    listen = "127.0.0.1:0" if request.param == "tcp" else f"unix://{tmp_path}/s.sock"
    async with running(listen=listen) as started:
        yield started


async def silent_streams(wire: Wire, client: Client, count: int) -> list[Call]:
    """Open streams without an Offer, and wait until the server has them all."""
    calls = [client.process() for _ in range(count)]
    before = len(wire.host.arrivals.streams)
    await until(lambda: len(wire.host.arrivals.streams) == before + count)
    return calls


async def until(what: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not what():  # noqa: ASYNC110 - the server rings no bell for it
            await asyncio.sleep(0)


def withheld(client: Client, path: str) -> Any:
    """A unary call without its message."""
    call: Any = client.channel.stream_unary(path)()
    return call


async def first_ended(calls: list[Call]) -> tuple[grpc.StatusCode, str]:
    """The status and text of the first call that ends: the client cannot know which one the server got first."""
    tasks = [asyncio.create_task(call.ended()) for call in calls]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    await asyncio.wait(tasks)
    return next(iter(done)).result()


async def welcome(client: Client, process_id: str, *, available: bool = True) -> Call:
    """A stream that gets its Welcome; letters of other streams may come in between."""
    call = client.process()
    await call.say(offer=offer(process_id=process_id))
    await call.expect("welcome")
    if available:
        await call.say(available=pb.Available())
    return call


async def status_of(call: Any) -> tuple[grpc.StatusCode, str]:
    async with asyncio.timeout(PATIENCE):
        return await call.code(), await call.details()


# --- streams without an offer -------------------------------------------------------------------------------------


async def test_a_new_process_gets_in_although_silent_streams_fill_the_limit(any_wire: Wire) -> None:
    wire = any_wire
    wire.host.arrivals.streams.most = 20
    async with wire.client() as hostile, wire.client() as other, wire.client() as honest:
        held = await silent_streams(wire, hostile, 15) + await silent_streams(wire, other, 5)
        for number in range(5):
            await welcome(honest, f"honest {number}")
        status, text = await first_ended(
            held[:15] if is_one_connection(next(iter(wire.host._streams.values())).peer) else held
        )
        assert status is EXHAUSTED
        assert text == "offer: 20 others wait too; this one, the oldest of those with the most, makes room"
        assert len(wire.host.arrivals.streams) <= 20


async def test_a_connection_has_few_streams_without_an_offer(
    wire: Wire, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "MAX_SILENT_PER_CONNECTION", 2)
    held = await silent_streams(wire, client, 2)
    text = "offer: 2 streams of this connection have yet to make theirs"
    assert await client.process().ended() == (EXHAUSTED, text)
    async with wire.client() as another:
        await welcome(another, "p1")
    await held[0].say(offer=offer(process_id="p2"))
    await held[0].expect("welcome")
    await welcome(client, "p3")


async def test_the_connections_of_a_unix_socket_have_no_common_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "MAX_SILENT_PER_CONNECTION", 2)
    async with running(listen=f"unix://{tmp_path}/s.sock") as wire, wire.client() as hostile, wire.client() as honest:
        await silent_streams(wire, hostile, 5)
        await wire.available(honest)


# --- streams that offer, and never say Available ------------------------------------------------------------------


async def test_streams_without_available_make_room(any_wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lambda_host, "MAX_WITHOUT_PARTITION", 8)
    monkeypatch.setattr(lambda_host, "MIN_SHARE", 4)
    wire = any_wire
    async with wire.client() as hostile, wire.client() as honest:
        held = [await welcome(hostile, f"hostile {number}", available=False) for number in range(3)]
        for number in range(4):
            await welcome(honest, f"honest {number}")
            await until(lambda count=3 - number: len(wire.host._unavailable["deli"]) == count)
        for call in held:  # one after the other, in the order of their coming
            status, text = await call.ended()
            assert status is EXHAUSTED
            assert text.startswith("4 streams wait for a partition of 'deli'; this one, the oldest without Available")
        # Streams with Available stay: so the offer is refused.
        late = honest.process()
        await late.say(offer=offer(process_id="one too many"))
        status, text = await late.ended()
        assert status is EXHAUSTED
        assert text.startswith("offer.lambda_name: 4 streams wait for a partition of 'deli' already")
        assert wire.host._spares["deli"] == 4
        assert len(wire.host._unavailable["deli"]) == 0


# --- calls without a message --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", UNARY)
async def test_a_call_without_its_message_ends(
    wire: Wire, client: Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """gRPC itself would wait for the message for ever."""
    monkeypatch.setattr(arrivals, "REQUEST_TIMEOUT_S", 0.01)
    text = "message: did not come within 0.01 s"
    assert await status_of(withheld(client, path)) == (grpc.StatusCode.DEADLINE_EXCEEDED, text)
    assert len(wire.host.arrivals.calls) == 0


async def test_a_call_without_token_and_message_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "REQUEST_TIMEOUT_S", 0.01)
    async with running(token="t" * 20) as wire, wire.client() as client:
        assert (await status_of(withheld(client, STATUS)))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
        assert (await client.refused(STATUS))[0] is grpc.StatusCode.UNAUTHENTICATED
        assert (await status_of(withheld(client, f"{HOST}/Produce")))[0] is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("path", UNARY)
async def test_calls_without_a_message_make_room(any_wire: Wire, path: str) -> None:
    wire = any_wire
    wire.host.arrivals.calls.most = 3
    async with wire.client() as hostile, wire.client() as honest:
        held = [withheld(hostile, path) for _ in range(3)]
        await until(lambda: len(wire.host.arrivals.calls) == 3)
        for _ in range(3):
            await honest.unary(CHECK, health_pb2.HealthCheckRequest())
        await until(lambda: any(call.done() for call in held))
        (gone,) = [call for call in held if call.done()]
        assert (await status_of(gone))[0] is EXHAUSTED
        assert len(wire.host.arrivals.calls) == 2


async def test_a_message_of_another_kind_is_refused_by_operators_calls_too(client: Client) -> None:
    assert await client.refused(STATUS, b"\xff\xff\xff") == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "3 bytes that are not the message of this method",
    )


# --- calls without an end -----------------------------------------------------------------------------------------


async def test_watches_make_room(wire: Wire, client: Client) -> None:
    """`Watch` needs no token, and lasts until its client ends it."""
    wire.host.arrivals.watches.most = 3
    held = []
    for number in range(3):
        watch: Any = client.channel.unary_stream(WATCH)
        call = watch(health_pb2.HealthCheckRequest().SerializeToString())
        assert await call.read()
        held.append(call)
        await until(lambda count=number + 1: len(wire.host.arrivals.watches) == count)
    listed: Any = client.channel.stream_stream(REFLECTION)()
    await listed.write(reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString())
    assert isinstance(await listed.read(), bytes)
    assert (await status_of(held[0]))[0] is EXHAUSTED
    # The other watches still work.
    await wire.server.healthy(True)
    for call in held[1:]:
        answer = health_pb2.HealthCheckResponse.FromString(await call.read())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        call.cancel()
    await listed.done_writing()
    assert await listed.read() is grpc.aio.EOF
    await until(lambda: len(wire.host.arrivals.watches) == 0)


# --- what the log says of refusals --------------------------------------------------------------------------------


class Log:
    """Stands in for the module's logger."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append({"event": event, **fields})


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    made = Log()
    monkeypatch.setattr(refusals, "_log", made)
    return made


@pytest.mark.parametrize("called_before", [True, False])
async def test_a_message_that_grpc_refuses_is_logged_with_its_lambda_and_process(
    any_wire: Wire, log: Log, called_before: bool
) -> None:
    """gRPC itself answers the call; the handler only sees that it has ended."""
    async with any_wire.client() as client:
        await any_wire.assigned(client, "L1")
        if called_before:
            await client.checkpoint(pb.CheckpointEntry(lease="L1", offset=1))
        code, text = await client.refused("Produce", bytes(MAX_REQUEST_BYTES + 1))
        assert code is EXHAUSTED
        assert "larger than max" in text
        await until(lambda: log.lines)
    (line,) = log.lines
    assert line["peer"].startswith(("ipv4:127.0.0.1:", "unix:"))
    assert (line["status"], line["lambda_"], line["process"]) == ("RESOURCE_EXHAUSTED", "deli", "p1")
    assert (
        line["error"]
        == f"message: did not come whole; gRPC itself refuses what has more than {MAX_REQUEST_BYTES} bytes"
    )


async def test_all_lambdas_of_the_host_are_logged_if_the_sender_is_unknown(any_wire: Wire, log: Log) -> None:
    async with any_wire.client() as client, any_wire.client() as another:
        await any_wire.assigned(client, "L1")
        await any_wire.assigned(client, "L2", "scribe", process_id="p2")
        await another.refused("Error", bytes(MAX_REQUEST_BYTES + 1))
        await until(lambda: log.lines)
    assert log.lines[0]["lambdas"] == ["deli", "scribe"]


async def test_an_offer_beyond_the_limit_is_logged_with_its_lambda_and_process(
    wire: Wire, client: Client, log: Log
) -> None:
    for _ in range(lambda_host.MAX_SPARES):
        await wire.available(client)
    call = client.process()
    await call.say(offer=offer())
    assert (await call.ended())[0] is EXHAUSTED
    (line,) = log.lines
    assert (line["status"], line["lambda_"], line["process"]) == ("RESOURCE_EXHAUSTED", "deli", "p1")


async def test_a_caller_that_cancels_has_not_sent_too_much(wire: Wire, client: Client, log: Log) -> None:
    call = withheld(client, f"{HOST}/Produce")
    await until(lambda: len(wire.host.arrivals.calls) == 1)
    call.cancel()
    await until(lambda: log.lines)
    assert (log.lines[0]["status"], log.lines[0]["error"]) == (
        "INVALID_ARGUMENT",
        "message: the call ended before it",
    )


# --- what is kept of an offer -------------------------------------------------------------------------------------


async def test_only_the_used_fields_of_an_offer_are_kept(wire: Wire, client: Client) -> None:
    """Others are dropped: fields of a later version, thousands of capabilities."""
    large = offer(capabilities=["x" * 1000] * 500, pid=7, lambda_version="v", client=pb.Client(name="sdk"))
    unknown = b"\xfa\x7f" + b"\xa0\xc2\x1e" + bytes(500_000)  # field 2047, of 500,000 bytes
    call = client.process()
    await call.send(pb.LambdaFrame(offer=pb.Offer.FromString(large.SerializeToString() + unknown)))
    welcome = await call.expect("welcome")
    assert [*welcome.capabilities] == []
    (stream,) = wire.host._streams.values()
    kept = stream.offer
    assert (kept.instance, kept.client, kept.pid, kept.lambda_version) == ("p1", "sdk", 7, "v")
    assert sum(len(str(getattr(kept, name))) for name in type(kept).__slots__) < 16 * 1024
