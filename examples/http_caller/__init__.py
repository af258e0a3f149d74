"""Calls a slow HTTP endpoint for each record: in the order of each key, and many keys at a time. See README.md."""

import asyncio
import http.client
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import urlsplit

from sdk_python import IContext, Message

_RETRY_S: Final = 5.0
"""Seconds until an endpoint that is away is tried again."""


class RefusedError(Exception):
    """The endpoint does not want this record, and will not want it later."""


class Endpoint:
    """Posts to one URL, on a thread for each call at a time, over connections that stay open."""

    def __init__(self, url: str, timeout: float, calls: int) -> None:
        """``timeout``: of each step of a call, in seconds. ``calls``: how many may be under way in this process."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"settings.url: expected http://HOST/PATH or https://HOST/PATH, got {url!r}")
        self._is_https = parts.scheme == "https"
        self._host = parts.netloc
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout = timeout
        self._threads = ThreadPoolExecutor(calls, "http-call")
        self._idle: deque[http.client.HTTPConnection] = deque()
        self._is_closed = False

    async def post(self, message: Message) -> None:
        """Post the record.

        Raises `RefusedError` when the answer is 4xx (but for 408 and 429), and ``OSError`` or ``HTTPException`` when
        there is no answer, or one that may be better later.
        """
        await asyncio.get_running_loop().run_in_executor(self._threads, self._post, message)

    def close(self) -> None:
        """Begin no call any more, and close the connections."""
        self._is_closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        while self._idle:
            self._idle.pop().close()

    def _post(self, message: Message) -> None:
        try:
            connection = self._idle.pop()  # of a deque, so that two threads do not get the same one
        except IndexError:
            status, reason, text = self._ask(self._new(), message)
        else:
            try:
                status, reason, text = self._ask(connection, message)
            except ConnectionError:  # it was idle for longer than the endpoint allows
                status, reason, text = self._ask(self._new(), message)
        if 400 <= status < 500 and status not in (408, 429):
            raise RefusedError(f"{status} {reason}: {text[:200]}")
        if not 200 <= status < 300:
            raise http.client.HTTPException(f"{status} {reason}")

    def _new(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._is_https else http.client.HTTPConnection
        return kind(self._host, timeout=self._timeout)

    def _ask(self, connection: http.client.HTTPConnection, message: Message) -> tuple[int, str, str]:
        """Make one call; returns the status, its name and the text."""
        headers = {"Idempotency-Key": f"{message.topic}/{message.partition}/{message.offset}"}
        try:
            connection.request("POST", self._target, message.value or b"", headers)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        except BaseException:
            connection.close()  # an answer may still come on it
            raise
        if self._is_closed:
            connection.close()
        else:
            self._idle.append(connection)
        return response.status, response.reason, text


class Caller:
    """The lambda of one lane: it has some of the partition's keys, and one call under way at a time."""

    def __init__(self, endpoint: Endpoint, context: IContext) -> None:
        self._endpoint = endpoint
        self._context = context

    async def handler(self, message: Message) -> None:
        """Call the endpoint. A record that it refuses is critical: the lambda's ``on_critical`` decides."""
        self._context.progress(f"calls for offset {message.offset}")
        try:
            await self._endpoint.post(message)
        except (OSError, http.client.HTTPException) as error:
            self._context.pause(f"the endpoint: {error}", _RETRY_S, message.offset)
        else:
            self._context.checkpoint(message.offset)


class Factory:
    """Makes the lambda of each lane; all of them share the threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def create(self, config: Mapping[str, Any], context: IContext) -> Caller:  # noqa: ARG002
        """Make the lambda of one lane."""
        return Caller(self._endpoint, context)

    async def dispose(self) -> None:
        """End the threads."""
        self._endpoint.close()


class Plugin:
    """Reads the settings ``url``, ``timeout`` (seconds, 30) and ``calls`` (64)."""

    async def create(self, config: Mapping[str, Any]) -> Factory:
        """Make the factory. Raises ``ValueError`` when the URL is none."""
        return Factory(Endpoint(config["url"], float(config.get("timeout", 30)), int(config.get("calls", 64))))


plugin = Plugin()
