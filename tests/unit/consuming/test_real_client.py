"""The same wiring with the client that production has, over librdkafka's own mock cluster."""

from time import monotonic
from typing import TypeVar

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition as KafkaPartition

from sidecar.consuming import fetch_watch
from sidecar.mail import letters
from sidecar.mail.facts import Edges
from sidecar.partitions.vocabulary import Assign, ClosedReason, Progress, TopicPartition
from sidecar.records.source import RowSource
from tests.unit.producing.mock_kafka import await_members

from .bench import Bench, offsets_of
from .played_inquiries import topic

PATIENCE = 60.0


Posted = TypeVar("Posted", Assign, letters.Send)


def turns_until_posted(bench: Bench, kind: type[Posted]) -> Posted:
    """Turns, until this goes to the loop; taken from there."""
    deadline = monotonic() + PATIENCE
    while monotonic() < deadline:
        bench.turns.turn_or_fail()
        for item in bench.outbox.posted:
            if isinstance(item, kind):
                bench.outbox.posted.remove(item)
                return item
    raise AssertionError(f"no {kind.__name__}")


class Log:
    """A mock cluster's topic with records, and a lambda that gets those of one of its partitions."""

    def __init__(self) -> None:
        self.producer = Producer({"test.mock.num.brokers": 1, "linger.ms": 0})
        await_members(self.producer, milliseconds=0)
        cluster = self.producer.list_topics("t", timeout=PATIENCE)
        [broker] = cluster.brokers.values()
        self.address = f"{broker.host}:{broker.port}"
        self.tps = [TopicPartition("t", number) for number in cluster.topics["t"].partitions]
        self.end = 0
        self.bench = Bench(now=monotonic(), bootstrap=self.address, shutdown_drain=1.0)
        self.bench.broker.facts = {"t": topic("id", *(1 for _ in self.tps))}
        self.bench.connection.reached({})
        self.produce(5)

    def produce(self, count: int) -> None:
        """Write so many records to each partition."""
        for tp in self.tps * count:
            self.producer.produce("t", partition=tp.partition, value=b"v")
        self.producer.flush()
        self.end += count
        self.bench.broker.edges_are = dict.fromkeys(self.tps, Edges(0, self.end))

    def start(self) -> Assign:
        """A lambda process takes one of the partitions."""
        self.bench.state.mailbox.put(letters.Available(1, "process", 1 << 20))
        assign = turns_until_posted(self.bench, Assign)
        self.bench.state.mailbox.put(letters.Ready(1, assign.lease))
        return assign

    def sent(self, count: int) -> list[int]:
        """The offsets of the next records that it gets."""
        sent: list[int] = []
        while len(sent) < count:
            sent += offsets_of(turns_until_posted(self.bench, letters.Send))
            self.bench.state.mailbox.put(letters.Written(1))
        return sent

    def stop(self, done: int) -> None:
        """It closes with this offset as its last checkpoint, and the lambda stops."""
        self.bench.state.mailbox.put(letters.Closed(1, ClosedReason.REVOKED, Progress(done)))
        self.bench.turns.shut_down(lambda: None)
        assert self.bench.recorder.told()[-1] == ("info", "left the group")


def test_records_go_from_the_log_to_the_lambda_and_what_is_checkpointed_is_committed() -> None:
    log = Log()
    assert isinstance(log.bench.client.source, RowSource)
    assign = log.start()
    assert log.sent(5) == [0, 1, 2, 3, 4]
    log.stop(2)
    other = Consumer({"bootstrap.servers": log.address, "group.id": "g"})
    [committed] = other.committed([KafkaPartition(*assign.lane.partition)], timeout=PATIENCE)
    other.close()
    assert committed.offset == 3, "not 5, where the client stood"


def test_a_partition_that_the_client_has_ceased_to_fetch_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_watch, "INTERVAL_S", 0.1)
    monkeypatch.setattr(fetch_watch, "PATIENCE_S", 0.2)
    log = Log()
    assign = log.start()
    assert log.sent(5) == [0, 1, 2, 3, 4]
    # The client has the partition paused and nothing of ours knows, as when it has dropped the order to resume it.
    log.bench.client.consumer.pause([KafkaPartition(*assign.lane.partition)])
    log.produce(3)
    assert log.sent(3) == [5, 6, 7]
    assert log.bench.state.measure.now.fetch_errors == {"not_fetched": 1}
    log.stop(7)
