"""The play: each step makes one thing happen, waits until the sidecar knows it, and asks what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from sdk_python.protocol import admin_pb2
from sidecar.causes import Cause
from sidecar.explain import Urgency, explain
from tests.integration.evening.transcript import Transcript
from tests.integration.harness import PATIENCE, Sidecar, wait_for
from tests.servers import topics
from tests.servers.kafka import KafkaServer
from tests.servers.topics import Record

NAME, TOPIC, PARTITIONS = "billing", "orders", 4
WINDOW = 100
_LONG = 2 * PATIENCE


class Evening:
    """One run of the play on this Kafka, with its files in ``folder``."""

    def __init__(self, kafka: KafkaServer, folder: Path) -> None:
        self.folder = folder
        self._kafka = kafka
        self._sidecars: list[Sidecar] = []
        self._orders = 0
        sockets = {f"unix://{folder}/{name}.sock": f"{name}:50051" for name in ("one", "two")}
        self.transcript = Transcript(
            {**sockets, kafka.address: "kafka:9092", sys.executable: "python", str(folder): "."}
        )

    def run(self) -> None:
        """All steps, in order."""
        self.quiet()
        self.poison()
        self.crash_loop()
        self.full_window()
        self.kafka_away()
        self.second_sidecar()
        self.letters_come_back()

    def close(self) -> None:
        """End the sidecars, and with them their processes."""
        for sidecar in self._sidecars:
            sidecar.close()

    # --- the steps ------------------------------------------------------------------------------------------------

    def quiet(self) -> None:
        """All is well."""
        shutil.copy(Path(__file__).with_name("billing.py"), self.folder / "billing.py")
        topics.create_topic(self._kafka.address, TOPIC, PARTITIONS)
        self._start("one")
        self._produce(40)
        page = self.transcript
        page.heading("Seven o'clock: all is well")
        page.say(
            "A lambda bills orders. The sidecar runs its process (`command`), a record that the lambda cannot handle "
            f"becomes a dead letter, and at most {WINDOW} messages of a partition are outstanding."
        )
        self._until(Cause.NOTHING_TO_DO, Urgency.WELL)
        self._type("explain")

    def poison(self) -> None:
        """A record that the lambda cannot handle."""
        page = self.transcript
        page.heading("A poison record")
        page.say(
            "Somebody sends an order without an amount. The lambda fails at it, and the partition goes on without it."
        )
        self._produce(1, amount=None)
        self._produce(20)
        wait_for(lambda: self._lambda().dead_letters == 1, "the dead letter", _LONG)
        self._until(Cause.NOTHING_TO_DO, Urgency.WELL)
        self._type("explain")
        self._type("dead-letters list")
        page.say("Nothing stands still; one order waits to be billed. That can wait until the lambda is mended.")

    def crash_loop(self) -> None:
        """A deploy whose process ends as soon as it starts."""
        page = self.transcript
        page.heading("A crash loop")
        page.say("A deploy goes wrong: the process ends as soon as it is started.")
        (self.folder / "broken").touch()
        for process in self._lambda().processes:
            os.kill(process.pid, signal.SIGKILL)
        self._produce(20)
        self._until(Cause.PROCESS_ENDS, Urgency.ACT)
        wait_for(lambda: Cause.NO_PROCESS in self._urgent(), "the wait to be urgent", _LONG)
        self._type("explain")
        page.say(
            "Its last words say why. The deploy is rolled back, and the sidecar starts the process again by itself."
        )
        (self.folder / "broken").unlink()
        self._until(Cause.NOTHING_TO_DO, Urgency.WELL)
        self._type("explain")

    def full_window(self) -> None:
        """The lambda's database does not answer."""
        page = self.transcript
        page.heading("A full window")
        page.say("The database hangs. The lambda waits for it, and the window of a partition fills.")
        (self.folder / "stuck").touch()
        self._produce(3 * WINDOW, partition=2)
        self._until(Cause.WINDOW_FULL, Urgency.ACT)
        self._type("explain")
        self._type("status --state problem")
        page.say("The database is back. The lambda goes on where it was; nothing was restarted.")
        (self.folder / "stuck").unlink()
        self._until(Cause.NOTHING_TO_DO, Urgency.WELL)

    def kafka_away(self) -> None:
        """The broker is stopped, and started again."""
        page = self.transcript
        page.heading("A broker away")
        page.say("Kafka's only broker is stopped.")
        self._kafka.stop()
        self._until(Cause.KAFKA_AWAY, Urgency.ACT)
        self._type("explain")
        page.say("It is started again.")
        self._kafka.start()
        self._produce(20)
        self._until(Cause.NOTHING_TO_DO, Urgency.WELL)
        self._type("explain")

    def second_sidecar(self) -> None:
        """Another member of the group, and an order that is sent to all."""
        page = self.transcript
        page.heading("A second sidecar")
        page.say(
            "Another machine joins the group, and gets its share. Commands ask all sidecars that they are given."
        )
        self._start("two")
        wait_for(self._shared, "each to have two partitions", _LONG)
        both = ",".join(sidecar.address for sidecar in self._sidecars)
        self._type(f"explain --address {both}")
        mine = min(partition.partition for partition in self._lambda(1).partitions)
        page.say("A partition has to stand still for a while. The order goes to the sidecar that owns it.")
        self._type(f"pause {NAME}/{TOPIC}/{mine} --reason migration --address {both}")
        self._type(f"explain --address {both}")
        self._type(f"resume {NAME}/{TOPIC}/{mine} --address {both}")

    def letters_come_back(self) -> None:
        """The lambda is mended, and the dead letter replayed."""
        page = self.transcript
        page.heading("The dead letters come back")
        page.say(
            "The lambda is mended: it bills orders without an amount as 0. The dead letter goes back to its topic."
        )
        (self.folder / "mended").touch()
        self._type("dead-letters replay --all --yes")
        self._type("dead-letters list")
        wait_for(lambda: self._behind() == 0, "all to be billed", _LONG)
        self._type("explain")
        page.say("Good night.")

    # --- what the steps are made of -------------------------------------------------------------------------------

    def _start(self, label: str) -> None:
        lambda_: dict[str, Any] = {
            "topic": TOPIC,
            "group": NAME,
            "plugin": "billing.py",
            "command": f"{sys.executable} -m sdk_python.serve {NAME}",
            "cwd": str(self.folder),
            "on_critical": "dead-letter",
            "window": {"messages": WINDOW},
            "stall_after": "3s",
            "checkpoint": {"interval": "50ms"},
        }
        config = {
            "kafka": {"bootstrap.servers": self._kafka.address, "fetch.wait.max.ms": 50},
            "server": {"listen": f"unix://{self.folder}/{label}.sock"},
            "lambdas": {NAME: lambda_},
        }
        sidecar = Sidecar(self.folder, config, label)
        self._sidecars.append(sidecar)
        sidecar.wait_until_listening()

    def _produce(self, count: int, *, amount: int | None = 5, partition: int | None = None) -> None:
        numbers = range(self._orders, self._orders + count)
        self._orders += count
        topics.produce(
            self._kafka.address,
            TOPIC,
            [
                Record(
                    key=b"order-%d" % number,
                    value=json.dumps({"id": number, "amount": amount}).encode(),
                    partition=number % PARTITIONS if partition is None else partition,
                )
                for number in numbers
            ],
        )

    def _type(self, line: str) -> None:
        done = self._sidecars[0].cli(*line.split())
        self.transcript.typed(f"kafka-sidecar {line}", done.stderr + done.stdout, done.returncode)

    def _status(self, number: int = 0) -> admin_pb2.StatusResponse:
        return self._sidecars[number].status()

    def _lambda(self, number: int = 0) -> admin_pb2.Lambda:
        return self._status(number).lambdas[0]

    def _urgent(self) -> list[Cause]:
        return [finding.cause for finding in explain(self._status()) if finding.urgency is Urgency.ACT]

    def _until(self, cause: Cause, urgency: Urgency) -> None:
        """Wait until this is the most urgent that the first sidecar says."""

        def said() -> list[tuple[Cause, Urgency]]:
            return [(finding.cause, finding.urgency) for finding in explain(self._status())]

        wait_for(lambda: said()[0] == (cause, urgency), lambda: f"{cause}; it says {said()}", _LONG)

    def _shared(self) -> bool:
        held = [len(self._lambda(number).partitions) for number in (0, 1)]
        states = {one.state for number in (0, 1) for one in self._lambda(number).partitions}
        return held == [PARTITIONS // 2] * 2 and states == {admin_pb2.PARTITION_STATE_RUNNING}

    def _behind(self) -> int:
        of = [partition for number in (0, 1) for partition in self._lambda(number).partitions]
        return sum(max(0, one.end - one.committed) for one in of) + sum(one.outstanding for one in of)
