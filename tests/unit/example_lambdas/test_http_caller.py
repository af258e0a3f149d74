"""The example that calls a slow endpoint, with an endpoint of the test's own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from examples import http_caller
from sdk_python.testing import FakeSidecar
from sidecar.config.load import load


class Answers:
    """What the endpoint says next, and what it was asked."""

    def __init__(self) -> None:
        self.next: list[int] = []
        self.asked: list[tuple[str, str, bytes]] = []
        self.url = ""
        self.closes = False
        """It ends the connection after an answer, without saying so."""


@contextmanager
def endpoint() -> Iterator[Answers]:
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answers.asked.append((self.path, self.headers["Idempotency-Key"], body))
            self.send_response(answers.next.pop(0) if answers.next else 200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")
            self.close_connection = answers.closes

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    answers.url = f"http://127.0.0.1:{server.server_port}/orders?from=kafka"
    try:
        yield answers
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_each_record_is_posted_and_checkpointed() -> None:
    with endpoint() as answers:
        async with FakeSidecar(http_caller.plugin, settings={"url": answers.url}, topic="orders") as sidecar:
            await sidecar.feed(b"one", None)
            assert sidecar.checkpoints == [0, 1]
            assert sidecar.progress[0] == "calls for offset 0"
        target = "/orders?from=kafka"
        assert answers.asked == [(target, "orders/0/0", b"one"), (target, "orders/0/1", b"")]


@pytest.mark.parametrize("status", [500, 503, 429, 408, 302])
async def test_an_endpoint_that_is_away_is_tried_again(status: int) -> None:
    with endpoint() as answers:
        answers.next = [200, status]
        async with FakeSidecar(http_caller.plugin, settings={"url": answers.url}) as sidecar:
            await sidecar.feed(b"one", b"two", b"three")
            assert sidecar.paused is not None
            assert str(status) in sidecar.paused
            assert sidecar.checkpoints == [0]
            await sidecar.resume()
            assert sidecar.checkpoints == [0, 1, 2]
    assert [body for _, _, body in answers.asked] == [b"one", b"two", b"two", b"three"]


async def test_a_connection_that_the_endpoint_has_closed_is_made_anew() -> None:
    with endpoint() as answers:
        answers.closes = True
        async with FakeSidecar(http_caller.plugin, settings={"url": answers.url}) as sidecar:
            await sidecar.feed(b"one", b"two", b"three")
            assert (sidecar.paused, sidecar.checkpoints) == (None, [0, 1, 2])


async def test_a_connection_that_cannot_be_made_is_a_pause() -> None:
    with endpoint() as answers:
        url = answers.url  # nobody listens there when the endpoint is gone
    async with FakeSidecar(http_caller.plugin, settings={"url": url, "timeout": 5}) as sidecar:
        await sidecar.feed(b"one")
        assert sidecar.paused is not None
        assert "refused" in sidecar.paused


async def test_a_record_that_the_endpoint_refuses_is_critical() -> None:
    with endpoint() as answers:
        answers.next = [422]
        async with FakeSidecar(http_caller.plugin, settings={"url": answers.url}) as sidecar:
            await sidecar.feed(b"one")
            (error,) = sidecar.errors
            assert (error.action, error.offset) == ("critical", 0)
            assert "422" in error.message
            assert "hello" in error.message


@pytest.mark.parametrize("url", ["example.com/x", "ftp://example.com", "http:///x"])
async def test_a_url_that_is_none_is_refused_at_start(url: str) -> None:
    with pytest.raises(ValueError, match=r"settings\.url"):
        await http_caller.plugin.create({"url": url})


def test_its_config_is_one() -> None:
    config = load(Path(http_caller.__file__).with_name("config.yaml"), {})
    assert config.lambdas["http-caller"].lanes == 16
