"""Real processes for tests: the sidecar, lambda processes, and a stage that ends them all.

A guard runs every process, so none outlives the test run, however that ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import grpc
import pytest
import yaml
from confluent_kafka import Consumer, Message, Producer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sdk_python.protocol import admin_pb2
from sidecar.commands import client
from sidecar.records import extension
from sidecar.supervise import guard
from tests.integration import checks
from tests.integration.history import History
from tests.servers import topics
from tests.servers.topics import Record

ROOT = Path(__file__).resolve().parents[2]
LAMBDAS = "tests.integration.lambdas."
NAME = "echo"
"""The lambda's name in the sidecar's config, if a test has only one lambda."""
PATIENCE = 60.0
"""Seconds that a test waits for anything, long enough for a busy machine."""
_POLL = 0.02

needs_extension = pytest.mark.skipif(
    os.environ.get(extension.SWITCH) == "0", reason="the sidecar does without its extension, whose own this is"
)
"""Skips tests of features that the fallback lacks, when the suite runs without the extension (`make fallback`)."""

T = TypeVar("T")
Line = dict[str, Any]
"""A line of a log: the sidecar's JSON, or only ``event`` with the text."""


def wait_for(what: Callable[[], T], about: str | Callable[[], str], timeout: float = PATIENCE) -> T:
    """Poll ``what`` until its result is true, and return that. AssertionError with ``about`` after ``timeout`` s."""
    deadline = time.monotonic() + timeout
    while True:
        answer = what()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {about if isinstance(about, str) else about()}")
        time.sleep(_POLL)


def written(line: Line) -> float:
    """The time of a line of the sidecar's log, in seconds since the epoch."""
    return datetime.fromisoformat(line["ts"]).timestamp()


@dataclass(frozen=True)
class Broker:
    """A running broker, and the Kafka properties that a sidecar needs for it."""

    name: Literal["embedded", "kafka"]
    address: str

    @property
    def properties(self) -> dict[str, Any]:
        """The properties as with `bootstrap.servers: embedded`, for a broker that the sidecar did not start."""
        if self.name == "kafka":
            return {"bootstrap.servers": self.address, "fetch.wait.max.ms": 50}
        # The broker admits a member after half of its session timeout: with the default of 45 s a join takes 23 s.
        quick = {"session.timeout.ms": 2000, "heartbeat.interval.ms": 500, "fetch.wait.max.ms": 10}
        return {"bootstrap.servers": self.address, "partition.assignment.strategy": "range", **quick}


class Program:
    """A process with a guard. Its output is kept line by line."""

    def __init__(
        self, label: str, command: Sequence[str], environment: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> None:
        self.label = label
        self.lines: list[Line] = []
        self._changed = threading.Condition()
        # The tester's own settings must not affect the tests.
        clean = {name: value for name, value in os.environ.items() if not name.startswith("KAFKA_SIDECAR_")}
        self._process = subprocess.Popen(
            guard.guarded(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**clean, "PYTHONFAULTHANDLER": "1", **(environment or {})},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {label}", daemon=True)
        self._reader.start()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, without waiting."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(bytes([number]))
            self._process.stdin.flush()

    def terminate(self, timeout: float = PATIENCE) -> int:
        """Send SIGTERM and return the exit code. Raises ``AssertionError`` when it does not end in time."""
        self.signal(signal.SIGTERM)
        return self.ended(timeout)

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self.signal(signal.SIGKILL)
        self.ended()

    def ended(self, timeout: float = PATIENCE) -> int:
        """Wait until the process ends by itself. Returns the exit code, 128 + n for signal n.

        Raises ``AssertionError`` when it does not. Then the process is aborted, and its output says where it hung.
        """
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGABRT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(5.0)
                self._reader.join(5.0)
            raise AssertionError(f"{self.label} did not end within {timeout:g} s") from None
        self._reader.join(5.0)
        return code

    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def close(self) -> None:
        """Kill the process, if it has not ended, and close its pipes."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def text(self) -> str:
        """All its output."""
        lines = (line["event"] if [*line] == ["event"] else json.dumps(line) for line in [*self.lines])
        return "\n".join(lines)

    def log(self, event: str, **fields: Any) -> list[Line]:
        """The lines whose event begins with ``event`` and that have these fields."""
        return [
            line
            for line in [*self.lines]
            if str(line["event"]).startswith(event) and all(line.get(key) == value for key, value in fields.items())
        ]

    def wait_for_log(self, event: str, *, count: int = 1, timeout: float = PATIENCE, **fields: Any) -> Line:
        """Wait for ``count`` lines as of `log`. Returns the last of them."""

        def there() -> bool:
            return len(self.log(event, **fields)) >= count or not self._reader.is_alive()

        with self._changed:
            self._changed.wait_for(there, timeout)
        found = self.log(event, **fields)
        assert len(found) >= count, f"{self.label} wrote {len(found)} of {count}: {event} {fields or ''}"
        return found[-1]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for raw in self._process.stdout:
            text = raw.decode(errors="replace").rstrip()
            line: Line = {"event": text}
            if text.startswith("{"):
                with suppress(ValueError):
                    line = json.loads(text)
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


class Sidecar(Program):
    """A `kafka-sidecar` process. Its address is known before it listens, so lambdas can dial it already."""

    def __init__(
        self, folder: Path, config: Mapping[str, Any], label: str = "sidecar", *, native: bool = True
    ) -> None:
        """With ``native`` false it uses the fallback, as if the extension could not be built."""
        path = folder / f"{label}.yaml"
        path.write_text(yaml.safe_dump(config))
        self.path = path
        self.config = config
        self.address = str(config["server"]["listen"])
        command = [sys.executable, "-m", "sidecar", "--config", str(path), "--log-format", "json"]
        super().__init__(label, command, {} if native else {extension.SWITCH: "0"})

    def wait_until_listening(self) -> None:
        """Wait until lambdas can dial it; Kafka may still be down."""
        self.wait_for_log("listening for lambdas")

    def status(self) -> admin_pb2.StatusResponse:
        """The answer of `kafka-sidecar status`."""
        self.wait_until_listening()
        return client.status(self.address, None)

    def lambda_status(self, name: str = NAME) -> admin_pb2.Lambda:
        """The status of one lambda."""
        return next(one for one in self.status().lambdas if one.name == name)

    def partitions(self, name: str = NAME) -> dict[int, admin_pb2.Partition]:
        """The partitions that it owns, by number (for one topic)."""
        return {one.partition: one for one in self.lambda_status(name).partitions}

    def state(self, partition: int, name: str = NAME) -> str:
        """A partition's state: `running`, `halted`, ...; empty when another sidecar owns the partition."""
        one = self.partitions(name).get(partition)
        return (
            "" if one is None else admin_pb2.PartitionState.Name(one.state).removeprefix("PARTITION_STATE_").lower()
        )

    def wait_for_state(
        self, state: str, partition: int = 0, name: str = NAME, timeout: float = PATIENCE
    ) -> admin_pb2.Partition:
        """Wait until a partition is in this state. Returns its status."""
        wait_for(
            lambda: self.state(partition, name) == state,
            lambda: f"{name}/{partition} {state}, it is {self.state(partition, name)}",
            timeout,
        )
        return self.partitions(name)[partition]

    def health(self) -> str:
        """The answer of `grpc.health.v1`: SERVING or NOT_SERVING."""
        self.wait_until_listening()
        with grpc.insecure_channel(self.address.replace("unix://", "unix:")) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `kafka-sidecar ARGUMENTS` with this sidecar's config."""
        command = [sys.executable, "-m", "sidecar", "--config", str(self.path), *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)


KEY_BYTES = 40
"""The length of `Traffic`'s keys."""


class Traffic:
    """Produces records at a steady rate to all partitions, in a thread of its own; a context manager."""

    def __init__(self, stage: Stage, partitions: int, interval: float, keys: int = 0) -> None:
        """``interval``: seconds between two records of a partition. ``keys``: how many they have in turn; 0: none."""
        self._stage = stage
        self._partitions = partitions
        self._interval = interval
        self._keys = keys
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic")

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop. Afterwards `Stage.produced` has all the records."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        def on_delivery(error: object, message: Message) -> None:
            partition, offset = message.partition(), message.offset()
            if error is None and partition is not None and offset is not None:
                self._stage.produced.append((partition, offset))

        producer = Producer({"bootstrap.servers": self._stage.broker.address, "linger.ms": 1})
        number = 0
        while not self._stop.wait(self._interval):
            key = b"%0*d" % (KEY_BYTES, number % self._keys) if self._keys else None
            for partition in range(self._partitions):
                producer.produce(self._stage.topic, b"%d" % number, key, partition=partition, on_delivery=on_delivery)
            producer.poll(0)
            number += 1
        assert producer.flush(PATIENCE) == 0


class Stage:
    """One test's broker, topic, group and processes. ``close`` ends the processes.

    All its lambda processes write one history, see `tests.integration.lambdas.writer`.
    """

    def __init__(self, broker: Broker, folder: Path, unique: str) -> None:
        self.broker = broker
        self.folder = folder
        self.topic = f"t-{unique}"
        self.group = f"g-{unique}"
        (folder / "history").mkdir()
        self.history = History(folder / "history")
        self.programs: list[Program] = []
        self.produced: list[checks.RecordId] = []
        """The records that `produce` has written so far."""

    # --- records ----------------------------------------------------------------------------------------------

    def create_topic(
        self,
        partitions: int = 1,
        config: Mapping[str, str] | None = None,
        *,
        replicas: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """Create the test's topic; ``replicas`` as in `topics.create_topic`."""
        topics.create_topic(self.broker.address, self.topic, partitions, config, replicas=replicas)

    def member_with_another_assignor(self) -> Consumer:
        """A member of the group that shares no assignor with sidecars, so that the group refuses them."""
        other = Consumer(
            {
                "bootstrap.servers": self.broker.address,
                "group.id": self.group,
                "partition.assignment.strategy": "roundrobin",
            }
        )
        assigned: list[object] = []
        other.subscribe([self.topic], on_assign=lambda *_: assigned.append(1))

        def is_member() -> bool:
            other.poll(0.01)
            return bool(assigned)

        wait_for(is_member, "the other to be a member")
        return other

    def produce(self, records: Iterable[Record]) -> list[checks.RecordId]:
        """Produce to the test's topic."""
        made = topics.produce(self.broker.address, self.topic, records)
        self.produced += made
        return made

    def produce_numbers(self, count: int, partitions: int = 1, first: int = 0) -> list[checks.RecordId]:
        """Produce ``count`` short records, to each partition in turn."""
        numbers = range(first, first + count)
        return self.produce([Record(value=b"%d" % number, partition=number % partitions) for number in numbers])

    def committed(self) -> dict[int, int]:
        """The group's committed offsets by partition."""
        return topics.committed(self.broker.address, self.group, self.topic)

    def end_offsets(self) -> dict[int, int]:
        """The offset of the next record of each partition."""
        return topics.end_offsets(self.broker.address, self.topic)

    # --- processes --------------------------------------------------------------------------------------------

    def config(
        self, *, kafka: Mapping[str, Any] | None = None, label: str = "sidecar", **options: Any
    ) -> dict[str, Any]:
        """A sidecar's config with one lambda. ``options`` are the lambda's; ``kafka`` is added to that section."""
        lambda_ = {"topic": self.topic, "group": self.group, "checkpoint": {"interval": "50ms"}, **options}
        if "topics" in options:
            del lambda_["topic"]
        lambda_["settings"] = {"history": str(self.history.folder), **options.get("settings", {})}
        return {
            "kafka": {**self.broker.properties, **(kafka or {})},
            "server": {"listen": f"unix://{self.folder}/{label}.sock"},
            "lambdas": {NAME: lambda_},
        }

    def sidecar(
        self,
        config: Mapping[str, Any] | None = None,
        label: str = "sidecar",
        *,
        native: bool = True,
        **options: Any,
    ) -> Sidecar:
        """Start a sidecar, by default with `config(**options)`, without waiting for it."""
        started = Sidecar(self.folder, config or self.config(label=label, **options), label, native=native)
        self.programs.append(started)
        return started

    def process(
        self, to: Sidecar | str, label: str = "p1", module: str = "recorder", name: str = NAME, **settings: Any
    ) -> Program:
        """Start a lambda process that dials ``to``, without waiting for it. ``settings`` override the config's."""
        address = to if isinstance(to, str) else to.address
        module = module if "." in module else LAMBDAS + module
        command = [sys.executable, "-m", "sdk_python.serve", name, module, "--address", address]
        for key, value in {"label": label, "history": str(self.history.folder), **settings}.items():
            command += ["--set", f"{key}={json.dumps(value)}"]
        return self.program(label, command)

    def program(self, label: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Program:
        """Start any process; the stage ends it."""
        started = Program(label, command, environment)
        self.programs.append(started)
        return started

    def close(self) -> None:
        """End every process."""
        for program in reversed(self.programs):
            program.close()
        left = [program.label for program in self.programs if program.running()]
        assert not left, f"still running: {left}"

    def logs(self) -> str:
        """The output of all processes, for the report of a failed test."""
        return "\n".join(f"--- {program.label}\n{program.text()}" for program in self.programs)

    # --- what is waited for -----------------------------------------------------------------------------------

    def wait_until_handled(self, count: int | None = None, timeout: float = PATIENCE) -> None:
        """Wait until ``count`` different records (default: all produced ones) have been handled."""
        wanted = len(self.produced) if count is None else count
        wait_for(
            lambda: self.history.count() >= wanted,
            lambda: f"{wanted} records handled, there are {self.history.count()}",
            timeout,
        )

    def wait_until_caught_up(self, timeout: float = PATIENCE) -> None:
        """Wait until every committed offset is its partition's end offset."""
        ends = self.end_offsets()
        wait_for(
            lambda: checks.caught_up(self.committed(), ends),
            lambda: f"committed {self.committed()} to become {ends}",
            timeout,
        )
