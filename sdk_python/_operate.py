"""`/metrics`, `/healthz` and `/readyz` of a process that serves a lambda, over HTTP/1.1, with nothing but asyncio.

It runs on the event loop of the handlers: a handler that blocks the loop keeps it from answering. So does a probe
notice such a process.

Each connection has one request, and a time within which all of it is over. Others than this machine can reach it only
where the address says so; on loopback it answers only to names of loopback. Otherwise a stranger's page in a browser
could let its own name resolve to 127.0.0.1, and read the answers.
"""

import asyncio
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final, NamedTuple

from ._errors import SettingsError
from ._exposition import CONTENT_TYPE, Metric, exposition
from ._log import log
from ._metrics import Present

METRICS_VARIABLE: Final = "KAFKA_SIDECAR_METRICS"
DEADLINE_S: Final = 10.0
"""Seconds that one connection may take, with its request and its answer."""
MAX_CONNECTIONS: Final = 50
MAX_HEAD_BYTES: Final = 16 * 1024
"""The size of a request's line and headers."""
_MAX_PORT: Final = 65535


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int
    """0: any free port."""

    @property
    def loopback(self) -> bool:
        """Whether it is this machine's loopback, by its text alone."""
        return _is_loopback(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Parse ``host:port``, ``[ipv6]:port`` or a port alone, which is one of loopback.

    Raises ``SettingsError`` when it is none of them.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= _MAX_PORT) or "/" in host:
        raise SettingsError(f"metrics {text!r}: expected host:port, or a port of loopback, such as 127.0.0.1:9465")
    return Address(host or "127.0.0.1", int(port))


class Operated(NamedTuple):
    """What is served."""

    name: str
    """Of the lambda."""
    metrics: Callable[[], Iterable[Metric]]
    present: Callable[[], Present]


class OperateServer:
    """The server; an async context manager."""

    def __init__(self, address: Address, operated: Operated) -> None:
        self.address = address
        """Where it listens. The real port is known once it does."""
        self._operated = operated
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "OperateServer":
        """Listen. Raises ``SettingsError`` when that is not possible."""
        host, port = self.address
        try:
            self._server = await asyncio.start_server(self._connected, host, port, limit=MAX_HEAD_BYTES)
        except OSError as error:
            why = error.strerror or str(error)
            hint = "; another process of this machine may have the port: 0 takes a free one" if port else ""
            raise SettingsError(f"metrics {self.address}: cannot listen there: {why}{hint}") from None
        self.address = Address(host, self._server.sockets[0].getsockname()[1])
        log.info("%s: /metrics, /healthz and /readyz at http://%s", self._operated.name, self.address)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in [*self._connections]:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            # A client that reads or writes too slowly, or went away, is no concern of ours.
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                if len(self._connections) <= MAX_CONNECTIONS:
                    async with asyncio.timeout(DEADLINE_S):
                        await self._serve(reader, writer)
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            head = b""
        writer.write(self._answer(head.decode("latin-1")))
        writer.close()
        await writer.wait_closed()

    def _answer(self, head: str) -> bytes:
        line, *headers = head.split("\r\n")
        method, target, version = [*line.split(" "), "", ""][:3]
        if not version.startswith("HTTP/1.") or line.count(" ") != 2:
            return _response(HTTPStatus.BAD_REQUEST, "this is no HTTP/1.1 request, or its head is too large\n")
        hosts = [one.partition(":")[2].strip() for one in headers if one.lower().startswith("host:")]
        if self.address.loopback and not all(map(_is_ours, hosts)):
            text = "the Host of this request is no name of this machine's loopback: use localhost\n"
            return _response(HTTPStatus.MISDIRECTED_REQUEST, text)
        if method not in {"GET", "HEAD"}:
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, "GET or HEAD\n", more="Allow: GET, HEAD\r\n")
        status, body, kind = self._page(target.partition("?")[0])
        return _response(status, body, kind, only_head=method == "HEAD")

    def _page(self, path: str) -> tuple[HTTPStatus, str, str]:
        if path == "/metrics":
            return HTTPStatus.OK, exposition(self._operated.metrics()), CONTENT_TYPE
        if path not in {"/healthz", "/readyz"}:
            return HTTPStatus.NOT_FOUND, "try /metrics, /healthz or /readyz\n", _TEXT
        present = self._operated.present()
        ready = present.connected and not present.draining
        report = {
            "lambda": self._operated.name,
            "alive": True,
            "ready": ready,
            "connected": present.connected,
            "draining": present.draining,
            "partitions": present.partitions,
        }
        # A process that answers is alive, whether there is a sidecar or not: to start it anew would not help.
        status = HTTPStatus.OK if ready or path == "/healthz" else HTTPStatus.SERVICE_UNAVAILABLE
        return status, f"{json.dumps(report, indent=2)}\n", "application/json"


_TEXT: Final = "text/plain; charset=utf-8"


def _response(status: HTTPStatus, body: str, kind: str = _TEXT, *, more: str = "", only_head: bool = False) -> bytes:
    data = body.encode("utf-8", "backslashreplace")
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n"
        f"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n{more}\r\n"
    )
    return head.encode("latin-1") + (b"" if only_head else data)


def _is_ours(host: str) -> bool:
    """Whether a `Host` header, with or without a port, names loopback."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return _is_loopback(name.removesuffix("."))


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost" or name.lower().endswith(".localhost")
