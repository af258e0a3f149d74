"""The limits in Welcome are those that the sidecar enforces: it accepts as much as they say, and nothing more."""

import re
from pathlib import Path

import grpc
import pytest

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.config import WindowConfig, kafka_properties
from sidecar.mail import letters
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import EndReason, EndStream, ErrorAction, Failure, Limits
from sidecar.producing.lambda_producer import LambdaProducer
from sidecar.producing.outcomes import FullError, Outgoing
from sidecar.server import arrivals, lambda_host, refusals, server
from sidecar.server.limits import limits as told_limits
from tests.unit.waiting import until

from .bench import offer
from .wire import P0, Client, Wire, entry

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def told(wire: Wire, client: Client) -> pb.Limits:
    call = client.process()
    await call.say(offer=offer(process_id="who asks"))
    limits: pb.Limits = (await call.expect("welcome")).limits
    call.cancel()
    await wire.deli.expect(letters.StreamLost)
    return limits


def test_none_is_left_out() -> None:
    told = [field.name for field, _ in told_limits(4, 500).ListFields()]
    assert told == [field.name for field in pb.Limits.DESCRIPTOR.fields]


def test_the_docs_have_these_numbers() -> None:
    text = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", text, re.MULTILINE)
    spares_of_lambda = lambda_host.MAX_WITHOUT_PARTITION  # with one lambda
    enforced = told_limits(lambda_host.MAX_SPARES, spares_of_lambda)
    assert rows == [(field.name, f"{number:,}") for field, number in enforced.ListFields()]


async def test_entries_of_a_checkpoint(wire: Wire, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "MAX_DELAY_S", 0.0)  # all these leases are dead, which is answered late
    most = (await told(wire, client)).max_checkpoint_entries
    assert len(await client.checkpoint(*[entry("dead", 1)] * most)) == most
    request = pb.CheckpointRequest(entries=[entry("dead", 1)] * (most + 1))
    assert (await client.refused("Checkpoint", request))[0] is INVALID


async def test_bytes_of_a_request(wire: Wire, client: Client) -> None:
    most = (await told(wire, client)).max_request_bytes
    request = pb.ErrorRequest(lease="dead", action=pb.ERROR_ACTION_REPORT)
    request.stack = "x" * (most - request.ByteSize() - 4)  # a tag, and a length of three bytes
    assert request.ByteSize() == most
    await client.unary("Error", request)
    request.stack += "x"
    assert (await client.refused("Error", request))[0] is EXHAUSTED


@pytest.mark.parametrize("column", ["values", "topics"])
async def test_records_and_topics_of_a_produce(wire: Wire, client: Client, column: str) -> None:
    limits = await told(wire, client)
    request = pb.ProduceRequest(lease="dead", values=[b""], topics=["t"])
    if column == "values":
        request.values.extend([b""] * (limits.max_produce_records - 1))
    else:
        request.topics.extend(f"t{number}" for number in range(limits.max_produce_topics - 1))
    answer = pb.ProduceResponse.FromString(await client.unary("Produce", request))
    assert {*answer.outcomes} == {pb.PRODUCE_OUTCOME_STALE_LEASE}
    getattr(request, column).append(getattr(request, column)[0])
    assert (await client.refused("Produce", request))[0] is INVALID


@pytest.mark.parametrize(("count", "size"), [(1, 2), (2, 1)])
async def test_what_is_on_its_way_to_kafka(wire: Wire, client: Client, count: int, size: int) -> None:
    limits = await told(wire, client)
    producer = LambdaProducer("deli", {})
    producer._under_way.add(object())  # type: ignore[arg-type]  # a first request is taken whatever its size
    producer._bytes, producer._records = limits.max_producing_bytes - 1, limits.max_producing_records - 1
    with pytest.raises(FullError):
        await producer.write([Outgoing("t", None, b"", -1, ())] * count, size)
    producer._ending.set()  # it tells that only to what fits
    producer._bytes, producer._records = limits.max_producing_bytes - size, limits.max_producing_records - count
    (error,) = {*(await producer.write([Outgoing("t", None, b"", -1, ())] * count, size)).errors}
    assert error == "the sidecar has ended"


async def test_spare_streams(wire: Wire, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lambda_host, "MAX_WITHOUT_PARTITION", 12)
    monkeypatch.setattr(lambda_host, "MIN_SHARE", 1)
    limits = await told(wire, client)
    each, together = limits.max_spare_streams_per_process, limits.max_spare_streams_per_lambda
    assert (each, together) == (4, 6)
    for _ in range(each):
        await wire.available(client, process_id="p1")
    late = client.process()
    await late.say(offer=offer(process_id="p1"))
    assert (await late.ended())[0] is EXHAUSTED
    for number in range(together - each):
        await wire.available(client, process_id=f"another {number}")
    late = client.process()
    await late.say(offer=offer(process_id="one more"))
    assert (await late.ended())[0] is EXHAUSTED


@pytest.mark.parametrize("creating", [True, False])
async def test_times_of_a_stream(wire: Wire, client: Client, creating: bool) -> None:
    limits = await told(wire, client)
    table = PartitionTable(Limits(), lambda: "lease", lambda: 0.0)
    table.assigned([P0], 0.0)
    table.resolved(P0, 0, 0.0, committed=True)
    table.streams.available(1, "p1", 1000, 0.0)
    if not creating:
        table.streams.ready(1, "lease", 0.0)
        table.streams.error("lease", Failure(ErrorAction.RESTART), None, 0.0)
    due = (limits.ready_timeout_ms if creating else limits.close_timeout_ms) / 1000

    def ended(now: float) -> list[EndReason]:
        table.tick(now)
        return [command.reason for command in table.commands if isinstance(command, EndStream)]

    assert ended(due - 0.01) == []
    assert ended(due) == [EndReason.TOO_LATE]


async def test_what_grpc_enforces(wire: Wire, client: Client) -> None:
    limits, options = await told(wire, client), dict(server._OPTIONS)
    assert limits.max_request_bytes == options["grpc.max_receive_message_length"]
    assert limits.max_streams_per_connection == options["grpc.max_concurrent_streams"]
    assert limits.min_ping_interval_ms == options["grpc.http2.min_recv_ping_interval_without_data_ms"]
    assert limits.idle_timeout_ms == options["grpc.max_connection_idle_ms"]


async def test_what_kafka_s_client_enforces(wire: Wire, client: Client) -> None:
    made = kafka_properties.lambda_producer_properties({"bootstrap.servers": "broker"})
    assert (await told(wire, client)).produce_timeout_ms == made["message.timeout.ms"]


async def test_times_of_first_messages(wire: Wire, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """That they are kept is tested in `test_arrivals`, by the same constants."""
    monkeypatch.setattr(arrivals, "OFFER_TIMEOUT_S", 11.5)
    monkeypatch.setattr(arrivals, "REQUEST_TIMEOUT_S", 12.5)
    limits = await told(wire, client)
    assert (limits.offer_timeout_ms, limits.request_timeout_ms) == (11_500, 12_500)


async def test_streams_without_an_offer(wire: Wire, client: Client) -> None:
    most = (await told(wire, client)).max_offering_streams_per_connection
    held = [client.process() for _ in range(most)]
    await until(lambda: len(wire.host.arrivals.streams) == most)
    assert (await client.process().ended())[0] is EXHAUSTED
    for call in held:
        await call.say(offer=offer(process_id=f"p{id(call)}"))
        await call.expect("welcome")


async def test_the_span_of_a_window(wire: Wire, client: Client) -> None:
    call = client.process()
    await call.say(offer=offer())
    assert (await call.expect("welcome")).window_span == wire.hosted["deli"].config.window.span
    assert [WindowConfig(messages=count).span for count in (1, 10_000, 50_000)] == [1_000_000, 1_000_000, 5_000_000]
