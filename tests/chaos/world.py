"""The real things: one Kafka, the sidecars, their lambda processes. Every process runs behind a guard."""

from __future__ import annotations

import json
import shutil
import signal
import sys
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

from tests.chaos.journal import Journal
from tests.integration.harness import NAME, Program, Sidecar
from tests.servers import topics
from tests.servers.kafka import KafkaServer

ENDS_WITHIN = 45.0
"""Seconds that anything may take to end in order, with the broker away and everybody at once on two cores."""
TOPIC = "chaos"
GROUP = "chaos"


@dataclass(frozen=True, slots=True)
class Options:
    """What the world is made with."""

    partitions: int
    window: int = 50
    interval: float = 0.1
    on_critical: str = "halt"
    session_ms: int = 3000

    @property
    def dead_letter_topic(self) -> str:
        """Where the sidecar puts what failed critically."""
        return f"{TOPIC}.{NAME}.dead-letter"


@dataclass(slots=True)
class Running:
    """A process that should run now."""

    program: Program
    label: str
    ending: bool = False
    """It was told to end."""
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
        """Exit codes of those that ended without being told to."""
        self.exits: dict[str, int] = {}
        """Exit codes of the last ones, that were told to end with all at peace."""
        # A socket's path has at most about 100 bytes, and the folder may be anywhere.
        self._sockets = Path(tempfile.mkdtemp(prefix="chaos-"))
        self._starts: dict[str, int] = {}
        self._broker_up = False
        for name in ("history", "logs", "failures", "configs"):
            (folder / name).mkdir(exist_ok=True)

    # --- beginning and end --------------------------------------------------------------------------------------

    def start_broker(self) -> None:
        """The first time; the topic with it."""
        self.kafka.start()
        self._broker_up = True
        topics.create_topic(self.kafka.address, TOPIC, self.options.partitions)

    def close(self) -> None:
        """Kill what is left, keep the logs."""
        for slot in [*self.running]:
            self._forget(slot)
        with suppress(OSError, RuntimeError):
            shutil.copy(self.kafka.log, self.folder / "logs" / "kafka.log")
        self.kafka.close()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def left(self) -> list[str]:
        """Command lines of processes of this run that still run; the broker is not one of them."""
        places = [str(self._sockets).encode(), str(self.folder / "configs").encode()]
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if any(place in word for word in words for place in places):
                    found.append(b" ".join(words).decode(errors="replace").strip())
        return found

    # --- one step -------------------------------------------------------------------------------------------------

    def do(self, verb: str, target: str) -> None:
        """Carry out a step. One that finds its target as it should become does nothing."""
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
        """Give the topic so many partitions, where the broker is there. Returns whether it did."""
        if not self._broker_up:
            return False
        admin = AdminClient({"bootstrap.servers": self.kafka.address, "log_level": 0})
        try:
            admin.create_partitions([NewPartitions(TOPIC, partitions)])[TOPIC].result(10.0)
        except KafkaException:
            return False  # it came back a moment ago, and is not ready for it
        self.journal.write("grown", partitions=partitions)
        return True

    def look(self) -> list[str]:
        """Take note of processes that ended; returns the slots of those that nobody had told to."""
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
        """Those that can answer."""
        for slot, one in [*self.running.items()]:
            if isinstance(one.program, Sidecar) and not one.frozen and not one.ending and one.program.running():
                yield slot, one.program

    def heal(self) -> None:
        """Let everything go on that stands still."""
        if not self._broker_up:
            with suppress(RuntimeError):
                self.kafka.resume()
            self._broker_start()
        for slot in [*self.running]:
            self.do("thaw", slot)

    def all_up(self) -> bool:
        """Everything that was started has come so far that it knows what to do with a SIGTERM."""
        return all(
            bool(one.program.log("listening for lambdas"))
            if isinstance(one.program, Sidecar)
            else (self.folder / "history" / f"lambda-{one.label}.jsonl").exists()
            for one in self.running.values()
        )

    def end_all(self) -> None:
        """End everything in order, lambda processes first; their exit codes are in ``exits``."""
        for kind in (False, True):
            slots = [slot for slot, one in self.running.items() if isinstance(one.program, Sidecar) is kind]
            for slot in slots:
                self.do("terminate", slot)
            for slot in slots:
                one = self.running[slot]
                self.exits[one.label] = one.program.ended(ENDS_WITHIN)
                self._forget(slot)

    # --- processes --------------------------------------------------------------------------------------------

    def _start(self, slot: str) -> None:
        before = self.running.get(slot)
        if before is not None:
            if not before.ending:
                return
            before.program.ended(ENDS_WITHIN)
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
            "rebalance_drain": "1s",
            "shutdown_drain": "3s",
            "leave_group_after": "10s",
        }
        if options.on_critical != "halt":
            lambda_["on_critical"] = options.on_critical
        kafka = {
            "bootstrap.servers": self.kafka.address,
            # A new one for each start: Kafka's own record of the group then says which sidecar it was.
            "client.id": label,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": options.session_ms,
            # So long a broker that was killed in the middle of a rebalance waits for members that it still knows of.
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
        command = [sys.executable, "-m", "sdk_python.serve", NAME, "tests.chaos.recorder"]
        command += ["--address", self._address(sidecar)]
        for key, value in settings.items():
            command += ["--set", f"{key}={json.dumps(value)}"]
        return Program(label, command)

    def _address(self, sidecar: str) -> str:
        return f"unix://{self._sockets}/{sidecar}.sock"

    def _ended(self, slot: str) -> None:
        """Written before the signal: from here on nothing can be expected of it."""
        self.journal.write("ended", slot=slot, label=self.running[slot].label)

    def _forget(self, slot: str) -> None:
        """Kill it if it still runs, and keep what it wrote."""
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
            with suppress(RuntimeError):  # it was only frozen
                self.kafka.start()
            self._broker_comes()

    def _broker_goes(self) -> None:
        self._broker_up = False
        self.journal.write("frozen", slot="broker", label="broker")

    def _broker_comes(self) -> None:
        self._broker_up = True
        self.journal.write("thawed", slot="broker", label="broker")


def group_state(address: str, patience: float = 10.0) -> str:
    """The group's state, once it is empty or time is over."""
    client = AdminClient({"bootstrap.servers": address, "log_level": 0})
    deadline = time.monotonic() + patience
    while True:
        found: Mapping[str, Any] = client.describe_consumer_groups([GROUP], request_timeout=10.0)
        state = str(found[GROUP].result().state.name)
        if state == "EMPTY" or time.monotonic() > deadline:
            return state
        time.sleep(0.1)  # the broker tells nobody when a group's state changes
