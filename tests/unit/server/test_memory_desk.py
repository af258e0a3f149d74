"""Shared memory on the wire: who is offered some, who gets it, and who does not."""

import asyncio
import os
import platform
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from structlog.testing import capture_logs

from sdk_python._shared_memory import MappedMemory, fetched
from sdk_python.protocol import lambda_pb2 as pb
from sidecar.mail import letters
from sidecar.partitions.vocabulary import Assign, Lane
from sidecar.server import memory_desk
from sidecar.shared_memory.memory import MIN_FRAME_BYTES, why_impossible
from sidecar.shared_memory.ring import ring_size

from .bench import Call
from .wire import P0, Client, Wire, running

pytestmark = pytest.mark.skipif(why_impossible() != "", reason="needs Linux on x86-64")

RING = ring_size(5_000)
"""Bytes: four frames of the test's lambdas."""


@asynccontextmanager
async def on_socket(folder: Path, **server: object) -> AsyncIterator[tuple[Wire, Client, str]]:
    """A server that shares memory on a Unix socket, a client of it, and the socket's path."""
    path = str(folder / "s")
    server = {"listen": f"unix://{path}", "shared_memory": "64MiB", **server}
    async with running(**server) as wire, wire.client() as client:
        yield wire, client, path


async def offered(wire: Wire, client: Client, lease: str = "L1") -> tuple[Call, pb.Assigned]:
    """A stream of a client that can share memory, after Assigned."""
    call, stream = await wire.available(client, capabilities=["shared-memory"])
    wire.deli.say(Assign(stream, lease, Lane(P0), 4, 1))
    assigned: pb.Assigned = await call.expect("assigned")
    return call, assigned


async def test_memory_is_offered_fetched_and_given_to_the_thread(tmp_path: Path) -> None:
    async with on_socket(tmp_path) as (wire, client, path):
        call, assigned = await offered(wire, client)
        assert assigned.shared_memory.bytes == RING
        mapped = await fetched(path, assigned.shared_memory)
        assert mapped is not None
        await call.say(ready=pb.Ready(lease="L1", shared_memory=True))
        memory = (await wire.deli.expect(letters.Ready)).memory
        assert memory is not None
        position = memory.place(MIN_FRAME_BYTES)
        assert position is not None
        memory.memory[memory.at(position)] = 42
        data = mapped.copy(pb.SharedFrame(position=position, length=MIN_FRAME_BYTES))
        assert (len(data), data[0]) == (MIN_FRAME_BYTES, 42)
        mapped.close()


async def test_the_socket_has_the_mode_of_the_other_and_is_gone_afterwards(tmp_path: Path) -> None:
    async with on_socket(tmp_path, socket_mode="0600") as (_, _, path):
        where = path + memory_desk.SUFFIX
        assert mode_of(where) == 0o600
    assert not there(where)


@pytest.mark.parametrize("token", [b"x" * 32, b"\xff" * 32])
async def test_a_wrong_token_gets_nothing(tmp_path: Path, token: bytes) -> None:
    async with on_socket(tmp_path) as (wire, client, path):
        await offered(wire, client)
        assert await ask(path, token) == []


async def test_a_token_is_good_for_one_connection(tmp_path: Path) -> None:
    async with on_socket(tmp_path) as (wire, client, path):
        _, assigned = await offered(wire, client)
        token = assigned.shared_memory.token.encode()
        [descriptor] = await ask(path, token)
        os.close(descriptor)
        assert await ask(path, token) == []


async def test_who_does_not_fetch_it_works_without(tmp_path: Path) -> None:
    async with on_socket(tmp_path) as (wire, client, _):
        call, _ = await offered(wire, client)
        await call.say(ready=pb.Ready(lease="L1"))
        assert (await wire.deli.expect(letters.Ready)).memory is None


async def test_memory_that_was_not_fetched_cannot_be_shared(tmp_path: Path) -> None:
    async with on_socket(tmp_path) as (wire, client, _):
        call, _ = await offered(wire, client)
        await call.say(ready=pb.Ready(lease="L1", shared_memory=True))
        status, text = await call.ended()
        assert status is grpc.StatusCode.INVALID_ARGUMENT
        assert "ready.shared_memory" in text


async def test_memory_is_void_and_free_again_when_its_stream_ends_before_ready(tmp_path: Path) -> None:
    async with on_socket(tmp_path, shared_memory=RING) as (wire, client, path):
        call, assigned = await offered(wire, client)
        mapped = await fetched(path, assigned.shared_memory)
        assert isinstance(mapped, MappedMemory)
        _, second = await offered(wire, client, "L2")
        assert not second.HasField("shared_memory"), "all that there may be is in use"
        await call.half_close()
        await wire.deli.expect(letters.StreamLost)
        assert mapped.is_void
        _, third = await offered(wire, client, "L3")
        assert third.HasField("shared_memory")
        mapped.close()


async def test_silent_connections_keep_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_desk, "TIMEOUT_S", 3600.0)
    monkeypatch.setattr(memory_desk, "MAX_CONNECTIONS", 4)
    async with on_socket(tmp_path) as (wire, client, path):
        _, assigned = await offered(wire, client)
        silent = [socket.socket(socket.AF_UNIX) for _ in range(8)]
        loop = asyncio.get_running_loop()
        for one in silent:
            one.setblocking(False)
            await loop.sock_connect(one, path + memory_desk.SUFFIX)
        mapped = await fetched(path, assigned.shared_memory)
        assert mapped is not None
        mapped.close()
        for one in silent:
            one.close()


async def test_over_tcp_nobody_is_offered_any(wire: Wire, client: Client) -> None:
    call, stream = await wire.available(client, capabilities=["shared-memory"])
    wire.deli.say(Assign(stream, "L1", Lane(P0), 4, 1))
    assert not (await call.expect("assigned")).HasField("shared_memory")


async def test_without_a_size_there_is_none(tmp_path: Path) -> None:
    async with running(listen=f"unix://{tmp_path}/s") as wire, wire.client() as client:
        await offers_none(wire, client, tmp_path)


async def test_off_is_off(tmp_path: Path) -> None:
    async with on_socket(tmp_path, shared_memory="off") as (wire, client, _):
        await offers_none(wire, client, tmp_path)


async def test_on_another_processor_there_is_none_and_the_log_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with capture_logs() as logs:
        async with on_socket(tmp_path) as (wire, client, _):
            await offers_none(wire, client, tmp_path)
    [said] = [entry for entry in logs if "server.shared_memory" in entry["event"]]
    assert said["log_level"] == "warning"
    assert "x86-64" in said["reason"]


async def offers_none(wire: Wire, client: Client, folder: Path) -> None:
    """Nobody is offered memory, and the second socket is not there."""
    _, assigned = await offered(wire, client)
    assert not assigned.HasField("shared_memory")
    assert not there(f"{folder}/s{memory_desk.SUFFIX}")


def mode_of(path: str) -> int:
    return Path(path).stat().st_mode & 0o777


def there(path: str) -> bool:
    return Path(path).exists()


async def ask(path: str, token: bytes) -> list[int]:
    """The descriptors that come for this token."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, path + memory_desk.SUFFIX)
        await loop.sock_sendall(connection, token)
        readable = asyncio.Event()
        loop.add_reader(connection, readable.set)
        await readable.wait()
        loop.remove_reader(connection)
        _, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
    return descriptors
