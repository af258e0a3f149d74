"""The operator's HTTP endpoint: `/metrics`, `/healthz`, `/readyz`.

Served by a thread of its own; what it shows it asks of the event loop, which asks the consumer threads.
"""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from sidecar import mail
from sidecar.config.address import Endpoint
from sidecar.logs import get_logger
from sidecar.operate.metrics import StatusCollector
from sidecar.partitions.vocabulary import State
from sidecar.redact import masked

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

ASK_TIMEOUT = 5.0
"""Seconds within which the consumer threads must answer; later the sidecar counts as not healthy."""

LONGEST_REASON = 200
"""Characters of a halted partition's reason that are shown: it may be a lambda's exception, and all can read it."""

Statuses = Mapping[str, mail.LambdaStatus]


class OperateServer:
    """Started and stopped on the loop; each request has a thread, so that a silent connection stops nobody else."""

    def __init__(self, endpoint: Endpoint, statuses: Callable[[], Awaitable[Statuses]]) -> None:
        """``statuses`` is awaited on the loop that makes this object. Raises ``OSError`` when it cannot listen."""
        self._loop = asyncio.get_running_loop()
        self._ask = statuses
        registry = CollectorRegistry()
        registry.register(StatusCollector(self._statuses))
        self._metrics = make_wsgi_app(registry)
        try:
            self._server = make_server(
                endpoint.host, endpoint.port, self._answer, server_class=_Server, handler_class=_Quiet
            )
        except OSError as error:
            raise OSError(f"cannot listen on {endpoint} (operate.listen in the config): {error.strerror}") from None
        self.address = str(endpoint._replace(port=self._server.server_port))
        self._thread = threading.Thread(target=self._server.serve_forever, name="operate", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Not to be called while a request waits for the loop: call it in another thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _statuses(self) -> Statuses:
        async def ask() -> Statuses:
            return await self._ask()

        asked = asyncio.run_coroutine_threadsafe(ask(), self._loop)
        try:
            return asked.result(ASK_TIMEOUT)
        finally:
            asked.cancel()  # after an answer this does nothing; without one nobody waits for it any more

    def _answer(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path not in ("/metrics", "/healthz", "/readyz"):
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"try /metrics, /healthz or /readyz\n"]
        try:
            if path == "/metrics":
                body: Iterable[bytes] = self._metrics(environ, start_response)
                return body
            report = health_report(self._statuses())
        except (TimeoutError, mail.GoneError):
            start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
            return [f"a consumer thread did not answer within {ASK_TIMEOUT:g} s\n".encode()]
        # Alive is who answers; ready is who can consume. A halted partition is shown, and no reason to be restarted.
        good = path == "/healthz" or report["ready"]
        start_response("200 OK" if good else "503 Service Unavailable", [("Content-Type", "application/json")])
        return [json.dumps(report, indent=2).encode(), b"\n"]


def health_report(statuses: Statuses) -> dict[str, object]:
    """What `/healthz` and `/readyz` show: whether all lambdas can consume, their problems, what is halted."""
    return {
        "ready": all(status.ready for status in statuses.values()),
        "connected": all(status.connected for status in statuses.values()),
        "problems": {name: masked(status.problem) for name, status in statuses.items() if status.problem},
        "halted": {
            f"{name}/{partition.tp}": masked(partition.reason[:LONGEST_REASON])
            for name, status in statuses.items()
            for partition in status.partitions
            if partition.state is State.HALTED
        },
    }


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False


class _Quiet(WSGIRequestHandler):
    """Requests are logged like everything else, at level debug."""

    timeout = 10.0  # seconds of silence that a connection may cost a thread

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        get_logger(__name__).debug("request", line=format % args)
