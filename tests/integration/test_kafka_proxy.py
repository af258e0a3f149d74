"""The proxy of the crash matrix: it stops the request that is meant, and lets all others pass."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from tests.servers.kafka_proxy import Api, KafkaProxy, Moment
from tests.servers.process import free_ports

PATIENCE = 30.0


class Server:
    """In the place of a broker: it keeps the requests, and answers each with its correlation id."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self.requests: list[int] = []
        """The correlation ids."""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                one, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        with one:
            while (head := one.recv(4, socket.MSG_WAITALL)) and len(head) == 4:
                (size,) = struct.unpack(">i", head)
                frame = one.recv(size, socket.MSG_WAITALL)
                (correlation,) = struct.unpack(">i", frame[4:8])
                self.requests.append(correlation)
                one.sendall(struct.pack(">ii", 4, correlation))

    def close(self) -> None:
        self._listener.close()


class Client:
    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)

    def send(self, api: int, correlation: int) -> None:
        frame = struct.pack(">hhih", api, 0, correlation, 2) + b"me" + b"payload"
        self._socket.sendall(struct.pack(">i", len(frame)) + frame)

    def answer(self) -> int | None:
        """The correlation id of the next answer; None: the connection has ended."""
        try:
            answer = self._socket.recv(8, socket.MSG_WAITALL)
        except ConnectionResetError:
            return None
        return int(struct.unpack(">ii", answer)[1]) if answer else None

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def way() -> Iterator[tuple[Client, KafkaProxy, Server]]:
    near, far = free_ports(2)
    server = Server(far)
    with KafkaProxy([near], [f"127.0.0.1:{far}"]) as proxy:
        client = Client(near)
        yield client, proxy, server
        client.close()
    server.close()


def test_other_requests_pass_and_are_counted(way: tuple[Client, KafkaProxy, Server]) -> None:
    client, proxy, _ = way
    proxy.catch(Api.END_TXN, Moment.BEFORE)
    for number in range(3):
        client.send(Api.PRODUCE, number)
        assert client.answer() == number
    assert proxy.seen == {Api.PRODUCE: 3}


@pytest.mark.parametrize(("moment", "had"), [(Moment.BEFORE, []), (Moment.SENT, [5]), (Moment.ANSWERED, [5])])
def test_a_caught_request_is_cut(way: tuple[Client, KafkaProxy, Server], moment: Moment, had: list[int]) -> None:
    client, proxy, server = way
    caught = proxy.catch(Api.END_TXN, moment)
    client.send(Api.END_TXN, 5)
    assert caught.wait(PATIENCE)
    assert caught.client == "me"
    caught.cut()
    assert client.answer() is None
    if moment is Moment.ANSWERED:
        assert server.requests == had
    assert server.requests in ([], had)


@pytest.mark.parametrize("moment", [*Moment])
def test_a_caught_request_goes_on(way: tuple[Client, KafkaProxy, Server], moment: Moment) -> None:
    client, proxy, server = way
    caught = proxy.catch(Api.END_TXN, moment)
    client.send(Api.END_TXN, 5)
    assert caught.wait(PATIENCE)
    if moment is Moment.BEFORE:
        assert server.requests == []
    caught.let_go()
    assert client.answer() == 5
    client.send(Api.END_TXN, 6)
    assert client.answer() == 6
    assert server.requests == [5, 6]


def test_what_is_withdrawn_is_not_caught(way: tuple[Client, KafkaProxy, Server]) -> None:
    client, proxy, _ = way
    proxy.withdraw(proxy.catch(Api.END_TXN, Moment.BEFORE))
    client.send(Api.END_TXN, 5)
    assert client.answer() == 5
