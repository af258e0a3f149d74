"""The operator's HTTP endpoint over a real socket, with statuses that the test gives."""

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partialmethod
from typing import Any
from wsgiref.simple_server import WSGIServer

import pytest

from sidecar import mail
from sidecar.config import Endpoint
from sidecar.operate import http as operate
from sidecar.partitions.vocabulary import State, TopicPartition

PATIENCE = 10.0
ANY_PORT = Endpoint("127.0.0.1", 0)


def partition(number: int, **fields: Any) -> mail.PartitionStatus:
    given: dict[str, Any] = {
        "tp": TopicPartition("raw", number),
        "state": State.RUNNING,
        "process_id": "p1",
        "delivered": 9,
        "handled": 8,
        "checkpoint": 7,
        "committed": 8,
        "end": 20,
        "outstanding": 2,
        "waiting": 3,
        "attempt": 1,
        "reason": "",
        "failing_offset": None,
        "blocked_since": None,
        "stalled_since": None,
        "resumes_at": None,
    }
    return mail.PartitionStatus(**{**given, **fields})


def status(*partitions: mail.PartitionStatus, **fields: Any) -> mail.LambdaStatus:
    given: dict[str, Any] = {
        "connected": True,
        "joined": True,
        "problems": [],
        "records_sent": 10,
        "records_fetched": 12,
        "restarts": 1,
        "dead_letters": 0,
        "hand_overs": 0,
        "reports": 0,
        "processes": [mail.ProcessStatus("p1", len(partitions), True)],
    }
    return mail.LambdaStatus(**{**given, **fields}, partitions=list(partitions))


HALTED = partition(1, state=State.HALTED, reason="bad record", failing_offset=8, blocked_since=5.0)
UNKNOWN = partition(2, checkpoint=None, committed=None, end=None)


@pytest.fixture(autouse=True)
def stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server looks every half second, by default, whether it is to stop."""
    monkeypatch.setattr(WSGIServer, "serve_forever", partialmethod(WSGIServer.serve_forever, 0.01))


class Operator:
    """A running endpoint, what it shows, and how it is asked."""

    def __init__(self) -> None:
        self.statuses: dict[str, mail.LambdaStatus] = {"deli": status(partition(0))}
        self.answers = asyncio.Event()
        self.answers.set()
        self.server = operate.OperateServer(ANY_PORT, self._ask)

    async def _ask(self) -> operate.Statuses:
        await self.answers.wait()
        return self.statuses

    async def get(self, path: str, timeout: float = PATIENCE) -> tuple[int, str]:
        def fetch() -> tuple[int, str]:
            connection = http.client.HTTPConnection(self.server.address, timeout=timeout)
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                return response.status, response.read().decode()
            finally:
                connection.close()

        return await asyncio.to_thread(fetch)

    async def report(self, path: str) -> tuple[int, Any]:
        code, text = await self.get(path)
        return code, json.loads(text)


@asynccontextmanager
async def running() -> AsyncIterator[Operator]:
    operator = Operator()
    try:
        yield operator
    finally:
        operator.answers.set()
        await asyncio.to_thread(operator.server.stop)


async def samples(operator: Operator) -> dict[str, float]:
    """What `/metrics` shows, without its comments."""
    code, text = await operator.get("/metrics")
    assert code == 200
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_all_is_well(path: str) -> None:
    async with running() as operator:
        assert await operator.report(path) == (200, {"ready": True, "connected": True, "problems": {}, "halted": {}})
        assert (await operator.get(f"{path}?verbose=1"))[0] == 200


async def test_not_connected_is_alive_and_not_ready() -> None:
    async with running() as operator:
        operator.statuses["scribe"] = status(connected=False, problems=[mail.Problem("connection", "no broker", 1.0)])
        report = {"ready": False, "connected": False, "problems": {"scribe": "no broker"}, "halted": {}}
        assert await operator.report("/readyz") == (503, report)
        assert await operator.report("/healthz") == (200, report)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_halted_partitions_are_shown_and_no_reason_to_restart(path: str) -> None:
    async with running() as operator:
        operator.statuses["deli"] = status(partition(0), HALTED)
        report = {"ready": True, "connected": True, "problems": {}, "halted": {"deli/raw/1": "bad record"}}
        assert await operator.report(path) == (200, report)


@pytest.mark.parametrize("path", ["/", "/metric", "/healthz/", "/metrics/x"])
async def test_other_paths(path: str) -> None:
    async with running() as operator:
        assert await operator.get(path) == (404, "try /metrics, /healthz or /readyz\n")


async def test_the_metrics_of_a_lambda() -> None:
    async with running() as operator:
        counts = {"dead_letters": 4, "hand_overs": 5, "reports": 6, "produced": 7, "produce_failures": 8}
        deli = status(partition(0), HALTED, **counts)
        away = mail.Problem("connection", "no broker", 1.0)
        operator.statuses = {"deli": deli, "scribe": status(connected=False, problems=[away])}
        shown = await samples(operator)
    assert shown.pop('kafka_sidecar_problem{kind="connection",lambda="scribe"}') == 1
    per_lambda = {name: value for name, value in shown.items() if "topic=" not in name}
    expected = {
        "records_sent_total": (10, 10),
        "records_fetched_total": (12, 12),
        "restarts_total": (1, 1),
        "dead_letters_total": (4, 0),
        "hand_overs_total": (5, 0),
        "reports_total": (6, 0),
        "produced_records_total": (7, 0),
        "produce_failures_total": (8, 0),
        "connected": (1, 0),
        "ready": (1, 0),
        "processes": (1, 1),
        "partitions": (2, 0),
    }
    assert per_lambda == {
        f'kafka_sidecar_{name}{{lambda="{one}"}}': value
        for name, values in expected.items()
        for one, value in zip(("deli", "scribe"), values, strict=True)
    }


async def test_the_metrics_of_a_partition() -> None:
    async with running() as operator:
        paused = partition(4, state=State.PAUSED, stalled_since=5.0)
        operator.statuses = {"deli": status(partition(0), HALTED, UNKNOWN, partition(3, committed=21), paused)}
        shown = await samples(operator)

    def of(number: int) -> dict[str, float]:
        labels = f'{{lambda="deli",partition="{number}",topic="raw"}}'
        prefix = "kafka_sidecar_partition_"
        return {
            name.removeprefix(prefix).removesuffix(labels): value
            for name, value in shown.items()
            if name.endswith(labels)
        }

    running_one = {
        "lag": 12,
        "outstanding": 2,
        "waiting": 3,
        "checkpoint": 7,
        "committed": 8,
        "halted": 0,
        "paused": 0,
        "blocked": 0,
        "stalled": 0,
    }
    assert of(0) == running_one
    assert of(1) == {**running_one, "halted": 1, "blocked": 1}
    unknown = {"lag", "checkpoint", "committed"}
    assert of(2) == {name: value for name, value in running_one.items() if name not in unknown}, "and not zero"
    assert of(3)["lag"] == 0, "the log's end is heard later than our own commit"
    assert of(4) == {**running_one, "paused": 1, "stalled": 1}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_status_that_never_comes(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operate, "ASK_TIMEOUT", 0.02)
    async with running() as operator:
        operator.answers.clear()
        assert await operator.get(path) == (503, "a consumer thread did not answer within 0.02 s\n")
        operator.answers.set()
        monkeypatch.setattr(operate, "ASK_TIMEOUT", PATIENCE)
        assert (await operator.get(path))[0] == 200, "and the next one is served"


async def test_metrics_whose_status_never_comes(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(operate, "ASK_TIMEOUT", 0.02)
    async with running() as operator:
        operator.answers.clear()
        code, _ = await operator.get("/metrics")
    assert code == 503
    assert "Traceback" not in capfd.readouterr().err


async def test_a_connection_that_says_nothing_does_not_stop_the_others() -> None:
    async with running() as operator:
        host, port = operator.server.address.split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE):
            code, _ = await operator.get("/healthz", timeout=PATIENCE / 2)
    assert code == 200


async def test_stopping_while_a_connection_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = threading.Event()
    get_request = WSGIServer.get_request

    def accept(server: WSGIServer) -> Any:
        connection = get_request(server)
        accepted.set()
        return connection

    monkeypatch.setattr(WSGIServer, "get_request", accept)
    async with running() as operator:
        host, port = operator.server.address.split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE):
            assert await asyncio.to_thread(accepted.wait, PATIENCE)
            async with asyncio.timeout(PATIENCE / 2):
                await asyncio.to_thread(operator.server.stop)


async def test_an_address_that_is_taken() -> None:
    async with running() as operator:
        taken = ANY_PORT._replace(port=int(operator.server.address.split(":")[1]))
        with pytest.raises(OSError, match=rf"^cannot listen on {taken} \(operate\.listen in the config\): "):
            operate.OperateServer(taken, operator._ask)
