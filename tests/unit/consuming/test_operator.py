"""What operators order, as far as Kafka's client has to do with it: answers, and when they come."""

import asyncio
from collections.abc import Iterator
from time import monotonic
from typing import cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition as KafkaPartition

from sidecar.cluster.origins import Origins
from sidecar.config.lambdas import LambdaConfig
from sidecar.consuming import operator
from sidecar.consuming.commit_refusals import CommitRefusals
from sidecar.consuming.commits import Commits
from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.consuming.operator import Operator
from sidecar.consuming.problems import Problems
from sidecar.consuming.subscription import Subscription
from sidecar.consuming.target import Target
from sidecar.mail import letters
from sidecar.mail.boxes import Outbox
from sidecar.mail.facts import Edges
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import (
    ClosedReason,
    Limits,
    OrderRefused,
    Pausing,
    Progress,
    Revoke,
    RevokeReason,
    Rewind,
    State,
    TopicPartition,
)

from .played_inquiries import TIMED_OUT, PlayedInquiries, topic
from .recorder import Recorder

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)
DRAIN = 2.0
FIRST, END = 10, 50


class Kafka:
    """In the place of a consumer."""

    def __init__(self) -> None:
        self.commits: list[int] = []
        self.refuses_commits = False
        self.fetched_end = -1001

    def get_watermark_offsets(self, _: KafkaPartition, *, cached: bool) -> tuple[int, int]:
        """What the client knows by itself: nothing, before it has fetched."""
        assert cached
        return -1001, self.fetched_end

    def position(self, asked: list[KafkaPartition]) -> list[KafkaPartition]:
        return [KafkaPartition(p.topic, p.partition, 30) for p in asked]

    def commit(self, *, offsets: list[KafkaPartition], asynchronous: bool) -> list[KafkaPartition]:
        assert not asynchronous
        if self.refuses_commits:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_MEMBER_ID))
        self.commits += [p.offset for p in offsets]
        return offsets


def at_time(timestamp: int) -> int:
    """Records have their offset times 100 as timestamp."""
    wanted = max(FIRST, -(-timestamp // 100))
    return wanted if wanted < END else -1


class Bench:
    """P0 runs, from offset 20, and 20 to 29 are out."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        leases = iter(f"L{number}" for number in range(1, 100))
        config = LambdaConfig.model_validate({"topic": "t", "group": "g"})
        log = Recorder().log
        self.kafka = Kafka()
        consumer = cast("Consumer", self.kafka)
        self.table = PartitionTable(Limits(), lambda: next(leases), lambda: 1.0)
        buffer = FetchBuffer()
        commits = Commits(self.table, buffer, Origins(), 1.0, CommitRefusals(self.table, Problems(log), log), log)
        self.broker = PlayedInquiries()
        self.broker.edges_are = {P0: Edges(FIRST, END)}
        self.broker.times = at_time
        self.subscription = Subscription(config, Problems(log), log)
        target = Target(consumer, buffer, self.subscription, self.broker.as_inquiries)
        self.answers: list[letters.Answer] = []
        outbox = Outbox(loop, lambda _: None)
        outbox.post = self._post  # type: ignore[method-assign]
        self.operator = Operator(consumer, self.table, target, commits, outbox, DRAIN)
        self.table.assigned([P0])
        self.table.resolved(P0, 20, 0.0, committed=True)
        self.table.available(1, "process", 1 << 20, 0.0)
        self.table.ready(1, "L1", 0.0)
        self.table.sent(P0, 20, 29, 10, 100, None, 0.0)
        self.table.commands.clear()

    def _post(self, item: letters.Delivery) -> None:
        assert isinstance(item, letters.Answer)
        self.answers.append(item)

    def answer(self) -> letters.Answer:
        """The one answer since the last look."""
        [answer] = self.answers
        self.answers.clear()
        return answer

    def refusal(self) -> OrderRefused:
        error = self.answer().error
        assert isinstance(error, OrderRefused)
        return error

    def pause(self, tp: TopicPartition = P0) -> None:
        async def order() -> letters.Pause:
            return letters.Pause(tp, "upgrade", letters.Reply())

        self.operator.pause(self.loop.run_until_complete(order()))

    def seek(self, to: letters.SeekTo, tp: TopicPartition = P0) -> None:
        async def order() -> letters.Seek:
            return letters.Seek(tp, to, letters.Reply())

        self.operator.seek(self.loop.run_until_complete(order()))

    def resume(self, *, skip: bool = False) -> None:
        async def order() -> letters.Resume:
            return letters.Resume(P0, skip, letters.Reply())

        self.operator.resume(self.loop.run_until_complete(order()))


@pytest.fixture
def bench() -> Iterator[Bench]:
    loop = asyncio.new_event_loop()
    yield Bench(loop)
    loop.close()


# --- pause and resume -------------------------------------------------------------------------------------------


def test_a_pause_is_answered_when_the_partition_stands_still(bench: Bench) -> None:
    bench.pause()
    bench.operator.work()
    assert bench.answers == []
    assert [c.seconds for c in bench.table.commands if isinstance(c, Revoke)] == [DRAIN]
    bench.table.closed(1, ClosedReason.REVOKED, Progress(24), 0.0)
    bench.operator.work()
    assert bench.answer().value == 25
    bench.operator.work()
    assert bench.answers == []


def test_two_who_order_the_same_are_both_answered(bench: Bench) -> None:
    bench.pause()
    bench.pause()
    assert "cannot be paused while it is draining" in str(bench.refusal())
    bench.table.closed(1, ClosedReason.REVOKED, None, 0.0)
    bench.pause()
    bench.operator.work()
    assert [answer.value for answer in bench.answers] == [20, 20]


def test_a_pause_that_did_not_come_about_is_answered_with_what_is_the_case(bench: Bench) -> None:
    bench.pause()
    bench.table.revoke([P0], RevokeReason.REBALANCE, 1.0, 0.0)
    bench.operator.work()
    assert str(bench.refusal()) == "t/0 was not paused: it is draining"


def test_a_partition_that_goes_meanwhile_is_answered_too(bench: Bench) -> None:
    bench.pause()
    bench.table.lost([P0], 0.0)
    bench.operator.work()
    assert str(bench.refusal()) == "t/0 was not paused: it is not this sidecar's any more"


def test_what_is_refused_is_answered_at_once(bench: Bench) -> None:
    bench.pause(P1)
    assert bench.refusal().kind == "unknown"
    bench.resume()
    assert bench.refusal().kind == "state"
    bench.operator.work()
    assert bench.answers == []


def test_resume_says_where_it_goes_on(bench: Bench) -> None:
    bench.pause()
    bench.table.closed(1, ClosedReason.REVOKED, Progress(24), 0.0)
    bench.operator.work()
    bench.answers.clear()
    bench.resume()
    assert bench.answer().value == (25, None)
    assert bench.table.partitions[P0].state is State.WAITING


def test_resume_ends_a_lambdas_own_pause(bench: Bench) -> None:
    bench.table.pause_lease(1, Pausing(1, 23), 0.0)
    bench.resume()
    assert bench.answer().value == (23, None)


# --- seek -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "offset"),
    [
        (letters.SeekTo("offset", 33), 33),
        (letters.SeekTo("offset", FIRST), FIRST),
        (letters.SeekTo("offset", END), END),
        (letters.SeekTo("earliest"), FIRST),
        (letters.SeekTo("latest"), END),
        (letters.SeekTo("timestamp", 2150), 22),
        (letters.SeekTo("timestamp", 1_000_000), END),
    ],
)
def test_a_seek_is_answered_after_the_new_offset_is_committed(bench: Bench, to: letters.SeekTo, offset: int) -> None:
    bench.seek(to)
    assert bench.kafka.commits == [offset]
    assert bench.answer().value == (offset, 20, State.WAITING)
    assert [c.offset for c in bench.table.commands if isinstance(c, Rewind)] == [offset]


def test_a_seek_does_not_commit_the_clients_old_position(bench: Bench) -> None:
    bench.table.closed(1, ClosedReason.STOPPED, Progress(29), 0.0)  # caught up, and the client stands at 30
    bench.seek(letters.SeekTo("offset", 12))
    assert bench.kafka.commits == [12]
    assert bench.table.partitions[P0].position.resume_at == 12


@pytest.mark.parametrize("offset", [0, FIRST - 1, END + 1])
def test_an_offset_that_the_log_does_not_have_is_refused_with_its_numbers(bench: Bench, offset: int) -> None:
    bench.seek(letters.SeekTo("offset", offset))
    refusal = bench.refusal()
    assert str(refusal) == f"offset {offset} is not in the log of t/0, which has 10 to 50"
    assert refusal.kind == "range"
    assert bench.table.partitions[P0].state is State.RUNNING


def test_records_that_the_client_has_fetched_are_in_the_log_whatever_the_broker_says(bench: Bench) -> None:
    bench.kafka.fetched_end = END + 2
    bench.seek(letters.SeekTo("offset", END + 1))
    assert bench.kafka.commits == [END + 1]


def test_nothing_moves_when_kafka_does_not_answer(bench: Bench) -> None:
    bench.broker.edges_are = {P0: TIMED_OUT}
    bench.seek(letters.SeekTo("earliest"))
    refusal = bench.refusal()
    assert refusal.kind == "kafka"
    assert "nothing was moved" in str(refusal)
    assert bench.table.partitions[P0].lease == "L1"


def test_a_commit_that_is_refused_at_first_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.kafka.refuses_commits = True
    bench.seek(letters.SeekTo("offset", 12))
    bench.operator.work()
    assert bench.answers == []
    bench.kafka.refuses_commits = False
    monkeypatch.setattr(operator, "monotonic", lambda: monotonic() + operator.RETRY_AFTER_S)
    bench.operator.work()
    assert bench.answer().value == (12, 20, State.WAITING)
    assert bench.kafka.commits == [12]


def test_a_seek_that_is_not_committed_in_time_is_answered_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.kafka.refuses_commits = True
    bench.seek(letters.SeekTo("offset", 12))
    assert bench.answers == [], "a rebalance may be under way: it is tried again"
    monkeypatch.setattr(operator, "monotonic", lambda: monotonic() + operator.COMMIT_TIMEOUT_S)
    bench.operator.work()
    refusal = bench.refusal()
    assert refusal.kind == "kafka"
    assert "was moved to 12, but that is not committed yet" in str(refusal)
    assert bench.table.partitions[P0].position.to_commit() == 12


def test_a_seek_of_a_partition_that_is_not_assigned_does_not_ask_kafka(bench: Bench) -> None:
    bench.seek(letters.SeekTo("earliest"), P1)
    assert bench.refusal().kind == "unknown"
    assert bench.broker.asked == []


def test_a_seek_where_no_broker_leads_is_refused_at_once(bench: Bench) -> None:
    bench.subscription.learn({"t": topic("id", -1)}, [P0])
    bench.seek(letters.SeekTo("earliest"))
    assert "no broker leads t/0" in str(bench.refusal())
    assert bench.broker.asked == []


def test_a_partition_that_goes_while_kafka_is_asked_is_not_moved(bench: Bench) -> None:
    bench.broker.holds = True
    bench.seek(letters.SeekTo("earliest"))
    bench.table.lost([P0], 0.0)
    bench.table.assigned([P0])
    bench.broker.answer()
    assert bench.refusal().kind == "unknown"
    assert bench.kafka.commits == []
