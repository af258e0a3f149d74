"""Hands shared memory to lambda processes: over a second Unix socket, since gRPC passes no file descriptors.

The socket lies beside the first one, in the same folder and with the same mode. So a process reaches it where it
reaches the first, also in another container that shares the folder. It proves by a token which stream is its own.

Owner: the event loop.
"""

import asyncio
import secrets
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path

from sidecar.logs import get_logger
from sidecar.server import unix_socket
from sidecar.shared_memory.memory import SharedMemory

SUFFIX = ".memory"
"""Of the socket's path. Part of the contract (`SharedMemory` in ``proto/lambda.proto``)."""

TOKEN_LENGTH = 32
"""Bytes of a token on the wire."""

TIMEOUT_S = 2.0
"""A connection that has not sent its token by then is closed."""

MAX_CONNECTIONS = 64
"""With a connection more, the oldest one is closed: honest ones send their token at once."""

BACKLOG = 128
"""Connections that wait to be accepted: many partitions may begin at once."""

_log = get_logger(__name__)


class Share:
    """The memory that is offered to one stream. It is made when the process fetches it."""

    def __init__(self, size: int) -> None:
        self.size = size
        """Bytes of the ring."""
        self.token = secrets.token_hex(TOKEN_LENGTH // 2)
        self._memory: SharedMemory | None = None
        self._taken = False

    def make(self) -> SharedMemory | None:
        """Make the memory, for the process that fetches it; None: another connection did. Raises ``OSError``."""
        if self._memory is not None:
            return None
        self._memory = SharedMemory(self.size)
        return self._memory

    def take(self) -> SharedMemory | None:
        """The memory, which is the caller's from now on; None: nobody has fetched it."""
        self._taken = True
        return self._memory

    def end(self) -> None:
        """The stream has ended. What was taken is voided by whoever took it."""
        if self._memory is not None and not self._taken:
            self._memory.void()


class MemoryDesk:
    """All memory that is offered, and the socket where it is fetched."""

    def __init__(self, total: int) -> None:
        """``total``: bytes of all streams' rings together."""
        self._left = total
        self._offered: dict[str, Share] = {}
        self._path = ""
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._connections: dict[asyncio.Task[None], socket.socket] = {}

    def offer(self, size: int) -> Share | None:
        """Memory for a stream; None: all that there may be is in use."""
        if self._listener is None or size > self._left:
            return None
        self._left -= size
        share = Share(size)
        self._offered[share.token] = share
        return share

    def end(self, share: Share) -> None:
        """Its stream has ended."""
        del self._offered[share.token]
        self._left += share.size
        share.end()

    @property
    def in_use(self) -> int:
        """Bytes of the rings that are offered or in use."""
        return sum(share.size for share in self._offered.values())

    def start(self, path: str, mode: int) -> None:
        """Listen beside the socket at ``path``. Raises ``OSError``, which names the address."""
        where = path + SUFFIX
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.setblocking(False)
            with unix_socket.made(where, mode, f"unix://{where}"):
                Path(where).unlink(missing_ok=True)
                listener.bind(where)
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
        self._path, self._listener = where, listener
        self._accepting = asyncio.ensure_future(self._accept(listener))

    async def stop(self) -> None:
        """Hand out nothing any more."""
        if self._listener is None or self._accepting is None:
            return
        tasks = [self._accepting, *self._connections]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()
        self._listener = None
        Path(self._path).unlink(missing_ok=True)  # noqa: ASYNC240 - takes no time

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:  # no descriptors left: clients take their frames from the stream meanwhile
                _log.warning("shared memory cannot be fetched", error=str(error))
                await asyncio.sleep(TIMEOUT_S)
                continue
            if len(self._connections) >= MAX_CONNECTIONS:
                oldest = next(iter(self._connections))
                del self._connections[oldest]
                oldest.cancel()
            task = asyncio.ensure_future(self._serve(connection))
            self._connections[task] = connection
            task.add_done_callback(partial(self._served, connection))
            await asyncio.sleep(0)  # accepting does not wait while there are more

    def _served(self, connection: socket.socket, task: "asyncio.Task[None]") -> None:
        """Also for a task that was cancelled before it began."""
        self._connections.pop(task, None)
        connection.close()

    async def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(TIMEOUT_S):
                token = await _token_from(connection)
            share = self._offered.get(token)
            memory = None if share is None else share.make()
            if memory is None:
                return
            try:
                socket.send_fds(connection, [b"\x01"], [memory.descriptor])
            finally:
                memory.close_descriptor()


async def _token_from(connection: socket.socket) -> str:
    """The token; something else if the client sends something else. Raises ``OSError``."""
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < TOKEN_LENGTH:
        more = await loop.sock_recv(connection, TOKEN_LENGTH - len(data))
        if not more:
            break
        data += more
    return data.decode("ascii", "replace")
