"""The real processes: one Kafka, the sidecars, their lambda processes. A guard runs each of them."""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from tests.chaos import schedule
from tests.chaos.journal import Journal
from tests.clients import languages
from tests.integration.harness import NAME, Program, Sidecar
from tests.servers import topics
from tests.servers.kafka import KafkaServer

ENDS_WITHIN_S = 45.0
"""Seconds within which any process must end in order, even without the broker and all at once on two cores."""
TOPIC = "chaos"
GROUP = "chaos"


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a world."""

    partitions: int
    window: int = 50
    interval: float = 0.1
    on_critical: str = "halt"
    session_ms: int = 3000
    languages: tuple[str, ...] = ("python",)
    """What the lambda processes are written in."""
    lanes: int = 1
    """Of each partition."""

    @property
    def dead_letter_topic(self) -> str:
        """The topic for records that failed critically, if there is one."""
        return f"{TOPIC}.{NAME}.dead-letter"


@dataclass(slots=True)
class Running:
    """A process that should run now."""

    program: Program
    label: str
    ending: bool = False
    """Whether it was told to end."""
    frozen: bool = False


class World:
    """All processes of a run, by slot: ``broker``, a sidecar ``a``, its lambda process ``a/1``."""

    def __init__(self, folder: Path, options: Options, journal: Journal) -> None:
        self.folder = folder
        self.options = options
        self.journal = journal
        self.kafka = KafkaServer({"offsets.topic.segment.bytes": 1 << 30, "log.retention.ms": -1})
        self.running: dict[str, Running] = {}
        self.crashes: dict[str, int] = {}
        """Exit codes of processes that ended without being told to."""
        self.exits: dict[str, int] = {}
        """Exit codes of the processes that were told to end after all faults."""
        # A socket's path has at most about 100 bytes, and the run's folder may have a long path.
        self._sockets = Path(tempfile.mkdtemp(prefix="chaos-"))
        self._starts: dict[str, int] = {}
        self._broker_up = False
        for name in ("history", "logs", "failures", "configs"):
            (folder / name).mkdir(exist_ok=True)

    # --- beginning and end --------------------------------------------------------------------------------------

    def start_broker(self) -> None:
        """Start the broker for the first time and create the topic."""
        self.kafka.start()
        self._broker_up = True
        topics.create_topic(self.kafka.address, TOPIC, self.options.partitions)

    def close(self) -> None:
        """Kill all remaining processes and keep the logs."""
        for slot in [*self.running]:
            self._forget(slot)
        with suppress(OSError, RuntimeError):
            shutil.copy(self.kafka.log, self.folder / "logs" / "kafka.log")
        self.kafka.close()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def left(self) -> list[str]:
        """The command lines of this run's processes that still run, except the broker's.

        A sidecar has the run's folder in its command line, a lambda process its address in its environment.
        """
        folders = [str(self._sockets).encode(), str(self.folder / "configs").encode()]
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (process / "cmdline").read_bytes()
                told = command + (process / "environ").read_bytes()
                if any(folder in told for folder in folders):
                    found.append(command.replace(b"\0", b" ").decode(errors="replace").strip())
        return found

    # --- one step -------------------------------------------------------------------------------------------------

    def do(self, verb: str, target: str) -> None:
        """Carry out a step. Does nothing if its target is already in the wanted state."""
        if target == "broker":
            getattr(self, f"_broker_{verb}")()
        elif verb == "start":
            self._start(target)
        elif target in self.running:
            one = self.running[target]
            if verb == "kill":
                self._ended(target)
                self._forget(target)
            elif verb == "terminate":
                self._ended(target)
                one.ending = True
                one.program.signal(signal.SIGTERM)
            elif verb == "freeze":
                one.frozen = True
                self.journal.write("frozen", slot=target, label=one.label)
                one.program.signal(signal.SIGSTOP)
            elif verb == "thaw" and one.frozen:
                one.frozen = False
                one.program.signal(signal.SIGCONT)
                self.journal.write("thawed", slot=target, label=one.label)

    def grow(self, partitions: int) -> bool:
        """Increase the topic's partitions, if the broker runs. Returns whether that succeeded."""
        if not self._broker_up:
            return False
        admin = AdminClient({"bootstrap.servers": self.kafka.address, "log_level": 0})
        try:
            admin.create_partitions([NewPartitions(TOPIC, partitions)])[TOPIC].result(10.0)
        except KafkaException:
            return False  # it has just come back and is not ready
        self.journal.write("grown", partitions=partitions)
        return True

    def look(self) -> list[str]:
        """Note ended processes. Returns the slots of those that nobody had told to end."""
        crashed = []
        for slot, one in [*self.running.items()]:
            if one.program.running():
                continue
            if not one.ending:
                code = one.program.ended()
                self.crashes[one.label] = code
                self.journal.write("crashed", slot=slot, label=one.label, code=code)
                crashed.append(slot)
            self._forget(slot)
        return crashed

    def sidecars(self) -> Iterator[tuple[str, Sidecar]]:
        """The sidecars that can answer."""
        for slot, one in [*self.running.items()]:
            if isinstance(one.program, Sidecar) and not one.frozen and not one.ending and one.program.running():
                yield slot, one.program

    def heal(self) -> None:
        """Thaw everything that is frozen, and start the broker if it is down."""
        if not self._broker_up:
            with suppress(RuntimeError):
                self.kafka.resume()
            self._broker_start()
        for slot in [*self.running]:
            self.do("thaw", slot)

    def all_up(self) -> bool:
        """Whether all started processes have installed their SIGTERM handlers."""
        return all(
            bool(one.program.log("listening for lambdas"))
            if isinstance(one.program, Sidecar)
            else (self.folder / "history" / f"lambda-{one.label}.jsonl").exists()
            for one in self.running.values()
        )

    def end_all(self) -> None:
        """End all processes in order, lambda processes first. Their exit codes are in ``exits``."""
        for kind in (False, True):
            slots = [slot for slot, one in self.running.items() if isinstance(one.program, Sidecar) is kind]
            for slot in slots:
                self.do("terminate", slot)
            for slot in slots:
                one = self.running[slot]
                self.exits[one.label] = one.program.ended(ENDS_WITHIN_S)
                self._forget(slot)

    # --- processes --------------------------------------------------------------------------------------------

    def _start(self, slot: str) -> None:
        before = self.running.get(slot)
        if before is not None:
            if not before.ending:
                return
            before.program.ended(ENDS_WITHIN_S)
            self._forget(slot)
        number = self._starts[slot] = self._starts.get(slot, 0) + 1
        label = f"{slot.replace('/', '')}-{number}"
        self.journal.write("started", slot=slot, label=label)
        program = self._lambda(slot, label) if "/" in slot else self._sidecar(slot, label)
        self.running[slot] = Running(program, label)

    def _sidecar(self, slot: str, label: str) -> Sidecar:
        options = self.options
        lambda_: dict[str, Any] = {
            "topic": TOPIC,
            "group": GROUP,
            "checkpoint": {"interval": f"{options.interval:g}s"},
            "window": {"messages": options.window},
            "lanes": options.lanes,
            "rebalance_drain": "1s",
            "shutdown_drain": "3s",
            "leave_group_after": "10s",
        }
        if options.on_critical != "halt":
            lambda_["on_critical"] = options.on_critical
        kafka = {
            "bootstrap.servers": self.kafka.address,
            # A new one for each start, so that Kafka's record of the group tells the sidecars apart.
            "client.id": label,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": options.session_ms,
            # A broker that was killed during a rebalance waits this long for members that it still knows.
            "max.poll.interval.ms": 10_000,
            "heartbeat.interval.ms": 500,
            "fetch.wait.max.ms": 50,
            "reconnect.backoff.max.ms": 1000,
        }
        config = {"kafka": kafka, "server": {"listen": self._address(slot)}, "lambdas": {NAME: lambda_}}
        return Sidecar(self.folder / "configs", config, label)

    def _lambda(self, slot: str, label: str) -> Program:
        sidecar = slot.partition("/")[0]
        settings = {"label": label, "slot": sidecar, "folder": str(self.folder)}
        environment = {"KAFKA_SIDECAR_ADDRESS": self._address(sidecar), **languages.settings(settings)}
        language = schedule.language(self.options.languages, slot, self._starts[slot])
        return Program(label, [*languages.command(language, "recorder"), NAME], environment)

    def _address(self, sidecar: str) -> str:
        return f"unix://{self._sockets}/{sidecar}.sock"

    def _ended(self, slot: str) -> None:
        """Record the end before the signal is sent: from now on the process may do nothing."""
        self.journal.write("ended", slot=slot, label=self.running[slot].label)

    def _forget(self, slot: str) -> None:
        """Kill the process if it still runs, and keep its output."""
        one = self.running.pop(slot)
        one.program.close()
        (self.folder / "logs" / f"{one.label}.log").write_text(one.program.text() + "\n")

    # --- the broker -------------------------------------------------------------------------------------------

    def _broker_kill(self) -> None:
        self._broker_goes()
        self.kafka.kill()

    def _broker_terminate(self) -> None:
        self._broker_goes()
        self.kafka.stop()

    def _broker_freeze(self) -> None:
        self._broker_goes()
        self.kafka.pause()

    def _broker_thaw(self) -> None:
        if not self._broker_up:
            self.kafka.resume()
            self._broker_comes()

    def _broker_start(self) -> None:
        if not self._broker_up:
            with suppress(RuntimeError):  # it is only frozen
                self.kafka.start()
            self._broker_comes()

    def _broker_goes(self) -> None:
        self._broker_up = False
        self.journal.write("frozen", slot="broker", label="broker")

    def _broker_comes(self) -> None:
        self._broker_up = True
        self.journal.write("thawed", slot="broker", label="broker")


def group_state(address: str, patience: float = 10.0) -> str:
    """The group's state, as soon as it is Empty or ``patience`` (seconds) is over."""
    client = AdminClient({"bootstrap.servers": address, "log_level": 0})
    deadline = time.monotonic() + patience
    while True:
        found: Mapping[str, Any] = client.describe_consumer_groups([GROUP], request_timeout=10.0)
        state = str(found[GROUP].result().state.name)
        if state == "EMPTY" or time.monotonic() > deadline:
            return state
        time.sleep(0.1)  # a broker sends no notice when a group's state changes
