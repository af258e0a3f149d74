"""In the group is who was taken by the broker; what it has against us is a problem until it takes us."""

import sys
from typing import cast

import pytest
from confluent_kafka import Consumer, KafkaError

from sidecar.consuming import membership
from sidecar.consuming.membership import CHECK_INTERVAL_S, QUIET_S, UNEXPLAINED_AFTER_S, Membership, generation
from sidecar.consuming.problems import Problems

from .recorder import Recorder

REFUSED = KafkaError(KafkaError.INCONSISTENT_GROUP_PROTOCOL, "JoinGroup failed")
SAID = ("warning", "Kafka refuses us in the group; trying on")


class Client:
    """In the place of a consumer: which generation it has is the test's."""

    def __init__(self) -> None:
        self.generation = -1
        self.subscribed: list[str] = []

    def subscribe(self, topics: list[str]) -> None:
        self.subscribed = topics

    def consumer_group_metadata(self) -> bytes:
        return b"CGMDv2:" + self.generation.to_bytes(4, sys.byteorder, signed=True) + b"g\0member\0\1"


class World:
    """A membership, its client, its problems and its clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.recorder = Recorder()
        self.problems = Problems(self.recorder.log, lambda: self.now)
        self.client = Client()
        self.membership = Membership(cast("Consumer", self.client), "g", self.problems, self.recorder.log)

    def work(self, seconds: float = CHECK_INTERVAL_S, *, waits: bool = True) -> list[tuple[str, str]]:
        """Time passes; what was said."""
        self.now += seconds
        self.membership.work(self.now, waits=waits)
        return self.recorder.told()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(membership, "monotonic", lambda: made.now)
    made.membership.subscribe(["t"])
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


def test_subscribing_is_not_being_a_member(world: World) -> None:
    assert world.client.subscribed == ["t"]
    assert world.work() == []
    assert not world.membership.joined
    world.client.generation = 1
    assert world.work() == []
    assert world.membership.joined
    assert world.problems.ready


def test_an_assignment_makes_a_member_too(world: World) -> None:
    world.membership.assigned()
    assert world.membership.joined


def test_a_refusal_is_said_once_with_its_remedy_and_ends_when_the_broker_takes_us(world: World) -> None:
    world.membership.refused(REFUSED)
    assert world.work() == [SAID]
    for _ in range(10):
        world.membership.refused(REFUSED)
        assert world.work() == []
    (problem,) = world.problems.now
    assert (problem.kind, problem.blocks) == ("group", True)
    assert "partition.assignment.strategy" in problem.text
    world.client.generation = 4
    assert world.work() == [("info", "in the group")]
    assert world.problems.ready


def test_another_refusal_is_another_line(world: World) -> None:
    world.membership.refused(REFUSED)
    world.membership.refused(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED, "no"))
    assert world.work() == [SAID, SAID]


def test_a_members_refusal_ends_when_it_is_not_repeated(world: World) -> None:
    """A heartbeat is refused, and the membership goes on: no change tells that all is well again."""
    world.client.generation = 3
    world.work()
    world.membership.refused(REFUSED)
    assert world.work() == [SAID]
    world.now += QUIET_S - 1
    world.membership.refused(REFUSED)
    assert world.work() == []
    assert world.work(QUIET_S) == [("info", "in the group")]


def test_a_membership_that_ends_is_seen(world: World) -> None:
    world.client.generation = 3
    world.work()
    world.client.generation = -1
    world.membership.lost()
    world.work()
    assert not world.membership.joined


def test_neither_taken_nor_refused_is_a_problem_after_a_while(world: World) -> None:
    assert world.work(UNEXPLAINED_AFTER_S - 1) == []
    (said,) = world.work(2.0)
    assert "does not say why" in said[1]
    assert not world.problems.ready
    world.client.generation = 1
    assert world.work() == [("info", "in the group")]


def test_without_a_topic_not_being_a_member_is_no_problem(world: World) -> None:
    """Kafka's client joins no group while it knows no topic."""
    assert world.work(UNEXPLAINED_AFTER_S + 1, waits=False) == []
    assert world.work(1.0) == []


def test_leaving_the_group_ends_its_problem(world: World) -> None:
    world.membership.refused(REFUSED)
    world.membership.leave()
    assert (world.membership.subscribed, world.membership.joined) == (False, False)
    assert world.problems.ready


def test_a_first_generation_of_0_is_one_where_partitions_were_assigned(world: World) -> None:
    """The embedded broker counts from 0, and Kafka's client says 0 of no generation as well."""
    world.client.generation = 0
    world.work()
    assert not world.membership.joined
    world.membership.assigned()
    world.work(UNEXPLAINED_AFTER_S + 1)
    assert world.membership.joined
    assert world.problems.ready
    world.client.generation = -1
    world.work()
    assert not world.membership.joined
