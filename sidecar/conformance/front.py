"""The address that the client dials: passes bytes between its connections and the kit's gRPC server.

So a script can cut connections, refuse them, or stand still like a process under SIGSTOP, and the kit can tell
connections apart, also those of a Unix socket.

Owner: the event loop. Each connection has two tasks, one for each direction.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

from sidecar.conformance.events import Kind
from sidecar.conformance.trace import Trace

_CHUNK = 256 * 1024
_GOAWAY = 7
_TOO_MANY_PINGS = b"too_many_pings"
"""What gRPC says in the GOAWAY with ENHANCE_YOUR_CALM; that status alone may mean something else."""
_FRAME_HEADER = 9


class Http2Reader:
    """Finds the frames that a server sends on an HTTP/2 connection. Pure."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """Take bytes; returns type, flags and payload of each frame that is complete."""
        self._data += data
        frames = []
        while len(self._data) >= _FRAME_HEADER:
            end = _FRAME_HEADER + int.from_bytes(self._data[:3])
            if len(self._data) < end:
                break
            frames.append((self._data[3], self._data[4], bytes(self._data[_FRAME_HEADER:end])))
            del self._data[:end]
        return frames


class _Connection:
    def __init__(self, number: int, writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self.number = number
        self._writers = writers

    def abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


class Front:
    """Listens on an address and passes connections on to a port of this machine."""

    def __init__(self, trace: Trace, port: int, *, path: Path | None = None, encrypted: bool = False) -> None:
        """``port``: of the gRPC server. ``path``: listen on this Unix socket; None: on a free port."""
        self._trace = trace
        self._server_port = port
        self._path = path
        self._port = 0
        self._encrypted = encrypted
        self._listener: asyncio.Server | None = None
        self._holder: socket.socket | None = None
        self._connections: dict[int, _Connection] = {}
        self._numbers: dict[int, int] = {}  # by the port from which the front dials the server
        self._count = 0
        self._flowing = asyncio.Event()
        self._flowing.set()

    @property
    def address(self) -> str:
        """What the client dials."""
        return f"127.0.0.1:{self._port}" if self._path is None else f"unix://{self._path}"

    def number_of(self, peer: str) -> int:
        """The number of the connection that gRPC names ``peer``; 0: unknown."""
        port = peer.rpartition(":")[2]
        return self._numbers.get(int(port), 0) if port.isdecimal() else 0

    async def listen(self) -> None:
        """Accept connections, at the same address as before."""
        if self._path is None:
            if not self._port:
                self._port = self._reserved()
            where = ("127.0.0.1", self._port)
            self._listener = await asyncio.start_server(self._accepted, *where, limit=_CHUNK, reuse_port=True)
        else:
            self._listener = await asyncio.start_unix_server(self._accepted, self._path, limit=_CHUNK)

    def _reserved(self) -> int:
        """A port that stays this front's until `close`, also while nobody listens.

        The client dials it again, and must not reach the front of a case that runs beside this one.
        """
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._holder.bind(("127.0.0.1", 0))
        port: int = self._holder.getsockname()[1]
        return port

    def refuse(self) -> None:
        """Accept no more connections: nobody listens any more."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def cut(self, number: int | None = None) -> None:
        """End this connection, or all, without a word."""
        for connection in [*self._connections.values()]:
            if number in (None, connection.number):
                self._over(connection)
                connection.abort()

    def freeze(self) -> None:
        """Stand still: connections stay, and no byte passes."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Go on."""
        self._flowing.set()

    def close(self) -> None:
        """End everything."""
        self.refuse()
        self.thaw()
        self.cut()
        if self._holder is not None:
            self._holder.close()

    def _over(self, connection: _Connection) -> None:
        if self._connections.pop(connection.number, None) is not None:
            self._trace.add(Kind.CUT, connection=connection.number)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._server_port, limit=_CHUNK)
        except OSError:
            writer.transport.abort()
            return
        self._count += 1
        connection = _Connection(self._count, (writer, inner_writer))
        self._connections[connection.number] = connection
        self._numbers[inner_writer.get_extra_info("sockname")[1]] = connection.number
        self._trace.add(Kind.CONNECTED, connection=connection.number)
        outward = asyncio.create_task(
            self._pass(inner_reader, writer, None if self._encrypted else connection.number)
        )
        inward = asyncio.create_task(self._pass(reader, inner_writer, None))
        try:
            # gRPC never ends one direction alone.
            await asyncio.wait([outward, inward], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._over(connection)
            outward.cancel()
            inward.cancel()
            writer.close()
            inner_writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, watched: int | None) -> None:
        http2 = Http2Reader()
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._flowing.wait()
                writer.write(data)
                if watched is not None:
                    for kind, _, payload in http2.feed(data):
                        if kind == _GOAWAY and payload[8:].startswith(_TOO_MANY_PINGS):
                            self._trace.add(Kind.CALMED, connection=watched)
                await writer.drain()
