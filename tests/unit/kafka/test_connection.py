"""What is said about Kafka that is away and topics that are missing: once each, and when it is over."""

from typing import cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException

from sidecar.kafka import connection
from sidecar.kafka.connection import LOOK_FOR_TOPICS, ClientLog, Connection
from sidecar.kafka.problems import Problems

from .recorder import Recorder

AWAY = KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down")
ONE_AWAY = KafkaError(KafkaError._TRANSPORT, "connection refused")
NO_TOPIC = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "no such topic")
OTHER = KafkaError(KafkaError.INVALID_MSG, "something else")


class Topic:
    """A topic in an answer."""

    def __init__(self, error: KafkaError | None) -> None:
        self.error = error


class Metadata:
    """An answer."""

    def __init__(self, topics: dict[str, Topic]) -> None:
        self.topics = topics


class Broker:
    """Answers for metadata, in the place of a consumer."""

    def __init__(self, *topics: str) -> None:
        self.topics = {*topics}
        self.down = False
        self.questions = 0

    def list_topics(self, topic: str, timeout: float) -> Metadata:
        assert timeout <= 1.0, "letters wait as long"
        self.questions += 1
        if self.down:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT, "broker is away"))
        return Metadata({topic: Topic(None if topic in self.topics else NO_TOPIC)})


class World:
    """A connection, its broker, its log and its clock."""

    def __init__(self, broker: Broker, *topics: str) -> None:
        self.now = 100.0
        self.broker = broker
        self.recorder = Recorder()
        self.problems = Problems(self.recorder.log, lambda: self.now)
        self.connection = Connection(cast("Consumer", broker), topics, self.problems, self.recorder.log)

    @property
    def problem(self) -> str:
        """What an operator sees."""
        return "; ".join(self.problems.texts)

    def work(self, seconds: float = LOOK_FOR_TOPICS) -> list[tuple[str, str]]:
        """Time passes; what is logged."""
        self.now += seconds
        self.connection.work()
        return self.recorder.told()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(Broker("a", "b"), "a", "b")
    monkeypatch.setattr(connection, "monotonic", lambda: made.now)
    return made


def test_connected_is_said_once_and_then_nothing_is_asked(world: World) -> None:
    assert world.problem == "not connected to Kafka yet"
    assert world.work() == [("info", "connected to Kafka")]
    assert world.connection.connected
    assert world.problem == ""
    asked = world.broker.questions
    assert world.work(100.0) == []
    assert world.broker.questions == asked


def test_a_broker_that_is_away_is_said_once_and_asked_again_at_an_interval(world: World) -> None:
    world.broker.down = True
    assert world.work() == [("warning", "Kafka cannot be reached; trying on")]
    assert world.problem == "Kafka cannot be reached: broker is away"
    asked = world.broker.questions
    world.work(0.01)
    assert world.broker.questions == asked
    assert world.work() == []
    assert world.broker.questions > asked
    world.broker.down = False
    assert world.work() == [("info", "connected to Kafka")]


def test_all_brokers_down_is_away_and_one_of_many_is_not(world: World) -> None:
    world.work()
    world.connection.complain(ONE_AWAY, None)
    assert world.connection.connected
    world.connection.complain(AWAY, None)
    world.connection.complain(AWAY, None)
    assert not world.connection.connected
    assert world.recorder.told() == [("warning", "Kafka cannot be reached; trying on")]
    assert world.work() == [("info", "connected to Kafka")]


def test_a_missing_topic_is_said_once_with_its_name_and_when_it_is_there(world: World) -> None:
    world.broker.topics = {"a"}
    missing = ("warning", "the topic does not exist; it is picked up when it appears")
    assert world.work() == [("info", "connected to Kafka"), missing]
    assert {"topic": "b"} in world.recorder.fields
    assert world.problem == "missing topics: b"
    assert world.work() == []
    world.broker.topics.add("b")
    assert world.work() == [("info", "the topic is there now")]
    assert world.problem == ""


# KNOWN BUG: the complaint marks the topic as missing without a word, so the look that finds it missing has no news.
def test_a_topic_that_goes_away_later_is_said_too(world: World) -> None:
    world.work()
    world.broker.topics = {"a"}
    world.connection.complain(NO_TOPIC, "b")
    said = [*world.recorder.told(), *world.work(0.0)]
    assert said == [("warning", "the topic does not exist; it is picked up when it appears")]
    assert world.problem == "missing topics: b"


def test_a_complaint_about_a_topic_that_is_not_ours_is_not_a_problem(world: World) -> None:
    world.work()
    world.connection.complain(NO_TOPIC, "other")
    world.connection.complain(NO_TOPIC, None)
    assert world.problem == ""


def test_any_other_complaint_is_passed_on(world: World) -> None:
    world.work()
    world.connection.complain(OTHER, "a")
    assert world.recorder.told() == [("warning", "Kafka client")]
    assert world.recorder.fields[-1] == {"error": "something else", "code": "INVALID_MSG", "topic": "a"}
    assert world.connection.connected


def test_librdkafkas_own_log_is_for_debugging() -> None:
    recorder = Recorder()
    ClientLog(recorder.log).log(3, "%s [%s] %s", "FAIL", "consumer-1", "100% of it failed")
    assert recorder.take() == [("debug", "FAIL [consumer-1] 100% of it failed")]
