"""The world of a run, and how each fault is made.

A single broker is not killed: one that is killed again while it starts may complete a transaction without writing its
markers, and then readers of its partitions wait for ever. Seen with Kafka 4.3.1: the log of transactions said
CompleteAbort, and the partitions that it named had no marker. In a cluster, where each record has three replicas and
two in sync, one broker at a time is killed, when all others are in sync.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import struct
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from confluent_kafka import KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AdminClient

from sidecar.cluster.commit_metadata import decode
from sidecar.records.key_lane import lane_of
from tests.chaos import offsets
from tests.chaos.exactly_once.faults import SESSION_S, Fault
from tests.chaos.exactly_once.reader import Reader
from tests.clients import languages
from tests.integration.harness import NAME, Broker, Program, Sidecar, Stage, Traffic, wait_for
from tests.servers.kafka import KafkaCluster
from tests.servers.kafka_proxy import Api, Catch, KafkaProxy
from tests.servers.process import free_ports
from tests.servers.topics import alter_topic, create_topic, end_offsets, read_all

PARTITIONS = 4
SLOTS = 2
STATIC = "static"
"""The `group.instance.id` of the first sidecar, whose `transactional.id` so is the same after each start."""
PROTOCOL = "protocol"
"""A copier without an SDK (`tests.integration.copier`), as if it were one more language."""
LANGUAGES = (PROTOCOL, *languages.LANGUAGES)
HOWS = {True: ("commit", "held", "sources", "closed"), False: ("plain", "awaited")}
"""What copiers without, and with an SDK can do."""
KEYS = 50
INTERVAL_S = 0.05
"""Seconds between two records of a partition."""
CAUGHT_WITHIN_S = 20.0
"""Seconds within which a request comes, if the fault before it has left somebody to send it."""
PATIENCE_S = 180.0
"""Seconds within which there is progress in each partition. Restarts of a lambda are up to 30 s apart."""
TOO_FEW = "100"
"""Bytes of a batch that no copy has room in, since its key has 40 and a batch's header 61, and that a transaction's
marker, of 78, has. Kafka (4.3.1) does not try again to write a marker that was too large: the transaction is open for
ever then, and its `transactional.id` cannot be used."""
ENOUGH = "1000012"
"""Kafka's default of `max.message.bytes`."""
TOPICS = ("__consumer_offsets", "__transaction_state")


class Matrix:
    """Everything that runs; a context manager."""

    def __init__(self, folder: Path, seed: int, *, brokers: int, lanes: int, spoken: Sequence[str]) -> None:
        self._folder = folder
        self._seed = seed
        self._random = random.Random(seed)
        self._lanes = lanes
        self._spoken = spoken
        ports, in_sync = free_ports(brokers), min(2, brokers)
        settings = {
            "min.insync.replicas": in_sync,
            "transaction.state.log.min.isr": in_sync,
            # The tests' own 2 s are over too soon on a machine that is as busy as this run makes it.
            "broker.session.timeout.ms": 9000,
        }
        self._kafka = KafkaCluster(brokers, settings, ports)
        self._proxy = KafkaProxy(ports, [broker.proxied for broker in self._kafka.brokers])
        self._in_peace = ThreadPoolExecutor(1, "broker")
        self._broker: Future[None] | None = None
        """The restart of a broker that was killed."""
        self._starts = 0
        self._running = ExitStack()
        self._sidecars: list[Sidecar] = []
        self._copiers: list[Program] = []
        for name in ("configs", "logs"):
            (folder / name).mkdir()

    def __enter__(self) -> Matrix:
        with ExitStack() as running:
            running.enter_context(self._kafka)
            running.callback(self._keep_brokers_logs)
            running.enter_context(self._proxy)
            self._stage = Stage(Broker("kafka", self._kafka.address), self._folder, f"{self._seed}")
            self.out = f"{self._stage.topic}-out"
            nodes = [broker.node for broker in self._kafka.brokers]
            replicas = [nodes[number % len(nodes) :] + nodes[: number % len(nodes)] for number in range(PARTITIONS)]
            for topic in (self._stage.topic, self.out):
                create_topic(self._kafka.address, topic, replicas=replicas)
            self._admin = AdminClient({"bootstrap.servers": self._kafka.address, "log_level": 0})
            running.callback(self._in_peace.shutdown)
            running.callback(self._end_all)
            for slot in range(SLOTS):
                self._sidecars.append(self._sidecar(slot))
                self._copiers.append(self._copier(slot))
            self.reader = running.enter_context(Reader(self._kafka.address, self.out, PARTITIONS, self._lanes))
            self._traffic = running.enter_context(ExitStack())
            self._traffic.enter_context(Traffic(self._stage, PARTITIONS, INTERVAL_S, KEYS))
            self._running = running.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._running:  # whatever happens here
            self._keep_commits()
            self._keep_copies()
            if kind is not None:
                self._keep_segments()

    # --- what is checked --------------------------------------------------------------------------------------

    def progress(self) -> dict[int, int]:
        """Wait until each partition has more copies than now. Returns how many there are."""
        self.reader.wait_for(
            {number: self.reader.counts().get(number, 0) + 1 for number in range(PARTITIONS)}, PATIENCE_S
        )
        return self.reader.counts()

    def finish(self) -> int:
        """End the traffic, wait until all is copied, and compare. Returns how many records there are."""
        self._peace()
        self._traffic.close()
        ends = end_offsets(self._kafka.address, self._stage.topic)
        self.reader.wait_for(ends, PATIENCE_S)
        wait_for(lambda: self._committed() == ends, lambda: f"{ends} to be committed, {self._committed()} is")
        sources = read_all(self._kafka.address, self._stage.topic)
        wanted = [(one.partition, one.offset, lane_of(one.key, one.offset, self._lanes)) for one in sources]
        copies = [[*map(int, (one.value or b"").split(b":"))] for one in read_all(self._kafka.address, self.out)]
        found = sorted((partition, offset, lane) for partition, offset, lane, _ in copies)
        assert found == wanted, f"{len(found)} copies of {len(wanted)} records, or some in a wrong lane"
        return len(found)

    def requests(self) -> dict[str, int]:
        """How many requests of each kind the sidecars have made."""
        return {api.name: self._proxy.seen[api] for api in Api}

    def _committed(self) -> dict[int, int]:
        try:
            return self._stage.committed()
        except KafkaException:
            return {}

    # --- faults -----------------------------------------------------------------------------------------------

    def make(self, fault: Fault) -> bool:
        """Make a fault. Returns False if what it waits for did not come."""
        happened = getattr(self, f"_{fault.kind.replace('-', '_')}")(fault)
        return happened is not False

    def _lambda_kill(self, fault: Fault) -> None:
        self._end(self._copiers[fault.slot])
        self._copiers[fault.slot] = self._copier(fault.slot)

    def _lambda_freeze(self, fault: Fault) -> None:
        _freeze(self._copiers[fault.slot], fault.seconds)

    def _sidecar_kill(self, fault: Fault) -> None:
        self._sidecars[fault.slot].kill()
        time.sleep(fault.seconds / 2)
        self._replace(fault.slot)

    def _sidecar_terminate(self, fault: Fault) -> None:
        self._sidecars[fault.slot].terminate()
        self._replace(fault.slot)

    def _sidecar_freeze(self, fault: Fault) -> None:
        _freeze(self._sidecars[fault.slot], fault.seconds)

    def _broker_freeze(self, fault: Fault) -> None:
        self._peace()
        broker = self._kafka.broker(fault.broker)
        broker.pause()
        time.sleep(fault.seconds)
        broker.resume()

    def _broker_kill(self, fault: Fault) -> None:
        """Other faults come while it starts."""
        self._peace()
        broker = self._kafka.broker(fault.broker)
        broker.kill()

        def start() -> None:
            time.sleep(fault.seconds)
            broker.start()

        self._broker = self._in_peace.submit(start)

    def _peace(self) -> None:
        """Wait until all brokers run and have all that was written: no two are disturbed at a time."""
        broker, self._broker = self._broker, None
        if broker is not None:
            broker.result()
        wait_for(self._in_sync, "all replicas to be in sync", PATIENCE_S)

    def _in_sync(self) -> bool:
        asked = self._admin.describe_topics(TopicCollection([self._stage.topic, self.out, *TOPICS]))
        try:
            found = [one.result() for one in asked.values()]
        except KafkaException:
            return False
        return all(len(one.isr) == len(one.replicas) for topic in found for one in topic.partitions)

    def _request_cut(self, fault: Fault) -> bool:
        caught = self._caught(fault)
        if caught is not None:
            caught.cut()
        return caught is not None

    def _request_kill(self, fault: Fault) -> bool:
        caught = self._caught(fault)
        if caught is None:
            return False
        slot = self._slot(caught)
        self._sidecars[slot].kill()
        caught.cut()
        time.sleep(fault.seconds / 2)
        self._replace(slot)
        return True

    def _request_freeze(self, fault: Fault) -> bool:
        caught = self._caught(fault)
        if caught is None:
            return False
        slot = self._slot(caught)
        self._sidecars[slot].signal(signal.SIGSTOP)
        time.sleep(fault.seconds)
        caught.let_go()
        self._sidecars[slot].signal(signal.SIGCONT)
        return True

    def _caught(self, fault: Fault) -> Catch | None:
        caught = self._proxy.catch(fault.api, fault.moment)
        if fault.api is Api.INIT_PRODUCER_ID:  # only a new producer sends it
            self._sidecars[fault.slot].kill()
            self._replace(fault.slot)
        if caught.wait(CAUGHT_WITHIN_S):
            return caught
        self._proxy.withdraw(caught)
        return None

    def _slot(self, caught: Catch) -> int:
        """Whose request it is."""
        return next(slot for slot, sidecar in enumerate(self._sidecars) if sidecar.label == caught.client)

    def _producer_fence(self, _: Fault) -> None:
        """Another producer takes the `transactional.id` of the first sidecar."""
        name = f"kafka-sidecar-{self._stage.group}-{NAME}-{STATIC}"
        thief = Producer({"bootstrap.servers": self._kafka.address, "transactional.id": name, "log_level": 0})
        thief.init_transactions(PATIENCE_S)

    def _topic_refuse(self, fault: Fault) -> None:
        """The topic of the copies takes none for a while."""
        alter_topic(self._kafka.address, self.out, {"max.message.bytes": TOO_FEW})
        time.sleep(fault.seconds / 2)
        alter_topic(self._kafka.address, self.out, {"max.message.bytes": ENOUGH})

    # --- processes --------------------------------------------------------------------------------------------

    def _sidecar(self, slot: int) -> Sidecar:
        self._starts += 1
        label = f"s{self._starts}"
        options = {
            "produce": [self.out],
            "guarantee": "exactly-once",
            "window": {"messages": 500},
            "lanes": self._lanes,
        }
        kafka = {
            "bootstrap.servers": self._proxy.address,
            "client.id": label,
            "session.timeout.ms": int(SESSION_S * 1000),
            "heartbeat.interval.ms": 500,
            **({"group.instance.id": STATIC} if slot == 0 else {}),
        }
        config = self._stage.config(label=f"slot{slot}", kafka=kafka, **options)
        return Sidecar(self._folder / "configs", config, label)

    def _copier(self, slot: int) -> Program:
        self._starts += 1
        language = self._spoken[self._starts // 2 % len(self._spoken)]
        address = self._sidecars[slot].address
        how = self._random.choice(HOWS[language == PROTOCOL])
        label = f"c{self._starts}-{language}-{how}"
        if language == PROTOCOL:
            return Program(label, [sys.executable, "-m", "tests.integration.copier", address, NAME, self.out, how])
        environment = {"KAFKA_SIDECAR_ADDRESS": address, **languages.settings({"out": self.out, "how": how})}
        return Program(label, [*languages.command(language, "copier"), NAME], environment)

    def _replace(self, slot: int) -> None:
        """Start a sidecar and its copier again, when the sidecar has ended."""
        self._end(self._sidecars[slot])
        self._end(self._copiers[slot])
        self._sidecars[slot] = self._sidecar(slot)
        self._copiers[slot] = self._copier(slot)

    def _end(self, program: Program) -> None:
        program.close()
        (self._folder / "logs" / f"{program.label}.log").write_text(program.text() + "\n")

    def _end_all(self) -> None:
        for program in (*self._sidecars, *self._copiers):
            self._end(program)

    def _keep_commits(self) -> None:
        """Keep all places that were sent to Kafka, with their states, also those of aborted transactions."""
        with (self._folder / "logs" / "commits.jsonl").open("w") as file:
            for record in read_all(self._kafka.address, offsets.TOPIC, "read_uncommitted"):
                try:
                    found = offsets.parse(record.key, record.value)
                except (ValueError, struct.error):  # a marker of a transaction
                    continue
                if isinstance(found, offsets.CommitRecord) and found.offset is not None:
                    places = decode(found.offset, found.metadata).places
                    line = {
                        "position": record.offset,
                        "wall": found.wall,
                        "partition": found.partition,
                        "offset": found.offset,
                        "places": [(place.offset, place.state.decode(errors="replace")) for place in places],
                    }
                    file.write(json.dumps(line) + "\n")

    def _keep_copies(self) -> None:
        """Keep all copies, also those of aborted transactions."""
        with (self._folder / "logs" / "copies.txt").open("w") as file:
            for one in read_all(self._kafka.address, self.out, "read_uncommitted"):
                file.write(f"{one.partition} {one.offset} {one.timestamp} {(one.value or b'').decode()}\n")

    def _keep_segments(self) -> None:
        """Keep Kafka's own files of the topics: they say which producer wrote what, and how each transaction ended.

        `kafka-dump-log.sh --print-data-log --files FILE` of Kafka shows them.
        """
        for broker in self._kafka.brokers:
            for found in (broker.log.parent / "data").glob("*-[0-9]*"):
                if found.name.rpartition("-")[0] in (self.out, *TOPICS):
                    shutil.copytree(found, self._folder / "segments" / f"{broker.node}" / found.name)

    def _keep_brokers_logs(self) -> None:
        for broker in self._kafka.brokers:
            (self._folder / "logs" / f"kafka{broker.node}.log").write_bytes(broker.log.read_bytes())


def _freeze(program: Program, seconds: float) -> None:
    program.signal(signal.SIGSTOP)
    time.sleep(seconds)
    program.signal(signal.SIGCONT)
