"""Starts the measured programs as a user would, each in a process of its own, and reads their CPU time and memory."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from sdk_python.protocol import admin_pb2
from sidecar.commands import client

ROOT = Path(__file__).resolve().parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Sidecar:
    """A running sidecar with one lambda, named `bench`."""

    process: subprocess.Popen[bytes]
    address: str
    config: Path
    folder: Path
    lambdas: list[subprocess.Popen[bytes]] = field(default_factory=list)
    killed: bool = field(default=False, init=False)

    def status(self) -> admin_pb2.Lambda:
        """The status of the lambda."""
        return client.status(self.address, None).lambdas[0]

    def cpu_seconds(self) -> float:
        """CPU seconds of the sidecar and its lambda processes, which must be alive."""
        return sum(cpu_seconds(process.pid) for process in (self.process, *self.lambdas))

    def memory_mb(self) -> dict[str, float]:
        """The highest memory in MB of the sidecar, of its lambda processes, and the sum. All must be alive."""
        sidecar_mb = memory_mb(self.process.pid, "VmHWM")
        lambda_mb = sum(memory_mb(process.pid, "VmHWM") for process in self.lambdas)
        return {"memory_mb": sidecar_mb + lambda_mb, "sidecar_mb": sidecar_mb, "lambda_mb": lambda_mb}

    def kill(self) -> float:
        """Kill the sidecar, and not its lambda processes; returns when, by the monotonic clock."""
        self.killed = True
        self.process.kill()
        return time.monotonic()

    def end_lambdas(self) -> None:
        """End its lambda processes in an orderly way. Raises ``RuntimeError`` when one of them fails."""
        for process in self.lambdas:
            process.send_signal(signal.SIGTERM)
        if any(process.wait(30) != 0 for process in self.lambdas):
            raise RuntimeError("the lambda process failed")

    def wait_until_running(self, partitions: int) -> None:
        """Wait until this many partitions have a lambda. Raises ``RuntimeError`` after 30 s."""
        deadline = time.monotonic() + 30
        while sum(p.state == admin_pb2.PARTITION_STATE_RUNNING for p in self.status().partitions) < partitions:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the partitions do not run: {self.status()}")
            time.sleep(0.05)

    def serve_with(
        self, settings: Mapping[str, Any], module: str = "benchmarks.counting", arguments: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """Start a lambda process for it, with settings of its own, and with more arguments."""
        log = (self.folder / f"lambda-{uuid.uuid4().hex[:4]}.log").open("wb")
        command = [sys.executable, "-m", "sdk_python.serve", "bench", module, "--address", self.address]
        command += ["--log-level", "warning", *arguments]
        for key, value in settings.items():
            command += ["--set", f"{key}={json.dumps(value)}"]
        process = subprocess.Popen(command, cwd=ROOT, stderr=log, stdout=log)
        self.lambdas.append(process)
        return process


@contextmanager
def sidecar(
    broker: str,
    topics: list[str],
    settings: Mapping[str, Any],
    kafka: Mapping[str, object] | None = None,
    /,
    *,
    operate: str = "",
    program: str = "sidecar",
    shared_memory: str = "off",
    **more: object,
) -> Iterator[Sidecar]:
    """Start a sidecar on a free Unix socket, with ``more`` in its lambda's config. Raises when it fails to start.

    ``kafka``: further properties of Kafka's clients. ``operate``: where it listens for operators' HTTP; empty:
    nowhere. ``program``: the module that is started, which may be one around the sidecar. ``shared_memory``: of
    ``server``.
    """
    with tempfile.TemporaryDirectory(prefix="kafka-sidecar-benchmark-") as name:
        folder = Path(name)
        address = f"unix://{folder}/sock"
        one = {"topics": topics, "group": uuid.uuid4().hex, "settings": dict(settings), **more}
        config = {
            "kafka": {"bootstrap.servers": broker, **(kafka or {})},
            "server": {"listen": address, "shared_memory": shared_memory},
            "lambdas": {"bench": one},
            **({"operate": {"listen": operate}} if operate else {}),
        }
        path = folder / "config.yaml"
        path.write_text(json.dumps(config))
        log = (folder / "sidecar.log").open("wb")
        command = [sys.executable, "-m", program, "--config", str(path), "--log-format", "json"]
        process = subprocess.Popen(command, cwd=ROOT, stderr=log, stdout=log)
        running = Sidecar(process, address, path, folder)
        try:
            _wait_until_connected(running)
            yield running
        finally:
            for left in running.lambdas:
                left.kill()  # after a failed run some are alive; the others have ended
                left.wait()
            process.send_signal(signal.SIGTERM)
            if process.wait(30) != 0 and not running.killed:
                sys.stderr.write((folder / "sidecar.log").read_text()[-4000:])


def wait_for_result(file: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The figures that a lambda writes when it is done. Raises ``RuntimeError`` when it writes none."""
    result: dict[str, Any] = json.loads(wait_for_file(file, process))
    return result


def wait_for_file(file: Path, process: subprocess.Popen[bytes]) -> str:
    """The text that the process writes to the file. Raises ``RuntimeError`` when it ends, or after 5 minutes."""
    deadline = time.monotonic() + 300
    while not file.exists() or not (text := file.read_text()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the lambda process ended, or five minutes were not enough")
        time.sleep(0.005)
    return text


def _wait_until_connected(running: Sidecar) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if running.status().connected:
                return
        except grpc.RpcError:
            pass
        if running.process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"the sidecar did not start:\n{(running.folder / 'sidecar.log').read_text()[-2000:]}")


def cpu_seconds(pid: int) -> float:
    """CPU seconds of the process, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mb(pid: int, what: str = "VmRSS") -> float:
    """Memory of the process in MB: `VmRSS` now, `VmHWM` at its highest."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {what} for process {pid}")
