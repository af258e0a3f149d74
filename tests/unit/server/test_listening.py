"""Where the server listens, and what it says when it cannot."""

import socket
from pathlib import Path

import pytest

from .server_lab import Lab, running_lab


async def test_a_free_port_is_told(lab: Lab) -> None:
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


async def test_a_socket_that_a_killed_server_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(path))
    assert path.is_socket()
    async with running_lab(listen=f"unix://{path}") as lab:
        await lab.running()


async def test_a_socket_in_a_directory_that_is_not_there(tmp_path: Path) -> None:
    address = f"unix://{tmp_path}/none/s.sock"
    with pytest.raises(OSError, match=f"^cannot listen on {address}: "):
        async with running_lab(listen=address):
            pass


async def test_a_file_that_is_no_certificate_is_not_called_an_address_in_use(tmp_path: Path) -> None:
    pem = tmp_path / "pem"
    pem.write_text("not a certificate")
    with pytest.raises(OSError, match=r"server\.tls"):
        async with running_lab(tls={"certificate": pem, "key": pem}):
            pass
