"""In the group is who was taken by the broker; what it has against us is a problem until it takes us."""

import pytest
from confluent_kafka import Consumer, KafkaError

from sidecar.consuming import membership
from sidecar.consuming.membership import CHECK_INTERVAL_S, QUIET_S, UNEXPLAINED_AFTER_S, generation

from .bench import Bench

REFUSED = KafkaError(KafkaError.INCONSISTENT_GROUP_PROTOCOL, "JoinGroup failed")
SAID = ("warning", "Kafka refuses us in the group; trying on")


def work(bench: Bench, seconds: float = CHECK_INTERVAL_S, *, waits: bool = True) -> list[tuple[str, str]]:
    """Time passes; what was said."""
    bench.now += seconds
    bench.client.membership.work(bench.now, waits=waits)
    return bench.recorder.told()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """It has asked to be taken."""
    made = Bench()
    made.clock(monkeypatch, membership)
    made.consumer.generation = -1
    made.client.membership.subscribe(["t"])
    assert made.recorder.told() == [("info", "joining the group")]
    return made


def test_the_clients_group_metadata_is_understood() -> None:
    """Of the librdkafka that is installed: its metadata is read byte by byte."""
    consumer = Consumer({"group.id": "none", "log_level": 0})
    try:
        assert generation(consumer.consumer_group_metadata()) == -1
    finally:
        consumer.close()


@pytest.mark.parametrize("metadata", [b"", b"CGMDv3:\0\0\0\1g", b"CGMDv2:\1", None, "text"])
def test_unknown_group_metadata_is_not_read(metadata: object) -> None:
    assert generation(metadata) is None


def test_subscribing_is_not_being_a_member(bench: Bench) -> None:
    assert bench.consumer.subscribed == ["t"]
    assert work(bench) == []
    assert not bench.client.membership.joined
    bench.consumer.generation = 1
    assert work(bench) == []
    assert bench.client.membership.joined
    assert bench.problems.ready


def test_an_assignment_makes_a_member_too(bench: Bench) -> None:
    bench.client.membership.assigned()
    assert bench.client.membership.joined


def test_a_refusal_is_said_once_with_its_remedy_and_ends_when_the_broker_takes_us(bench: Bench) -> None:
    bench.client.membership.refused(REFUSED)
    assert work(bench) == [SAID]
    for _ in range(10):
        bench.client.membership.refused(REFUSED)
        assert work(bench) == []
    (problem,) = bench.problems.now
    assert (problem.kind, problem.blocks) == ("group", True)
    assert "partition.assignment.strategy" in problem.text
    bench.consumer.generation = 4
    assert work(bench) == [("info", "in the group")]
    assert bench.problems.ready


def test_another_refusal_is_another_line(bench: Bench) -> None:
    bench.client.membership.refused(REFUSED)
    bench.client.membership.refused(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED, "no"))
    assert work(bench) == [SAID, SAID]


def test_a_members_refusal_ends_when_it_is_not_repeated(bench: Bench) -> None:
    """A heartbeat is refused, and the membership goes on: no change tells that all is well again."""
    bench.consumer.generation = 3
    work(bench)
    bench.client.membership.refused(REFUSED)
    assert work(bench) == [SAID]
    bench.now += QUIET_S - 1
    bench.client.membership.refused(REFUSED)
    assert work(bench) == []
    assert work(bench, QUIET_S) == [("info", "in the group")]


def test_a_membership_that_ends_is_seen(bench: Bench) -> None:
    bench.consumer.generation = 3
    work(bench)
    bench.consumer.generation = -1
    bench.client.membership.lost()
    work(bench)
    assert not bench.client.membership.joined


def test_neither_taken_nor_refused_is_a_problem_after_a_while(bench: Bench) -> None:
    assert work(bench, UNEXPLAINED_AFTER_S - 1) == []
    (said,) = work(bench, 2.0)
    assert "does not say why" in said[1]
    assert not bench.problems.ready
    bench.consumer.generation = 1
    assert work(bench) == [("info", "in the group")]


def test_without_a_topic_not_being_a_member_is_no_problem(bench: Bench) -> None:
    """Kafka's client joins no group while it knows no topic."""
    assert work(bench, UNEXPLAINED_AFTER_S + 1, waits=False) == []
    assert work(bench, 1.0) == []


def test_leaving_the_group_ends_its_problem(bench: Bench) -> None:
    bench.client.membership.refused(REFUSED)
    bench.client.membership.leave()
    assert (bench.client.membership.subscribed, bench.client.membership.joined) == (False, False)
    assert bench.problems.ready


def test_a_first_generation_of_0_is_one_where_partitions_were_assigned(bench: Bench) -> None:
    """The embedded broker counts from 0, and Kafka's client says 0 of no generation as well."""
    bench.consumer.generation = 0
    work(bench)
    assert not bench.client.membership.joined
    bench.client.membership.assigned()
    work(bench, UNEXPLAINED_AFTER_S + 1)
    assert bench.client.membership.joined
    assert bench.problems.ready
    bench.consumer.generation = -1
    work(bench)
    assert not bench.client.membership.joined
