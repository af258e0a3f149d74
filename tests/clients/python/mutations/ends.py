"""Mistakes about the end of a process and about connections."""

from __future__ import annotations

import asyncio
from typing import Any

from sdk_python import _client, _connection, serve
from tests.clients.python.mutations.planting import caught_by, put, wrap


@caught_by("sigterm-idle", 41)
def _ends_with_another_exit_code() -> None:
    def make(old: Any) -> Any:
        def served(*arguments: Any) -> int:
            old(*arguments)
            return 1

        return served

    wrap(serve, "_served", make)


@caught_by("sigterm-idle", 42)
def _a_spare_that_does_not_end() -> None:
    wrap(_client.Client, "stop", lambda old: lambda self: old(self) if self._lives else None)


@caught_by("calls-have-their-own", 43)
def _streams_and_calls_on_one_connection() -> None:
    def make(old: Any) -> Any:
        def opened(self: Any) -> Any:
            self._streaming.setdefault(self._calls, 0)
            return old(self)

        return opened

    wrap(_connection.Connection, "open", make)


@caught_by("hung-sidecar", 44)
def _no_pings() -> None:
    put(_connection, "_OPTIONS", [(n, v) for n, v in _connection._OPTIONS if "keepalive" not in n])


@caught_by("backs-off", 45)
def _no_back_off() -> None:
    put(_client, "_MAX_BACKOFF_S", 0.001)


@caught_by("sidecar-restarts", 45)
def _back_off_without_a_bound() -> None:
    put(_client, "_MIN_BACKOFF_S", 40.0)  # with jitter half of it, which is long after the sidecar is back
    put(_client, "_MAX_BACKOFF_S", 60.0)


@caught_by("unknown-lambda", 46)
def _a_refused_process_stays() -> None:
    wrap(_client.Client, "__init__", _welcomed)


def _welcomed(old: Any) -> Any:
    def init(self: Any, *arguments: Any) -> None:
        old(self, *arguments)
        self._welcomed = True

    return init


@caught_by("no-proxy", 47)
def _a_proxy_is_used() -> None:
    options = [(n, v) for n, v in _connection._OPTIONS if n != "grpc.enable_http_proxy"]
    put(_connection, "_OPTIONS", options)


@caught_by("token", 48)
def _calls_without_the_token() -> None:
    def make(old: Any) -> Any:
        async def call(self: Any, *arguments: Any) -> Any:
            kept, self._metadata = self._metadata, None
            task = asyncio.ensure_future(old(self, *arguments))
            await asyncio.sleep(0)
            self._metadata = kept
            return await task

        return call

    wrap(_connection.Connection, "_call", make)
