"""The examples run as their docstrings say, with a real sidecar, and make progress."""

from __future__ import annotations

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.clients import languages
from tests.integration import checks
from tests.integration.conftest import need
from tests.integration.harness import Sidecar, Stage, wait_for
from tests.servers.process import free_ports
from tests.servers.topics import Record

SERVE = [sys.executable, "-m", "sdk_python.serve"]


def start(stage: Stage, count: int = 300, partitions: int = 2, **config: Any) -> Sidecar:
    """Produce some lines of words and start a sidecar; ``config`` replaces parts of its config."""
    stage.create_topic(partitions)
    stage.produce(
        Record(value=b"line %d of words" % number, partition=number % partitions) for number in range(count)
    )
    return stage.sidecar({**stage.config(), **config})


def test_one_function(embedded_stage: Stage) -> None:
    stage = embedded_stage
    sidecar = start(stage)
    process = stage.program("words", [*SERVE, "echo", "examples.one_function", "--address", sidecar.address])
    process.wait_for_log("[(b'line', ")
    stage.wait_until_caught_up()
    assert process.terminate() == 0


def test_async_function(embedded_stage: Stage) -> None:
    stage = embedded_stage
    sidecar = start(stage)
    process = stage.program("saver", [*SERVE, "echo", "examples.async_function", "--address", sidecar.address])
    stage.wait_until_caught_up()
    assert process.terminate() == 0


def test_four_interfaces(embedded_stage: Stage) -> None:
    stage = embedded_stage
    sidecar = start(stage)
    folder = stage.folder / "archive"
    command = [*SERVE, "echo", "examples.four_interfaces", "--address", sidecar.address, "--set", f"folder={folder}"]
    process = stage.program("archive", command)
    # It saves 100 at a time, and the rest of each partition when the process ends.
    wait_for(lambda: stage.committed() == {0: 100, 1: 100}, lambda: f"{stage.committed()}")
    assert process.terminate() == 0
    wait_for(lambda: checks.caught_up(stage.committed(), stage.end_offsets()), lambda: f"{stage.committed()}")
    saved = [(folder / f"{stage.topic}-{partition}").read_bytes().splitlines() for partition in range(2)]
    assert saved[0] == [b"line %d of words" % number for number in range(0, 300, 2)]
    assert saved[1] == [b"line %d of words" % number for number in range(1, 300, 2)]


class SlowEndpoint:
    """An HTTP endpoint that takes a while for each call, and remembers them; a context manager."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.most = 0
        """Calls at the same time."""
        endpoint = self
        lock = threading.Lock()
        under_way = 0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                nonlocal under_way
                with lock:
                    under_way += 1
                    endpoint.most = max(endpoint.most, under_way)
                    endpoint.bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
                time.sleep(0.02)
                with lock:
                    under_way -= 1
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> SlowEndpoint:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def test_http_caller_over_lanes(embedded_stage: Stage) -> None:
    """One partition, and many calls at a time; those of a key one after the other."""
    stage = embedded_stage
    with SlowEndpoint() as endpoint:
        stage.create_topic(1)
        stage.produce(Record(value=b"%d:%d" % (n % 20, n // 20), key=b"%d" % (n % 20)) for n in range(200))
        settings = {"url": endpoint.url}
        sidecar = stage.sidecar(lanes=8, settings=settings, window={"messages": 400})
        process = stage.program("caller", [*SERVE, "echo", "examples.http_caller", "--address", sidecar.address])
        stage.wait_until_caught_up()
        assert process.terminate() == 0
        for key in range(20):
            calls = [body for body in endpoint.bodies if body.startswith(f"{key}:")]
            assert calls == [f"{key}:{number}" for number in range(10)]
        assert endpoint.most > 1


@pytest.mark.parametrize("language", languages.LANGUAGES)
def test_by_hand(embedded_stage: Stage, language: str) -> None:
    need(languages.missing([language]))
    stage = embedded_stage
    address = f"127.0.0.1:{free_ports(1)[0]}"
    sidecar = start(stage, partitions=1, server={"listen": address})
    sidecar.wait_until_listening()
    process = stage.program("by hand", [*languages.command(language, "by_hand"), "echo", address])
    wait_for(lambda: "line 299 of words" in process.text(), "all lines")
    stage.wait_until_caught_up()
    # The sidecar ends its stream, so the example ends too.
    assert sidecar.terminate() == 0
    assert process.ended() == 0
