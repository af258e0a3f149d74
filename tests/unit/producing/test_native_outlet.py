"""The outlet in C, over librdkafka's mock cluster: what becomes of records, and who gives up what."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from confluent_kafka import KafkaError

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.cluster.client_log import ClientLog
from sidecar.config.kafka_properties import lambda_producer_properties
from sidecar.producing import lambda_producer as module, native_outlet
from sidecar.producing.lambda_producer import LambdaProducer
from sidecar.producing.outcomes import BATCH_BYTES, FullError, Written
from sidecar.records.extension import extension
from sidecar.server.producing import MAX_RECORDS, MAX_TOPICS

from .mock_kafka import MockKafka, fail_for_good, mock_kafka

PATIENCE = 60.0
WRITTEN, FAILED, TOO_LARGE = 1, 2, 5


@pytest.fixture(scope="module")
def native() -> ModuleType:
    made = extension()
    if made is None:
        pytest.skip("the native extension is not there")
    return made


@pytest.fixture
def kafka(native: ModuleType) -> Iterator[MockKafka]:
    with mock_kafka() as made:
        made.create("out", 2)
        yield made


@pytest.fixture
async def producer(kafka: MockKafka) -> AsyncIterator[LambdaProducer]:
    made = LambdaProducer("deli", kafka.properties())
    yield made
    await made.stop(0)


def request(native: ModuleType, *values: bytes, **fields: Any) -> Any:
    made = pb.ProduceRequest(**{"lease": "L", "topics": ["out"], "values": values, **fields})
    return native.Request(made.SerializeToString(), MAX_RECORDS, MAX_TOPICS)


def writing(producer: LambdaProducer, asked: Any) -> asyncio.Task[Written | bytes]:
    async def write() -> Written | bytes:
        async with asyncio.timeout(PATIENCE):
            return await producer.write_request(asked)

    return asyncio.create_task(write())


async def failed(producer: LambdaProducer, asked: Any) -> Written:
    made = await writing(producer, asked)
    assert isinstance(made, Written)
    return made


async def written(producer: LambdaProducer, asked: Any) -> pb.ProduceResponse:
    made = await writing(producer, asked)
    assert isinstance(made, bytes)
    return pb.ProduceResponse.FromString(made)


def outlets(producer: LambdaProducer) -> list[Any]:
    """The producers in C that are not closed, the present one first."""
    outlet = producer._outlet
    assert outlet is not None
    present = outlet._producer
    return [one.outlet for one in sorted(outlet._producers, key=lambda one: one is not present)]


def open_pipes() -> set[str]:
    """The pipes of this process; empty where /proc is missing. The mock cluster closes its sockets when it likes."""
    found = set()
    for one in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):  # it was closed meanwhile
            found.add(str(one.readlink()))
    return {name for name in found if name.startswith("pipe")}


# --- what becomes of a record ---------------------------------------------------------------------------------------


async def test_written_records_are_answered_by_c(
    producer: LambdaProducer, kafka: MockKafka, native: ModuleType
) -> None:
    fields = {"keys": [b"", b"k"], "null_keys": [0], "null_values": [1], "partitions": [1, 1]}
    headers = {"header_counts": [0, 2], "header_names": [b"h", b"h"], "header_values": [b"", b""]}
    answer = await written(producer, request(native, b"1", b"", **fields, **headers, null_header_values=[1]))
    assert answer == pb.ProduceResponse(outcomes=[pb.PRODUCE_OUTCOME_WRITTEN] * 2, partitions=[1, 1], offsets=[0, 1])
    first, second = kafka.stored("out", 1, 2)
    assert (first.key(), first.value(), first.headers()) == (None, b"1", None)
    assert (second.key(), second.value(), second.headers()) == (b"k", None, [("h", b""), ("h", None)])
    assert (producer.written, producer.failures.total()) == (2, 0)


async def test_a_record_that_cannot_be_written_is_refused_alone(producer: LambdaProducer, native: ModuleType) -> None:
    headers = {"header_counts": [1, 1, 0, 0], "header_names": [b"a\0", b"\xff"], "header_values": [b"", b""]}
    made = await failed(producer, request(native, b"1", b"2", b"3", b"4", partitions=[0, 0, -2, 0], **headers))
    assert made.outcomes == [FAILED, FAILED, FAILED, WRITTEN]
    assert made.errors == [
        "a header name has a NUL, where the Kafka client would cut it",
        "a header name is not UTF-8, which the Kafka client cannot write",
        "partition -2 does not exist; -1 is: by key",
        "",
    ]
    assert (made.partitions, made.offsets) == ([-1, -1, -1, 0], [-1, -1, -1, 0])
    assert (producer.written, producer.failures.total()) == (1, 3)


async def test_a_topic_or_partition_that_does_not_exist_is_named(kafka: MockKafka, native: ModuleType) -> None:
    producer = LambdaProducer("deli", kafka.properties(**{"topic.metadata.propagation.max.ms": 1}))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"topics": ["nowhere"]}, "the topic 'nowhere' does not exist: make it, the sidecar does not ("),
        ({"partitions": [9]}, "the topic 'out' does not exist, or has no partition 9 ("),
        ({"partitions": [9]}, "the topic 'out' does not exist, or has no partition 9 ("),
    ]
    for fields, text in cases:
        made = await failed(producer, request(native, b"x", **fields))
        assert made.outcomes == [FAILED]
        assert made.errors[0].startswith(text)
    await producer.stop(0)


async def test_a_topic_that_is_made_later_is_written_at_once(kafka: MockKafka, native: ModuleType) -> None:
    """librdkafka remembers for minutes that a topic does not exist, as long as somebody has a handle of it."""
    producer = LambdaProducer("deli", kafka.properties(**{"topic.metadata.propagation.max.ms": 1}))
    await failed(producer, request(native, b"x", topics=["later"]))
    kafka.create("later", 1)
    async with asyncio.timeout(PATIENCE):
        while isinstance(await producer.write_request(request(native, b"x", topics=["later"])), Written):
            pass
    await producer.stop(0)


@pytest.mark.parametrize("code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.RECORD_LIST_TOO_LARGE])
async def test_the_brokers_refusal_is_the_outcome(
    producer: LambdaProducer, kafka: MockKafka, native: ModuleType, code: int
) -> None:
    kafka.refuse(code)
    made = await failed(producer, request(native, b"1", b"2", partitions=[0, 0]))
    assert made.outcomes == [FAILED] * 2
    assert made.errors == [KafkaError(code).str()] * 2


@pytest.mark.parametrize("code", [KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD])
async def test_after_a_refused_batch_each_record_goes_alone(
    producer: LambdaProducer, kafka: MockKafka, native: ModuleType, code: int
) -> None:
    kafka.refuse(code)
    made = await failed(producer, request(native, b"1", b"2", partitions=[0, 0]))
    assert made.outcomes == [FAILED] * 2
    assert "each goes alone" in made.errors[0]
    (first,) = outlets(producer)
    kafka.refuse(code)
    again = await failed(producer, request(native, b"1", b"2", partitions=[0, 0]))
    assert again.outcomes == [TOO_LARGE if code == KafkaError.MSG_SIZE_TOO_LARGE else FAILED, WRITTEN]
    assert again.errors == [KafkaError(code).str(), ""]
    (second,) = outlets(producer)
    assert second is not first


async def test_a_record_as_large_as_a_batch_is_judged_by_itself(
    producer: LambdaProducer, kafka: MockKafka, native: ModuleType
) -> None:
    kafka.refuse(KafkaError.MSG_SIZE_TOO_LARGE)
    made = await failed(producer, request(native, bytes(BATCH_BYTES), partitions=[0]))
    assert made.outcomes == [TOO_LARGE]
    (first,) = outlets(producer)
    await written(producer, request(native, b"x"))
    assert outlets(producer) == [first]


async def test_a_record_that_librdkafka_refuses_at_once(kafka: MockKafka, native: ModuleType) -> None:
    producer = LambdaProducer("deli", kafka.properties(**{"message.max.bytes": 1_000}))
    made = await failed(producer, request(native, b"1", bytes(2_000), b"3"))
    assert made.outcomes == [WRITTEN, TOO_LARGE, WRITTEN]
    assert made.errors[1] == "Unable to produce message: Broker: Message size too large"
    await producer.stop(0)


async def test_a_producer_that_cannot_be_made_fails_the_records(native: ModuleType) -> None:
    producer = LambdaProducer("deli", {"acks": "maybe"})
    made = await failed(producer, request(native, b"x"))
    assert made.outcomes == [FAILED]
    assert "acks" in made.errors[0]
    assert (producer.failures.total(), producer._records, producer._bytes) == (1, 0, 0)
    await producer.stop(1)


# --- a producer that fails for good ---------------------------------------------------------------------------------


async def test_a_fatal_error_replaces_the_producer(
    producer: LambdaProducer, kafka: MockKafka, native: ModuleType
) -> None:
    await written(producer, request(native, b"0"))
    kafka.delay(10_000)
    task = writing(producer, request(native, b"1", b"2"))
    await asyncio.sleep(0)
    (first,) = outlets(producer)
    fail_for_good(first, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)
    made = await task
    assert isinstance(made, Written)
    assert made.outcomes == [FAILED, FAILED]
    assert "urged" in made.errors[0]
    kafka.delay(0)
    await written(producer, request(native, b"3"))
    assert first not in outlets(producer)


async def test_a_fatal_error_while_records_are_queued(
    producer: LambdaProducer, native: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record at which it is noticed fails; those after it go to the next producer."""
    monkeypatch.setattr(native_outlet, "PART_RECORDS", 1)
    await written(producer, request(native, b"0"))
    (first,) = outlets(producer)
    fail_for_good(first, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)
    made = await failed(producer, request(native, b"1", b"2"))
    assert made.outcomes == [FAILED, WRITTEN]
    assert made.errors[0] == "Unable to produce message: Local: Fatal error"


# --- how much -------------------------------------------------------------------------------------------------------


async def test_records_beyond_the_limits_are_refused(
    producer: LambdaProducer, kafka: MockKafka, native: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_RECORDS", 3)
    await written(producer, request(native, b"0"))
    kafka.delay(500)
    first = writing(producer, request(native, b"1", b"2"))
    await asyncio.sleep(0)
    with pytest.raises(FullError):
        await writing(producer, request(native, b"3", b"4"))
    third = writing(producer, request(native, b"5"))
    kafka.delay(0)
    assert isinstance(await first, bytes)
    assert isinstance(await third, bytes)
    too_many = await failed(producer, request(native, b"", b"", b"", b""))
    assert {*too_many.outcomes} == {TOO_LARGE}
    assert (producer._bytes, producer._records, producer.written, producer.failures.total()) == (0, 0, 4, 4)


async def test_many_parts_keep_their_order(
    producer: LambdaProducer, kafka: MockKafka, native: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_outlet, "PART_RECORDS", 7)
    values = [str(n).encode() for n in range(1_000)]
    answer = await written(producer, request(native, *values, partitions=[1] * len(values)))
    assert [*answer.offsets] == [*range(1_000)]
    assert [one.value() for one in kafka.stored("out", 1, 1_000)] == values


# --- whoever asked goes away ----------------------------------------------------------------------------------------


async def test_a_caller_cancelled_during_queueing_has_its_queued_records_written(
    producer: LambdaProducer, kafka: MockKafka, native: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_outlet, "PART_RECORDS", 1)
    task = writing(producer, request(native, b"1", b"2", b"3", partitions=[0] * 3))
    for _ in range(2):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    answer = await written(producer, request(native, b"4", partitions=[0]))
    (queued,) = answer.offsets
    assert 0 < queued < 3
    assert [one.value() for one in kafka.stored("out", 0, queued + 1)] == [*[b"1", b"2", b"3"][:queued], b"4"]
    assert (producer.written, producer.failures.total()) == (queued + 1, 3 - queued)
    assert (producer._bytes, producer._records) == (0, 0)


async def test_the_end_writes_what_is_under_way(kafka: MockKafka, native: ModuleType) -> None:
    producer = LambdaProducer("deli", kafka.properties())
    task = writing(producer, request(native, b"1"))
    await asyncio.sleep(0)
    await producer.stop(PATIENCE)
    assert isinstance(await task, bytes)
    late = await failed(producer, request(native, b"2"))
    assert late.errors == ["the sidecar has ended"]


async def test_the_end_gives_up_what_the_broker_does_not_answer(kafka: MockKafka, native: ModuleType) -> None:
    producer = LambdaProducer("deli", kafka.properties())
    await written(producer, request(native, b"0"))
    kafka.delay(30_000)
    asked = request(native, b"1")
    task = writing(producer, asked)
    await asyncio.sleep(0)
    await producer.stop(0.01)
    made = await task
    assert isinstance(made, Written)
    assert made.errors == ["the sidecar has ended"]
    assert (producer._records, producer.failures.total()) == (0, 1)
    del task
    gc.collect()
    assert sys.getrefcount(asked) == 2  # this name, and the argument


# --- what librdkafka says and asks ----------------------------------------------------------------------------------


async def test_the_clients_log_lines_are_logged(native: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    came = asyncio.Event()

    class Log(ClientLog):
        def log(self, _level: int, message: str, *args: object) -> None:
            super().log(_level, message, *args)
            lines.append(message % args)
            if self.failure:
                came.set()

    monkeypatch.setattr(native_outlet, "ClientLog", Log)
    producer = LambdaProducer("deli", lambda_producer_properties({"bootstrap.servers": "127.0.0.1:1"}))
    task = writing(producer, request(native, b"x"))
    async with asyncio.timeout(PATIENCE):
        await came.wait()
    assert any(line.startswith("FAIL [kafka-sidecar#producer-") and "Connection refused" in line for line in lines)
    await producer.stop(0)
    assert isinstance(await task, Written)


async def test_a_token_is_asked_for(native: ModuleType) -> None:
    """By a thread of librdkafka: the loop, which serves its events, answers the request for the token."""
    asked: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not asked.done():
            asked.set_result(await reader.readline())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    properties = lambda_producer_properties(
        {
            "bootstrap.servers": "127.0.0.1:1",
            "log_level": "0",
            "security.protocol": "sasl_plaintext",
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.client.id": "x",
            "sasl.oauthbearer.client.secret": "y",
            "sasl.oauthbearer.token.endpoint.url": f"http://{host}:{port}/token",
        }
    )
    producer = LambdaProducer("deli", properties)
    task = writing(producer, request(native, b"x"))
    async with asyncio.timeout(PATIENCE):
        assert (await asked).startswith(b"POST /token")
    await producer.stop(0)
    assert isinstance(await task, Written)
    server.close()


# --- nothing is kept ------------------------------------------------------------------------------------------------


async def test_requests_producers_and_descriptors_are_let_go(kafka: MockKafka, native: ModuleType) -> None:
    refused = {"header_counts": [1, 0], "header_names": [b"\xff"], "header_values": [b""]}
    threads, pipes, producers = threading.active_count(), open_pipes(), 4
    asked: list[Any] = []
    for begin in range(0, 21 * producers, 21):
        asked.append(request(native, b"x" * 10, b"\xff", **refused))
        asked += [request(native, *[b"x"] * 100) for _ in range(20)]
        producer = LambdaProducer("deli", kafka.properties())
        await asyncio.gather(*(producer.write_request(one) for one in asked[begin:]))
        await producer.stop(PATIENCE)
    gc.collect()
    assert {sys.getrefcount(one) for one in asked} == {3}  # of the list, this name, and the argument
    assert threading.active_count() <= threads + 1  # of the executor
    assert len(open_pipes() - pipes) < producers  # clients of other tests may open some meanwhile


async def test_a_request_that_ended_takes_no_more(producer: LambdaProducer, native: ModuleType) -> None:
    asked = request(native, b"x")
    await written(producer, asked)
    (outlet,) = outlets(producer)
    with pytest.raises(ValueError, match="has not ended"):
        outlet.produce(asked, 1)
    with pytest.raises(RuntimeError, match="ended already"):
        asked.end()
    await producer.stop(1)
    assert outlet.close() == 0
    with pytest.raises(RuntimeError, match="closed"):
        outlet.serve()
    fresh = request(native, b"x")
    with pytest.raises(RuntimeError, match="closed"):
        outlet.produce(fresh, 1)
    with pytest.raises(RuntimeError, match="not written"):
        fresh.answer()
