"""One HTTP connection, bounded: in time, whatever its client does, and in number.

uvicorn itself bounds only the silence between two requests. A client that sends its request byte by byte, or does not
read the answer, would stay for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_DEADLINE = 10.0
"""Seconds from a request's first byte, or from the connection's begin, until all of it must be there."""

READ_DEADLINE = 10.0
"""Seconds within which a client must take something of an answer."""

MOST_CONNECTIONS = 100

LARGEST_HEAD = 16 * 1024
"""Bytes of a request's line and headers."""

_WHOLE = (h11.DONE, h11.MUST_CLOSE, h11.CLOSED, h11.ERROR)


class Connection(H11Protocol):
    """uvicorn's, with deadlines."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._request = _Deadline(self, REQUEST_DEADLINE)
        self._reader = _Deadline(self, READ_DEADLINE)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Beyond the most, the oldest that has yet to finish a request goes: it may never do so."""
        super().connection_made(transport)
        self._request.begin()
        if len(self.connections) > MOST_CONNECTIONS:
            waiting = [one for one in self.connections if isinstance(one, Connection) and one.due is not None]
            min(waiting, key=lambda one: one.due or 0.0).give_up()

    @property
    def due(self) -> float | None:
        """When its request must be whole, on the loop's clock; None: it is."""
        return self._request.at

    def give_up(self) -> None:
        """End it at once. It is over only when the loop says so, and is not to be given up twice until then."""
        self._request.end()
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """A part of a request, or several."""
        self._request.begin()
        super().data_received(data)
        if self.conn.their_state in _WHOLE:
            self._request.end()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is written to."""
        super().pause_writing()
        self._reader.begin()

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        self._reader.end()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._request.end()
        self._reader.end()
        super().connection_lost(exc)


class _Deadline:
    """Ends its connection, unless it is ended before."""

    def __init__(self, connection: Connection, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    @property
    def at(self) -> float | None:
        return None if self._timer is None else self._timer.when()

    def begin(self) -> None:
        """Unless it has begun."""
        if self._timer is None:
            self._timer = self._connection.loop.call_later(self._seconds, self._connection.transport.abort)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
