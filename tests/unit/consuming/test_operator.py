"""What operators order, as far as Kafka's client has to do with it: answers, and when they come."""

import asyncio
from collections.abc import Callable
from time import monotonic

import pytest
from confluent_kafka import KafkaError

from sidecar.consuming import operator
from sidecar.mail import letters
from sidecar.mail.facts import Edges
from sidecar.partitions.vocabulary import (
    ClosedReason,
    Lane,
    OrderRefused,
    Pausing,
    Progress,
    Revoke,
    RevokeReason,
    Rewind,
    State,
    TopicPartition,
)

from .bench import LANE0, P0, P1, Bench
from .played_inquiries import TIMED_OUT, topic

DRAIN = 2.0
FIRST, END = 10, 50
NOT_NOW = KafkaError(KafkaError.UNKNOWN_MEMBER_ID)


def at_time(timestamp: int) -> int:
    """Records have their offset times 100 as timestamp."""
    wanted = max(FIRST, -(-timestamp // 100))
    return wanted if wanted < END else -1


@pytest.fixture
def bench() -> Bench:
    """P0 runs, from offset 20, and 20 to 29 are out."""
    made = Bench(now=0.0, shutdown_drain=DRAIN)
    made.broker.edges_are = {P0: Edges(FIRST, END)}
    made.broker.times = at_time
    made.assign(P0, at=20)
    made.run("process")
    made.table.records.sent(LANE0, 20, 29, 10, 100, None, 0.0)
    made.consumer.positions[P0] = 30
    made.table.commands.clear()
    return made


def answers(bench: Bench) -> list[letters.Answer]:
    """Since the last look."""
    posted, bench.outbox.posted = bench.outbox.posted, []
    return [item for item in posted if isinstance(item, letters.Answer)]


def answer(bench: Bench) -> letters.Answer:
    """The one answer since the last look."""
    [only] = answers(bench)
    return only


def refusal(bench: Bench) -> OrderRefused:
    error = answer(bench).error
    assert isinstance(error, OrderRefused)
    return error


def pause(bench: Bench, tp: TopicPartition = P0) -> None:
    bench.letters.read(asyncio.run(order(lambda: letters.Pause(tp, "upgrade", letters.Reply()))))


def seek(bench: Bench, to: letters.SeekTo, tp: TopicPartition = P0) -> None:
    bench.letters.read(asyncio.run(order(lambda: letters.Seek(tp, to, letters.Reply()))))


def resume(bench: Bench) -> None:
    bench.letters.read(asyncio.run(order(lambda: letters.Resume(P0, False, letters.Reply()))))


async def order(make: Callable[[], letters.Letter]) -> letters.Letter:
    """A letter with a reply, which is made on a loop."""
    return make()


# --- pause and resume -------------------------------------------------------------------------------------------


def test_a_pause_is_answered_when_the_partition_stands_still(bench: Bench) -> None:
    pause(bench)
    bench.client.operator.work()
    assert answers(bench) == []
    assert [c.seconds for c in bench.table.commands if isinstance(c, Revoke)] == [DRAIN]
    bench.table.streams.closed(1, ClosedReason.REVOKED, Progress(24), 0.0)
    bench.client.operator.work()
    assert answer(bench).value == 25
    bench.client.operator.work()
    assert answers(bench) == []


def test_two_who_order_the_same_are_both_answered(bench: Bench) -> None:
    pause(bench)
    pause(bench)
    assert "cannot be paused while it is draining" in str(refusal(bench))
    bench.table.streams.closed(1, ClosedReason.REVOKED, None, 0.0)
    pause(bench)
    bench.client.operator.work()
    assert [answer.value for answer in answers(bench)] == [20, 20]


def test_a_pause_that_did_not_come_about_is_answered_with_what_is_the_case(bench: Bench) -> None:
    pause(bench)
    bench.table.revoke([P0], RevokeReason.REBALANCE, 1.0, 0.0)
    bench.client.operator.work()
    assert str(refusal(bench)) == "t/0 was not paused: it is draining"


def test_a_partition_that_goes_meanwhile_is_answered_too(bench: Bench) -> None:
    pause(bench)
    bench.table.lost([P0], 0.0)
    bench.client.operator.work()
    assert str(refusal(bench)) == "t/0 was not paused: it is not this sidecar's any more"


def test_what_is_refused_is_answered_at_once(bench: Bench) -> None:
    pause(bench, P1)
    assert refusal(bench).kind == "unknown"
    resume(bench)
    assert refusal(bench).kind == "state"
    bench.client.operator.work()
    assert answers(bench) == []


def test_resume_says_where_it_goes_on(bench: Bench) -> None:
    pause(bench)
    bench.table.streams.closed(1, ClosedReason.REVOKED, Progress(24), 0.0)
    bench.client.operator.work()
    answers(bench)
    resume(bench)
    assert answer(bench).value == (25, None)
    assert bench.table.lanes[Lane(P0)].state is State.WAITING


def test_resume_ends_a_lambdas_own_pause(bench: Bench) -> None:
    bench.table.streams.pause(1, Pausing(1, 23), 0.0)
    resume(bench)
    assert answer(bench).value == (23, None)


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
    seek(bench, to)
    assert bench.consumer.committed == [offset]
    assert answer(bench).value == (offset, 20, State.WAITING)
    assert [c.offset for c in bench.table.commands if isinstance(c, Rewind)] == [offset]


def test_a_seek_does_not_commit_the_clients_old_position(bench: Bench) -> None:
    bench.table.streams.closed(1, ClosedReason.STOPPED, Progress(29), 0.0)  # caught up, and the client stands at 30
    seek(bench, letters.SeekTo("offset", 12))
    assert bench.consumer.committed == [12]
    assert bench.table.lanes[Lane(P0)].offsets.resume_at == 12


@pytest.mark.parametrize("offset", [0, FIRST - 1, END + 1])
def test_an_offset_that_the_log_does_not_have_is_refused_with_its_numbers(bench: Bench, offset: int) -> None:
    seek(bench, letters.SeekTo("offset", offset))
    refused = refusal(bench)
    assert str(refused) == f"offset {offset} is not in the log of t/0, which has 10 to 50"
    assert refused.kind == "range"
    assert bench.table.lanes[Lane(P0)].state is State.RUNNING


def test_records_that_the_client_has_fetched_are_in_the_log_whatever_the_broker_says(bench: Bench) -> None:
    bench.consumer.ends[0] = END + 2
    seek(bench, letters.SeekTo("offset", END + 1))
    assert bench.consumer.committed == [END + 1]


def test_nothing_moves_when_kafka_does_not_answer(bench: Bench) -> None:
    bench.broker.edges_are = {P0: TIMED_OUT}
    seek(bench, letters.SeekTo("earliest"))
    refused = refusal(bench)
    assert refused.kind == "kafka"
    assert "nothing was moved" in str(refused)
    assert bench.table.lanes[Lane(P0)].lease == "L1"


def test_a_commit_that_is_refused_at_first_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.consumer.refuses_commits = NOT_NOW
    seek(bench, letters.SeekTo("offset", 12))
    bench.client.operator.work()
    assert answers(bench) == []
    bench.consumer.refuses_commits = None
    monkeypatch.setattr(operator, "monotonic", lambda: monotonic() + operator.RETRY_AFTER_S)
    bench.client.operator.work()
    assert answer(bench).value == (12, 20, State.WAITING)
    assert bench.consumer.committed == [12]


def test_a_seek_that_is_not_committed_in_time_is_answered_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.consumer.refuses_commits = NOT_NOW
    seek(bench, letters.SeekTo("offset", 12))
    assert answers(bench) == [], "a rebalance may be under way: it is tried again"
    monkeypatch.setattr(operator, "monotonic", lambda: monotonic() + operator.COMMIT_TIMEOUT_S)
    bench.client.operator.work()
    refused = refusal(bench)
    assert refused.kind == "kafka"
    assert "was moved to 12, but that is not committed yet" in str(refused)
    assert bench.table.lanes[Lane(P0)].offsets.to_commit() == 12


def test_a_seek_of_a_partition_that_is_not_assigned_does_not_ask_kafka(bench: Bench) -> None:
    seek(bench, letters.SeekTo("earliest"), P1)
    assert refusal(bench).kind == "unknown"
    assert bench.broker.asked == []


def test_a_seek_where_no_broker_leads_is_refused_at_once(bench: Bench) -> None:
    bench.subscription.learn({"t": topic("id", -1)}, [P0])
    seek(bench, letters.SeekTo("earliest"))
    assert "no broker leads t/0" in str(refusal(bench))
    assert bench.broker.asked == []


def test_a_partition_that_goes_while_kafka_is_asked_is_not_moved(bench: Bench) -> None:
    bench.broker.holds = True
    seek(bench, letters.SeekTo("earliest"))
    bench.table.lost([P0], 0.0)
    bench.table.assigned([P0], bench.now)
    bench.broker.answer()
    assert refusal(bench).kind == "unknown"
    assert bench.consumer.committed == []
