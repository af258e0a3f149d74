"""`/metrics`, `/healthz` and `/readyz` of a process, asked for with real requests."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import NamedTuple

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families as parsed

from sdk_python import IContext, Message, SettingsError, partition_lambda
from sdk_python._client import Client
from sdk_python._connection import Endpoint
from sdk_python._exposition import CONTENT_TYPE, Metric, Sample
from sdk_python._metrics import Present
from sdk_python._operate import MAX_CONNECTIONS, MAX_HEAD_BYTES, Address, Operated, OperateServer, parse_address
from sdk_python.serve import run
from tests.unit.sdk.host import PATIENCE, Host
from tests.unit.waiting import until

HERE = Address("127.0.0.1", 0)


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: str


async def raw(address: Address, request: bytes) -> bytes:
    """Send bytes; return all that comes until the end of the connection, however it ends."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request)
    try:
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection, which the server may have cut already."""
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def ask(address: Address, path: str, method: str = "GET", host: str = "localhost:9") -> Answer:
    request = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n\r\n"
    head, _, body = (await raw(address, request.encode())).decode().partition("\r\n\r\n")
    line, *headers = head.split("\r\n")
    return Answer(int(line.split(" ")[1]), dict(one.split(": ", 1) for one in headers), body)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[OperateServer]:
    metric = Metric("answer", "gauge", "It.", (Sample(42, {}),))
    present = Present(connected=True, draining=False, partitions=2, streams=3, waiting=4)
    async with OperateServer(HERE, Operated("words", lambda: [metric], lambda: present)) as started:
        yield started


async def test_what_is_served(server: OperateServer) -> None:
    metrics = await ask(server.address, "/metrics?x=y")
    assert (metrics.status, metrics.headers["Content-Type"]) == (200, CONTENT_TYPE)
    assert metrics.body == "# HELP answer It.\n# TYPE answer gauge\nanswer 42\n"
    health = await ask(server.address, "/healthz", host="127.0.0.1")
    assert (health.status, health.headers["Content-Type"]) == (200, "application/json")
    assert json.loads(health.body) == {
        "lambda": "words",
        "alive": True,
        "ready": True,
        "connected": True,
        "draining": False,
        "partitions": 2,
    }
    head = await ask(server.address, "/healthz", "HEAD")
    assert (head.status, head.headers["Content-Length"], head.body) == (200, str(len(health.body)), "")


@pytest.mark.parametrize(
    ("connected", "draining", "status"), [(True, False, 200), (False, False, 503), (True, True, 503)]
)
async def test_ready_means_connected_and_not_draining_and_alive_means_that_it_answers(
    connected: bool, draining: bool, status: int
) -> None:
    present = Present(connected=connected, draining=draining, partitions=0, streams=0, waiting=0)
    async with OperateServer(HERE, Operated("words", list, lambda: present)) as server:
        assert (await ask(server.address, "/readyz")).status == status
        assert (await ask(server.address, "/healthz")).status == 200


async def test_what_is_refused(server: OperateServer) -> None:
    assert (await ask(server.address, "/")).status == 404
    post = await ask(server.address, "/metrics", "POST")
    assert (post.status, post.headers["Allow"]) == (405, "GET, HEAD")
    for host in ("evil.example", "127.0.0.1.evil.example:80", "[::2]", "localhost.evil"):
        assert (await ask(server.address, "/metrics", host=host)).status == 421
    for host in ("LOCALHOST", "127.9.9.9:80", "[::1]:80", "a.localhost", "localhost.:80"):
        assert (await ask(server.address, "/metrics", host=host)).status == 200
    for request in (b"\r\n\r\n", b"GET /metrics\r\n\r\n", b"GET / a HTTP/1.1\r\n\r\n", b"\xff\x00 / HTTP/2\r\n\r\n"):
        assert (await raw(server.address, request)).startswith(b"HTTP/1.1 400 ")


async def test_a_head_that_is_too_large_is_refused_and_nothing_of_it_is_kept(server: OperateServer) -> None:
    answer = await raw(server.address, b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 10 * MAX_HEAD_BYTES)
    assert b"42" not in answer
    assert (await ask(server.address, "/metrics")).status == 200


async def test_a_slow_client_is_cut_off(server: OperateServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk_python._operate.DEADLINE_S", 0.05)
    assert await raw(server.address, b"GET /metrics HTTP/1.1\r\n") == b""


async def test_connections_are_bounded_and_their_end_makes_room(server: OperateServer) -> None:
    waiting = [await asyncio.open_connection(*server.address) for _ in range(MAX_CONNECTIONS)]
    await until(lambda: len(server._connections) == MAX_CONNECTIONS)
    assert await raw(server.address, b"GET /metrics HTTP/1.1\r\n\r\n") == b""
    for _, writer in waiting:
        await closed(writer)
    await until(lambda: not server._connections)
    assert (await ask(server.address, "/metrics")).status == 200


async def test_the_end_of_the_server_cuts_connections() -> None:
    present = Present(connected=True, draining=False, partitions=0, streams=0, waiting=0)
    async with OperateServer(HERE, Operated("words", list, lambda: present)) as server:
        reader, writer = await asyncio.open_connection(*server.address)
        await until(lambda: len(server._connections) == 1)
    with suppress(ConnectionError):
        assert await reader.read() == b""
    await closed(writer)


async def test_a_port_that_is_taken_is_named_with_what_helps(server: OperateServer) -> None:
    other = OperateServer(server.address, Operated("words", list, lambda: pytest.fail("it does not run")))
    with pytest.raises(SettingsError, match=rf"metrics {server.address}: cannot listen there: .*0 takes a free one"):
        await other.__aenter__()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9465", ("127.0.0.1", 9465)),
        ("9465", ("127.0.0.1", 9465)),
        (":0", ("127.0.0.1", 0)),
        ("[::1]:1", ("::1", 1)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("localhost:80", ("localhost", 80)),
    ],
)
def test_an_address_is_of_loopback_unless_it_says_otherwise(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "x", "host:", "host:70000", "host:-1", "http://localhost:1", "localhost:٣"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="expected host:port"):
        parse_address(text)


async def test_a_client_shows_what_it_has_and_has_done(host: Host) -> None:
    @partition_lambda
    def handle(message: Message, context: IContext) -> None:
        context.checkpoint(message.offset)

    client = Client("words", handle, Endpoint(host.address))
    assert not client.present.connected
    async with OperateServer(HERE, Operated("words", client.metrics, lambda: client.present)) as server:
        running = asyncio.create_task(client.run())
        async with asyncio.timeout(PATIENCE):
            stream = await host.offers.get()
        await stream.assign()
        stream.batch([b"a", b"b", b"c"])
        await host.until(lambda: bool(host.requests))

        async def found() -> dict[str, float]:
            body = (await ask(server.address, "/metrics")).body
            return {sample.name: sample.value for family in parsed(body) for sample in family.samples}

        async with asyncio.timeout(PATIENCE):
            while (numbers := await found())["kafka_sidecar_sdk_streams"] < 2:
                pass
        names = ("connected", "partitions", "leases_total", "frames_total", "records_total", "checkpoint_calls_total")
        assert [numbers[f"kafka_sidecar_sdk_{name}"] for name in names] == [1, 1, 1, 1, 3, 1]
        assert numbers["kafka_sidecar_sdk_handled_records_total"] == 3
        assert 0 < numbers["kafka_sidecar_sdk_handler_seconds_total"] < PATIENCE
        assert numbers["process_resident_memory_bytes"] > 1e6
        assert numbers["process_start_time_seconds"] > 1e9
        client.stop()
        assert json.loads((await ask(server.address, "/readyz")).body)["draining"] is True
        await stream.closed()
        await running


async def test_run_takes_the_address_and_refuses_what_is_none(host: Host) -> None:
    @partition_lambda
    def handle(_: Message) -> None: ...

    with pytest.raises(SettingsError, match="expected host:port"):
        await run("words", handle, address=host.address, metrics="nonsense")
