"""What is said about Kafka that is away: once, with the reason, and when it is over."""

from collections.abc import Callable, Mapping

import pytest
from confluent_kafka import KafkaError

from sidecar.cluster.client_log import ClientLog
from sidecar.consuming import connection
from sidecar.consuming.connection import QUIET_S, REASON_LASTS_S, REASON_WITHIN_S
from sidecar.mail.facts import NO_LEADER, Edges, TopicFacts
from sidecar.partitions.vocabulary import TopicPartition

from .bench import P0, P1, Bench
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


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Nothing was heard of Kafka yet; its leaders would answer."""
    made = Bench(connected=False)
    made.clock(monkeypatch, connection)
    made.broker.facts = {"t": TopicFacts("id", (1, 2, NO_LEADER))}
    leaders_say(made, Edges(0, 7))
    return made


def leaders_say(bench: Bench, answer: Edges | KafkaError) -> None:
    """What the two partitions' leaders answer."""
    bench.broker.edges_are = {P0: answer, P1: answer}


def problem(bench: Bench) -> str:
    """What an operator sees."""
    return "; ".join(bench.problems.texts)


def work(bench: Bench, seconds: float = 0.0) -> list[tuple[str, str]]:
    """Time passes; what is said."""
    bench.now += seconds
    bench.connection.work(bench.now)
    return bench.recorder.told()


def reached(bench: Bench, seconds: float = 1.0) -> list[tuple[str, str]]:
    """A look is answered; what is said then."""
    bench.now += seconds
    bench.connection.reached(bench.broker.facts)
    return work(bench)


def complain(bench: Bench, *errors: KafkaError) -> list[tuple[str, str]]:
    """All that comes in one poll; what is said after it."""
    for error in errors:
        bench.connection.complain(error, None)
    return work(bench)


def test_connected_is_logged_once_and_then_no_leader_is_asked(bench: Bench) -> None:
    assert problem(bench) == "not connected to Kafka yet"
    assert reached(bench) == [CONNECTED]
    assert bench.connection.connected
    assert problem(bench) == ""
    assert bench.broker.ends_of == [TopicPartition("t", 0), TopicPartition("t", 1)], "each leader once"
    assert reached(bench) == []
    assert len(bench.broker.ends_of) == 2


def test_a_broker_that_is_away_is_logged_once(bench: Bench) -> None:
    assert complain(bench, ONE_AWAY, AWAY) == [CANNOT]
    assert problem(bench) == f"Kafka cannot be reached: connection refused; {UNKNOWN}"
    for _ in range(20):
        bench.connection.away(NO_ANSWER)
        assert complain(bench, AWAY, ONE_AWAY, AWAY) == []
    assert reached(bench) == [CONNECTED]


def test_without_a_reason_the_problem_is_logged_a_little_later(bench: Bench) -> None:
    bench.connection.away(NO_ANSWER)
    assert work(bench, REASON_WITHIN_S - 0.1) == []
    assert work(bench, 0.2) == [CANNOT]
    assert problem(bench) == "Kafka cannot be reached: broker is away"


def test_without_a_reason_the_clients_own_log_has_a_hint(bench: Bench) -> None:
    bench.state.client_log.log(20, "%s [%s] %s", "CONNECT", "consumer-1", "b: connecting")
    bench.state.client_log.log(20, "%s [%s] %s", "FAIL", "consumer-1", "b:1: Disconnected: connection closed by peer")
    bench.connection.away(NO_ANSWER)
    work(bench, REASON_WITHIN_S)
    assert problem(bench).startswith("Kafka cannot be reached: b:1: Disconnected: connection closed by peer; if that")
    assert "security.protocol" in problem(bench)


@pytest.mark.parametrize("reason", [REFUSED, NO_TLS, NO_NAME])
def test_the_reason_is_logged_first(bench: Bench, reason: KafkaError) -> None:
    """The question fails first, and librdkafka tells of all else as often as it tries."""
    bench.connection.away(NO_ANSWER)
    assert work(bench) == []
    assert complain(bench, AWAY, ONE_AWAY, reason, AWAY, ONE_AWAY) == [CANNOT]
    assert bench.recorder.fields[-1]["error"] == reason.str()
    assert problem(bench).startswith(f"Kafka cannot be reached: {reason.str()}; look at ")
    for _ in range(20):
        assert complain(bench, AWAY, reason) == []


def test_a_more_specific_reason_is_logged_too(bench: Bench) -> None:
    assert complain(bench, ONE_AWAY, AWAY) == [CANNOT]
    assert complain(bench, REFUSED, AWAY) == [CANNOT]
    assert "wrong password" in problem(bench)


def test_an_old_reason_is_replaced_by_a_weaker_one(bench: Bench) -> None:
    assert complain(bench, REFUSED, AWAY) == [CANNOT]
    bench.now += REASON_LASTS_S + 1
    assert complain(bench, ONE_AWAY, AWAY) == [CANNOT]
    assert problem(bench) == f"Kafka cannot be reached: connection refused; {UNKNOWN}"


def test_all_brokers_down_is_away_and_one_of_many_is_not(bench: Bench) -> None:
    reached(bench)
    assert complain(bench, ONE_AWAY) == []
    assert bench.connection.connected
    assert complain(bench, AWAY, ONE_AWAY) == [CANNOT]
    assert not bench.connection.connected
    assert reached(bench) == [CONNECTED]


def test_one_unanswered_question_is_not_logged(bench: Bench) -> None:
    reached(bench)
    bench.connection.away(NO_ANSWER)
    assert reached(bench) == []
    assert work(bench, REASON_WITHIN_S + 1) == []
    assert bench.connection.connected


def test_an_advertised_address_that_cannot_be_resolved_is_not_connected(bench: Bench) -> None:
    """Metadata comes from the address in the config, as often as it is asked for."""
    leaders_say(bench, NO_ANSWER)
    said = []
    for _ in range(10):
        said += reached(bench)
        said += complain(bench, NO_NAME, AWAY)
    assert said == [CANNOT]
    assert not bench.connection.connected
    assert "no such host" in problem(bench)
    leaders_say(bench, Edges(0, 7))
    assert reached(bench) == [CONNECTED]


def test_a_refusal_of_a_leader_is_an_answer(bench: Bench) -> None:
    leaders_say(bench, FORBIDDEN)
    assert reached(bench) == [CONNECTED]


def test_one_question_at_a_time(bench: Bench) -> None:
    waiting: list[Callable[[Answers], None]] = []
    bench.connection._ask = lambda _, told: waiting.append(told)
    reached(bench)
    assert reached(bench) == []
    (told,) = waiting
    told({TopicPartition("t", 0): 3})
    assert work(bench) == [CONNECTED]


def test_without_topics_there_is_no_leader_to_ask_so_the_errors_must_have_ended(bench: Bench) -> None:
    bench.broker.facts = {"t": TopicFacts(error=NO_TOPIC)}
    assert complain(bench, NO_NAME, AWAY) == [CANNOT]
    assert reached(bench) == []
    assert reached(bench, QUIET_S) == [CONNECTED]


def test_one_broker_of_many_that_cannot_be_reached_is_a_problem_that_blocks_nothing(bench: Bench) -> None:
    reached(bench)
    said = []
    for _ in range(10):
        said += complain(bench, NO_NAME)
        said += work(bench, 0.5)
    assert said == [("warning", "a broker cannot be reached; trying on")]
    assert bench.connection.connected
    assert bench.problems.ready
    assert "no such host" in problem(bench)
    assert len(work(bench, REASON_LASTS_S + 1)) == 1
    assert problem(bench) == ""


@pytest.mark.parametrize("error", [NO_TOPIC, FORBIDDEN])
def test_a_complaint_about_a_topic_leads_to_a_look_at_the_topics(bench: Bench, error: KafkaError) -> None:
    reached(bench)
    bench.connection.complain(error, "other")
    assert bench.looks == 1
    assert problem(bench) == ""


def test_any_other_complaint_is_passed_on(bench: Bench) -> None:
    reached(bench)
    bench.connection.complain(OTHER, "a")
    assert work(bench) == [("warning", "Kafka client")]
    assert bench.recorder.fields[-1] == {"error": "something else", "code": "INVALID_MSG", "topic": "a"}
    assert bench.connection.connected


def test_librdkafkas_own_log_is_for_debugging() -> None:
    recorder = Recorder()
    ClientLog(recorder.log).log(3, "%s [%s] %s", "FAIL", "consumer-1", "100% of it failed")
    assert recorder.take() == [("debug", "FAIL [consumer-1] 100% of it failed")]
