"""All that works for one lambda in its consumer thread, as production wires it, over a played client and broker."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Literal, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition as KafkaPartition

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.cluster.client_log import ClientLog
from sidecar.cluster.errors import Faults
from sidecar.config.kafka_properties import Property, consumer_properties
from sidecar.config.lambdas import LambdaConfig
from sidecar.consuming.client import KafkaClient, new_client
from sidecar.consuming.lambda_state import LambdaState, new_lambda_state
from sidecar.consuming.turns import Turns
from sidecar.mail import letters
from sidecar.mail.boxes import Mailbox, Outbox
from sidecar.mail.outgoing import Job
from sidecar.partitions.vocabulary import Assign, ClosedReason, DeadLetter, Lane, Lease, StreamId, TopicPartition
from sidecar.producing.dead_letters import DeadLetters
from sidecar.records.records import Record

from .played_client import PlayedConsumer, PlayedNative
from .played_inquiries import PlayedInquiries
from .recorder import Recorder

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)
LANE0, LANE1 = Lane(P0), Lane(P1)

TOO_LARGE = 4 << 20
"""Bytes; a process takes 1 MiB."""

SourceKind = Literal["rows", "messages"]
SOURCES: tuple[SourceKind, ...] = ("rows", "messages")
"""The two ways by which records come: the extension's, which production takes, and the binding's."""


def record(
    offset: int, error: KafkaError | None = None, *, topic: str = "t", partition: int = 0, value: bytes = b"v"
) -> Message:
    return Message(topic=topic, partition=partition, offset=offset, value=value, error=error, timestamp=(1, 1))


class PlayedOutbox(Outbox):
    """Keeps what is posted."""

    def __init__(self) -> None:
        self.posted: list[letters.Delivery] = []

    def post(self, item: letters.Delivery) -> None:
        self.posted.append(item)

    def flush(self) -> None:
        """Nobody waits for it."""


class PlayedDeadLetters:
    """In the place of the thread that writes dead letters: notes what it is given."""

    def __init__(self) -> None:
        self.given: list[tuple[int, DeadLetter]] = []
        self.looks = 0

    def write(self, _: Lane, record: Record, letter: DeadLetter) -> None:
        self.given.append((record.offset, letter))

    def look_anew(self) -> None:
        self.looks += 1


class PlayedWriter:
    """In the place of the transactions thread: keeps the rounds."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.rounds: list[list[TopicPartition]] = []

    def submit(self, jobs: Sequence[Job]) -> None:
        self.jobs += jobs
        self.rounds.append([job.tp for job in jobs])


class Bench:
    """One lambda's work. Nothing is assigned to it, and no process of it is there."""

    def __init__(
        self,
        source: SourceKind = "rows",
        *,
        now: float = 100.0,
        cooperative: bool = True,
        properties: Mapping[str, Property] | None = None,
        connected: bool = True,
        bootstrap: str | None = None,
        **options: Any,
    ) -> None:
        """``options`` are the lambda's, of the config; ``now`` is what the clock says, in seconds; ``properties`` are
        added to the client's.

        With ``bootstrap`` the client is the one that production has, at this address.
        """
        leases = iter(f"L{number}" for number in range(1, 1_000))
        self.now = now
        config = LambdaConfig.model_validate({"topics": ["t"], "group": "g", **options})
        properties = {
            "partition.assignment.strategy": "cooperative-sticky" if cooperative else "range",
            **(properties or {}),
        }
        if bootstrap is not None:
            # The mock cluster may wait for a member that has joined anew until its session is over.
            properties = consumer_properties({"session.timeout.ms": "6000"}, config, bootstrap)
        self._bootstrap = bootstrap
        self.recorder = Recorder()
        self.looks = 0
        """At the topics, that were asked for."""
        self.broker = PlayedInquiries()
        self.consumer = PlayedConsumer()
        self.refuses_clients: KafkaError | None = None
        """Why the next client cannot be made."""
        self.outbox = PlayedOutbox()
        self.dead_letters = PlayedDeadLetters()
        self.writer = PlayedWriter()
        self.state = new_lambda_state(
            "l",
            config,
            properties,
            Mailbox(),
            self.outbox,
            self.broker.as_inquiries,
            cast("DeadLetters", self.dead_letters) if config.on_critical == "dead-letter" else None,
            self._look,
            ClientLog(self.recorder.log),
            self.recorder.log,
            writer=self.writer if config.exactly_once else None,
            new_lease=lambda: next(leases),
            jitter=lambda: 1.0,
            clock=lambda: self.now,
        )
        self._source = source
        self.turns = Turns(self.state, self.make_client)
        self.turns.begin()
        self.client = self.turns.clients.now
        self.table, self.origins = self.state.table, self.state.origins
        self.buffer, self.fetching = self.state.buffer, self.state.fetching
        self.sender, self.in_flight = self.state.sender, self.state.in_flight
        self.commits, self.refusals = self.state.commits, self.state.refusals
        self.problems, self.subscription = self.state.problems, self.state.subscription
        self.connection = self.state.connection
        self.letters = self.turns.letters
        if connected:
            self.problems.end("connection")
            self.recorder.take()
            self.recorder.fields.clear()
        self.stream_of: dict[TopicPartition, StreamId] = {}
        self._streams = 0

    def _look(self) -> None:
        self.looks += 1

    def make_client(self, state: LambdaState) -> KafkaClient:
        """One over ``consumer``, or production's."""
        if self.refuses_clients is not None:
            raise KafkaException(self.refuses_clients)
        if self._bootstrap is not None:
            return new_client(state)
        native = PlayedNative(self.consumer, state.config.lanes).as_source if self._source == "rows" else None
        return KafkaClient(state, self.consumer.as_consumer, native, Faults())

    # --- partitions and who holds them ------------------------------------------------------------------------

    def assign(self, *tps: TopicPartition, at: int = 0) -> None:
        """Kafka gives these; they start at this offset, which is committed."""
        self.client.source.lead(tps)
        self.table.assigned(tps, self.now)
        for tp in tps:
            self.table.resolved(tp, at, self.now, committed=True)

    def run(self, process: str | None = None) -> Lease:
        """A stream comes, of this process or one of its own, gets a partition, and is ready. Returns the lease."""
        self._streams += 1
        self.table.streams.available(self._streams, process or f"process {self._streams}", 1 << 20, self.now)
        assigns = [command for command in self.table.commands if isinstance(command, Assign)]
        self.table.commands.clear()
        assign = assigns[-1]
        self.table.streams.ready(assign.stream, assign.lease, self.now)
        self.stream_of[assign.lane.partition] = assign.stream
        return assign.lease

    def revoked(self, tp: TopicPartition = P0) -> None:
        """Kafka takes the partition; its lambda closes without a new checkpoint."""
        self.state.mailbox.put(letters.Closed(self.stream_of[tp], ClosedReason.REVOKED, None))
        self.turns.rebalances.on_revoke([KafkaPartition(*tp)])

    def clock(self, monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
        """These read ``now``."""
        for module in modules:
            monkeypatch.setattr(module, "monotonic", lambda: self.now)

    # --- records ----------------------------------------------------------------------------------------------

    def come(self, *messages: Message) -> None:
        """The client has these, and they are read."""
        self.consumer.batches.append([*messages])
        assert self.client.source.read()

    def fetch(self, *offsets: int, partition: int = 0, size: int = 1, large: int | None = None) -> None:
        """Records of so many bytes come; the one at ``large`` is more than a lambda process takes."""
        value = b"v" * size
        self.come(
            *(
                record(offset, partition=partition, value=b"v" * TOO_LARGE if offset == large else value)
                for offset in offsets
            )
        )

    def send(self) -> list[list[int]]:
        """All that may go is sent and written. Returns the offsets of each frame."""
        frames: list[list[int]] = []
        for _ in range(100):
            self.sender.work(self.now)
            for tp, offsets in self.frames():
                frames.append(offsets)
                self.written(tp)
            if not self.sender.changed:
                return frames
        raise AssertionError("there is no end to it")

    def frames(self) -> list[tuple[TopicPartition, list[int]]]:
        """What was sent since the last look: the offsets of each frame."""
        sent = [item for item in self.outbox.posted if isinstance(item, letters.Send)]
        self.outbox.posted = [item for item in self.outbox.posted if not isinstance(item, letters.Send)]
        return [(self._partition_of(one.stream), offsets_of(one)) for one in sent]

    def _partition_of(self, stream: StreamId) -> TopicPartition:
        [tp] = [tp for tp, known in self.stream_of.items() if known == stream]
        return tp

    def written(self, tp: TopicPartition) -> None:
        """The loop has written a frame of this partition."""
        lane = self.table.streams.written(self.stream_of[tp])
        if lane is not None and lane.partition == tp:
            self.in_flight.written(lane, self.now)
            self.sender.changed.add(lane)


def offsets_of(frame: letters.Send) -> list[int]:
    batch = pb.HostFrame.FromString(frame.data).batch
    return [*batch.offsets] or [*range(batch.first_offset, batch.first_offset + len(batch.values))]
