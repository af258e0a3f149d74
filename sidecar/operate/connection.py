"""HTTP connections with a deadline for each request and answer, and a limit on their number.

uvicorn itself bounds only the silence between two requests: a client that sends its request byte by byte, or does not
read the answer, could keep its connection for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_DEADLINE_S = 10.0
"""From a request's first byte, or from the connection's start, until the whole request must have arrived."""

READ_DEADLINE_S = 10.0
"""Within this time a client must read a part of an answer."""

MAX_CONNECTIONS = 100

MAX_HEAD_BYTES = 16 * 1024
"""The size of a request's line and headers."""

_WHOLE = (h11.DONE, h11.MUST_CLOSE, h11.CLOSED, h11.ERROR)


class Connection(H11Protocol):
    """uvicorn's connection, with deadlines."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._request = _Deadline(self, REQUEST_DEADLINE_S)
        self._reader = _Deadline(self, READ_DEADLINE_S)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Beyond ``MAX_CONNECTIONS``, abort the connection whose unfinished request is the oldest."""
        super().connection_made(transport)
        self._request.begin()
        if len(self.connections) > MAX_CONNECTIONS:
            waiting = [one for one in self.connections if isinstance(one, Connection) and one.due is not None]
            min(waiting, key=lambda one: one.due or 0.0).give_up()

    @property
    def due(self) -> float | None:
        """When the request must have arrived, in seconds of the loop's clock; None: it has."""
        return self._request.at

    def give_up(self) -> None:
        """Abort the connection. Its deadline ends first: uvicorn still lists it until `connection_lost`."""
        self._request.end()
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes of one request, or of several, have arrived."""
        self._request.begin()
        super().data_received(data)
        if self.conn.their_state in _WHOLE:
            self._request.end()

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        super().pause_writing()
        self._reader.begin()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._reader.end()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._request.end()
        self._reader.end()
        super().connection_lost(exc)


class _Deadline:
    """Aborts its connection when the time is over, unless `end` comes first."""

    def __init__(self, connection: Connection, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    @property
    def at(self) -> float | None:
        return None if self._timer is None else self._timer.when()

    def begin(self) -> None:
        """Start the timer, unless it runs."""
        if self._timer is None:
            self._timer = self._connection.loop.call_later(self._seconds, self._connection.transport.abort)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
