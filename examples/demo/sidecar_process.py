"""A sidecar: a real process, its log in a file."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc

from sdk_python.protocol import admin_pb2 as pb
from sidecar.commands import client
from sidecar.supervise.guard import guarded

ROOT = Path(__file__).resolve().parents[2]

Line = dict[str, Any]
"""A line of the log."""


class LogFile:
    """The sidecar's log: JSON, a line an event."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_up_to = 0

    def fresh(self) -> list[Line]:
        """The lines since the last call."""
        with self.path.open("rb") as file:
            file.seek(self._read_up_to)
            content = file.read()
        whole, newline, _ = content.rpartition(b"\n")
        self._read_up_to += len(whole) + len(newline)
        return [parsed(line) for line in whole.decode(errors="replace").splitlines()]

    def all(self) -> list[Line]:
        """Every line, also an unfinished last one."""
        return [parsed(line) for line in self.path.read_text(errors="replace").splitlines()]


def parsed(line: str) -> Line:
    """A line of the log; a line that is not JSON, such as an error of the interpreter, becomes an event."""
    with suppress(ValueError):
        content = json.loads(line)
        if isinstance(content, dict) and "event" in content:
            return content
    return {"level": "error", "event": line}


class SidecarProcess:
    """`kafka-sidecar --config CONFIG`.

    It runs under a guard, in a session of its own: Ctrl-C in the terminal reaches the demo, which then lets the
    sidecar drain. However the demo ends, the sidecar, the broker and the lambda process end with it.
    """

    def __init__(self, folder: Path, config: Path, environment: Mapping[str, str]) -> None:
        """``folder`` is for the socket and the log, ``environment`` for the variables in the config."""
        self.address = f"unix://{folder / 'sidecar.sock'}"
        self.log = LogFile(folder / "sidecar.log")
        # The user's own settings must not reach it.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("KAFKA_SIDECAR_")}
        with self.log.path.open("wb") as output:
            self._process = subprocess.Popen(
                guarded([sys.executable, "-m", "sidecar", "--config", str(config), "--log-format", "json"]),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=ROOT,
                env={**inherited, "DEMO_LISTEN": self.address, **environment},
                start_new_session=True,
            )

    def status(self) -> pb.StatusResponse | None:
        """Its status; None when it does not answer."""
        try:
            return client.status(self.address, None)
        except grpc.RpcError:
            return None

    def exit_code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Send SIGTERM, so that it drains; do not wait for it."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, with all processes that it has started."""
        if self._process.poll() is None:
            self._signal(signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10.0)
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()

    def wait(self, seconds: float) -> bool:
        """Whether it ends within this many seconds."""
        deadline = time.monotonic() + seconds
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return self._process.poll() is not None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(bytes([number]))  # the guard passes it on to the whole group
            self._process.stdin.flush()
