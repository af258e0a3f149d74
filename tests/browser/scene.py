"""A shop on a real broker: a sidecar with three lambdas, their processes, orders, and some that go wrong."""

from __future__ import annotations

import json
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from sidecar.dead_letters.letter import Place
from tests.integration.harness import PATIENCE, Broker, Program, Sidecar, wait_for
from tests.servers import topics

TOKEN = "letmein-0123456789"
PARTITIONS = {"orders": 3, "parcels": 4}

Status = dict[str, Any]


class Scene:
    """The running shop. `close` ends its processes."""

    def __init__(
        self, broker: Broker, folder: Path, prefix: str = "", server: Mapping[str, Any] | None = None
    ) -> None:
        """``prefix``: of topics and groups, on a broker that tests share. ``server``: instead of the admin token."""
        self.broker = broker
        self.prefix = prefix
        for name, count in PARTITIONS.items():
            topics.create_topic(broker.address, prefix + name, count)
        given = {"admin_token": TOKEN} if server is None else server
        self.sidecar = Sidecar(folder, self._config(folder, given))
        self.programs: list[Program] = [self.sidecar]
        line = self.sidecar.wait_for_log("listening for operators")
        self.url = str(line["address"])
        for name in ("billing", "shipping", "statistics"):
            self.serve(name)

    def _config(self, folder: Path, server: Mapping[str, Any]) -> dict[str, Any]:
        def of(topic: str, name: str, **more: Any) -> dict[str, Any]:
            started = {"topic": self.prefix + topic, "group": self.prefix + name, "start": "earliest"}
            return {**started, "checkpoint": {"interval": "200ms"}, **more}

        return {
            "kafka": self.broker.properties,
            "server": {"listen": f"unix://{folder}/sidecar.sock", **server},
            "operate": {"listen": "127.0.0.1:0"},
            "lambdas": {
                "billing": of("orders", "billing", on_critical="dead-letter"),
                "shipping": of("parcels", "shipping", stall_after="2s", window={"messages": 200}),
                "statistics": of("orders", "statistics"),
            },
        }

    def serve(self, name: str, label: str = "") -> Program:
        """Start a process of a lambda."""
        plugin = "tests.browser.statistics" if name == "statistics" else "tests.browser.shop"
        command = [sys.executable, "-m", "sdk_python.serve", name, plugin]
        program = Program(label or name, [*command, "--address", self.sidecar.address])
        self.programs.append(program)
        return program

    def close(self) -> None:
        """End every process."""
        for program in reversed(self.programs):
            program.close()

    # --- records ----------------------------------------------------------------------------------------------

    def produce(self, topic: str, partition: int, *what: str, first: int = 1) -> list[Place]:
        """Write orders that are ``what`` the table in `shop` says, one after the other."""
        values = [json.dumps({"order": first + number, "is": one}).encode() for number, one in enumerate(what)]
        name = self.prefix + topic
        made = topics.produce(self.broker.address, name, [topics.Record(None, one, (), partition) for one in values])
        return [Place(name, *one) for one in made]

    @contextmanager
    def orders_flow(self, per_second: float = 20) -> Iterator[None]:
        """Meanwhile good orders are written to all partitions."""
        stop = threading.Event()

        def run() -> None:
            producer = Producer({"bootstrap.servers": self.broker.address, "linger.ms": 5})
            number = 0
            while not stop.wait(1 / per_second):
                for topic, count in PARTITIONS.items():
                    for partition in range(count):
                        value = json.dumps({"order": number, "is": "well"})
                        producer.produce(self.prefix + topic, value, partition=partition)
                producer.poll(0)
                number += 1
            producer.flush(PATIENCE)

        thread = threading.Thread(target=run, name="orders")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    # --- what the sidecar says ----------------------------------------------------------------------------------

    def get(self, path: str, token: str | None = TOKEN) -> dict[str, Any]:
        """An answer of the page's API."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers)) as answer:
            said: dict[str, Any] = json.load(answer)
        return said

    def partition(self, name: str, topic: str, number: int) -> Status:
        """A partition's status; empty: the sidecar does not own it now."""
        try:
            lambdas = self.get("/api/status")["status"]["lambdas"]
        except urllib.error.HTTPError:  # a consumer thread is busy
            return {}
        [one] = [each for each in lambdas if each["name"] == name]
        found = [
            each
            for each in one.get("partitions", [])
            if (each["topic"], each.get("partition", 0)) == (self.prefix + topic, number)
        ]
        return found[0] if found else {}

    def state(self, name: str, topic: str, number: int) -> str:
        """A partition's state in a word."""
        state: str = self.partition(name, topic, number).get("state", "")
        return state.removeprefix("PARTITION_STATE_").lower()

    def wait_for(self, state: str, name: str, topic: str, number: int) -> Status:
        """Wait until a partition is in this state."""
        wait_for(
            lambda: self.state(name, topic, number) == state,
            lambda: f"{name} {topic}/{number} {state}: it is {self.state(name, topic, number)}",
        )
        return self.partition(name, topic, number)

    def wait_until_running(self) -> None:
        """Wait until all partitions of all lambdas run."""
        for name, topic in (("billing", "orders"), ("shipping", "parcels"), ("statistics", "orders")):
            for number in range(PARTITIONS[topic]):
                self.wait_for("running", name, topic, number)

    def go_wrong(self) -> None:
        """Let parcels/1 halt, parcels/2 be paused by its lambda, parcels/3 stall, and orders become dead letters."""
        self.produce("parcels", 1, "priceless", first=1041)
        self.produce("parcels", 2, "pending", first=1042)
        self.produce("parcels", 3, "endless", first=1043)
        self.produce("orders", 0, "priceless", "unknown", "priceless", first=1050)
        self.produce("orders", 2, "priceless", "unknown", first=1060)
        self.wait_for("halted", "shipping", "parcels", 1)
        self.wait_for("paused", "shipping", "parcels", 2)
        wait_for(lambda: self.partition("shipping", "parcels", 3).get("stalled_since_ms"), "parcels/3 to stall")
        wait_for(lambda: self.dead_letters() == 5, lambda: f"5 dead letters, there are {self.dead_letters()}")

    def dead_letters(self) -> int:
        """How many dead letters billing has written."""
        lambdas = self.get("/api/status")["status"]["lambdas"]
        return next(int(one.get("dead_letters", 0)) for one in lambdas if one["name"] == "billing")
