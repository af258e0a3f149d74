"""Kafka properties: refused ones, librdkafka's own checks, and the properties of the clients."""

import pytest
from confluent_kafka import Consumer

from sidecar.config import LambdaConfig, WindowConfig
from sidecar.config.kafka_mistakes import check
from sidecar.config.kafka_names import OFTEN_USED, OWNED
from sidecar.config.kafka_properties import consumer_properties, rebalance_protocol

SERVERS = {"bootstrap.servers": "localhost:9092"}
EMBEDDED = {"bootstrap.servers": "embedded"}


# Properties that cannot be together with their alias, or cannot be tried with an empty value.
_SET_APART = {"bootstrap.servers", "fetch.message.max.bytes", "sasl.mechanisms"}


def deli(messages: int = 10_000) -> LambdaConfig:
    return LambdaConfig(topics=("rawdeltas",), group="deli-group", window=WindowConfig(messages=messages))


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"client.id": "mine", "fetch.min.bytes": 10, "socket.keepalive.enable": True},
        {"group.protocol": "consumer"},
        {"partition.assignment.strategy": "range,roundrobin"},
        {"isolation.level": "read_uncommitted"},
        {"security.protocol": "SASL_SSL", "sasl.mechanisms": "PLAIN", "sasl.username": "u", "sasl.password": "p"},
    ],
)
def test_good_properties_have_no_mistakes(extra: dict[str, object]) -> None:
    assert check(SERVERS | extra) == []


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("fetch.min.byts", 1, "fetch.min.byts: unknown property; did you mean `fetch.min.bytes`?"),
        ("Client.Id", "x", "did you mean `client.id`?"),
        ("qqqq", "x", "qqqq: unknown property; librdkafka's CONFIGURATION.md"),
        ("fetch.min.bytes", "abc", "fetch.min.bytes: expected a number of bytes, not 'abc'"),
        ("fetch.min.bytes", -5, "outside allowed range 0..2147483647"),
        ("max.partition.fetch.bytes", "abc", "max.partition.fetch.bytes: expected a number of bytes"),
        (
            "isolation.level",
            "snapshot",
            "isolation.level: expected read_uncommitted or read_committed, not",
        ),
        ("session.timeout.ms", {"a": 1}, "session.timeout.ms: expected a value, not a mapping"),
        ("bootstrap", {"servers": "x"}, "write the name in one piece: bootstrap.servers"),
        ("debug", ["a", "b"], "debug: expected a value, not a list"),
        ("debug", None, "debug: expected a text, a number or a boolean, not nothing"),
        (5, "x", "5: a property's name must be text"),
        ("ssl.ca.location", "/there/is/none", "ssl.ca.location: there is no file '/there/is/none'"),
        ("session.timeout.ms", "45s", "expected a number of milliseconds, not '45s'"),  # librdkafka would take 45 ms
        ("fetch.max.bytes", 2**32 + 1024, "expected at most 2147483647"),  # librdkafka would take 1024
        ("max.poll.records", 500, "a property of Kafka's Java client"),
    ],
)
def test_a_bad_property_is_named(name: object, value: object, expected: str) -> None:
    found = check(SERVERS | {"security.protocol": "ssl"} | {name: value})
    assert len(found) == 1
    assert expected in found[0]


def test_all_mistakes_are_found_at_once() -> None:
    wrong = {"one": 1, "two": 2, "fetch.min.bytes": "abc", "isolation.level": "x", "group.id": "g"}
    found = check(wrong | {"session.timeout.ms": 6000, "group.protocol": "consumer"})
    names = [text.split(":")[0] for text in found]
    assert names[:-1] == ["fetch.min.bytes", "isolation.level", "group.id", "bootstrap.servers", "one", "two"]
    assert "`session.timeout.ms` is not supported for `group.protocol=consumer`" in found[-1]


@pytest.mark.parametrize("name", [*OWNED, "error_cb", "stats_cb", "oauth_cb", "rebalance_cb"])
def test_properties_that_the_sidecar_sets_are_refused_with_a_hint(name: str) -> None:
    (found,) = check(SERVERS | {name: "x"})
    assert found.startswith(f"{name}: the sidecar sets this one itself; ")
    assert len(found.split("; ", 1)[1]) > 10


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        ("", "missing: where is Kafka?"),
        ("a:9092,,b:9092", "an empty entry"),
        ("a:b", "'a:b' has no valid port"),
        ("a:9092,b:99999", "'b:99999' has no valid port"),
    ],
)
def test_wrong_bootstrap_servers_are_found(servers: str, expected: str) -> None:
    (found,) = check({"bootstrap.servers": servers})
    assert expected in found


@pytest.mark.parametrize("servers", ["a", "a:9092", "a:9092, b:9092", "[::1]:9092", "[::1]", "SSL://a:9092"])
def test_good_bootstrap_servers(servers: str) -> None:
    assert check({"bootstrap.servers": servers}) == []


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("group.protocol", "consumer", True),
        ("group.protocol", "classic", False),
        ("partition.assignment.strategy", "cooperative-sticky", True),
        ("partition.assignment.strategy", "range", False),
    ],
)
def test_what_the_embedded_broker_cannot_do_is_refused(name: str, value: str, wrong: bool) -> None:
    found = check(EMBEDDED | {name: value})
    assert [text.split(":")[0] for text in found] == ([name] if wrong else [])


def test_names_for_hints_are_known_to_librdkafka() -> None:
    wrong = {name: "" for name in OFTEN_USED if name not in _SET_APART} | SERVERS
    found = check(wrong)
    assert len(found) > 30  # one for each that cannot be empty: the check did not stop early
    assert not [text for text in found if "unknown property" in text]


def test_the_consumers_properties_are_complete_and_restate_no_default() -> None:
    assert consumer_properties(SERVERS, deli()) == {
        "bootstrap.servers": "localhost:9092",
        "client.id": "kafka-sidecar",
        "group.id": "deli-group",
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "allow.auto.create.topics": False,
        "fetch.wait.max.ms": 100,
        "fetch.queue.backoff.ms": 2,
        "fetch.max.bytes": 8_388_608,
        "queued.max.messages.kbytes": 16_384,
        "topic.metadata.refresh.interval.ms": 1_000,
        "queued.min.messages": 10_000,
        "partition.assignment.strategy": "cooperative-sticky",
    }


def test_a_consumer_lets_no_topic_come_to_be_by_asking_for_it() -> None:
    """The setting is for what lambdas produce. A sidecar may subscribe to a topic that is not there."""
    assert (
        consumer_properties(SERVERS | {"allow.auto.create.topics": "true"}, deli())["allow.auto.create.topics"]
        is False
    )


@pytest.mark.parametrize(("window", "prefetch"), [(1, 1_000), (5_000, 5_000), (10_000_000, 100_000)])
def test_prefetch_is_sized_to_the_window(window: int, prefetch: int) -> None:
    assert consumer_properties(SERVERS, deli(window))["queued.min.messages"] == prefetch


@pytest.mark.parametrize(
    "user",
    [
        {"message.max.bytes": "20000000"},
        {"receive.message.max.bytes": "5000000", "fetch.max.bytes": "4000000"},
        {"fetch.max.bytes": "4000000"},
    ],
)
def test_the_clients_limits_of_size_may_be_moved(user: dict[str, str]) -> None:
    assert check(SERVERS | user) == []
    made = consumer_properties(SERVERS | user, deli())
    assert made.get("fetch.max.bytes") == user.get("fetch.max.bytes")
    Consumer(made).close()  # librdkafka refuses sizes that do not go together


def test_the_users_values_win_unless_the_sidecar_sets_the_property() -> None:
    user = {"client.id": "mine", "fetch.queue.backoff.ms": "7", "enable.auto.commit": "true", "group.id": "no"}
    made = consumer_properties(SERVERS | user, deli())
    assert made["client.id"] == "mine"
    assert made["fetch.queue.backoff.ms"] == "7"
    assert made["enable.auto.commit"] is False
    assert made["group.id"] == "deli-group"


@pytest.mark.parametrize(
    "user",
    [{"group.protocol": "consumer"}, {"group.protocol": "classic"}, {"partition.assignment.strategy": "range"}],
)
def test_the_users_choice_of_protocol_is_left_alone(user: dict[str, str]) -> None:
    made = consumer_properties(SERVERS | user, deli())
    assert made.get("partition.assignment.strategy") == user.get("partition.assignment.strategy")


def test_the_embedded_broker_gets_its_own_settings() -> None:
    made = consumer_properties(EMBEDDED, deli(), bootstrap="127.0.0.1:4711")
    assert made["bootstrap.servers"] == "127.0.0.1:4711"
    assert made["fetch.wait.max.ms"] == 10
    assert "partition.assignment.strategy" not in made
    assert consumer_properties(EMBEDDED | {"fetch.wait.max.ms": "50"}, deli())["fetch.wait.max.ms"] == "50"


@pytest.mark.parametrize("user", [{}, {"group.protocol": "consumer"}, {"partition.assignment.strategy": "range"}])
def test_librdkafka_accepts_our_properties(user: dict[str, str]) -> None:
    made = consumer_properties(SERVERS | user, deli())
    del made["bootstrap.servers"]  # nothing to connect to
    Consumer(made).close()


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ({}, "eager"),
        ({"partition.assignment.strategy": "range,roundrobin"}, "eager"),
        ({"partition.assignment.strategy": "cooperative-sticky"}, "cooperative"),
        ({"group.protocol": "classic"}, "eager"),
        ({"group.protocol": "CONSUMER"}, "cooperative"),
    ],
)
def test_the_rebalance_protocol(user: dict[str, str], expected: str) -> None:
    assert rebalance_protocol(user) == expected
