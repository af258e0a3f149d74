"""The page on a real socket, with a sidecar that answers what the test says."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.message import Message
from typing import Any

from sdk_python.protocol import admin_pb2 as pb
from sidecar.config import Config, Endpoint, parse_endpoint
from sidecar.operate.http import OperateServer
from sidecar.operate.page.feed import Source
from sidecar.operate.page.page import Page
from sidecar.server.identities import Identities
from sidecar.server.operators import Operators
from sidecar.status import SidecarStatus
from tests.unit.snapshots import sidecar_status

PATIENCE = 60.0
TOKEN = "the-operators-token"
JSON = {"Content-Type": "application/json"}
WITH_TOKEN = {"Authorization": f"Bearer {TOKEN}"}

HALTED = pb.PARTITION_STATE_HALTED
RUNNING = pb.PARTITION_STATE_RUNNING


def config(admin: str | None = TOKEN, **server: Any) -> Config:
    """A config with the lambda deli. ``server``: more of that section."""
    given: dict[str, Any] = {
        "kafka": {"bootstrap.servers": "127.0.0.1:1"},
        "lambdas": {"deli": {"topic": "raw", "group": "deli"}},
        "server": {**({} if admin is None else {"admin_token": admin}), **server},
    }
    return Config.model_validate(given)


def status(*partitions: pb.Partition, **fields: Any) -> pb.StatusResponse:
    """The state of a sidecar with the lambda deli."""
    one = pb.Lambda(name="deli", group="deli", topics=["raw"], partitions=partitions, **fields)
    return pb.StatusResponse(version="1.2.3", started_at_ms=1_000, lambdas=[one])


class Orders:
    """Answers as the test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.state = status(pb.Partition(topic="raw", partition=0, state=RUNNING, committed=5, end=9))
        self.asked: list[Any] = []
        self.snapshot = sidecar_status({})
        self.raises: Exception | None = None
        self.answers = asyncio.Event()
        self.answers.set()

    async def look(self) -> SidecarStatus:
        await self.answers.wait()
        return self.snapshot

    def message(self, _: SidecarStatus) -> pb.StatusResponse:
        copy = pb.StatusResponse()
        copy.CopyFrom(self.state)
        return copy

    async def pause(self, request: pb.PauseRequest) -> pb.PauseResponse:
        return pb.PauseResponse(from_offset=self._take(request))

    async def resume(self, request: pb.ResumeRequest) -> pb.ResumeResponse:
        return pb.ResumeResponse(from_offset=self._take(request))

    async def seek(self, request: pb.SeekRequest) -> pb.SeekResponse:
        return pb.SeekResponse(from_offset=self._take(request), was_at=12, state=HALTED)

    def _take(self, request: Any) -> int:
        self.asked.append(request)
        if self.raises is not None:
            raise self.raises
        return 7


class Lab:
    """The running page, and requests to it."""

    def __init__(self, made: Config, endpoint: Endpoint) -> None:
        self.orders = Orders()
        self.findings: list[dict[str, Any]] = []
        source = Source(self.orders.look, self.orders.message, lambda _: self.findings)
        operators = Operators(made.server, Identities(made.server))
        self.page = Page(made, source, self.orders, operators)
        self.server = OperateServer(endpoint, self._snapshot, page=self.page.routes)
        self._tasks: list[asyncio.Task[None]] = []

    async def _snapshot(self) -> SidecarStatus:
        raise AssertionError("no test of the page asks for the metrics")

    async def start(self) -> None:
        await self.server.start()
        self.page.start(self._spawn)

    def _spawn(self, work: Any, *, name: str) -> asyncio.Task[None]:
        self._tasks.append(asyncio.create_task(work, name=name))
        return self._tasks[-1]

    async def stop(self) -> None:
        self.orders.answers.set()
        await self.page.stop()
        await asyncio.gather(*self._tasks)
        await self.server.stop()

    @property
    def place(self) -> tuple[str, int]:
        endpoint = parse_endpoint(self.server.address)
        return endpoint.host, endpoint.port

    @property
    def origin(self) -> str:
        return f"http://{self.server.address}"

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: str | bytes | None = None
    ) -> tuple[int, Message, str]:
        """A request, and the answer's status, headers and body."""

        def fetch() -> tuple[int, Message, str]:
            connection = http.client.HTTPConnection(*self.place, timeout=PATIENCE)
            try:
                connection.request(method, path, body, headers=dict(headers or {}))
                response = connection.getresponse()
                return response.status, response.headers, response.read().decode()
            finally:
                connection.close()

        return await asyncio.to_thread(fetch)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        code, _, body = await self.ask("GET", path, headers)
        return code, json.loads(body)

    async def post(self, path: str, document: Any, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """A POST as the page makes it; ``headers`` are added to it."""
        sent = {**JSON, **WITH_TOKEN, "Sec-Fetch-Site": "same-origin", **(headers or {})}
        code, _, body = await self.ask("POST", path, sent, json.dumps(document))
        return code, json.loads(body)


ANY_PORT = Endpoint("127.0.0.1", 0)


@asynccontextmanager
async def running(made: Config | None = None, endpoint: Endpoint = ANY_PORT) -> AsyncIterator[Lab]:
    lab = Lab(made or config(), endpoint)
    await lab.start()
    try:
        yield lab
    finally:
        await lab.stop()
