"""The Unix socket that lambdas dial: created with its mode; it replaces a dead socket, never a live one."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONNECT_TIMEOUT_S = 1.0
"""A server must accept within this time, unless its queue of connections is full: then it is alive."""

_WHERE = "server.listen in the config says where to listen"


@contextmanager
def made(path: str, mode: int, listen: str) -> Iterator[None]:
    """Bind the socket inside this block: it is created with ``mode``, so nobody else can connect in between.

    Raises ``OSError``, whose text names the address (``listen``), the reason and the remedy.
    """
    _check(Path(path), listen)
    # A bound socket gets all rights except the umask's. The umask is the process's: files that other threads create
    # during the bind get it too, and may only lose rights.
    before = os.umask(0o777 & ~mode)
    try:
        yield
    finally:
        os.umask(before)
    Path(path).chmod(mode)


def _check(path: Path, listen: str) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise OSError(f"cannot listen on {listen}: there is no directory {folder}; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(f"cannot listen on {listen}: no right to make a socket in {folder}; {_WHERE}")
    try:
        found = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found):
        raise OSError(f"cannot listen on {listen}: there is something that is no socket; move it away, or {_WHERE}")
    # gRPC would replace the path, and a live server there would never get a call again.
    if why := _alive(path):
        raise OSError(f"cannot listen on {listen}: the address is in use: {why}; {_WHERE}")


def _alive(path: Path) -> str:
    """The reason why the socket counts as in use; empty: its server is dead, and it may be replaced."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(CONNECT_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return ""
        except (TimeoutError, BlockingIOError):  # a Unix socket reports a full queue at once
            return "another server has it, which accepts nothing at the moment"
        except OSError as error:
            return f"whether another server has it cannot be told ({error.strerror})"
        return "another server answers there"
