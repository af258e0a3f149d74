"""The native extension's transactional producer and the binding's: the same jobs, the same answers, the same records.

On librdkafka's mock cluster, which takes transactions, and does not hide what was aborted. So the answers are
compared, and what an answer says to be written is looked for where it is said to be.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition as KafkaPartition

from sidecar.cluster.client_log import ClientLog
from sidecar.config.kafka_properties import Property
from sidecar.logs import get_logger
from sidecar.mail import letters
from sidecar.mail.boxes import Mailbox
from sidecar.mail.outgoing import Job, Outcome, Outgoing, Written
from sidecar.partitions.vocabulary import TopicPartition
from sidecar.producing.transactional_client import TransactionalClient
from sidecar.producing.transactions import AnyClient, Make, Transactions
from sidecar.records.extension import extension

from .mock_kafka import PATIENCE_S, MockKafka, fail_for_good, mock_kafka

JOBS = 25
MAX_MESSAGE_BYTES = 2_000
TOPICS = {"one": 1, "three": 3}
"""Where records go."""

SOURCE = "t"


def _binding(properties: dict[str, Property], log: ClientLog) -> AnyClient:
    return Producer(properties, logger=log)


def _native(properties: dict[str, Property], log: ClientLog) -> TransactionalClient:
    module = extension()
    assert module is not None
    return TransactionalClient(module, properties, log)


@pytest.fixture(autouse=True)
def _there() -> None:
    if extension() is None:
        pytest.skip("the native extension is not there")


class Side:
    """One of the two, with a cluster of its own."""

    def __init__(self, cluster: MockKafka, make: Make, group: bytes) -> None:
        self.cluster = cluster
        self._group = group
        self.mailbox = Mailbox()
        for topic, partitions in {**TOPICS, SOURCE: 3}.items():
            cluster.create(topic, partitions)
        own: dict[str, Property] = {
            "transactional.id": "kafka-sidecar-g-l-1",
            "topic.metadata.propagation.max.ms": 1,
            "message.max.bytes": MAX_MESSAGE_BYTES,
        }
        self.thread = Transactions("l", cluster.properties(**own), self.mailbox, make)
        self.thread.start()

    def answer(self, tp: TopicPartition, offset: int, records: Sequence[Outgoing]) -> letters.Transacted:
        self.thread.submit([Job(tp, offset, "x" * (offset % 9), records, self._group)])
        while True:
            letter = self.mailbox.take(PATIENCE_S)
            assert letter is not None, "no answer"
            if isinstance(letter, letters.Transacted):
                return letter


@contextmanager
def side(make: Make) -> Iterator[Side]:
    with mock_kafka() as cluster, ExitStack() as stack:
        consumer = Consumer({"bootstrap.servers": cluster.address, "group.id": "g", "log_level": 0})
        stack.callback(consumer.close)
        one = Side(cluster, make, consumer.consumer_group_metadata())
        try:
            yield one
        finally:
            one.thread.stop()
            one.thread.join(PATIENCE_S)
            assert not one.thread.is_alive()


def records_of(chance: random.Random) -> list[Outgoing]:
    """With a key each: a record without one would go anywhere."""
    made = [_record(chance) for _ in range(chance.choice([0, 1, 3, 20, 200]))]
    if made and chance.random() < 0.3:  # one at most: which of two is refused first is a matter of time
        at, good = chance.randrange(len(made)), made[0]
        bad = chance.choice(
            [
                good._replace(topic="nowhere"),
                good._replace(topic="one", partition=7),
                good._replace(value=bytes(MAX_MESSAGE_BYTES)),
                good._replace(refusal="its header cannot be written"),
            ]
        )
        made[at] = bad
    return made


def _record(chance: random.Random) -> Outgoing:
    topic = chance.choice([*TOPICS])
    value = chance.choice([None, b"", chance.randbytes(50)])
    partition = chance.choice([-1, -1, 0])
    names = ["h", "", "ü"]
    headers = [(chance.choice(names), chance.choice([None, b"", b"v"])) for _ in range(chance.choice([0, 0, 2]))]
    return Outgoing(topic, chance.randbytes(chance.randint(1, 4)), value, partition, headers)


def comparable(answer: letters.Transacted) -> object:
    """Without offsets, of which aborted records take some, and without what depends on time: whether librdkafka
    refused a record before or after it took it."""
    (written,) = answer.written
    errors = [error.replace("Unable to produce message: ", "").split(" (")[0] for error in written.errors]
    refused = answer.refused
    why = None if refused is None else (refused.culprits, refused.is_forbidden, refused.is_stale_member)
    return written.outcomes, errors, why


def _stored(cluster: MockKafka, topic: str, partition: int, last: int) -> dict[int, object]:
    """The records of a partition by their offsets, up to the ``last``; some offsets are left out after an abort."""
    consumer = Consumer({"bootstrap.servers": cluster.address, "group.id": "x", "log_level": 0})
    found: dict[int, object] = {}
    try:
        consumer.assign([KafkaPartition(topic, partition, 0)])
        while last not in found:
            (message,) = consumer.consume(1, PATIENCE_S)
            assert message.error() is None
            found[message.offset() or 0] = message.key(), message.value(), message.headers() or []
    finally:
        consumer.close()
    return found


@pytest.mark.parametrize("seed", range(3))
def test_both_clients_do_the_same(seed: int) -> None:
    chance = random.Random(seed)
    refused = 0
    with side(_native) as native, side(_binding) as binding:
        kept: list[tuple[Sequence[Outgoing], Written, Written]] = []
        for number in range(JOBS):
            records = records_of(chance)
            tp = TopicPartition(SOURCE, number % 3)
            answers = [one.answer(tp, number, records) for one in (native, binding)]
            assert comparable(answers[0]) == comparable(answers[1]), records
            refused += answers[0].refused is not None
            if answers[0].refused is None:
                kept.append((records, answers[0].written[0], answers[1].written[0]))
        for which, one in enumerate((native, binding)):
            _look(one, [(records, written[which]) for records, *written in kept])
    assert 0 < refused < JOBS // 2


def _look(one: Side, kept: Sequence[tuple[Sequence[Outgoing], Written]]) -> None:
    """Each record is where its answer says."""
    wanted: dict[tuple[str, int], dict[int, object]] = {}
    for records, written in kept:
        assert written.outcomes == [Outcome.WRITTEN] * len(records)
        for record, partition, offset in zip(records, written.partitions, written.offsets, strict=True):
            assert record.partition in (-1, partition)
            there = wanted.setdefault((record.topic, partition), {})
            assert offset not in there
            there[offset] = (record.key, record.value, [*record.headers])
    assert wanted
    for (topic, partition), there in wanted.items():
        found = _stored(one.cluster, topic, partition, max(there))
        assert {offset: found[offset] for offset in there} == there
        assert sorted(there) == [*there], "the order of the records"


@pytest.mark.parametrize("code", [KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD])
def test_after_a_refused_batch_both_send_each_record_alone(code: int) -> None:
    records = [Outgoing("one", b"k", b"%d" % number, 0, ()) for number in range(3)]
    found = []
    for make in (_native, _binding):
        with side(make) as one:
            one.cluster.refuse(code)
            answers = [one.answer(TopicPartition(SOURCE, 0), number, records) for number in range(2)]
            found.append([comparable(answer) for answer in answers])
            assert [answer.refused is None for answer in answers] == [False, True]
    assert found[0] == found[1]


def _noted(made: list[AnyClient], make: Make, properties: dict[str, Property], log: ClientLog) -> AnyClient:
    made.append(make(properties, log))
    return made[-1]


def test_after_a_fatal_error_both_go_on_with_another_producer() -> None:
    records = [Outgoing("one", b"k", b"v", 0, ())]
    for make in (_native, _binding):
        made: list[AnyClient] = []
        with side(partial(_noted, made, make)) as one:
            assert one.answer(TopicPartition(SOURCE, 0), 1, records).refused is None
            client = made[0]
            fail_for_good(client._outlet if isinstance(client, TransactionalClient) else client, KafkaError._FENCED)
            refused = one.answer(TopicPartition(SOURCE, 0), 2, records).refused
            assert refused is not None
            assert not refused.culprits
            assert one.answer(TopicPartition(SOURCE, 0), 3, records).refused is None
            assert len(made) == 2


def test_more_records_than_librdkafka_queues_are_written_in_their_order() -> None:
    records = [Outgoing("one", None, b"%d" % number, 0, ()) for number in range(500)]

    def small(properties: dict[str, Property], log: ClientLog) -> TransactionalClient:
        return _native({**properties, "queue.buffering.max.messages": 20}, log)

    with side(small) as one:
        answer = one.answer(TopicPartition(SOURCE, 0), 1, records)
        assert answer.refused is None
        assert answer.written[0].offsets == [*range(500)]
        assert [m.value() for m in one.cluster.stored("one", 0, 500)] == [record.value for record in records]


def test_a_client_says_what_librdkafka_says() -> None:
    log = ClientLog(get_logger(__name__))
    with mock_kafka() as cluster:
        client = _native(cluster.properties(**{"transactional.id": "x"}), log)
        with pytest.raises(KafkaException) as raised:
            client.begin_transaction()
        error = raised.value.args[0]
        assert (error.code(), error.retriable(), error.txn_requires_abort()) == (KafkaError._STATE, False, False)
        client.purge()
        with pytest.raises(RuntimeError):
            client.poll(0)
        with pytest.raises(ValueError, match="transactional"):
            _native({**cluster.properties(), "transactional.id": "x", "enable.idempotence": False}, log)


@pytest.mark.parametrize(
    ("record", "error"),
    [
        (("t", b"k"), TypeError),
        (Outgoing("t", "k", b"v", -1, ()), TypeError),  # type: ignore[arg-type]
        (Outgoing("t", b"k", b"v", -2, ()), ValueError),
        (Outgoing("t", b"k", b"v", "1", ()), TypeError),  # type: ignore[arg-type]
        (Outgoing("t", b"k", b"v", -1, [("h", "v")]), TypeError),  # type: ignore[list-item]
        (Outgoing("t", b"k", b"v", -1, [("h",)]), TypeError),  # type: ignore[list-item]
        (Outgoing("t", b"k", b"v", -1, None), TypeError),  # type: ignore[arg-type]
    ],
)
def test_a_record_of_other_types_is_refused(record: object, error: type[Exception]) -> None:
    module = extension()
    assert module is not None
    with pytest.raises(error):
        module.Request.of([Outgoing("t", b"k", b"v", -1, [("h", b"v")]), record])


def test_a_request_ends_before_the_record_that_must_not_be_written() -> None:
    module = extension()
    assert module is not None
    good = Outgoing("t", b"key", b"value", -1, ())
    request = module.Request.of([good, good._replace(topic="u"), good._replace(refusal="no"), good])
    assert (len(request), request.topics, request.size) == (2, ["t", "u"], 16)
