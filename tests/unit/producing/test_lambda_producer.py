"""The lambda_producer: what it makes of each way in which librdkafka answers, and how much it takes.

Most of it over a producer that the test plays; what that one cannot know, over librdkafka itself without a broker.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from sidecar.cluster.errors import kind_of
from sidecar.producing import lambda_producer as module
from sidecar.producing.lambda_producer import CHUNK_RECORDS, MAX_BYTES, LambdaProducer
from sidecar.producing.outcomes import BATCH_BYTES, FullError, Outgoing, Written

from .played_producer import Kafka, kafka_error
from .writing import FAILED, PATIENCE, TOO_LARGE, WRITTEN, records, turns, writing

FEW_RECORDS = 4 * CHUNK_RECORDS
"""In the place of the real limit: as many as that take seconds of a busy machine, to say the same."""


# --- what becomes of a record ---------------------------------------------------------------------------------------


async def test_written_records_have_their_partition_and_offset(
    lambda_producer: LambdaProducer, kafka: type[Kafka]
) -> None:
    task = writing(lambda_producer, [Outgoing("a", None, b"", 2, [("h", None)]), Outgoing("b", b"", None, -1, ())])
    await turns()
    (producer,) = kafka.made
    assert producer.properties == {"client.id": "x"}
    assert producer.records == [
        {"topic": "a", "key": None, "value": b"", "partition": 2, "headers": [("h", None)]},
        {"topic": "b", "key": b"", "value": None, "partition": -1, "headers": None},
    ]
    assert not task.done()
    producer.tell(count=1)
    await turns()
    assert not task.done()
    producer.tell()
    assert await task == Written([WRITTEN] * 2, [3, 3], [100, 101], ["", ""])
    assert (lambda_producer.written, lambda_producer.failures.total()) == (2, 0)
    assert producer.threads == {"produced-deli"}
    await lambda_producer.stop(1)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, TOO_LARGE),
        (KafkaError.INVALID_MSG_SIZE, TOO_LARGE),
        (KafkaError.RECORD_LIST_TOO_LARGE, FAILED),
        (KafkaError._MSG_TIMED_OUT, FAILED),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, FAILED),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_each_record_has_its_own_failure(
    lambda_producer: LambdaProducer, kafka: type[Kafka], code: int, outcome: int, at_once: bool
) -> None:
    lambda_producer._alone = True
    opened: Any = lambda_producer._opened()
    if at_once:
        opened.refusals[b"2"] = KafkaException(kafka_error(code))
    task = writing(lambda_producer, records(b"1", b"2", b"3"))
    await turns()
    opened.tell(count=1)
    if not at_once:
        opened.tell(kafka_error(code), count=1)
    opened.tell(count=1)
    made = await task
    assert made.outcomes == [WRITTEN, outcome, WRITTEN]
    assert made.errors == ["", "why", ""]
    assert made.partitions == [3, -1, 3]
    assert made.offsets[1] == -1
    assert (lambda_producer.written, lambda_producer.failures) == (2, Counter({kind_of(kafka_error(code)): 1}))
    assert kafka.made == [opened]
    await lambda_producer.stop(1)


@pytest.mark.parametrize(
    ("code", "partition", "text"),
    [
        (KafkaError._UNKNOWN_TOPIC, -1, "the topic 'out' does not exist: make it, the sidecar does not"),
        (KafkaError._UNKNOWN_PARTITION, 9, "the topic 'out' does not exist, or has no partition 9"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, 9, "the topic 'out' does not exist, or has no partition 9"),
    ],
)
async def test_a_topic_or_partition_that_does_not_exist_is_named(
    lambda_producer: LambdaProducer, code: int, partition: int, text: str
) -> None:
    opened: Any = lambda_producer._opened()
    opened.refusals[b"x"] = KafkaException(kafka_error(code))
    made = await writing(lambda_producer, [Outgoing("out", None, b"x", partition, ())])
    assert made.outcomes == [FAILED]
    assert made.errors == [f"{text} (why)"]
    await lambda_producer.stop(1)


async def test_a_report_names_the_topic_and_partition_too(
    lambda_producer: LambdaProducer, kafka: type[Kafka]
) -> None:
    task = writing(lambda_producer, records(b"1"))
    await turns()
    kafka.made[0].tell(kafka_error(KafkaError._UNKNOWN_PARTITION))
    assert (await task).errors == ["the topic 'out' does not exist, or has no partition 3 (why)"]
    await lambda_producer.stop(1)


@pytest.mark.parametrize("refusal", [ValueError("embedded null"), OverflowError("too big"), TypeError("no text")])
async def test_a_record_that_the_binding_refuses_does_not_stop_others(
    lambda_producer: LambdaProducer, kafka: type[Kafka], refusal: Exception
) -> None:
    opened: Any = lambda_producer._opened()
    opened.refusals[b"2"] = refusal
    unwritable = Outgoing("out", None, b"3", -1, (), "a header name has a NUL")
    task = writing(lambda_producer, [*records(b"1", b"2"), unwritable, *records(b"4")])
    await turns()
    assert [record["value"] for record in opened.records] == [b"1", b"4"]
    opened.tell()
    made = await task
    assert made.outcomes == [WRITTEN, FAILED, FAILED, WRITTEN]
    assert made.errors == ["", f"the Kafka client does not take it: {refusal}", "a header name has a NUL", ""]
    assert (
        lambda_producer._bytes,
        lambda_producer._records,
        lambda_producer.written,
        lambda_producer.failures.total(),
    ) == (
        0,
        0,
        2,
        2,
    )
    await lambda_producer.stop(1)


@pytest.mark.parametrize("code", [KafkaError.INVALID_RECORD, KafkaError._INVALID_DIFFERENT_RECORD])
async def test_a_refused_batch_does_not_refuse_each_record(
    lambda_producer: LambdaProducer, kafka: type[Kafka], code: int
) -> None:
    """One without a key, where the topic is compacted: the broker refuses all that came with it."""
    task = writing(lambda_producer, records(b"1", b"2"))
    await turns()
    kafka.made[0].tell(kafka_error(code))
    made = await task
    assert made.outcomes == [FAILED] * 2
    assert "each goes alone" in made.errors[0]
    again = writing(lambda_producer, records(b"1", b"2"))
    await turns()
    _, second = kafka.made
    assert second.properties == {"client.id": "x", "batch.size": 1}
    second.tell(kafka_error(KafkaError.INVALID_RECORD), count=1)
    second.tell()
    made = await again
    assert (made.outcomes, made.errors) == ([FAILED, WRITTEN], ["why", ""])
    await lambda_producer.stop(1)


@pytest.mark.parametrize("refusal", [BufferError("full"), KafkaException(KafkaError(KafkaError._QUEUE_FULL, "full"))])
async def test_a_batch_may_be_refused_completely(lambda_producer: LambdaProducer, refusal: Exception) -> None:
    opened: Any = lambda_producer._opened()
    opened.refusals[b"x"] = refusal
    made = await writing(lambda_producer, records(b"x", b"x"))
    assert (made.outcomes, made.errors) == ([FAILED] * 2, ["full"] * 2)
    assert (lambda_producer._bytes, lambda_producer._records, lambda_producer._under_way) == (0, 0, set())
    await lambda_producer.stop(1)


async def test_a_producer_that_cannot_be_made_fails_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    lambda_producer = LambdaProducer("deli", {"acks": "maybe"})
    made = await writing(lambda_producer, records(b"x"))
    assert made.outcomes == [FAILED]
    assert "acks" in made.errors[0]
    await lambda_producer.stop(1)


async def test_a_too_large_batch_does_not_refuse_each_record(
    lambda_producer: LambdaProducer, kafka: type[Kafka]
) -> None:
    """librdkafka fails all of it. What is produced again goes alone, and then the answer is about that record."""
    too_large = kafka_error(KafkaError.MSG_SIZE_TOO_LARGE)
    large = Outgoing("out", b"k", bytes(BATCH_BYTES - 1), -1, ())
    task = writing(lambda_producer, [*records(b"1", b"2"), large], BATCH_BYTES + 4)
    beside = writing(lambda_producer, records(*[b"x"] * (2 * CHUNK_RECORDS)))
    await turns(2)
    first = kafka.made[0]
    first.tell(too_large, count=3)
    made = await task
    assert made.outcomes == [FAILED, FAILED, TOO_LARGE]
    assert "each goes alone" in made.errors[0]
    again = writing(lambda_producer, records(b"1", b"2"))
    await turns()
    _, second = kafka.made
    assert second.properties == {"client.id": "x", "batch.size": 1}
    # What another call had begun with the first producer it also ends with it, in its order.
    assert [record["value"] for record in first.records[3:]] == [b"x"] * (2 * CHUNK_RECORDS)
    first.tell()
    assert {*(await beside).outcomes} == {WRITTEN}
    second.tell(too_large, count=1)
    second.tell()
    assert (await again).outcomes == [TOO_LARGE, WRITTEN]
    third = writing(lambda_producer, records(b"3"))
    await turns()
    second.tell()
    await third
    assert kafka.made == [first, second]
    await lambda_producer.stop(1)


async def test_an_old_producer_is_polled_while_a_call_still_uses_it(
    lambda_producer: LambdaProducer, kafka: type[Kafka]
) -> None:
    """It is empty for a moment, between two parts of that call."""
    queueing = writing(lambda_producer, records(*[b"x"] * (2 * CHUNK_RECORDS)))
    await turns(1)
    (first,) = kafka.made
    assert len(first.records) == CHUNK_RECORDS
    lambda_producer._alone = True
    lambda_producer._opened()
    first.tell()
    deadline = time.monotonic() + PATIENCE
    while len(first) and time.monotonic() < deadline:  # the loop stands still, as it may; the thread does not
        pass
    polls = first.polls
    while first.polls < polls + 3 and time.monotonic() < deadline:
        pass
    assert first.polls >= polls + 3
    await turns()
    assert len(first.records) == 2 * CHUNK_RECORDS
    first.tell()
    assert {*(await queueing).outcomes} == {WRITTEN}
    async with asyncio.timeout(PATIENCE):
        while lambda_producer._old:  # noqa: ASYNC110 - the thread that ends it rings no bell
            await asyncio.sleep(0)
    await lambda_producer.stop(1)


# --- how much -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "count", "fits"),
    [
        (MAX_BYTES - 10, 1, True),
        (MAX_BYTES - 9, 1, False),
        (10, FEW_RECORDS - 1, True),
        (10, FEW_RECORDS, False),
    ],
)
async def test_records_beyond_the_limits_are_refused(
    lambda_producer: LambdaProducer,
    kafka: type[Kafka],
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    count: int,
    fits: bool,
) -> None:
    monkeypatch.setattr(module, "MAX_RECORDS", FEW_RECORDS)
    first = writing(lambda_producer, records(b"1"))
    await turns()
    (producer,) = kafka.made
    second = writing(lambda_producer, records(*[b"2"] * count), size)
    if not fits:
        with pytest.raises(FullError):
            await second
        assert len(producer.records) == 1
        # What arrives makes room, and one alone is taken however large it is.
        producer.tell()
        await first
        second = writing(lambda_producer, records(*[b"2"] * count), size)
    await turns(3 + count // CHUNK_RECORDS)
    assert len(producer.records) == 1 + count
    producer.tell()
    assert (await second).outcomes == [WRITTEN] * count
    assert (lambda_producer._bytes, lambda_producer._records) == (0, 0)
    await lambda_producer.stop(1)


@pytest.mark.parametrize(("size", "count"), [(MAX_BYTES + 1, 1), (10, FEW_RECORDS + 1)])
async def test_a_request_that_never_fits_fails(
    lambda_producer: LambdaProducer, kafka: type[Kafka], monkeypatch: pytest.MonkeyPatch, size: int, count: int
) -> None:
    monkeypatch.setattr(module, "MAX_RECORDS", FEW_RECORDS)
    first = writing(lambda_producer, records(b"1"))
    await turns()
    made = await writing(lambda_producer, records(*[b"2"] * count), size)
    assert {*made.outcomes} == {TOO_LARGE}
    assert {*made.partitions} == {-1}
    assert lambda_producer.failures == Counter({"too_large": count})
    kafka.made[0].tell()
    await first
    await lambda_producer.stop(1)


# --- whoever asked goes away ----------------------------------------------------------------------------------------


async def test_a_caller_cancelled_during_queueing_has_its_queued_records_written(
    lambda_producer: LambdaProducer, kafka: type[Kafka]
) -> None:
    task = writing(lambda_producer, records(*[b"x"] * (3 * CHUNK_RECORDS)))
    await turns(2)
    (producer,) = kafka.made
    queued = len(producer.records)
    assert 0 < queued < 3 * CHUNK_RECORDS
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert len(producer.records) == queued
    (batch,) = lambda_producer._under_way
    assert not batch.done.done()
    producer.tell()
    async with asyncio.timeout(PATIENCE):
        made = await batch.done
    assert made.outcomes == [WRITTEN] * queued + [FAILED] * (3 * CHUNK_RECORDS - queued)
    assert (lambda_producer._bytes, lambda_producer._records, lambda_producer._under_way) == (0, 0, set())
    assert (lambda_producer.written, lambda_producer.failures.total()) == (queued, 3 * CHUNK_RECORDS - queued)
    await lambda_producer.stop(1)


async def test_a_caller_cancelled_after_queueing_has_its_records_written(
    lambda_producer: LambdaProducer, kafka: type[Kafka]
) -> None:
    task = writing(lambda_producer, records(b"x"))
    await turns()
    task.cancel()
    await asyncio.wait({task})
    (batch,) = lambda_producer._under_way
    kafka.made[0].tell()
    async with asyncio.timeout(PATIENCE):
        await batch.done
    assert not lambda_producer._under_way
    await lambda_producer.stop(1)


async def test_a_batch_completes_whether_the_loop_or_the_thread_is_last(
    lambda_producer: LambdaProducer, kafka: type[Kafka]
) -> None:
    """The thread reports while the loop still queues, in many batches at once: none waits for ever."""
    stopping = threading.Event()
    lambda_producer._opened()
    (producer,) = kafka.made

    def tell_all() -> None:
        while not stopping.is_set():
            producer.tell()

    teller = threading.Thread(target=tell_all)
    teller.start()
    try:
        tasks = [writing(lambda_producer, records(*[b"x"] * number)) for number in range(1, 60) for _ in range(5)]
        for task in tasks:
            made = await task
            assert {*made.outcomes} == {WRITTEN}
    finally:
        stopping.set()
        teller.join()
    assert (lambda_producer._bytes, lambda_producer._records, lambda_producer._under_way) == (0, 0, set())
    await lambda_producer.stop(1)
