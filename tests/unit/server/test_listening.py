"""The server's addresses, and its errors when it cannot listen."""

import os
import re
import socket
import stat
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydantic import ValidationError

from sidecar.config import ServerConfig
from sidecar.server import unix_socket

from .server_lab import Lab, running_lab


async def test_port_0_takes_a_free_port_and_the_address_names_it(lab: Lab) -> None:
    host, port = lab.server.address.rsplit(":", 1)
    assert host == "127.0.0.1"
    assert int(port) > 0


async def test_the_first_of_two_servers_on_one_port_is_not_disturbed(lab: Lab) -> None:
    with pytest.raises(OSError, match=f"^cannot listen on {lab.server.address}: the address is in use"):
        async with running_lab(listen=lab.server.address):
            pass
    await lab.running()


async def test_two_servers_on_one_unix_socket(tmp_path: Path) -> None:
    address = f"unix://{tmp_path}/s.sock"
    async with running_lab(listen=address) as first:
        with pytest.raises(OSError, match=f"^cannot listen on {address}: the address is in use"):
            async with running_lab(listen=address):
                pass
        await first.running()


async def test_the_socket_of_a_killed_server_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(path))
    assert path.is_socket()
    async with running_lab(listen=f"unix://{path}") as lab:
        await lab.running()


async def must_not_start(address: str, text: str) -> None:
    with pytest.raises(OSError, match=f"^cannot listen on {re.escape(address)}: {text}"):
        async with running_lab(listen=address):
            pass


async def test_a_socket_in_a_missing_directory(tmp_path: Path) -> None:
    await must_not_start(f"unix://{tmp_path}/none/s.sock", f"there is no directory {tmp_path}/none; make it first")


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
async def test_a_path_that_is_no_socket_is_not_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s.sock"
    if kind == "file":
        path.write_text("mine")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere.sock")
    before = path.lstat()
    await must_not_start(f"unix://{path}", "there is something that is no socket")
    assert path.lstat() == before


async def test_a_server_that_does_not_accept_at_the_moment_counts_as_alive(tmp_path: Path) -> None:
    """The queue of a frozen server is full: the check must neither hang nor replace its socket."""
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as stopped, ExitStack() as stack:
        stopped.bind(str(path))
        stopped.listen(0)
        waiting = socket.socket(socket.AF_UNIX)
        while True:
            stack.enter_context(waiting)
            waiting.setblocking(False)
            if waiting.connect_ex(str(path)):
                break
            waiting = socket.socket(socket.AF_UNIX)
        await must_not_start(f"unix://{path}", "the address is in use: another server has it, which accepts nothing")


@pytest.mark.parametrize("mode", ["0660", "0600", "0666", "600", None])
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
async def test_the_sockets_mode(tmp_path: Path, mode: str | None, umask: int) -> None:
    """The mode holds with any umask, and from the moment at which the socket exists."""
    path = tmp_path / "s.sock"
    before = os.umask(umask)
    try:
        async with running_lab(listen=f"unix://{path}", **({} if mode is None else {"socket_mode": mode})) as lab:
            assert stat.S_IMODE(path.stat().st_mode) == int(mode or "0660", 8)
            await lab.running()
        assert os.umask(umask) == umask, "it is as before"
    finally:
        os.umask(before)


def test_nobody_gets_in_before_the_mode_is_set(tmp_path: Path) -> None:
    """With a chmod after the bind there would be a moment without protection."""
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as bound, unix_socket.made(str(path), 0o600, "here"):
        bound.bind(str(path))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", ["0o660", "rw", "", "0888", "66", "17777", "-660", 660, 0o660, None, True])
def test_an_invalid_mode_is_refused(mode: object) -> None:
    with pytest.raises(ValidationError, match=r"expected a mode|no mode"):
        ServerConfig.model_validate({"socket_mode": mode})


async def test_a_file_that_is_no_certificate_is_not_called_an_address_in_use(tmp_path: Path) -> None:
    pem = tmp_path / "pem"
    pem.write_text("not a certificate")
    with pytest.raises(OSError, match=r"server\.tls"):
        async with running_lab(tls={"certificate": pem, "key": pem}):
            pass
