"""What must hold whatever librdkafka does inside one call: driven turn by turn, without the thread running."""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from time import monotonic
from typing import cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from sidecar.cluster.errors import Faults
from sidecar.config.kafka_properties import Property
from sidecar.config.lambdas import LambdaConfig
from sidecar.consuming.client import Consuming
from sidecar.consuming.consumer_thread import ConsumerThread
from sidecar.mail import letters
from sidecar.mail.boxes import Outbox
from sidecar.mail.facts import Edges
from sidecar.partitions.vocabulary import Assign, ClosedReason, State, TopicPartition

from .played_inquiries import PlayedInquiries, topic

P0 = TopicPartition("t", 0)
PATIENCE = 10.0


class ScriptedConsumer:
    """Kafka's client with one partition: what each call brings, and what happens inside it, is the test's."""

    def __init__(self) -> None:
        self.polled: list[Message] = []
        self.batches: list[list[Message]] = []
        self.inside: Callable[[], None] | None = None
        self.delivered = -1
        self.commits: list[int] = []
        self.asked: list[int] = []
        self.sought: list[int] = []
        self.moves: list[int] = []
        self.pauses: list[int] = []
        self.unseekable = False
        self.closed = threading.Event()

    def seek(self, place: KafkaPartition) -> None:
        if self.unseekable:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self.sought.append(place.offset)

    def close(self) -> None:
        self.closed.set()

    def subscribe(self, topics: list[str], **callbacks: object) -> None:
        """What comes of it is the test's."""

    def consumer_group_metadata(self) -> bytes:
        return b"CGMDv2:" + (1).to_bytes(4, sys.byteorder)

    def consume(self, _: int, __: float) -> list[Message]:
        batch = self.batches.pop(0) if self.batches else []
        if self.inside is not None and not self.polled:
            inside, self.inside = self.inside, None
            inside()
        return self._noted(batch)

    def poll(self, _: float) -> Message | None:
        return self._noted([self.polled.pop(0)])[0] if self.polled else None

    def position(self, partitions: list[KafkaPartition]) -> list[KafkaPartition]:
        return [KafkaPartition(p.topic, p.partition, self.delivered + 1) for p in partitions]

    def commit(self, *, offsets: list[KafkaPartition], asynchronous: bool) -> list[KafkaPartition]:
        self.commits += [p.offset for p in offsets]
        return [] if asynchronous else offsets

    def assignment(self) -> list[KafkaPartition]:
        return []

    def offsets_for_times(self, partitions: list[KafkaPartition], *, timeout: float) -> list[KafkaPartition]:
        assert timeout <= 1.0, "the thread waits as long"
        self.asked += [p.partition for p in partitions]
        return partitions

    def incremental_unassign(self, partitions: list[KafkaPartition]) -> None:
        """Its end of a move; where it begins again is looked at."""

    def incremental_assign(self, partitions: list[KafkaPartition]) -> None:
        self.moves += [p.offset for p in partitions]

    def pause(self, partitions: list[KafkaPartition]) -> None:
        self.pauses += [p.partition for p in partitions]

    def _noted(self, batch: list[Message]) -> list[Message]:
        for message in batch:
            self.delivered = message.offset() or 0
        return batch


def record(offset: int, error: KafkaError | None = None) -> Message:
    return Message(topic="t", partition=0, offset=offset, value=b"v", error=error, timestamp=(1, 1))


class Bench:
    """A thread's object whose one partition runs, caught up at offset 1."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        config = LambdaConfig.model_validate({"topic": "t", "group": "g"})
        outbox = Outbox(loop, lambda _: None)
        admin = cast("AdminClient", None)  # nothing asks it: the inquiries are played
        properties: dict[str, Property] = {"partition.assignment.strategy": "cooperative-sticky"}
        self.thread = ConsumerThread("l", config, properties, {}, admin, lambda: None, outbox, lambda *_: None)
        self.broker = PlayedInquiries({"t": topic("id", 1, 1)})
        self.broker.edges_are = {P0: Edges(1, 2)}
        self.consumer = ScriptedConsumer()
        thread = self.thread
        kept = replace(thread._kept, inquiries=self.broker.as_inquiries)
        thread._client = Consuming(kept, cast("Consumer", self.consumer), None, Faults())
        self.table = thread._table
        self.table.assigned([P0])
        self.table.resolved(P0, 1, monotonic(), committed=True)
        self.table.available(1, "process", 1 << 20, monotonic())
        (assign,) = self.table.commands
        assert isinstance(assign, Assign)
        self.table.ready(1, assign.lease, monotonic())
        self.table.commands.clear()
        assert self.table.partitions[P0].state is State.RUNNING

    def revoked(self) -> None:
        """Kafka takes the partition; its lambda closes without a new checkpoint."""
        self.thread.mailbox.put(letters.Closed(1, ClosedReason.REVOKED, None))
        self.thread._on_revoke([KafkaPartition("t", 0)])


@pytest.fixture
def bench() -> Iterator[Bench]:
    loop = asyncio.new_event_loop()
    yield Bench(loop)
    loop.close()


def test_a_record_in_hand_is_not_committed_by_a_revoke_inside_the_next_call(bench: Bench) -> None:
    bench.consumer.polled = [record(1)]
    bench.consumer.inside = bench.revoked
    bench.thread._fetch()
    assert P0 not in bench.table.partitions
    assert bench.consumer.commits == []


def test_a_revoke_commits_past_offsets_without_records(bench: Bench) -> None:
    bench.consumer.delivered = 1  # a transaction's marker at 1
    bench.consumer.inside = bench.revoked
    bench.thread._fetch()
    assert bench.consumer.commits == [2]


def test_a_record_that_comes_during_the_last_commit_is_not_committed(bench: Bench) -> None:
    partition = bench.table.partitions[P0]
    partition.position.uncommitted, partition.position.committed = True, None
    bench.consumer.polled = [record(1)]
    bench.thread._commits.finish(bench.thread._client.consumer, [P0], 0.01)
    bench.revoked()
    assert bench.consumer.delivered == 1
    assert {*bench.consumer.commits} == {1}


def test_records_in_hand_when_the_thread_broke_are_not_committed(bench: Bench) -> None:
    bench.consumer.batches = [[record(1)]]
    bench.thread._fetch()
    bench.thread._buffer.drop(P0)  # it broke where it had them in hand
    bench.thread._leave_broken()
    bench.revoked()
    assert bench.consumer.commits == []


@pytest.mark.parametrize("flagged", [True, False])
def test_a_client_that_failed_for_good_is_given_up_with_all_that_it_held(bench: Bench, flagged: bool) -> None:
    """The binding makes an error of this code that does not call itself fatal."""
    fatal = KafkaError(KafkaError._FATAL, "fenced", fatal=flagged)
    bench.consumer.batches = [[record(1), record(2, fatal)]]
    bench.thread._problems.end("connection")
    bench.thread._turn_or_fail()
    assert not bench.table.partitions
    assert bench.thread._buffer.idle(P0)
    assert bench.consumer.commits == []
    assert bench.consumer.closed.wait(PATIENCE)
    (problem,) = bench.thread._problems.now
    assert (problem.kind, problem.blocks) == ("client", True)
    assert "fenced" in problem.text
    assert bench.thread._rebuild.waits


def test_records_of_a_partition_that_went_inside_the_call_are_dropped(bench: Bench) -> None:
    bench.consumer.batches = [[record(1), record(2)]]
    bench.consumer.inside = bench.revoked
    bench.thread._fetch()
    assert bench.thread._buffer.idle(P0)
    assert bench.thread._sender.changed == set()


def test_a_record_that_the_client_cannot_read_halts_its_partition_after_the_records_before_it(bench: Bench) -> None:
    bad = KafkaError(KafkaError._BAD_MSG, "wrong checksum")
    bench.consumer.batches = [[record(1), record(2, bad), record(3)]]
    bench.thread._fetch()
    bench.thread._sender.work(monotonic())
    partition = bench.table.partitions[P0]
    assert partition.window.delivered == 1
    assert partition.trouble.failing_offset == 2
    assert partition.state is State.DRAINING
    assert "wrong checksum" in partition.trouble.reason
    assert not partition.caught_up


def test_an_unreadable_record_that_is_skipped_is_not_reported_again(bench: Bench) -> None:
    bench.table.partitions[P0].skip = {2}
    bad = KafkaError(KafkaError._BAD_MSG, "wrong checksum")
    bench.consumer.batches = [[record(1), record(2, bad), record(3)]]
    bench.thread._fetch()
    bench.thread._sender.work(monotonic())
    assert bench.table.partitions[P0].window.delivered == 3
    assert bench.table.partitions[P0].state is State.RUNNING


def test_partitions_that_stay_in_a_rebalance_are_fetched_at_once(bench: Bench) -> None:
    bench.consumer.inside = lambda: bench.thread._on_assign([KafkaPartition("t", 1)])
    bench.thread._fetch()
    bench.thread._wake_kept()
    assert bench.consumer.asked == [0]
    bench.thread._wake_kept()
    assert bench.consumer.asked == [0], "once is enough"


def test_partitions_that_are_moved_are_fetched_at_once(bench: Bench) -> None:
    """Kafka's client is heard late of a place that it did not have: the partition, which runs, is placed anew."""
    bench.thread._client.positions.offset_gone(P0)
    bench.thread._start_partitions()
    assert bench.consumer.moves == [1]
    assert bench.consumer.asked == [0]
    bench.thread._start_partitions()
    assert bench.consumer.asked == [0], "once is enough"
    assert bench.consumer.pauses == []


@pytest.mark.parametrize("runs", [True, False])
def test_partitions_that_a_rewind_assigns_are_fetched_at_once_if_a_lambda_runs(bench: Bench, runs: bool) -> None:
    bench.consumer.unseekable = True
    bench.thread._client.positions.rewind(P0, 1)
    assert bench.consumer.moves == [1]
    if not runs:
        bench.table.stream_lost(1, monotonic())
    bench.thread._start_partitions()
    assert (bench.consumer.asked, bench.consumer.pauses) == (([0], []) if runs else ([], [0]))


def test_when_all_partitions_are_revoked_none_is_woken(bench: Bench) -> None:
    bench.consumer.inside = bench.revoked
    bench.thread._fetch()
    bench.thread._wake_kept()
    assert bench.consumer.asked == []


def test_a_misrouted_record_is_fetched_again_together_with_buffered_ones(bench: Bench) -> None:
    bench.consumer.batches = [[record(1), record(2)]]
    bench.thread._fetch()
    bench.thread._client.intake.misrouted(P0, 3)
    bench.thread._sender.work(monotonic())
    assert bench.table.partitions[P0].window.delivered is None, "nothing goes before it is fetched again"
    bench.thread._client.intake.misrouted(P0, 4)
    bench.thread._carry_out()
    assert bench.consumer.sought == [1]
    assert bench.thread._buffer.idle(P0)
    assert not bench.table.partitions[P0].position.rewind_pending


def test_a_misrouted_record_does_not_hide_an_unreadable_one_before_it(bench: Bench) -> None:
    bad = KafkaError(KafkaError._BAD_MSG, "wrong checksum")
    bench.consumer.batches = [[record(1, bad)]]
    bench.thread._fetch()
    bench.thread._client.intake.misrouted(P0, 2)
    bench.thread._carry_out()
    assert bench.consumer.sought == [1]


def test_a_misrouted_record_of_a_partition_that_is_not_assigned_is_ignored(bench: Bench) -> None:
    bench.thread._client.intake.misrouted(TopicPartition("t", 9), 3)
    bench.thread._carry_out()
    assert bench.consumer.sought == []
