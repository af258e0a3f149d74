"""The Unix socket that lambdas dial: made with its mode, in the place of a dead one, and never of a live one."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 1.0
"""Seconds that a server may take to accept: one whose queue of connections is full lives."""

_WHERE = "server.listen in the config says where to listen"


@contextmanager
def made(path: str, mode: int, listen: str) -> Iterator[None]:
    """Whoever binds the socket in here makes it with this mode; nobody else can connect in between.

    Raises:
        OSError: it cannot be made there; the text names the address (``listen``), why, and what to do.
    """
    _check(Path(path), listen)
    # What is bound has all rights but these. The umask is the process's: other threads' files get it too, for as long
    # as a socket takes to be bound, and at most lose rights.
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
    # gRPC would take the path over, and another server that lives would never get a call again.
    if why := _alive(path):
        raise OSError(f"cannot listen on {listen}: the address is in use: {why}; {_WHERE}")


def _alive(path: Path) -> str:
    """Why the socket counts as somebody's; empty: whoever made it is dead, and it may be replaced."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PATIENCE)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return ""
        except (TimeoutError, BlockingIOError):  # of a Unix socket it is told at once that there is no room
            return "another server has it, which accepts nothing at the moment"
        except OSError as error:
            return f"whether another server has it cannot be told ({error.strerror})"
        return "another server answers there"
