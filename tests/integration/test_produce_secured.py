"""Records that lambdas produce to a Kafka with TLS, passwords and rights: by the outlet in C and by the fallback."""

from __future__ import annotations

import uuid
from types import ModuleType

import pytest

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.config.kafka_properties import lambda_producer_properties
from sidecar.producing.lambda_producer import LambdaProducer
from sidecar.records.extension import extension
from sidecar.server import producing
from tests.servers.secured import SecuredKafka
from tests.servers.topics import create_topic, read_all

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

WRITTEN, FAILED = pb.PRODUCE_OUTCOME_WRITTEN, pb.PRODUCE_OUTCOME_FAILED


@pytest.fixture(params=["native", "fallback"], autouse=True)
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose the outlet."""
    chosen: ModuleType | None = extension() if request.param == "native" else None
    if request.param == "native" and chosen is None:
        pytest.skip("the native extension is not there")
    monkeypatch.setattr(producing, "extension", lambda: chosen)


@pytest.fixture
def topics(secured: SecuredKafka) -> list[str]:
    made = [f"secured-{uuid.uuid4().hex[:6]}-{name}" for name in ("mine", "theirs")]
    for topic in made:
        create_topic(secured.address, topic)
    return made


async def produced(kafka: dict[str, str], topics: list[str]) -> pb.ProduceResponse:
    """Write one record to each of the topics."""
    producer = LambdaProducer("deli", lambda_producer_properties(kafka))
    count = len(topics)
    asked = pb.ProduceRequest(lease="L", topics=topics, topic_indexes=[*range(count)], values=[b"x"] * count)
    try:
        return pb.ProduceResponse.FromString(await producing.asked(asked.SerializeToString()).write(producer))
    finally:
        await producer.stop(0)


async def test_by_tls(secured: SecuredKafka, topics: list[str]) -> None:
    kafka = {
        "bootstrap.servers": secured.tls,
        "security.protocol": "ssl",
        "ssl.ca.pem": secured.authority.read_text(),
    }
    assert [*(await produced(kafka, topics)).outcomes] == [WRITTEN] * 2
    assert [record.value for record in read_all(secured.address, topics[0])] == [b"x"]


async def test_with_a_password_and_only_where_it_is_allowed(secured: SecuredKafka, topics: list[str]) -> None:
    mine, theirs = topics
    secured.allow([theirs], writes=[mine])
    answer = await produced(secured.client(), topics)
    assert [*answer.outcomes] == [WRITTEN, FAILED]
    assert [*answer.errors] == ["", "Broker: Topic authorization failed"]
    assert [record.value for record in read_all(secured.address, mine)] == [b"x"]
