"""The end of a lambda_producer: of one whose producer fails for good, and with the sidecar."""

from __future__ import annotations

import asyncio
import ctypes

import confluent_kafka.cimpl
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from sidecar.config.kafka_properties import lambda_producer_properties
from sidecar.producing.lambda_producer import LambdaProducer

from .played_producer import Kafka
from .writing import FAILED, WRITTEN, records, turns, writing

FATAL = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "sequence", True)


async def test_a_fatal_error_in_the_thread_replaces_the_producer(
    lambda_producer: LambdaProducer, kafka: type[Kafka]
) -> None:
    task = writing(lambda_producer, records(b"1", b"2"))
    await turns()
    first = kafka.made[0]
    first.tell(count=1)
    first.fail(FATAL)
    made = await task
    assert first.purged
    assert made.outcomes in ([WRITTEN, FAILED], [FAILED, FAILED])
    assert made.errors[1] == "purged"
    again = writing(lambda_producer, records(b"3"))
    await turns()
    _, second = kafka.made
    second.tell()
    assert (await again).outcomes == [WRITTEN]
    await lambda_producer.stop(1)


async def test_a_fatal_error_of_a_record_replaces_the_producer(
    lambda_producer: LambdaProducer, kafka: type[Kafka]
) -> None:
    """The binding's exception has another code then, and does not call itself fatal."""
    before = writing(lambda_producer, records(b"0"))
    await turns()
    first = kafka.made[0]
    first.refusals[b"1"] = KafkaException(KafkaError(KafkaError._FATAL, "Local: Fatal error"))
    task = writing(lambda_producer, records(b"1", b"2"))
    await turns()
    assert (await before).outcomes == [FAILED]
    _, second = kafka.made
    second.tell()
    made = await task
    assert made.outcomes == [FAILED, WRITTEN]
    # News of the old one do no harm to the new one.
    lambda_producer._renew(first, FATAL)  # type: ignore[arg-type]
    assert [*kafka.made] == [first, second]
    assert lambda_producer._opened() is second  # type: ignore[comparison-overlap]
    await lambda_producer.stop(1)
    assert not lambda_producer._old or not len(first)


async def test_a_real_fatal_error_of_librdkafka_replaces_the_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    lambda_producer = LambdaProducer(
        "deli", lambda_producer_properties({"bootstrap.servers": "127.0.0.1:1", "log_level": "0"})
    )
    task = writing(lambda_producer, records(b"1", b"2"))
    await turns()
    first = lambda_producer._producer
    assert isinstance(first, Producer)
    library = ctypes.CDLL(confluent_kafka.cimpl.__file__)
    handle = ctypes.c_void_p.from_address(id(first) + 2 * ctypes.sizeof(ctypes.c_void_p))
    library.rd_kafka_test_fatal_error(handle, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, b"by the test")
    made = await task
    assert made.outcomes == [FAILED, FAILED]
    later = writing(lambda_producer, records(b"3"))
    await turns()
    assert lambda_producer._producer not in (None, first)
    assert not later.done()
    await lambda_producer.stop(0)
    assert (await later).errors == ["the sidecar has ended"]


# --- the end --------------------------------------------------------------------------------------------------------


async def test_without_records_no_producer_or_thread_is_started(
    lambda_producer: LambdaProducer, kafka: type[Kafka]
) -> None:
    await lambda_producer.stop(1)
    assert not kafka.made
    assert lambda_producer._reports is None


async def test_stop_waits_for_records_under_way(lambda_producer: LambdaProducer, kafka: type[Kafka]) -> None:
    task = writing(lambda_producer, records(b"x"))
    await turns()
    (producer,) = kafka.made
    producer.tell()
    await lambda_producer.stop(5)
    assert (await task).outcomes == [WRITTEN]
    assert len(producer.flushed_in) == 1
    assert 0 < producer.flushed_in[0] <= 5
    assert lambda_producer._reports is not None
    assert not lambda_producer._reports.is_alive()


async def test_stop_fails_records_that_are_not_written_in_time(
    lambda_producer: LambdaProducer, kafka: type[Kafka]
) -> None:
    tasks = [writing(lambda_producer, records(b"1", b"2")), writing(lambda_producer, records(b"3"))]
    await turns()
    (producer,) = kafka.made
    producer.tell(count=1)
    await lambda_producer.stop(0)
    first, second = await asyncio.gather(*tasks)
    assert (first.outcomes, first.errors) == ([WRITTEN, FAILED], ["", "the sidecar has ended"])
    assert second.errors == ["the sidecar has ended"]
    assert not lambda_producer._under_way
    assert (lambda_producer.written, lambda_producer.failures.total()) == (1, 2)


async def test_after_stop_no_record_is_taken(lambda_producer: LambdaProducer, kafka: type[Kafka]) -> None:
    await lambda_producer.stop(1)
    made = await writing(lambda_producer, records(b"x", b"y"))
    assert (made.outcomes, made.errors) == ([FAILED] * 2, ["the sidecar has ended"] * 2)
    assert not kafka.made


async def test_stop_with_a_failed_producer_fails_its_records(
    lambda_producer: LambdaProducer, kafka: type[Kafka]
) -> None:
    """It failed and no record came since: what is left of it is told all the same."""
    task = writing(lambda_producer, records(b"x"))
    await turns()
    (producer,) = kafka.made
    lambda_producer._renew(producer, FATAL)  # type: ignore[arg-type]
    await lambda_producer.stop(1)
    assert (await task).outcomes == [FAILED]
    assert lambda_producer._reports is not None
    assert not lambda_producer._reports.is_alive()


async def test_stop_ends_although_the_producer_fails_in_it(
    lambda_producer: LambdaProducer, kafka: type[Kafka]
) -> None:
    task = writing(lambda_producer, records(b"x"))
    await turns()
    (producer,) = kafka.made
    lambda_producer._ending.set()
    assert lambda_producer._reports is not None
    await asyncio.to_thread(lambda_producer._reports.join)
    producer.fail(FATAL)
    await lambda_producer.stop(1)
    assert (await task).errors == ["the sidecar has ended"]
