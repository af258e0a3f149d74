"""Real Apache Kafka for tests: the jars from Maven Central, KRaft nodes on free loopback ports, one or several."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.servers.process import ServerProcess, free_ports, is_open, last_lines

VERSION = "4.3.1"
POM = Path(__file__).with_name("pom.xml")
CACHE = Path(__file__).resolve().parents[2] / ".cache" / f"kafka-{VERSION}"
START_TIMEOUT = 180.0
"""Seconds; a start takes about 3, several at once on a busy machine far more."""

_CLUSTER_ID = "kafkaSidecarTests00000"

_SETTINGS: Mapping[str, object] = {
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # Tests make their topics: one that appears by a mere typing error would hide it.
    "auto.create.topics.enable": False,
    "num.partitions": 1,
    "offsets.topic.num.partitions": 1,
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.num.partitions": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.num.partitions": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    # Rebalances in tests take milliseconds where production waits for stragglers.
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 500,
    "group.consumer.min.session.timeout.ms": 1000,
    "group.consumer.session.timeout.ms": 6000,
    "group.consumer.min.heartbeat.interval.ms": 100,
    "group.consumer.heartbeat.interval.ms": 200,
    "group.consumer.assignment.interval.ms": 0,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
    # Only a test that asks for it loses data to age: others use timestamps as they like. Then, and when
    # a topic is deleted, the data goes within seconds.
    "log.retention.ms": -1,
    "log.retention.check.interval.ms": 1000,
    "log.initial.task.delay.ms": 500,
    "log.segment.delete.delay.ms": 500,
    # The default takes 128 MB of the heap at the start.
    "log.cleaner.dedupe.buffer.size": 2097152,
    # A restarted node waits until the session of its former life is over: 9 s by default.
    "broker.session.timeout.ms": 2000,
    "broker.heartbeat.interval.ms": 250,
    # There is no other broker to hand anything over to.
    "controlled.shutdown.enable": False,
    "num.network.threads": 2,
    "num.io.threads": 4,
    "background.threads": 2,
    "num.recovery.threads.per.data.dir": 1,
}

_LOG4J = """\
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{HH:mm:ss.SSS} %p %m (%c{1})%n
rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
"""


class KafkaServerError(RuntimeError):
    """Kafka could not be resolved or started; the text has the last lines of the output."""


def missing_requirements() -> str | None:
    """Return one line that names what real Kafka needs and this machine lacks, or None."""
    java = shutil.which("java")
    if java is None:
        return "real Kafka needs Java 17 or newer: no `java` on the PATH"
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    if found is None or int(found[1]) < 17:
        return f"real Kafka needs Java 17 or newer: {java} is {said.splitlines()[0] if said else 'unknown'}"
    if not is_resolved() and shutil.which("mvn") is None:
        return "real Kafka needs `mvn` on the PATH once, to fetch its jars from Maven Central"
    return None


def resolve() -> Path:
    """Return the folder with Kafka's jars; fetch them with Maven if they are not there yet.

    Raises:
        KafkaServerError: Maven failed.
    """
    if is_resolved():
        return CACHE
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with CACHE.with_name(f"{CACHE.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # parallel test runs: one fetches, the others wait for it
        if is_resolved():
            return CACHE
        shutil.rmtree(CACHE, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=CACHE.parent, prefix=f"{CACHE.name}.part.") as part:
            jars = Path(part) / "jars"
            command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
            command += ["-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            if done.returncode:
                raise KafkaServerError(f"mvn could not fetch Kafka {VERSION}:\n{last_lines(done.stdout)}")
            # Kept beside the jars, so that a change of the pom fetches anew.
            shutil.copy(POM, jars / POM.name)
            jars.rename(CACHE)  # a finished folder appears at once or not at all
    return CACHE


class KafkaServer(ServerProcess):
    """One Kafka node in a JVM of its own: broker and controller, or a further broker of another node's cluster.

    `address` is for `bootstrap.servers`, and `log` has warnings and errors.

    Args:
        settings: broker settings that are added to, or replace, the ones for fast tests.
        heap_mb: size of the JVM's heap in MiB; benchmarks want 1024.
        node: the broker's id, as partitions' leaders and replicas name it.
        joins: the node that is the controller of the cluster that this broker belongs to; None: this node itself.
    """

    NAME = "Kafka"
    ERROR = KafkaServerError
    TIMEOUT = START_TIMEOUT

    def __init__(
        self,
        settings: Mapping[str, object] | None = None,
        *,
        heap_mb: int = 256,
        node: int = 1,
        joins: KafkaServer | None = None,
    ) -> None:
        """Starts nothing yet; the ports are chosen."""
        port, self._controller_port = free_ports(2)
        super().__init__(port)
        self.node = node
        self._joins = joins
        self._settings = dict(settings or {})
        self._heap_mb = heap_mb

    def _program(self) -> Path:
        return resolve()

    def _prepare(self, folder: Path) -> None:
        self._write_settings(folder)
        format_it = ["kafka.tools.StorageTool", "format", f"--cluster-id={_CLUSTER_ID}", "-c"]
        done = subprocess.run(
            [*_java(resolve(), folder, heap_mb=64), *format_it, str(folder / "server.properties")],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise KafkaServerError(f"formatting Kafka's data failed:\n{last_lines(done.stdout + done.stderr)}")

    def _command(self, program: Path, folder: Path) -> list[str]:
        return [*_java(program, folder, heap_mb=self._heap_mb), "kafka.Kafka", "server.properties"]

    def _probe(self) -> Callable[[], bool]:
        client: AdminClient | None = None

        def answers() -> bool:
            nonlocal client
            # The port opens before the broker serves; before that, the client would only learn to back off.
            if client is None and is_open(self._port):
                client = AdminClient(
                    {"bootstrap.servers": self.address, "log_level": 0, "reconnect.backoff.max.ms": 100}
                )
            if client is not None:
                with suppress(KafkaException):
                    return self.node in client.list_topics(timeout=2.0).brokers
            return False

        return answers

    def _write_settings(self, folder: Path) -> None:
        listeners = f"PLAINTEXT://{self.address}"
        controller = self if self._joins is None else self._joins
        voter = f"127.0.0.1:{controller._controller_port}"
        settings: dict[str, object] = {
            **_SETTINGS,
            "process.roles": "broker,controller" if controller is self else "broker",
            "node.id": self.node,
            "listeners": f"{listeners},CONTROLLER://{voter}" if controller is self else listeners,
            "advertised.listeners": listeners,
            "controller.quorum.voters": f"{controller.node}@{voter}",
            "log.dirs": folder / "data",
            **self._settings,
        }
        lines = (
            f"{name}={str(value).lower() if isinstance(value, bool) else value}\n" for name, value in settings.items()
        )
        (folder / "server.properties").write_text("".join(lines))
        (folder / "log4j2.properties").write_text(_LOG4J)


class KafkaCluster:
    """Several brokers, of which each can be stopped, killed and started; a context manager.

    The first is the controller too: without it no other broker leads a partition that it did not lead before. So a
    test kills another one, to see its partitions without a leader (those that have no replica elsewhere) or with a
    new one. What Kafka keeps for itself, as the groups' offsets, is on all of them and outlives any.

    Args:
        brokers: how many.
        settings: as for `KafkaServer`, for all of them.
    """

    def __init__(self, brokers: int = 2, settings: Mapping[str, object] | None = None) -> None:
        """Starts nothing yet."""
        shared = {
            "offsets.topic.replication.factor": brokers,
            "transaction.state.log.replication.factor": brokers,
            "share.coordinator.state.topic.replication.factor": brokers,
            **(settings or {}),
        }
        first = KafkaServer(shared)
        self.brokers = [first, *(KafkaServer(shared, node=node, joins=first) for node in range(2, brokers + 1))]
        self._running = ExitStack()

    @property
    def address(self) -> str:
        """`bootstrap.servers` with all brokers."""
        return ",".join(broker.address for broker in self.brokers)

    def broker(self, node: int) -> KafkaServer:
        """The broker of this id: they count from 1."""
        return self.brokers[node - 1]

    def __enter__(self) -> Self:
        with ExitStack() as running:
            for broker in self.brokers:
                running.enter_context(broker)
            self._running = running.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()


def _java(jars: Path, folder: Path, *, heap_mb: int) -> list[str]:
    java = ["java", f"-Xms{heap_mb}m", f"-Xmx{heap_mb}m", "-XX:+ExitOnOutOfMemoryError", "-Xshare:auto"]
    if heap_mb < 1024:
        # For a short life on a small heap: less memory and less time to start.
        java += ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    java += [f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}"]
    return [*java, "-cp", f"{jars}/*"]


def is_resolved() -> bool:
    """Whether Kafka's jars are here, as the pom now asks for them."""
    copy = CACHE / POM.name
    return copy.is_file() and copy.read_bytes() == POM.read_bytes()
