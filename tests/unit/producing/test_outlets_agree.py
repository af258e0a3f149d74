"""The outlet in C and the fallback write the same and answer the same, from the same bytes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from confluent_kafka import KafkaError

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.producing.lambda_producer import LambdaProducer
from sidecar.records.extension import extension
from sidecar.server import producing

from .mock_kafka import MockKafka, mock_kafka

REQUESTS = 40
MAX_MESSAGE_BYTES = 2_000
PARTITIONS = {"one": 1, "three": 3}
NAMES = [b"h", b"", "ü".encode(), b"a\0", b"\xff", b"\xed\xb3\xbf"]
CODES = [
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG_SIZE,
    KafkaError.INVALID_RECORD,
    KafkaError.RECORD_LIST_TOO_LARGE,
]
"""Not TOPIC_AUTHORIZATION_FAILED: then librdkafka refuses later records too, until it has asked about the topic."""


@pytest.fixture
def clusters() -> Iterator[list[MockKafka]]:
    """Two that are alike: offsets are the same, if what is written is."""
    if extension() is None:
        pytest.skip("the native extension is not there")
    with ExitStack() as stack:
        made = [stack.enter_context(mock_kafka()) for _ in range(2)]
        for cluster in made:
            for topic, partitions in PARTITIONS.items():
                cluster.create(topic, partitions)
        yield made


def request(chance: random.Random) -> pb.ProduceRequest:
    """A request whose outcome depends on nothing but its content: a record without a key would go anywhere."""
    count = chance.choice([1, 1, 3, 20])
    topics = chance.sample([*PARTITIONS, "nowhere"], chance.randint(1, 3))
    made = pb.ProduceRequest(lease="L", topics=topics)
    made.topic_indexes.extend(chance.randrange(len(topics)) for _ in range(count))
    made.keys.extend(chance.randbytes(chance.randint(1, 4)) for _ in range(count))
    made.values.extend(chance.randbytes(chance.choice([0, 1, 50, 50, MAX_MESSAGE_BYTES])) for _ in range(count))
    made.null_values.extend(at for at, value in enumerate(made.values) if not value and chance.random() < 0.5)
    if chance.random() < 0.5:
        made.partitions.extend(chance.choice([-1, -1, 0, 0, 2, -2]) for _ in range(count))
    if chance.random() < 0.5:
        made.header_counts.extend(chance.choice([0, 1, 2]) for _ in range(count))
        headers = sum(made.header_counts)
        made.header_names.extend(chance.choice(NAMES[: chance.choice([3, 3, 6])]) for _ in range(headers))
        made.header_values.extend(chance.choice([b"", b"v"]) for _ in range(headers))
        made.null_header_values.extend(
            at for at, v in enumerate(made.header_values) if not v and chance.random() < 0.5
        )
    return made


def comparable(answer: bytes) -> pb.ProduceResponse:
    """The response, without whether librdkafka refused a record before or after it took it: that depends on time."""
    made = pb.ProduceResponse.FromString(answer)
    errors = [error.replace("Unable to produce message: ", "").split(" (")[0] for error in made.errors]
    del made.errors[:]
    made.errors.extend(errors)
    return made


def one_of(answer: pb.ProduceResponse, index: int) -> tuple[int, int, int, str]:
    """What the response says of a record."""
    error = answer.errors[index] if answer.errors else ""
    return answer.outcomes[index], answer.partitions[index], answer.offsets[index], error


def content(cluster: MockKafka, topic: str, partition: int, count: int) -> list[object]:
    return [(one.key(), one.value(), one.headers()) for one in cluster.stored(topic, partition, count)]


@pytest.mark.parametrize("seed", range(3))
async def test_both_outlets_do_the_same(
    clusters: list[MockKafka], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    native = extension()
    own = {"topic.metadata.propagation.max.ms": 1, "message.max.bytes": MAX_MESSAGE_BYTES}
    producers = [LambdaProducer("deli", cluster.properties(**own)) for cluster in clusters]
    ends: dict[tuple[str, int], int] = {}
    for _ in range(REQUESTS):
        asked = request(chance)
        code = chance.choice(CODES) if len(asked.values) == 1 and chance.random() < 0.3 else 0
        answers = []
        for cluster, producer, module in zip(clusters, producers, (native, None), strict=True):
            monkeypatch.setattr(producing, "extension", lambda module=module: module)
            if code:
                cluster.refuse(code)
            answers.append(comparable(await producing.asked(asked.SerializeToString()).write(producer)))
            cluster.refuse_no_more()
        for index in range(len(asked.values)):  # one by one: a failure shows the record
            assert one_of(answers[0], index) == one_of(answers[1], index), (code, asked)
        for index, offset in enumerate(answers[0].offsets):
            if offset >= 0:
                at = asked.topics[asked.topic_indexes[index]], answers[0].partitions[index]
                ends[at] = max(ends.get(at, 0), offset + 1)
    for (topic, partition), end in ends.items():
        assert content(clusters[0], topic, partition, end) == content(clusters[1], topic, partition, end)
    assert (producers[0].written, producers[0].failures) == (producers[1].written, producers[1].failures)
    assert producers[0].written > REQUESTS
    assert producers[0].failures.total() > REQUESTS
    for producer in producers:
        await producer.stop(0)
