"""The peers: how each is built, started, and checked."""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from confluent_kafka import Consumer, TopicPartition

from benchmarks import processes
from benchmarks.peers import environments
from benchmarks.peers.measure import Program, Work
from tests.servers import kafka
from tests.servers.topics import end_offsets

HERE = Path(__file__).resolve().parent
Start = Callable[[Path, Work], AbstractContextManager[Program]]
ALL, HALF, QUARTER, TWENTIETH, HUNDREDTH = 1.0, 0.5, 0.25, 0.05, 0.01
"""The shares of the records that peers get: slow peers get fewer."""


@dataclass(frozen=True)
class Peer:
    """One peer.

    Attributes:
        title: its name in the table.
        how: its settings, in one line.
        package: folder and name of the package whose version is shown.
        share: the part of the records that it gets.
        prepare: creates its environment; the result goes to `start`.
        start: a context in which its program can be run.
        counted_only: the program does not learn which record it got, so only the number is checked.
        commits: whether it commits, and its commits are checked.
        promise: what it promises to its handler with these settings, in one line.
        order: of which records the order is promised, and checked: `none`, of one key, of one partition.
    """

    title: str
    how: str
    package: tuple[str, str] | None
    share: float
    prepare: Callable[[], Path]
    start: Start
    counted_only: bool = False
    commits: bool = True
    promise: str = "at least once, in the order of the partition"
    order: Literal["none", "key", "partition"] = "partition"


def _own() -> Path:
    return Path(sys.executable)


def _module(module: str, *more: str) -> Start:
    """A Python program of ours in the peer's environment."""

    @contextmanager
    def start(interpreter: Path, work: Work) -> Iterator[Program]:
        yield Program([str(interpreter), "-m", f"benchmarks.peers.{module}", *work.arguments(), *more])

    return start


@contextmanager
def _bare(interpreter: Path, work: Work) -> Iterator[Program]:
    yield Program([str(interpreter), "-m", "benchmarks.bare", *work.arguments(), "tuned"])


def _script(file: str) -> Start:
    """A Node program of ours with the peer's packages."""

    @contextmanager
    def start(modules: Path, work: Work) -> Iterator[Program]:
        yield Program(["node", str(HERE / file), *work.arguments()], {"NODE_PATH": str(modules)})

    return start


@contextmanager
def _binary(path: Path, work: Work) -> Iterator[Program]:
    yield Program([str(path), *work.arguments()])


def java_command(classes: Path) -> list[str]:
    """The beginning of the command line of a Java peer's program, from the folder of `environments.java`."""
    return ["java", "-cp", f"{classes}:{classes}/jars/*", "Loop"]


@contextmanager
def _java(classes: Path, work: Work) -> Iterator[Program]:
    yield Program([*java_command(classes), *work.arguments()])


@contextmanager
def _streams(classes: Path, work: Work) -> Iterator[Program]:
    with tempfile.TemporaryDirectory(prefix="kafka-sidecar-peer-") as folder:
        yield Program([*java_command(classes), *work.arguments(), folder])


def _restate(kind: str) -> Start:
    @contextmanager
    def start(modules: Path, work: Work) -> Iterator[Program]:
        with tempfile.TemporaryDirectory(prefix="kafka-sidecar-peer-") as folder:
            command = ["node", str(HERE / "restate" / "app.js"), *work.arguments(), kind, folder]
            yield Program(command, {"NODE_PATH": str(modules)})

    return start


def _python(name: str) -> Callable[[], Path]:
    return lambda: environments.python(name)


def _node(name: str) -> Callable[[], Path]:
    return lambda: environments.node(name)


@contextmanager
def _sidecar(interpreter: Path, work: Work) -> Iterator[Program]:
    with processes.sidecar(work.broker, [work.topic], {}, group=work.group) as host:
        command = [str(interpreter), "-m", "sdk_python.serve", "bench", "benchmarks.peers.sidecar.counting"]
        command += ["--address", host.address, "--log-level", "warning"]
        for key, value in {"total": work.total, "warm": work.warm}.items():
            command += ["--set", f"{key}={json.dumps(value)}"]
        yield Program(command, beside=[host.process.pid], until_signal=True)


@contextmanager
def _node_host(modules: Path, work: Work) -> Iterator[Program]:
    """It starts a new group at the end of the topic and has no setting for that, so the group is not new."""
    consumer = Consumer({"bootstrap.servers": work.broker, "group.id": work.group})
    begin = [TopicPartition(work.topic, partition, 0) for partition in end_offsets(work.broker, work.topic)]
    consumer.commit(offsets=begin, asynchronous=False)
    consumer.close()
    with _script("node_host/host.js")(modules, work) as program:
        yield program


def _prepare_dapr() -> Path:
    environments.dapr()
    return environments.python("dapr")


def _dapr(*style: str) -> Start:
    @contextmanager
    def start(interpreter: Path, work: Work) -> Iterator[Program]:
        with _module("dapr.app", str(environments.dapr()), *style)(interpreter, work) as program:
            yield program

    return start


def _with_folder(module: str) -> Start:
    @contextmanager
    def start(interpreter: Path, work: Work) -> Iterator[Program]:
        with tempfile.TemporaryDirectory(prefix="kafka-sidecar-peer-") as folder:
            command = [str(interpreter), "-m", f"benchmarks.peers.{module}", *work.arguments(), folder]
            yield Program(command)

    return start


PEERS: dict[str, Peer] = {
    "bare": Peer(
        "bare `consume(1000)` loop, no commits",
        "confluent-kafka; only counts, looks at no message",
        None,
        ALL,
        _own,
        _bare,
        counted_only=True,
        commits=False,
        promise="nothing",
    ),
    "consume": Peer(
        "`consume(1000)` loop",
        "confluent-kafka; a handler for each message, offsets stored after each batch",
        None,
        ALL,
        _own,
        _module("confluent.loop", "consume"),
    ),
    "poll": Peer(
        "`poll()` loop",
        "confluent-kafka; a handler for each message, its offset stored after it",
        None,
        ALL,
        _own,
        _module("confluent.loop", "poll"),
    ),
    "sidecar": Peer(
        "**this project**",
        "sidecar and a lambda process; a handler for each message, checkpoints every 2 ms, default settings",
        None,
        ALL,
        _own,
        _sidecar,
    ),
    "franz-go": Peer(
        "franz-go",
        "Go; a handler for each record, marked for commit after each poll, commits each second",
        ("franz_go", "github.com/twmb/franz-go"),
        ALL,
        lambda: environments.go("franz_go", "loop"),
        _binary,
    ),
    "kafka-clients": Peer(
        "Kafka's Java client",
        f"{kafka.VERSION}, the broker's; a handler for each record, `max.poll.records` 1,000, commits each second",
        None,
        ALL,
        lambda: environments.java("kafka_clients"),
        _java,
    ),
    "kafka-streams": Peer(
        "Kafka Streams",
        "one thread; a processor that counts each record, `at_least_once`, `commit.interval.ms` 1,000",
        ("kafka_streams", "kafka-streams"),
        ALL,
        lambda: environments.java("kafka_streams"),
        _streams,
    ),
    "parallel-consumer": Peer(
        "Confluent's Parallel Consumer",
        "`ordering` KEY and 16 threads, its defaults; a function for each record, `commitInterval` 1 s",
        ("parallel_consumer", "parallel-consumer-core"),
        QUARTER,
        lambda: environments.java("parallel_consumer"),
        _java,
        promise="at least once, in the order of the key; 16 records at the same time",
        order="key",
    ),
    "aiokafka": Peer(
        "aiokafka, `getmany`",
        "a handler for each batch of a partition, `commit()` each second",
        ("aiokafka", "aiokafka"),
        ALL,
        _python("aiokafka"),
        _module("aiokafka.getmany"),
    ),
    "kafka-python": Peer(
        "kafka-python, `poll`",
        "a handler for each batch of a partition, `max_poll_records` 10,000",
        ("kafka_python", "kafka-python"),
        QUARTER,
        _python("kafka_python"),
        _module("kafka_python.poll"),
    ),
    "kafkajs": Peer(
        "kafkajs, `eachBatch`",
        "a handler for each batch of a partition, 8 at the same time",
        ("kafkajs", "kafkajs"),
        ALL,
        _node("kafkajs"),
        _script("kafkajs/each_batch.js"),
    ),
    "confluent-javascript": Peer(
        "confluent-kafka-javascript, `eachBatch`",
        "a handler for each batch of a partition, 8 at the same time, `js.consumer.max.batch.size` 1,000, its cache"
        " 100 ms: the default of 1.5 s would be filled before the clock starts",
        ("confluent_javascript", "@confluentinc/kafka-javascript"),
        HALF,
        _node("confluent_javascript"),
        _script("confluent_javascript/each_batch.js"),
    ),
    "node-host": Peer(
        "Fluid's Node host (`KafkaRunner`)",
        "server-lambdas-driver over ordering-rdkafka; a lambda for each partition that checkpoints each second",
        ("node_host", "@fluidframework/server-lambdas-driver"),
        QUARTER,
        _node("node_host"),
        _node_host,
    ),
    "faststream-batch": Peer(
        "FastStream over aiokafka, in batches",
        "a handler for each batch, `AckPolicy.MANUAL`, acknowledged each second",
        ("faststream", "faststream"),
        ALL,
        _python("faststream"),
        _module("faststream.subscriber", "aiokafka", "batch"),
    ),
    "faststream-each": Peer(
        "FastStream over aiokafka, one by one",
        "a handler for each message, `AckPolicy.MANUAL`, acknowledged each second",
        ("faststream", "faststream"),
        HUNDREDTH,
        _python("faststream"),
        _module("faststream.subscriber", "aiokafka", "each"),
    ),
    "faststream-confluent-batch": Peer(
        "FastStream over confluent-kafka, in batches",
        "a handler for each batch, `AckPolicy.MANUAL`, acknowledged each second",
        ("faststream", "faststream"),
        ALL,
        _python("faststream"),
        _module("faststream.subscriber", "confluent", "batch"),
    ),
    "faststream-confluent-each": Peer(
        "FastStream over confluent-kafka, one by one",
        "a handler for each message, `AckPolicy.MANUAL`, acknowledged each second",
        ("faststream", "faststream"),
        HUNDREDTH,
        _python("faststream"),
        _module("faststream.subscriber", "confluent", "each"),
    ),
    "quix": Peer(
        "Quix Streams",
        "a data frame of bytes with one step, `commit_interval` 1 s",
        ("quix", "quixstreams"),
        QUARTER,
        _python("quix"),
        _module("quix.dataframe"),
    ),
    "faust": Peer(
        "Faust (faust-streaming)",
        "an agent over `stream.events()` of raw bytes, `broker_commit_interval` 1 s",
        ("faust", "faust-streaming"),
        TWENTIETH,
        _python("faust"),
        _with_folder("faust.agent"),
    ),
    "dapr-bulk": Peer(
        "Dapr, bulk subscription, 100 at most",
        "daprd with pubsub.kafka, and an asynchronous application over gRPC; 100 is the default",
        ("dapr", "github.com/dapr/dapr"),
        QUARTER,
        _prepare_dapr,
        _dapr("bulk", "100"),
    ),
    "dapr-bulk-1000": Peer(
        "Dapr, bulk subscription, 1,000 at most",
        "the same; larger ones were no faster",
        ("dapr", "github.com/dapr/dapr"),
        QUARTER,
        _prepare_dapr,
        _dapr("bulk", "1000"),
    ),
    "dapr-stream": Peer(
        "Dapr, streaming subscription",
        "the same, the application subscribes by a stream and answers each message",
        ("dapr", "github.com/dapr/dapr"),
        HUNDREDTH,
        _prepare_dapr,
        _dapr("stream"),
        counted_only=True,
    ),
    "dapr-callback": Peer(
        "Dapr, a call back for each message",
        "the same, a gRPC call of the application for each message",
        ("dapr", "github.com/dapr/dapr"),
        HUNDREDTH,
        _prepare_dapr,
        _dapr("callback"),
        counted_only=True,
    ),
    "numaflow-map": Peer(
        "Numaflow's Python SDK alone, `map`",
        "no Kafka: `MapAsyncServer` called with batches of 500 from memory; a handler for each message",
        ("pynumaflow", "pynumaflow"),
        HUNDREDTH,
        _python("pynumaflow"),
        _module("pynumaflow.caller", "map"),
        counted_only=True,
        commits=False,
        promise="nothing: there is no Kafka",
    ),
    "numaflow-batch": Peer(
        "Numaflow's Python SDK alone, `batchmap`",
        "no Kafka: `BatchMapAsyncServer` called with batches of 500 from memory; a handler for each batch",
        ("pynumaflow", "pynumaflow"),
        HUNDREDTH,
        _python("pynumaflow"),
        _module("pynumaflow.caller", "batch"),
        counted_only=True,
        commits=False,
        promise="nothing: there is no Kafka",
    ),
    "restate-service": Peer(
        "Restate, a service",
        "restate-server in its defaults and a TypeScript handler that counts, over HTTP/2; it commits to Kafka each"
        " second what is in its log, before the handler has run",
        ("restate", "@restatedev/restate-server"),
        HUNDREDTH,
        _node("restate"),
        _restate("service"),
        promise="durable: an invocation for each record is in a log on disk, is tried again until it ends, and"
        " resumes at its last recorded step; in no order",
        order="none",
    ),
    "restate-object": Peer(
        "Restate, a virtual object by key",
        "the same; one call at a time for each of 1,000 keys",
        ("restate", "@restatedev/restate-server"),
        HUNDREDTH,
        _node("restate"),
        _restate("object"),
        promise="the same, in the order of the key; an object may keep state, written with the invocation",
        order="key",
    ),
}
