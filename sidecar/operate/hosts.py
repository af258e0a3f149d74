"""The check of the `Host` header against DNS rebinding.

A stranger's page can let its own name resolve to 127.0.0.1, and would then read our answers. The browser sends that
name as `Host`, so an endpoint on loopback answers only to names of loopback. An endpoint that others can reach is not
checked: we do not know the names that the operator gave it.
"""

from __future__ import annotations

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from sidecar.config.address import Endpoint


class HostCheck:
    """ASGI middleware that refuses requests with another host's name."""

    def __init__(self, app: ASGIApp, endpoint: Endpoint) -> None:
        self._app = app
        self._name = endpoint.host.lower()
        self._checks = endpoint.local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it with status 421."""
        given = [value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"host"]
        if self._checks and not all(self._is_ours(host) for host in given):
            text = "the Host of this request is no name of this machine's loopback: use localhost\n"
            await PlainTextResponse(text, 421)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        """Whether a `Host` header, with or without a port, names this endpoint."""
        name = host
        if host.startswith("["):
            name, bracket, rest = host[1:].partition("]")
            if not bracket or not (rest == "" or rest.startswith(":")):
                return False
        else:
            name = host.partition(":")[0]
        name = name.lower().removesuffix(".")
        return name == self._name or Endpoint(name, 0).loopback
