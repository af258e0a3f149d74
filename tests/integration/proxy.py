"""A TCP proxy that can behave like a cut cable: its connections stay open, but no byte passes."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress
from types import TracebackType

_CHUNK = 65536


class Proxy:
    """Listens on loopback and forwards to ``to`` (host:port). A context manager with a thread of its own."""

    def __init__(self, to: str) -> None:
        host, _, port = to.rpartition(":")
        self._to = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector = selectors.DefaultSelector()
        self._other: dict[socket.socket, socket.socket] = {}
        self._cut = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy")

    @property
    def address(self) -> str:
        """The address on which it listens, as host:port."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """Stop forwarding without closing connections; new connections wait."""
        self._cut.set()

    def mend(self) -> None:
        """Forward again, with everything that was sent meanwhile, in order."""
        self._cut.clear()

    def __enter__(self) -> Proxy:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        for one in [*self._other, self._listener]:
            one.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._over.is_set():
            if self._cut.is_set():
                self._over.wait(0.02)  # incoming bytes stay in the sockets
                continue
            for key, _ in self._selector.select(0.02):
                one = key.fileobj
                assert isinstance(one, socket.socket)
                if one is self._listener:
                    self._accept()
                elif one in self._other:
                    self._pass_on(one)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(self._to)
        except OSError:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            self._other[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, one: socket.socket) -> None:
        other = self._other[one]
        data = b""
        with suppress(OSError):
            data = one.recv(_CHUNK)
            other.sendall(data)
        if not data:
            for end in (one, other):
                self._selector.unregister(end)
                del self._other[end]
                end.close()
