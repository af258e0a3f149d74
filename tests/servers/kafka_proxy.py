"""A TCP proxy in front of a Kafka broker that stops a client at a request of one's choice.

The broker has to send its clients here (``proxy`` of `KafkaServer`). The proxy reads the header of each request: its
API key, and the `client.id` of who sent it. `KafkaProxy.catch` plans a `Catch`: the next such request waits, before
the broker gets it, while the broker has it, or when the broker has answered. Whoever planned it then decides how it
goes on: as if nothing had been, or without this connection.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum, IntEnum
from types import TracebackType

_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]
"""Reads from, and writes to, one end of a connection."""


class Api(IntEnum):
    """The requests of a transactional producer, by Kafka's API keys."""

    PRODUCE = 0
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


class Moment(Enum):
    """When a caught request waits."""

    BEFORE = "before"
    """The broker does not have it."""
    SENT = "sent"
    """The broker has it; whether it has carried it out is open, and its answer does not come."""
    ANSWERED = "answered"
    """The broker has carried it out, and the client does not have the answer."""


class Catch:
    """A planned interruption of one request. Its methods may be called in any thread."""

    def __init__(self, api: Api, moment: Moment, loop: asyncio.AbstractEventLoop) -> None:
        self.api = api
        self.moment = moment
        self.client = ""
        """The `client.id` of who sent it, once it is caught."""
        self._loop = loop
        self._reached = threading.Event()
        self._decided = asyncio.Event()
        self._cut = False

    def wait(self, seconds: float) -> bool:
        """Wait until the request is caught. Returns whether it is."""
        return self._reached.wait(seconds)

    def let_go(self) -> None:
        """Go on as if nothing had been."""
        self._loop.call_soon_threadsafe(self._decided.set)

    def cut(self) -> None:
        """End the connection: what waits is lost."""
        self._cut = True
        self._loop.call_soon_threadsafe(self._decided.set)

    async def decided(self) -> bool:
        """The request is caught: wait for the decision. Returns whether the connection goes on. In the loop."""
        self._reached.set()
        await self._decided.wait()
        return not self._cut


class KafkaProxy:
    """Proxies for the brokers of a cluster, one for each; a context manager with one thread for all of them.

    Args:
        ports: where they listen on 127.0.0.1.
        to: the brokers' addresses as host:port, in the same order (`KafkaServer.proxied`).
    """

    def __init__(self, ports: Sequence[int], to: Sequence[str]) -> None:
        """Listens nowhere yet."""
        self._ways = [*zip(ports, to, strict=True)]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kafka-proxy")
        self._catches: list[Catch] = []
        self._listeners: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self.seen: Counter[int] = Counter()
        """How many requests came, by API key."""

    @property
    def address(self) -> str:
        """`bootstrap.servers` for clients that shall come through here."""
        return ",".join(f"127.0.0.1:{port}" for port, _ in self._ways)

    def catch(self, api: Api, moment: Moment) -> Catch:
        """Catch the next such request, whoever sends it."""
        planned = Catch(api, moment, self._loop)
        self._loop.call_soon_threadsafe(self._catches.append, planned)
        return planned

    def withdraw(self, planned: Catch) -> None:
        """Catch nothing; a request that was caught meanwhile goes on."""

        def remove() -> None:
            if planned in self._catches:
                self._catches.remove(planned)

        self._loop.call_soon_threadsafe(remove)
        planned.let_go()

    def __enter__(self) -> KafkaProxy:
        self._thread.start()
        for port, to in self._ways:
            asyncio.run_coroutine_threadsafe(self._listen(port, to), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- in the loop ------------------------------------------------------------------------------------------

    async def _listen(self, port: int, to: str) -> None:
        async def forward(near: _Ends) -> None:
            host, _, number = to.rpartition(":")
            far: _Ends | None = None
            try:
                far = await asyncio.open_connection(host, int(number))
            except OSError:  # the broker is down
                return
            finally:
                if far is None:
                    await _close(near)
            await _Connection(self, near, far).run()

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = self._loop.create_task(forward((reader, writer)))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

        self._listeners.append(await asyncio.start_server(accepted, "127.0.0.1", port))

    async def _end(self) -> None:
        for listener in self._listeners:
            listener.close()
        connections = [*self._connections]
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    def caught(self, api: int, client: str) -> Catch | None:
        """The catch that is planned for this request. In the loop."""
        self.seen[api] += 1
        for planned in self._catches:
            if planned.api == api:
                self._catches.remove(planned)
                planned.client = client
                return planned
        return None


class _Connection:
    """One connection of a client, and the one to its broker."""

    def __init__(self, proxy: KafkaProxy, near: _Ends, far: _Ends) -> None:
        self._proxy = proxy
        self._near = near
        self._far = far
        self._answers: dict[int, Catch] = {}
        """The requests whose answers wait for a decision, by correlation id."""
        self._client_is_gone = False

    async def run(self) -> None:
        """Pass frames on until one end closes, or a catch cuts."""
        ways = [asyncio.create_task(self._requests()), asyncio.create_task(self._responses())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            await _close(self._near, self._far)

    async def _requests(self) -> None:
        with suppress(OSError, EOFError):
            while True:
                frame = await _frame(self._near[0])
                api, correlation, client = _header(frame)
                planned = self._proxy.caught(api, client)
                if planned is not None and planned.moment is Moment.BEFORE:
                    if not await planned.decided():
                        return
                elif planned is not None:
                    self._answers[correlation] = planned
                await _send(self._far[1], frame)
                if planned is not None and planned.moment is Moment.SENT and not await planned.decided():
                    # A broker may drop the requests of a connection that is closed. So only the client's end is
                    # closed now, and the other when the broker has answered: then `_responses` returns.
                    self._client_is_gone = True
                    self._near[1].close()
                    await asyncio.Event().wait()

    async def _responses(self) -> None:
        with suppress(OSError, EOFError):
            while True:
                frame = await _frame(self._far[0])
                (correlation,) = struct.unpack(">i", frame[:4])
                planned = self._answers.pop(correlation, None)
                if planned is not None and not await planned.decided():
                    return
                if not self._client_is_gone:
                    await _send(self._near[1], frame)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """The next request or answer, without its size. Raises ``EOFError`` at the end."""
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


async def _close(*ends: _Ends) -> None:
    """Close them, and wait until they are: the loop may be closed next."""
    for _, writer in ends:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for _, writer in ends), return_exceptions=True)


async def _send(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(struct.pack(">i", len(frame)) + frame)
    await writer.drain()


def _header(frame: bytes) -> tuple[int, int, str]:
    """API key, correlation id and `client.id` of a request."""
    api, _, correlation, size = struct.unpack(">hhih", frame[:10])
    return api, correlation, frame[10 : 10 + max(0, size)].decode(errors="replace")
