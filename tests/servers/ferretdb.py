"""A database that speaks MongoDB's protocol, for tests: FerretDB 1 on SQLite, built from the Go module proxy."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.servers.process import ServerProcess, free_ports, last_lines

SOURCE = Path(__file__).with_name("ferretdb")
CACHE = Path(__file__).resolve().parents[2] / ".cache"
START_TIMEOUT = 120.0
"""Seconds. A start takes 0.1 s; on a busy machine far more."""

_FILES = ("main.go", "go.mod", "go.sum")


class FerretServerError(RuntimeError):
    """FerretDB could not be built or started; the text has the last lines of the output."""


def missing_requirements() -> str | None:
    """Return one line that names what FerretDB needs and this machine lacks, or None."""
    if not binary().is_file() and _go() is None:
        return "FerretDB needs `go` (1.24 or newer) on the PATH once, to be built from the Go module proxy"
    return None


def binary() -> Path:
    """The path of the built server, which may not exist yet. Its name has the hash of the source."""
    source = sha256(b"\0".join((SOURCE / name).read_bytes() for name in _FILES))
    return CACHE / f"ferretdb-{source.hexdigest()[:12]}"


def build() -> Path:
    """Return the server's binary; build it if it does not exist yet, which takes a minute or two.

    Raises ``FerretServerError`` when it could not be built.
    """
    built = binary()
    if built.is_file():
        return built
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "ferretdb.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # parallel test runs: one builds, the others wait for it
        if built.is_file():
            return built
        go = _go()
        if go is None:
            raise FerretServerError(f"{missing_requirements()}")
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="ferretdb.part.") as part:
            command = [go, "build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o", f"{part}/ferretdb", "."]
            done = subprocess.run(
                command, cwd=SOURCE, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise FerretServerError(f"FerretDB could not be built:\n{last_lines(done.stdout + done.stderr)}")
            (Path(part) / "ferretdb").rename(built)  # a finished file appears at once or not at all
    return built


class FerretServer(ServerProcess):
    """One server on a free loopback port, with telemetry off."""

    NAME = "FerretDB"
    ERROR = FerretServerError
    TIMEOUT = START_TIMEOUT
    ENVIRON: ClassVar[Mapping[str, str]] = {"DO_NOT_TRACK": "1"}

    def __init__(self) -> None:
        """Choose the port. Starts nothing."""
        super().__init__(*free_ports(1))

    @property
    def url(self) -> str:
        """`mongodb://127.0.0.1:PORT`; restarts do not change it."""
        return f"mongodb://{self.address}"

    def _program(self) -> Path:
        return build()

    def _prepare(self, folder: Path) -> None:
        (folder / "data").mkdir()

    def _command(self, program: Path, folder: Path) -> list[str]:
        return [str(program), self.address, str(folder / "data")]

    def _probe(self) -> Callable[[], bool]:
        return self._answers

    def _answers(self) -> bool:
        # A new client each time: a client that reached no server waits before its next try.
        with (
            suppress(PyMongoError),
            MongoClient[dict[str, object]](self.url, serverSelectionTimeoutMS=200) as client,
        ):
            client.admin.command("ping")
            return True
        return False


def _go() -> str | None:
    return shutil.which("go") or shutil.which("/usr/local/go/bin/go")
