"""What is said about Kafka that is away: once, and when it is over."""

import pytest
from confluent_kafka import KafkaError

from sidecar.kafka.connection import ClientLog, Connection
from sidecar.kafka.problems import Problems

from .recorder import Recorder

AWAY = KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down")
ONE_AWAY = KafkaError(KafkaError._TRANSPORT, "connection refused")
NO_TOPIC = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "no such topic")
OTHER = KafkaError(KafkaError.INVALID_MSG, "something else")


class World:
    """A connection, its log and its clock."""

    def __init__(self) -> None:
        self.looks = 0
        self.recorder = Recorder()
        self.problems = Problems(self.recorder.log, lambda: 100.0)
        self.connection = Connection(self.problems, self.recorder.log, self._look)

    def _look(self) -> None:
        self.looks += 1

    @property
    def problem(self) -> str:
        """What an operator sees."""
        return "; ".join(self.problems.texts)


@pytest.fixture
def world() -> World:
    return World()


def test_connected_is_said_once(world: World) -> None:
    assert world.problem == "not connected to Kafka yet"
    world.connection.reached()
    world.connection.reached()
    assert world.recorder.told() == [("info", "connected to Kafka")]
    assert world.connection.connected
    assert world.problem == ""


def test_a_broker_that_is_away_is_said_once(world: World) -> None:
    world.connection.away(ONE_AWAY)
    world.connection.away(ONE_AWAY)
    assert world.recorder.told() == [("warning", "Kafka cannot be reached; trying on")]
    assert world.problem == "Kafka cannot be reached: connection refused"
    world.connection.reached()
    assert world.recorder.told() == [("info", "connected to Kafka")]


def test_all_brokers_down_is_away_and_one_of_many_is_not(world: World) -> None:
    world.connection.reached()
    world.recorder.told()
    world.connection.complain(ONE_AWAY, None)
    assert world.connection.connected
    world.connection.complain(AWAY, None)
    world.connection.complain(AWAY, None)
    assert not world.connection.connected
    assert world.recorder.told() == [("warning", "Kafka cannot be reached; trying on")]


def test_a_complaint_about_a_topic_leads_to_a_look_at_the_topics(world: World) -> None:
    world.connection.reached()
    world.connection.complain(NO_TOPIC, "other")
    assert world.looks == 1
    assert world.problem == ""


def test_any_other_complaint_is_passed_on(world: World) -> None:
    world.connection.reached()
    world.recorder.told()
    world.connection.complain(OTHER, "a")
    assert world.recorder.told() == [("warning", "Kafka client")]
    assert world.recorder.fields[-1] == {"error": "something else", "code": "INVALID_MSG", "topic": "a"}
    assert world.connection.connected


def test_librdkafkas_own_log_is_for_debugging() -> None:
    recorder = Recorder()
    ClientLog(recorder.log).log(3, "%s [%s] %s", "FAIL", "consumer-1", "100% of it failed")
    assert recorder.take() == [("debug", "FAIL [consumer-1] 100% of it failed")]
