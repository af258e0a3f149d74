"""The topics of `produce`, and the embedded broker's port, in the config file."""

from pathlib import Path

import pytest

from sidecar.config import Config, ConfigError, load
from sidecar.config.kafka_mistakes import check
from sidecar.config.kafka_properties import (
    embedded_port,
    is_embedded,
    lambda_producer_properties,
    producer_properties,
)

SERVERS = {"bootstrap.servers": "localhost:9092"}


def read(folder: Path, body: str, servers: str = "localhost:9092") -> Config:
    path = folder / "config.yaml"
    path.write_text(f"kafka: {{bootstrap.servers: '{servers}'}}\nlambdas: {{x: {{topic: t, group: g, {body}}}}}\n")
    return load(path, {})


@pytest.mark.parametrize(
    ("body", "topics"),
    [
        ("", ()),
        ("produce: []", ()),
        ("produce: [out]", ("out",)),
        ("produce: out", ("out",)),
        ("produce: [out, t, other.topic_1-x]", ("out", "t", "other.topic_1-x")),
    ],
)
def test_the_topics_that_a_lambda_may_write_to(tmp_path: Path, body: str, topics: tuple[str, ...]) -> None:
    assert read(tmp_path, body).lambdas["x"].produce == topics


@pytest.mark.parametrize(
    ("body", "where", "text"),
    [
        ("produce: [a, b, a]", "lambdas.x.produce[2]", "'a' is here twice"),
        ("produce: [out, 'a b']", "lambdas.x.produce[1]", "a b"),
        ("produce: ['']", "lambdas.x.produce[0]", ""),
        ("produce: [3]", "lambdas.x.produce[0]", ""),
        ("produce: {a: b}", "lambdas.x.produce[0]", "expected a text"),
        ("produces: [a]", "lambdas.x.produces", "produce"),
    ],
)
def test_a_mistake_has_its_path(tmp_path: Path, body: str, where: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, body)
    (mistake,) = caught.value.mistakes
    assert str(mistake).startswith(f"{where}:")
    assert text in str(mistake)
    assert mistake.line == 2


@pytest.mark.parametrize(("servers", "port"), [("embedded", None), ("embedded:19092", 19092)])
def test_the_embedded_brokers_port(tmp_path: Path, servers: str, port: int | None) -> None:
    config = read(tmp_path, "", servers)
    assert config.embedded
    assert embedded_port(config.kafka["bootstrap.servers"]) == port


@pytest.mark.parametrize("servers", ["embedded:", "embedded:x", "embedded:0", "embedded:65536", "embedded:-1"])
def test_an_invalid_port_of_the_embedded_broker(tmp_path: Path, servers: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, "", servers)
    (mistake,) = caught.value.mistakes
    assert "has no valid port; for example embedded:19092" in str(mistake)


@pytest.mark.parametrize("servers", ["embedded.example:9092", "embeddedx", "a:9092,embedded:9092", None, 3])
def test_what_only_looks_like_the_embedded_broker(servers: object) -> None:
    assert not is_embedded(servers)


def test_the_embedded_brokers_limits_hold_with_a_port_too() -> None:
    (found,) = check({"bootstrap.servers": "embedded:19092", "group.protocol": "consumer"})
    assert found.startswith("group.protocol: the embedded broker knows `classic` only")


def test_the_lambda_producer_keeps_order_and_uses_the_java_clients_partitioner() -> None:
    kafka = {**SERVERS, "security.protocol": "SSL", "fetch.min.bytes": "5", "session.timeout.ms": "6000"}
    made = lambda_producer_properties(kafka)
    assert made == {
        **producer_properties(kafka),
        "partitioner": "murmur2_random",
        "linger.ms": 1,
        "compression.type": "lz4",
    }
    assert made["enable.idempotence"] is True
    assert made["security.protocol"] == "SSL"
    assert "fetch.min.bytes" not in made
    assert lambda_producer_properties(SERVERS, "127.0.0.1:7")["bootstrap.servers"] == "127.0.0.1:7"
