"""What is said about Kafka that is away: once, with the reason, and when it is over."""

from collections.abc import Callable, Mapping

import pytest
from confluent_kafka import KafkaError

from sidecar.cluster.client_log import ClientLog
from sidecar.consuming import connection
from sidecar.consuming.connection import QUIET_S, REASON_LASTS_S, REASON_WITHIN_S, Connection
from sidecar.consuming.problems import Problems
from sidecar.mail.facts import NO_LEADER, TopicFacts
from sidecar.partitions.vocabulary import TopicPartition

from .recorder import Recorder

AWAY = KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down")
ONE_AWAY = KafkaError(KafkaError._TRANSPORT, "connection refused")
NO_ANSWER = KafkaError(KafkaError._TIMED_OUT, "broker is away")
REFUSED = KafkaError(KafkaError._AUTHENTICATION, "wrong password")
NO_TLS = KafkaError(KafkaError._SSL, "certificate verify failed")
NO_NAME = KafkaError(KafkaError._RESOLVE, "no such host: kafka.invalid")
NO_TOPIC = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "no such topic")
FORBIDDEN = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "not authorised")
OTHER = KafkaError(KafkaError.INVALID_MSG, "something else")

CANNOT = ("warning", "Kafka cannot be reached; trying on")
CONNECTED = ("info", "connected to Kafka")

Answers = Mapping[TopicPartition, int | KafkaError]

UNKNOWN = "look at bootstrap.servers and security.protocol"


class World:
    """A connection, the brokers that it asks, its log and its clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.looks = 0
        self.topics: dict[str, TopicFacts] = {"t": TopicFacts("id", (1, 2, NO_LEADER))}
        self.leader: int | KafkaError = 7
        self.asked: list[TopicPartition] = []
        self.recorder = Recorder()
        self.problems = Problems(self.recorder.log, lambda: self.now)
        self.client_log = ClientLog(self.recorder.log)
        self.connection = Connection(self.problems, self.recorder.log, self._look, self._ask, self.client_log)

    def _look(self) -> None:
        self.looks += 1

    def _ask(self, tps: list[TopicPartition], told: Callable[[Answers], None]) -> None:
        self.asked += tps
        told(dict.fromkeys(tps, self.leader))

    @property
    def problem(self) -> str:
        """What an operator sees."""
        return "; ".join(self.problems.texts)

    def work(self, seconds: float = 0.0) -> list[tuple[str, str]]:
        """Time passes; what is said."""
        self.now += seconds
        self.connection.work(self.now)
        return self.recorder.told()

    def reached(self, seconds: float = 1.0) -> list[tuple[str, str]]:
        """A look is answered; what is said then."""
        self.now += seconds
        self.connection.reached(self.topics)
        return self.work()

    def complain(self, *errors: KafkaError) -> list[tuple[str, str]]:
        """All that comes in one poll; what is said after it."""
        for error in errors:
            self.connection.complain(error, None)
        return self.work()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(connection, "monotonic", lambda: made.now)
    return made


def test_connected_is_logged_once_and_then_no_leader_is_asked(world: World) -> None:
    assert world.problem == "not connected to Kafka yet"
    assert world.reached() == [CONNECTED]
    assert world.connection.connected
    assert world.problem == ""
    assert world.asked == [TopicPartition("t", 0), TopicPartition("t", 1)], "each leader once"
    assert world.reached() == []
    assert len(world.asked) == 2


def test_a_broker_that_is_away_is_logged_once(world: World) -> None:
    assert world.complain(ONE_AWAY, AWAY) == [CANNOT]
    assert world.problem == f"Kafka cannot be reached: connection refused; {UNKNOWN}"
    for _ in range(20):
        world.connection.away(NO_ANSWER)
        assert world.complain(AWAY, ONE_AWAY, AWAY) == []
    assert world.reached() == [CONNECTED]


def test_without_a_reason_the_problem_is_logged_a_little_later(world: World) -> None:
    world.connection.away(NO_ANSWER)
    assert world.work(REASON_WITHIN_S - 0.1) == []
    assert world.work(0.2) == [CANNOT]
    assert world.problem == "Kafka cannot be reached: broker is away"


def test_without_a_reason_the_clients_own_log_has_a_hint(world: World) -> None:
    world.client_log.log(20, "%s [%s] %s", "CONNECT", "consumer-1", "b: connecting")
    world.client_log.log(20, "%s [%s] %s", "FAIL", "consumer-1", "b:1: Disconnected: connection closed by peer")
    world.connection.away(NO_ANSWER)
    world.work(REASON_WITHIN_S)
    assert world.problem.startswith("Kafka cannot be reached: b:1: Disconnected: connection closed by peer; if that")
    assert "security.protocol" in world.problem


@pytest.mark.parametrize("reason", [REFUSED, NO_TLS, NO_NAME])
def test_the_reason_is_logged_first(world: World, reason: KafkaError) -> None:
    """The question fails first, and librdkafka tells of all else as often as it tries."""
    world.connection.away(NO_ANSWER)
    assert world.work() == []
    assert world.complain(AWAY, ONE_AWAY, reason, AWAY, ONE_AWAY) == [CANNOT]
    assert world.recorder.fields[-1]["error"] == reason.str()
    assert world.problem.startswith(f"Kafka cannot be reached: {reason.str()}; look at ")
    for _ in range(20):
        assert world.complain(AWAY, reason) == []


def test_a_more_specific_reason_is_logged_too(world: World) -> None:
    assert world.complain(ONE_AWAY, AWAY) == [CANNOT]
    assert world.complain(REFUSED, AWAY) == [CANNOT]
    assert "wrong password" in world.problem


def test_an_old_reason_is_replaced_by_a_weaker_one(world: World) -> None:
    assert world.complain(REFUSED, AWAY) == [CANNOT]
    world.now += REASON_LASTS_S + 1
    assert world.complain(ONE_AWAY, AWAY) == [CANNOT]
    assert world.problem == f"Kafka cannot be reached: connection refused; {UNKNOWN}"


def test_all_brokers_down_is_away_and_one_of_many_is_not(world: World) -> None:
    world.reached()
    assert world.complain(ONE_AWAY) == []
    assert world.connection.connected
    assert world.complain(AWAY, ONE_AWAY) == [CANNOT]
    assert not world.connection.connected
    assert world.reached() == [CONNECTED]


def test_one_unanswered_question_is_not_logged(world: World) -> None:
    world.reached()
    world.connection.away(NO_ANSWER)
    assert world.reached() == []
    assert world.work(REASON_WITHIN_S + 1) == []
    assert world.connection.connected


def test_an_advertised_address_that_cannot_be_resolved_is_not_connected(world: World) -> None:
    """Metadata comes from the address in the config, as often as it is asked for."""
    world.leader = NO_ANSWER
    said = []
    for _ in range(10):
        said += world.reached()
        said += world.complain(NO_NAME, AWAY)
    assert said == [CANNOT]
    assert not world.connection.connected
    assert "no such host" in world.problem
    world.leader = 7
    assert world.reached() == [CONNECTED]


def test_a_refusal_of_a_leader_is_an_answer(world: World) -> None:
    world.leader = FORBIDDEN
    assert world.reached() == [CONNECTED]


def test_one_question_at_a_time(world: World) -> None:
    waiting: list[Callable[[Answers], None]] = []
    world.connection._ask = lambda _, told: waiting.append(told)
    world.reached()
    assert world.reached() == []
    (told,) = waiting
    told({TopicPartition("t", 0): 3})
    assert world.work() == [CONNECTED]


def test_without_topics_there_is_no_leader_to_ask_so_the_errors_must_have_ended(world: World) -> None:
    world.topics = {"t": TopicFacts(error=NO_TOPIC)}
    assert world.complain(NO_NAME, AWAY) == [CANNOT]
    assert world.reached() == []
    assert world.reached(QUIET_S) == [CONNECTED]


def test_one_broker_of_many_that_cannot_be_reached_is_a_problem_that_blocks_nothing(world: World) -> None:
    world.reached()
    said = []
    for _ in range(10):
        said += world.complain(NO_NAME)
        said += world.work(0.5)
    assert said == [("warning", "a broker cannot be reached; trying on")]
    assert world.connection.connected
    assert world.problems.ready
    assert "no such host" in world.problem
    assert len(world.work(REASON_LASTS_S + 1)) == 1
    assert world.problem == ""


@pytest.mark.parametrize("error", [NO_TOPIC, FORBIDDEN])
def test_a_complaint_about_a_topic_leads_to_a_look_at_the_topics(world: World, error: KafkaError) -> None:
    world.reached()
    world.connection.complain(error, "other")
    assert world.looks == 1
    assert world.problem == ""


def test_any_other_complaint_is_passed_on(world: World) -> None:
    world.reached()
    world.connection.complain(OTHER, "a")
    assert world.work() == [("warning", "Kafka client")]
    assert world.recorder.fields[-1] == {"error": "something else", "code": "INVALID_MSG", "topic": "a"}
    assert world.connection.connected


def test_librdkafkas_own_log_is_for_debugging() -> None:
    recorder = Recorder()
    ClientLog(recorder.log).log(3, "%s [%s] %s", "FAIL", "consumer-1", "100% of it failed")
    assert recorder.take() == [("debug", "FAIL [consumer-1] 100% of it failed")]
