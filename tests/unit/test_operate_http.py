"""The operator's HTTP endpoint over a real socket, with statuses that the test sets."""

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from email.message import Message
from typing import Any

import pytest

from sidecar.config import Endpoint, parse_endpoint
from sidecar.operate import connection, http as operate
from sidecar.partitions.vocabulary import State
from sidecar.status import LambdaStatus, PartitionStatus, Problem, ProcessStatus, SidecarStatus
from tests.unit.snapshots import lambda_status, partition_status, sidecar_status
from tests.unit.waiting import until

PATIENCE = 60.0
ANY_PORT = Endpoint("127.0.0.1", 0)


def status(*partitions: PartitionStatus, **fields: Any) -> LambdaStatus:
    given: dict[str, Any] = {
        "records_sent": 10,
        "records_fetched": 12,
        "restarts": {},
        "processes": [ProcessStatus("p1", len(partitions), True)],
    }
    return lambda_status(**{**given, **fields}, partitions=list(partitions))


HALTED = partition_status(1, state=State.HALTED, reason="bad record", failing_offset=8, blocked_since=5.0)
UNKNOWN = partition_status(2, checkpoint=None, committed=None, end=None)


class Operator:
    """A running endpoint, its statuses, and requests to it."""

    def __init__(self, endpoint: Endpoint, **options: Any) -> None:
        self.statuses: dict[str, LambdaStatus] = {"deli": status(partition_status(0))}
        self.answers = asyncio.Event()
        self.answers.set()
        self.server = operate.OperateServer(endpoint, self._ask, **options)

    async def _ask(self) -> SidecarStatus:
        await self.answers.wait()
        return sidecar_status(self.statuses)

    @property
    def place(self) -> tuple[str, int]:
        endpoint = parse_endpoint(self.server.address)
        return endpoint.host, endpoint.port

    def connections(self) -> int:
        assert self.server._server is not None
        return len(self.server._server.server_state.connections)

    async def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, timeout: float = PATIENCE
    ) -> tuple[int, Message, str]:
        def fetch() -> tuple[int, Message, str]:
            connection = http.client.HTTPConnection(*self.place, timeout=timeout)
            try:
                connection.request(method, path, headers=headers or {})
                response = connection.getresponse()
                return response.status, response.headers, response.read().decode()
            finally:
                connection.close()

        return await asyncio.to_thread(fetch)

    async def get(self, path: str, timeout: float = PATIENCE) -> tuple[int, str]:
        code, _, body = await self.ask("GET", path, timeout=timeout)
        return code, body

    async def report(self, path: str) -> tuple[int, Any]:
        code, text = await self.get(path)
        return code, json.loads(text)


def ended(connection: socket.socket) -> bool:
    """Wait until the server ends the connection."""
    with suppress(ConnectionResetError):
        while connection.recv(65536):
            pass
    return True


@asynccontextmanager
async def running(endpoint: Endpoint = ANY_PORT, **options: Any) -> AsyncIterator[Operator]:
    operator = Operator(endpoint, **options)
    await operator.server.start()
    try:
        yield operator
    finally:
        operator.answers.set()
        await operator.server.stop()


async def samples(operator: Operator) -> dict[str, float]:
    """The samples of `/metrics`, without comments."""
    code, text = await operator.get("/metrics")
    assert code == 200
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_the_health_of_a_working_sidecar(path: str) -> None:
    async with running() as operator:
        assert await operator.report(path) == (200, {"ready": True, "connected": True, "problems": {}, "halted": {}})
        assert (await operator.get(f"{path}?verbose=1"))[0] == 200


async def test_without_kafka_the_sidecar_is_alive_and_not_ready() -> None:
    async with running() as operator:
        operator.statuses["scribe"] = status(connected=False, problems=[Problem("connection", "no broker", 1.0)])
        report = {"ready": False, "connected": False, "problems": {"scribe": "no broker"}, "halted": {}}
        assert await operator.report("/readyz") == (503, report)
        assert await operator.report("/healthz") == (200, report)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_halted_partitions_are_shown_and_no_reason_to_restart(path: str) -> None:
    async with running() as operator:
        operator.statuses["deli"] = status(partition_status(0), HALTED)
        report = {"ready": True, "connected": True, "problems": {}, "halted": {"deli/raw/1": "bad record"}}
        assert await operator.report(path) == (200, report)


@pytest.mark.parametrize("path", ["/", "/metric", "/healthz/", "/metrics/x"])
async def test_other_paths(path: str) -> None:
    async with running() as operator:
        assert await operator.get(path) == (404, "try /, /metrics, /healthz or /readyz\n")


@pytest.mark.parametrize("wanted", [True, False])
async def test_the_metrics_of_partitions_are_a_choice(wanted: bool) -> None:
    async with running(partition_metrics=wanted) as operator:
        operator.statuses = {"deli": status(partition_status(0), HALTED)}
        shown = await samples(operator)
    assert shown['kafka_sidecar_partitions{lambda="deli",state="halted"}'] == 1
    assert ('kafka_sidecar_partition_halted{lambda="deli",partition="1",topic="raw"}' in shown) == wanted


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_status_that_never_comes(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operate, "ASK_TIMEOUT_S", 0.02)
    async with running() as operator:
        operator.answers.clear()
        assert await operator.get(path) == (503, "a consumer thread did not answer within 0.02 s\n")
        operator.answers.set()
        monkeypatch.setattr(operate, "ASK_TIMEOUT_S", PATIENCE)
        assert (await operator.get(path))[0] == 200, "and the next one is served"


async def test_metrics_whose_status_never_comes(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(operate, "ASK_TIMEOUT_S", 0.02)
    async with running() as operator:
        operator.answers.clear()
        code, _ = await operator.get("/metrics")
    assert code == 503
    assert "Traceback" not in capfd.readouterr().err


async def test_a_connection_that_says_nothing_does_not_stop_the_others() -> None:
    async with running() as operator:
        with socket.create_connection(operator.place, timeout=PATIENCE):
            code, _ = await operator.get("/healthz", timeout=PATIENCE / 2)
    assert code == 200


async def test_stopping_while_a_connection_says_nothing() -> None:
    async with running() as operator:
        with socket.create_connection(operator.place, timeout=PATIENCE) as silent, silent.makefile("rwb") as file:
            file.write(b"GET /healthz HTTP/1.1\r\n")
            file.flush()
            await until(operator.connections)
            async with asyncio.timeout(PATIENCE / 2):
                await operator.server.stop()
            assert await asyncio.to_thread(ended, silent)


async def test_an_address_that_is_taken() -> None:
    async with running() as operator:
        taken = ANY_PORT._replace(port=operator.place[1])
        with pytest.raises(OSError, match=rf"^cannot listen on {taken} \(operate\.listen in the config\): "):
            await operate.OperateServer(taken, operator._ask).start()


@pytest.mark.parametrize("host", ["::1", "localhost", "127.0.0.1", "::"])
async def test_it_listens_where_it_is_told(host: str) -> None:
    async with running(Endpoint(host, 0)) as operator:
        endpoint = parse_endpoint(operator.server.address)
        assert (endpoint.host, endpoint.port > 0) == (host, True)
        assert (await operator.get("/healthz"))[0] == 200
        reached = []
        for address in ("127.0.0.1", "::1"):
            with suppress(OSError), socket.create_connection((address, endpoint.port), timeout=PATIENCE):
                reached.append(address)
    both = ["127.0.0.1", "::1"]
    assert reached == {"::1": ["::1"], "127.0.0.1": ["127.0.0.1"], "::": both}.get(host, reached)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"])
@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
async def test_only_what_reads_is_allowed(method: str, path: str) -> None:
    async with running() as operator:
        code, headers, _ = await operator.ask(method, path)
    assert code == 405
    assert {*headers["Allow"].split(", ")} == {"GET", "HEAD"}


async def test_a_head_has_no_body_and_no_answer_names_the_server() -> None:
    async with running() as operator:
        code, headers, body = await operator.ask("HEAD", "/metrics")
        assert (code, body) == (200, "")
        for path in ("/metrics", "/healthz", "/nothing"):
            _, headers, _ = await operator.ask("GET", path)
            assert "Server" not in headers
            assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", 200),
        ("LOCALHOST.:80", 200),
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("[::1]", 200),
        ("evil.example", 421),
        ("evil.example:8080", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("192.0.2.1", 421),
        ("[::1].evil.example]", 421),
        ("", 421),
    ],
)
async def test_on_loopback_only_names_of_loopback_are_answered(host: str, expected: int) -> None:
    """A browser sends the name that it resolved, and a stranger's name may resolve to 127.0.0.1."""
    async with running() as operator:
        code, _, body = await operator.ask("GET", "/metrics", {"Host": host})
    assert code == expected
    assert ("kafka_sidecar" in body) == (expected == 200)


async def test_beyond_loopback_any_name_may_be_ours() -> None:
    async with running(Endpoint("0.0.0.0", 0)) as operator:
        operator.server.address = operator.server.address.replace("0.0.0.0", "127.0.0.1")
        code, _, _ = await operator.ask("GET", "/healthz", {"Host": "sidecar.example:8080"})
    assert code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nbody",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /heal",
    ],
)
async def test_a_request_that_is_never_whole_is_ended(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """Further bytes do not extend the deadline."""
    monkeypatch.setattr(connection, "REQUEST_DEADLINE_S", 0.2)
    async with running() as operator:

        def drip() -> None:
            with socket.create_connection(operator.place, timeout=PATIENCE) as dripping:
                dripping.sendall(sent)
                dripping.settimeout(0.02)
                while True:
                    try:
                        if not dripping.recv(65536):
                            return
                    except TimeoutError:
                        if sent:
                            dripping.sendall(b"x")
                    except ConnectionError:
                        return

        async with asyncio.timeout(PATIENCE):
            await asyncio.to_thread(drip)
        await until(lambda: not operator.connections())


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with running() as operator:

        def twice() -> list[int]:
            kept = http.client.HTTPConnection(*operator.place, timeout=PATIENCE)
            codes = []
            for _ in range(3):
                kept.request("GET", "/healthz")
                response = kept.getresponse()
                codes.append(response.status)
                response.read()
            kept.close()
            return codes

        assert await asyncio.to_thread(twice) == [200] * 3


async def test_a_client_that_does_not_read_the_answer_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "READ_DEADLINE_S", 0.05)
    async with running() as operator:
        operator.statuses = {"deli": status(*(partition_status(number) for number in range(2000)))}

        def deaf() -> bool:
            with socket.socket() as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                one.settimeout(PATIENCE)
                one.connect(operator.place)
                with suppress(ConnectionError):
                    one.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 8)
                over.wait(PATIENCE)
                return ended(one)

        over = threading.Event()
        asked = asyncio.create_task(asyncio.to_thread(deaf))
        await until(operator.connections)
        await until(lambda: not operator.connections())
        over.set()
        assert await asked


async def test_connections_are_bounded_and_the_oldest_silent_one_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 5)
    async with running() as operator:
        with ExitStack() as stack:
            silent = [
                stack.enter_context(socket.create_connection(operator.place, timeout=PATIENCE)) for _ in range(20)
            ]
            await until(lambda: operator.connections() == 5)
            assert await asyncio.to_thread(ended, silent[0])
            assert (await operator.get("/healthz"))[0] == 200, "and who asks is answered"


async def test_invalid_requests_are_not_logged(capfd: pytest.CaptureFixture[str]) -> None:
    async with running() as operator:
        for sent in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"a" * 100_000):

            def send(sent: bytes = sent) -> None:
                with socket.create_connection(operator.place, timeout=PATIENCE) as one, suppress(ConnectionError):
                    one.sendall(sent + b"\r\n\r\n")
                    ended(one)

            await asyncio.to_thread(send)
        assert (await operator.get("/healthz"))[0] == 200
    assert capfd.readouterr().err == ""


async def test_a_problem_that_blocks_nothing_leaves_the_sidecar_ready() -> None:
    """A crashing process is only a problem; a dead task of the sidecar makes it not ready."""
    async with running() as operator:
        for blocks, expected in ((False, [200, 200]), (True, [200, 503])):
            problem = Problem("process:0", "it crashed", 1.0, blocks=blocks)
            operator.statuses = {"deli": status(partition_status(0), problems=[problem])}
            assert [(await operator.get(path))[0] for path in ("/healthz", "/readyz")] == expected
