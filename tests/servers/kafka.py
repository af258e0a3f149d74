"""Real Apache Kafka for tests: jars from Maven Central, one or several KRaft nodes on free loopback ports."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
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
"""Seconds. A start takes about 3 s; several at once on a busy machine take far more."""

_CLUSTER_ID = "kafkaSidecarTests00000"

_SETTINGS: Mapping[str, object] = {
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # Tests create their topics: an automatically created topic would hide a typing error.
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
    # Production waits for late members; in tests a rebalance should take milliseconds.
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 500,
    "group.consumer.min.session.timeout.ms": 1000,
    "group.consumer.session.timeout.ms": 6000,
    "group.consumer.min.heartbeat.interval.ms": 100,
    "group.consumer.heartbeat.interval.ms": 200,
    "group.consumer.assignment.interval.ms": 0,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1000,
    # Data expires only in a test that asks for it: other tests use any timestamps. Expired data, and that of a
    # deleted topic, is removed within seconds.
    "log.retention.ms": -1,
    "log.retention.check.interval.ms": 1000,
    "log.initial.task.delay.ms": 500,
    "log.segment.delete.delay.ms": 500,
    # The default allocates 128 MB of heap at the start.
    "log.cleaner.dedupe.buffer.size": 2097152,
    # A restarted node waits until its previous session has expired: 9 s by default.
    "broker.session.timeout.ms": 2000,
    "broker.heartbeat.interval.ms": 250,
    # There is no other broker that could take over.
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
    """Return the folder with Kafka's jars; fetch them with Maven if they are missing.

    Raises ``KafkaServerError`` when Maven fails.
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
            # Stored beside the jars, so that a changed pom fetches them again.
            shutil.copy(POM, jars / POM.name)
            jars.rename(CACHE)  # a finished folder appears at once or not at all
    return CACHE


class KafkaServer(ServerProcess):
    """One Kafka node in its own JVM: broker and controller, or a further broker of another node's cluster.

    `address` is for `bootstrap.servers`, and `log` has warnings and errors.

    Args:
        settings: broker settings that are added to, or replace, the ones for fast tests.
        heap_mb: size of the JVM's heap in MiB; benchmarks want 1024.
        node: the broker's id, as partitions' leaders and replicas name it.
        joins: the controller node whose cluster this broker joins; None: this node is the controller.
        proxy: the port of a proxy on 127.0.0.1. Then the broker has a second listener, `proxied`, and clients that
            come by it are told the proxy's port, so that all their connections go through the proxy.
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
        proxy: int | None = None,
    ) -> None:
        """Choose the ports. Starts nothing."""
        port, self._controller_port, self._proxied_port = free_ports(3)
        super().__init__(port)
        self.node = node
        self._joins = joins
        self._proxy = proxy
        self._settings = dict(settings or {})
        self._heap_mb = heap_mb

    @property
    def proxied(self) -> str:
        """Where the proxy has to forward connections to, as host:port."""
        return f"127.0.0.1:{self._proxied_port}"

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
            # Before the port is open, the client would only increase its back-off. It opens before the broker serves.
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
        listeners = advertised = f"PLAINTEXT://{self.address}"
        if self._proxy is not None:
            listeners += f",PROXIED://{self.proxied}"
            advertised += f",PROXIED://127.0.0.1:{self._proxy}"
        controller = self if self._joins is None else self._joins
        voter = f"127.0.0.1:{controller._controller_port}"
        settings: dict[str, object] = {
            **_SETTINGS,
            "process.roles": "broker,controller" if controller is self else "broker",
            "node.id": self.node,
            "listeners": f"{listeners},CONTROLLER://{voter}" if controller is self else listeners,
            "advertised.listeners": advertised,
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
    """Several brokers, each of which can be stopped, killed and started; a context manager.

    The first broker is the controller too: without it no partition gets a new leader. So a test kills another broker,
    and its partitions have no leader (if they have no other replica) or a new one. Kafka's internal topics, such as
    the groups' offsets, have a replica on each broker.

    Args:
        brokers: how many.
        settings: as for `KafkaServer`, for all of them.
        proxies: the ports of the brokers' proxies, as for `KafkaServer`.
    """

    def __init__(
        self, brokers: int = 2, settings: Mapping[str, object] | None = None, proxies: Sequence[int] = ()
    ) -> None:
        """Starts nothing."""
        shared = {
            "offsets.topic.replication.factor": brokers,
            "transaction.state.log.replication.factor": brokers,
            "share.coordinator.state.topic.replication.factor": brokers,
            **(settings or {}),
        }
        ports: list[int | None] = [*proxies] or [None] * brokers
        first = KafkaServer(shared, proxy=ports[0])
        others = zip(range(2, brokers + 1), ports[1:], strict=True)
        self.brokers = [first, *(KafkaServer(shared, node=node, joins=first, proxy=port) for node, port in others)]
        self._running = ExitStack()

    @property
    def address(self) -> str:
        """`bootstrap.servers` with all brokers."""
        return ",".join(broker.address for broker in self.brokers)

    def broker(self, node: int) -> KafkaServer:
        """The broker with this id; ids start at 1."""
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
        # Suited to a short run on a small heap: less memory, and a faster start.
        java += ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    java += [f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}"]
    return [*java, "-cp", f"{jars}/*"]


def is_resolved() -> bool:
    """Whether the jars of the current pom have been fetched."""
    copy = CACHE / POM.name
    return copy.is_file() and copy.read_bytes() == POM.read_bytes()
