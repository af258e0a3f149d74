"""A database that speaks MongoDB's protocol, for tests: FerretDB 1 on SQLite, built from the Go module proxy."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import TracebackType

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from sidecar.supervise import guard
from tests.servers.kafka import _free_ports, _last_lines

SOURCE = Path(__file__).with_name("ferretdb")
CACHE = Path(__file__).resolve().parents[2] / ".cache"
START_TIMEOUT = 30.0
"""Seconds; a start takes a tenth of one."""

_FILES = ("main.go", "go.mod", "go.sum")


class FerretServerError(RuntimeError):
    """FerretDB could not be built or started; the text has the last lines of the output."""


def missing_requirements() -> str | None:
    """Return one line that names what FerretDB needs and this machine lacks, or None."""
    if not binary().is_file() and _go() is None:
        return "FerretDB needs `go` (1.24 or newer) on the PATH once, to be built from the Go module proxy"
    return None


def binary() -> Path:
    """Where the built server is, or will be. The name changes with the source: no other build is taken for it."""
    source = sha256(b"\0".join((SOURCE / name).read_bytes() for name in _FILES))
    return CACHE / f"ferretdb-{source.hexdigest()[:12]}"


def build() -> Path:
    """Return the server's binary; build it if it is not there yet, which takes a minute or two.

    Raises:
        FerretServerError: it could not be built.
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
                raise FerretServerError(f"FerretDB could not be built:\n{_last_lines(done.stdout + done.stderr)}")
            (Path(part) / "ferretdb").rename(built)  # a finished file appears at once or not at all
    return built


class FerretServer:
    """One server on a free loopback port.

    A context manager; or `start()`, `stop()`, `kill()` by hand. `start()` after `stop()` or `kill()` continues on the
    same data and port. The data goes with `close()` (or the end of the `with`), and the server ends when this process
    does, however it ends. It tells nobody that it runs: telemetry is off.
    """

    def __init__(self) -> None:
        """Starts nothing yet; the port is chosen."""
        (self._port,) = _free_ports(1)
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """`mongodb://127.0.0.1:PORT`; the same over restarts."""
        return f"mongodb://127.0.0.1:{self._port}"

    @property
    def log(self) -> Path:
        """The file with what the server has written. Raises RuntimeError before start."""
        if self._folder is None:
            raise RuntimeError("FerretDB has not been started")
        return self._folder / "server.log"

    @property
    def running(self) -> bool:
        """Whether it was started, and neither stopped nor killed since."""
        return self._process is not None

    def __enter__(self) -> FerretServer:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the server, on a new data folder the first time, and return once it answers.

        Raises:
            FerretServerError: it ended, or did not answer within `START_TIMEOUT` seconds.
            RuntimeError: it runs already.
        """
        if self._process is not None:
            raise RuntimeError("FerretDB runs already")
        command = [str(build()), f"127.0.0.1:{self._port}"]
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="ferretdb-"))
            (self._folder / "data").mkdir()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                guard.guarded([*command, str(self._folder / "data")]),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self._folder,
                env={**os.environ, "DO_NOT_TRACK": "1"},
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End the server in order (SIGTERM, SIGKILL after 5 s). Does nothing when it does not run."""
        self._end(b"")

    def kill(self) -> None:
        """End the server at once (SIGKILL). Does nothing when it does not run."""
        self._end(bytes([signal.SIGKILL]))

    def close(self) -> None:
        """Kill the server and remove its data: nobody needs either any more."""
        self.kill()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _end(self, last_words: bytes) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        # To the guard: a byte is a signal for the server, and the end of the pipe is SIGTERM, then SIGKILL.
        with suppress(BrokenPipeError):
            process.communicate(last_words)
        process.wait()

    def _wait_until_ready(self) -> None:
        process = self._process
        assert process is not None
        deadline = time.monotonic() + START_TIMEOUT
        while process.poll() is None and time.monotonic() < deadline:
            # A new client each time: one that found nobody waits before it looks again.
            with (
                suppress(PyMongoError),
                MongoClient[dict[str, object]](self.url, serverSelectionTimeoutMS=200) as client,
            ):
                client.admin.command("ping")
                return
        code = process.poll()
        what = f"did not answer in {START_TIMEOUT:g} s" if code is None else f"ended with exit code {code}"
        log = _last_lines(self.log.read_text(errors="replace"))
        raise FerretServerError(f"FerretDB on {self.url} {what}; its log ends with:\n{log}")


def _go() -> str | None:
    return shutil.which("go") or shutil.which("/usr/local/go/bin/go")
