"""The base of all servers for tests that run in their own process."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from sidecar.supervise import guard

_LAST_LINES = 30
_BETWEEN_TRIES = 0.02


class ServerProcess(ABC):
    """A server that keeps its data and its port over restarts.

    A context manager; or `start()`, `stop()`, `kill()` by hand. `start()` after `stop()` or `kill()` uses the same
    data and ports. `close()` (or the end of the `with`) removes the data. The server ends when this process ends,
    even if this process is killed.
    """

    NAME: ClassVar[str]
    """The name in messages and, in lower case, of the data folder."""
    ERROR: ClassVar[type[RuntimeError]]
    """The exception for a server that does not start."""
    TIMEOUT: ClassVar[float]
    """Seconds within which a starting server must answer."""
    ENVIRON: ClassVar[Mapping[str, str]] = {}
    """Variables added to the inherited environment."""

    def __init__(self, port: int) -> None:
        """Starts nothing."""
        self._port = port
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`; restarts do not change it."""
        return f"127.0.0.1:{self._port}"

    @property
    def log(self) -> Path:
        """The file with the server's output. Raises ``RuntimeError`` before the first start."""
        if self._folder is None:
            raise RuntimeError(f"{self.NAME} has not been started")
        return self._folder / "server.log"

    @property
    def running(self) -> bool:
        """Whether it was started, and neither stopped nor killed since."""
        return self._process is not None

    def __enter__(self) -> Self:
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
        """Start the server, the first time with a new data folder, and return once it answers.

        Raises ``RuntimeError`` when it runs already, and `ERROR` when it ends, or does not answer within `TIMEOUT`.
        """
        if self._process is not None:
            raise RuntimeError(f"{self.NAME} runs already")
        program = self._program()
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix=f"{self.NAME.lower()}-"))
            self._prepare(self._folder)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                guard.guarded(self._command(program, self._folder)),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self._folder,
                env={**os.environ, **self.ENVIRON},
            )
        try:
            self._wait_until_ready(self._process)
        except BaseException:
            self.kill()
            raise

    # The guard sends each byte of the pipe to the server as a signal, and at the pipe's end SIGTERM, then SIGKILL.

    def stop(self) -> None:
        """Stop the server with SIGTERM, and SIGKILL after 5 s. Does nothing when it does not run."""
        self._end(b"")

    def kill(self) -> None:
        """Kill the server (SIGKILL). Does nothing when it does not run."""
        self._end(bytes([signal.SIGKILL]))

    def pause(self) -> None:
        """Freeze the server (SIGSTOP): its connections stay open, but it answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue a frozen server (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill the server and remove its data."""
        self.kill()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    # Subclasses define these.

    @abstractmethod
    def _program(self) -> Path:
        """Return the program's file or folder; obtain it first if necessary. Raises `ERROR`."""

    @abstractmethod
    def _prepare(self, folder: Path) -> None:
        """Fill the data folder before the first start. Raises `ERROR`."""

    @abstractmethod
    def _command(self, program: Path, folder: Path) -> list[str]:
        """The command line, which runs in the data folder."""

    @abstractmethod
    def _probe(self) -> Callable[[], bool]:
        """Return a function that returns whether the server answers; it is called until it does."""

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None or self._process.stdin is None:
            raise RuntimeError(f"{self.NAME} is not running")
        self._process.stdin.write(bytes([number]))
        self._process.stdin.flush()

    def _end(self, last_words: bytes) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(BrokenPipeError):
            process.communicate(last_words)
        process.wait()

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self.TIMEOUT
        answers = self._probe()
        while process.poll() is None and time.monotonic() < deadline:
            if answers():
                return
            time.sleep(_BETWEEN_TRIES)
        code = process.poll()
        what = f"did not answer in {self.TIMEOUT:g} s" if code is None else f"ended with exit code {code}"
        log = last_lines(self.log.read_text(errors="replace"))
        raise self.ERROR(f"{self.NAME} on {self.address} {what}; its log ends with:\n{log}")


def last_lines(text: str) -> str:
    """The last lines of an output, for an error message."""
    return "\n".join(text.splitlines()[-_LAST_LINES:])


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 on which nobody listens now.

    They are below the kernel's range for outgoing connections: a port in that range could be taken before the server
    binds it, or while a killed server is down.
    """
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    lowest_given = int(given.read_text().split()[0]) if given.exists() else 32_768
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(10_000, lowest_given)  # at random, so that two test processes do not meet
        if port not in found and _is_free(port):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def is_open(port: int) -> bool:
    """Whether a server listens on this port of 127.0.0.1."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False
