"""The same wiring with the client that production has, over librdkafka's own mock cluster."""

from time import monotonic
from typing import TypeVar

from confluent_kafka import Consumer, Producer, TopicPartition as KafkaPartition

from sidecar.mail import letters
from sidecar.mail.facts import Edges
from sidecar.partitions.vocabulary import Assign, ClosedReason, Progress, TopicPartition
from sidecar.records.source import RowSource

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


def test_records_go_from_the_log_to_the_lambda_and_what_is_checkpointed_is_committed() -> None:
    producer = Producer({"test.mock.num.brokers": 1, "linger.ms": 0})
    cluster = producer.list_topics("t", timeout=PATIENCE)
    [broker] = cluster.brokers.values()
    address = f"{broker.host}:{broker.port}"
    tps = [TopicPartition("t", number) for number in cluster.topics["t"].partitions]
    for tp in tps * 5:
        producer.produce("t", partition=tp.partition, value=b"v")
    producer.flush()
    bench = Bench(now=monotonic(), bootstrap=address, shutdown_drain=1.0)
    assert isinstance(bench.client.source, RowSource)
    bench.broker.facts = {"t": topic("id", *(1 for _ in tps))}
    bench.broker.edges_are = dict.fromkeys(tps, Edges(0, 5))
    bench.connection.reached({})
    bench.state.mailbox.put(letters.Available(1, "process", 1 << 20))
    assign = turns_until_posted(bench, Assign)
    bench.state.mailbox.put(letters.Ready(1, assign.lease))
    sent: list[int] = []
    while len(sent) < 5:
        sent += offsets_of(turns_until_posted(bench, letters.Send))
        bench.state.mailbox.put(letters.Written(1))
    assert sent == [0, 1, 2, 3, 4]
    bench.state.mailbox.put(letters.Closed(1, ClosedReason.REVOKED, Progress(2)))
    bench.turns.shut_down(lambda: None)
    assert bench.recorder.told()[-1] == ("info", "left the group")
    other = Consumer({"bootstrap.servers": address, "group.id": "g"})
    [committed] = other.committed([KafkaPartition(*assign.lane.partition)], timeout=PATIENCE)
    other.close()
    assert committed.offset == 3, "not 5, where the client stood"
