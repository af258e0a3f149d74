"""A lambda_producer over a producer that the test plays."""

import pytest

from sidecar.producing import lambda_producer as module
from sidecar.producing.lambda_producer import LambdaProducer

from .played_producer import Kafka


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> type[Kafka]:
    monkeypatch.setattr(module, "Producer", Kafka)
    Kafka.made = []
    return Kafka


@pytest.fixture
async def lambda_producer(kafka: type[Kafka]) -> LambdaProducer:
    return LambdaProducer("deli", {"client.id": "x"})
