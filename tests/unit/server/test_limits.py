"""Limits for abusive clients: streams, frames, late answers, log lines."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.mail import letters
from sidecar.partitions.vocabulary import Assign, CheckpointOutcome, ErrorOutcome, Lane, Resumed
from sidecar.server import calls, lambda_host, reading, refusals, stream
from sidecar.server.refusals import FORGIVEN_CALLS_PER_S, FREE_CALLS, MAX_DELAY_S, Refusals

from .bench import PATIENCE, offer
from .wire import P0, Client, Wire, entry

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


class Clock:
    """A clock that advances when a task sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        monkeypatch.setattr(refusals, "monotonic", lambda: self.now)
        monkeypatch.setattr(refusals, "asyncio", self)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    get_running_loop = staticmethod(asyncio.get_running_loop)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


# --- streams ------------------------------------------------------------------------------------------------------


async def test_a_process_has_few_spare_streams(wire: Wire, client: Client) -> None:
    spares = [await wire.available(client) for _ in range(lambda_host.MAX_SPARES)]
    late = client.process()
    await late.say(offer=offer())
    status, text = await late.ended()
    assert status is EXHAUSTED
    assert text == (
        "offer.process_id: 4 streams of this process wait for a partition of 'deli' already; "
        "keep one, and open the next when it is assigned"
    )
    # The limit is for one process of one lambda; a stream that gets a partition makes room.
    await wire.available(client, process_id="p2")
    await wire.available(client, "scribe")
    wire.deli.say(Assign(spares[0][1], "L1", Lane(P0), 0, 1))
    await spares[0][0].expect("assigned")
    await wire.available(client)
    # So does one that ends.
    spares[1][0].cancel()
    assert await wire.deli.expect(letters.StreamLost) == letters.StreamLost(spares[1][1])
    await wire.available(client)


async def test_a_lambda_has_its_share_of_all_spare_streams(
    wire: Wire, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lambda_host, "MAX_WITHOUT_PARTITION", 6)
    monkeypatch.setattr(lambda_host, "MIN_SHARE", 2)
    for number in range(3):
        await wire.available(client, process_id=f"p{number}")
    late = client.process()
    await late.say(offer=offer(process_id="p3"))
    status, text = await late.ended()
    assert status is EXHAUSTED
    assert text == (
        "offer.lambda_name: 3 streams wait for a partition of 'deli' already; "
        "start fewer processes, or offer again later"
    )
    await wire.available(client, "scribe")


async def test_counts_end_with_their_streams(wire: Wire, client: Client) -> None:
    for _ in range(3 * lambda_host.MAX_SPARES):
        await wire.works(client)
    assert not wire.host._spares_of_process
    assert not wire.host._spares["deli"]
    assert not len(wire.host.arrivals.streams)
    assert not any(map(len, wire.host._unavailable.values()))


async def test_a_stream_whose_client_never_reads_is_ended(
    wire: Wire, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, stream_id = await wire.assigned(client, "L1")
    monkeypatch.setattr(stream, "MAX_WAITING_FRAMES", 3)
    wire.host.deliver([Resumed(stream_id, number, 0) for number in range(4)])

    async def read_all() -> None:
        while True:
            await call.expect("resumed")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read_all()
    assert (caught.value.code(), caught.value.details()) == (EXHAUSTED, "3 frames wait: read ahead always")


# --- frames -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_partition", [False, True])
async def test_a_flood_of_frames_is_read_slowly(
    wire: Wire, client: Client, monkeypatch: pytest.MonkeyPatch, has_partition: bool
) -> None:
    slept: list[float] = []
    paced = asyncio.Event()

    class Sleeping:
        @staticmethod
        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 2:
                paced.set()

    monkeypatch.setattr(reading, "asyncio", Sleeping)
    monkeypatch.setattr(reading, "monotonic", lambda: 1000.0)
    call, _ = await (wire.assigned(client, "L1") if has_partition else wire.available(client))
    rate = reading.LEASE_FRAMES_PER_S if has_partition else reading.SPARE_FRAMES_PER_S
    for _ in range(int(reading.BURST_FRAMES) + 2):
        await call.send(b"")
    async with asyncio.timeout(PATIENCE):
        await paced.wait()
    assert slept[1] - slept[0] == pytest.approx(1 / rate, rel=0.01)


# --- late answers -------------------------------------------------------------------------------------------------


async def test_the_first_answers_are_not_late(clock: Clock) -> None:
    waiting = Refusals()
    for _ in range(int(FREE_CALLS)):
        await waiting.late("peer")
    assert clock.slept == []
    await waiting.late("peer")
    assert clock.slept == [1 / FORGIVEN_CALLS_PER_S]
    await waiting.late("another")
    assert len(clock.slept) == 1


async def test_answers_become_later_up_to_a_bound_and_are_forgiven(clock: Clock) -> None:
    waiting = Refusals()
    for _ in range(int(FREE_CALLS + 2 * MAX_DELAY_S * FORGIVEN_CALLS_PER_S)):
        await waiting.late("peer")
    assert clock.slept == sorted(clock.slept)
    assert clock.slept[-1] == MAX_DELAY_S
    clock.now += MAX_DELAY_S + FREE_CALLS / FORGIVEN_CALLS_PER_S
    clock.slept.clear()
    await waiting.late("peer", FREE_CALLS)
    assert clock.slept == []


async def test_remembered_peers_and_late_answers_are_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Refusals()
    monkeypatch.setattr(refusals, "MAX_DEBTS", 10)
    for number in range(100):
        await waiting.late(f"peer {number}")
    assert [*waiting._debts] == [f"peer {number}" for number in range(90, 100)]
    monkeypatch.setattr(refusals, "MAX_LATE", 0)
    await waiting.late("peer", 1000)
    assert clock.slept == []


async def test_a_connection_whose_streams_come_and_go_gets_late_welcomes(
    wire: Wire, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    class Sleeping:
        @staticmethod
        async def sleep(seconds: float) -> None:
            slept.append(seconds)

    monkeypatch.setattr(refusals, "asyncio", Sleeping)
    monkeypatch.setattr(refusals, "monotonic", lambda: 1000.0)
    for _ in range(int(FREE_CALLS)):
        await wire.works(client)
    assert slept == []
    await wire.works(client)
    await wire.works(client)
    assert slept == [1 / FORGIVEN_CALLS_PER_S]
    async with wire.client() as another:
        await wire.works(another)
    assert len(slept) == 1
    # A stream that has had a partition does not count.
    call, stream_id = await wire.assigned(client, "L1")
    await call.say(closed=pb.Closed(reason=pb.CLOSED_REASON_STOPPED))
    await wire.deli.expect(letters.Closed)
    assert await wire.deli.expect(letters.StreamLost) == letters.StreamLost(stream_id)
    await wire.works(client)
    assert slept == [1 / FORGIVEN_CALLS_PER_S, 2 / FORGIVEN_CALLS_PER_S, 2 / FORGIVEN_CALLS_PER_S]


async def test_only_useless_calls_are_answered_late(
    wire: Wire, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs: list[float] = []

    async def late(_who: str, cost: float = 1.0) -> None:
        costs.append(cost)

    await wire.assigned(client, "L1")
    monkeypatch.setattr(wire.host.refusals, "late", late)
    wire.deli.answers[letters.Failed] = (ErrorOutcome.REPORTED, 0.0)
    await client.checkpoint(entry("L1", 1))
    await client.checkpoint(entry("L1", 1), entry("dead", 1))
    assert costs == []
    await client.checkpoint(entry("dead", 1))
    await client.checkpoint(*[entry("dead", 1)] * 10_000)
    await client.checkpoint(*[entry("L1", 1)] * 201)
    await client.unary("Error", pb.ErrorRequest(lease="dead", action=pb.ERROR_ACTION_RESTART))
    assert costs == [pytest.approx(1.01), 101.0, 3.0, 1.0]
    costs.clear()
    await client.unary("Error", pb.ErrorRequest(lease="L1", action=pb.ERROR_ACTION_REPORT, stack="s" * 10_240))
    assert costs == [3.5]
    await client.unary("Error", pb.ErrorRequest(lease="L1", action=pb.ERROR_ACTION_RESTART))
    assert len(costs) == 1


async def test_few_large_requests_may_wait(wire: Wire, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MAX_LARGE_REQUESTS", 1)
    await wire.assigned(client, "L1")
    put: asyncio.Queue[letters.Letter] = asyncio.Queue()
    monkeypatch.setattr(wire.deli, "put", put.put_nowait)
    request = pb.CheckpointRequest(entries=[entry("L1", 1)] * (calls.ENTRIES_AT_ONCE + 1))
    begun = asyncio.ensure_future(client.unary("Checkpoint", request))
    async with asyncio.timeout(PATIENCE):
        letter = await put.get()
    assert isinstance(letter, letters.Checkpoints)
    assert await client.refused("Checkpoint", request) == (
        EXHAUSTED,
        "entries: 1 calls with more than 500 of them wait already; keep one call under way",
    )
    wire.deli.say(letters.Answer(letter.reply, [(CheckpointOutcome.ACCEPTED, None)] * len(letter.entries)))
    assert len(pb.CheckpointResponse.FromString(await begun).results) == calls.ENTRIES_AT_ONCE + 1
    monkeypatch.undo()
    assert len(await client.checkpoint(*request.entries)) == calls.ENTRIES_AT_ONCE + 1


# --- the log ------------------------------------------------------------------------------------------------------


class Log:
    """Stands in for the module's logger."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append({"event": event, **fields})


async def test_refusals_of_one_kind_are_few_log_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    later: list[Callable[[], None]] = []
    monkeypatch.setattr(refusals, "_log", log)
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_later", lambda _, what, *given: later.append(lambda: what(*given)))
    noting = Refusals()
    for port in range(100):
        noting.note(f"ipv4:10.0.0.1:{port}", "NOT_FOUND", error="no such lambda")
    noting.note("ipv4:10.0.0.2:1", "NOT_FOUND")
    noting.note("ipv4:10.0.0.1:1", "INVALID_ARGUMENT")
    first, *_ = log.lines
    assert first == {
        "event": "client refused",
        "peer": "ipv4:10.0.0.1:0",
        "status": "NOT_FOUND",
        "error": "no such lambda",
    }
    assert len(log.lines) == 3
    for tell in later:
        tell()
    assert log.lines[3:] == [
        {
            "event": "client refused, and more of the kind",
            "host": "ipv4:10.0.0.1",
            "status": "NOT_FOUND",
            "not_shown": 99,
        }
    ]
    noting.note("unix:", "NOT_FOUND")
    assert len(log.lines) == 5


async def test_refusals_to_many_hosts_are_few_log_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    monkeypatch.setattr(refusals, "_log", log)
    noting = Refusals()
    for host in range(10 * refusals.MAX_KINDS):
        noting.note(f"ipv6:[2001:db8::{host:x}]:50000", "NOT_FOUND")
    assert len(log.lines) == refusals.MAX_KINDS + 1
