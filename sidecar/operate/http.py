"""The operator's HTTP endpoint: `/metrics`, `/healthz`, `/readyz`, and the routes of the page.

uvicorn and Starlette serve it on the event loop. Each request asks the consumer threads for their status.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import uvicorn
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from sidecar.config.address import Endpoint
from sidecar.logs import get_logger
from sidecar.mail.boxes import GoneError
from sidecar.operate.connection import MAX_HEAD_BYTES, Connection
from sidecar.operate.hosts import HostCheck
from sidecar.operate.listening import listen
from sidecar.operate.metrics import registry_of
from sidecar.partitions.vocabulary import State
from sidecar.redact import masked
from sidecar.status import SidecarStatus

ASK_TIMEOUT_S = 5.0
"""The consumer threads must answer within this time; otherwise the sidecar counts as not healthy."""

TICK_S = 0.1
TICKS_A_DAY = 864_000
"""uvicorn does its regular work by their number."""

STOP_GRACE_S = 1
"""Answers under way get this time when the server stops."""

MAX_REASON_CHARACTERS = 200
"""The shown length of a halted partition's reason: it may be a lambda's exception, and everybody can read it."""


class OperateServer:
    """The HTTP server. Made, started and stopped on one event loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        snapshot: Callable[[], Awaitable[SidecarStatus]],
        *,
        partition_metrics: bool = True,
        page: Sequence[BaseRoute] = (),
    ) -> None:
        """``snapshot`` is awaited for each request. ``partition_metrics``: metrics of each partition are shown.
        ``page``: the routes of the page."""
        self._endpoint = endpoint
        self._ask = snapshot
        self._page = page
        self._partition_metrics = partition_metrics
        self.address = str(endpoint)
        """Where it listens, as `host:port`; with port 0 the real port is known after ``start``."""
        self._server: _Server | None = None
        self._running: asyncio.Task[None] | None = None

    async def start(self, spawn: Callable[..., "asyncio.Task[None]"] = asyncio.create_task) -> None:
        """Listen and serve, in a task that ``spawn`` makes. Raises ``OSError`` when it cannot listen."""
        try:
            sockets = await asyncio.to_thread(listen, self._endpoint)
        except OSError as error:
            text = f"cannot listen on {self._endpoint} (operate.listen in the config): {error.strerror}"
            raise OSError(text) from None
        self.address = str(self._endpoint._replace(port=sockets[0].getsockname()[1]))
        config = uvicorn.Config(
            self._app(),
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # the answer tells a client about its mistake
            access_log=False,
            proxy_headers=False,
            server_header=False,
            headers=[("x-content-type-options", "nosniff"), ("cache-control", "no-store")],
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            timeout_graceful_shutdown=STOP_GRACE_S,
        )
        self._server = _Server(config)
        self._running = spawn(self._server.serve(sockets), name="the HTTP server for operators")

    async def stop(self) -> None:
        """Stop the server. Answers under way get ``STOP_GRACE_S``."""
        if self._server is None or self._running is None:
            return
        self._server.should_exit = True
        self._server.ends.set()
        await asyncio.wait([self._running])
        for connection in [*self._server.server_state.connections]:
            connection.transport.abort()

    def _app(self) -> Starlette:
        routes = [
            Route("/metrics", self._metrics),
            Route("/healthz", self._health),
            Route("/readyz", self._health),
            *self._page,
        ]
        middleware = [Middleware(HostCheck, endpoint=self._endpoint)]
        app = Starlette(
            routes=routes,
            middleware=middleware,
            exception_handlers={HTTPException: _refused, TimeoutError: _silent, GoneError: _silent},
        )
        app.router.redirect_slashes = False
        return app

    async def _snapshot(self) -> SidecarStatus:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            return await self._ask()

    async def _metrics(self, request: Request) -> Response:
        status = await self._snapshot()
        encode, content_type = choose_encoder(request.headers.get("accept", ""))

        def made() -> bytes:
            body: bytes = encode(registry_of(status, partitions=self._partition_metrics))
            return body

        # In a thread: with thousands of partitions this takes a while, and streams of records must not wait for it.
        return Response(await asyncio.to_thread(made), media_type=content_type)

    async def _health(self, request: Request) -> Response:
        report = health_report(await self._snapshot())
        # A sidecar that answers is alive; one that can consume is ready. A halted partition is shown, but is no
        # reason for an orchestrator to restart the sidecar.
        good = request.url.path == "/healthz" or report["ready"]
        body = f"{json.dumps(report, indent=2)}\n"
        return Response(body, 200 if good else 503, media_type="application/json")


def health_report(status: SidecarStatus) -> dict[str, object]:
    """The body of `/healthz` and `/readyz`: whether all lambdas can consume, their problems, halted partitions."""
    lambdas = status.lambdas
    return {
        "ready": all(one.ready for one in lambdas.values()),
        "connected": all(one.connected for one in lambdas.values()),
        "problems": {name: masked(one.problem) for name, one in lambdas.items() if one.problem},
        "halted": {
            f"{name}/{partition.name}": masked(partition.reason[:MAX_REASON_CHARACTERS])
            for name, one in lambdas.items()
            for partition in one.partitions
            if partition.state is State.HALTED
        },
    }


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ends = asyncio.Event()

    async def main_loop(self) -> None:
        """As uvicorn's, which looks every 0.1 s whether it is to end."""
        ticks = 0
        while not await self.on_tick(ticks):
            ticks = (ticks + 1) % TICKS_A_DAY
            with suppress(TimeoutError):
                await asyncio.wait_for(self.ends.wait(), TICK_S)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the sidecar, which drains first."""
        yield


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    get_logger(__name__).debug("request refused", path=request.url.path, status=error.status_code)
    text = "try /, /metrics, /healthz or /readyz" if error.status_code == 404 else error.detail
    return PlainTextResponse(f"{text}\n", error.status_code, headers=error.headers)


async def _silent(_: Request, error: Exception) -> Response:
    del error
    return PlainTextResponse(f"a consumer thread did not answer within {ASK_TIMEOUT_S:g} s\n", 503)
