"""The native rows: the same frames as from the binding's messages, whatever the records hold and is done to them."""

import socket
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition as KafkaPartition
from hypothesis import given, settings, strategies as st

import sidecar
from sdk_python.protocol import lambda_pb2 as pb
from sidecar.mail.boxes import Mailbox
from sidecar.partitions.vocabulary import TopicPartition
from sidecar.records import _native
from sidecar.records.fallback.listed import ListedRecords
from sidecar.records.records import Frame, Records, Run, Undeliverable
from sidecar.records.rows import RowRecords
from sidecar.records.source import RowSource
from tests.unit.records.arriving import read
from tests.unit.records.mock_kafka import PATIENCE, Log, log
from tests.unit.tracing import steps

LIMIT = 1 << 20

blobs = st.none() | st.binary(max_size=300)
records = st.fixed_dictionaries(
    {
        "value": blobs,
        "key": blobs,
        "headers": st.lists(st.tuples(st.text("abcäß", max_size=5), blobs), max_size=3),
        "timestamp": st.integers(1, 1 << 45),
    }
)


@pytest.fixture(scope="module")
def shared() -> Iterator[Log]:
    with log() as made:
        yield made


def frames_of(waiting: Records, limit: int = LIMIT, most: int = 1_000) -> list[Frame]:
    """All of it in frames; what waits is gone then."""
    frames = []
    while len(waiting):
        frame = waiting.frame(most, limit, LIMIT)
        assert isinstance(frame, Frame)
        frames.append(frame)
        waiting.drop(frame.count)
    return frames


def content(frame: Frame) -> pb.Batch:
    """What it says, however it is written down: a list of unused columns is as good as none."""
    parsed = pb.HostFrame.FromString(frame.data)
    assert parsed.WhichOneof("frame") == "batch"
    assert parsed.SerializeToString() == pb.HostFrame(batch=parsed.batch).SerializeToString(), "no unknown fields"
    return parsed.batch


def both(kept: Log, made: list[dict[str, Any]]) -> tuple[ListedRecords, Records]:
    """Records that were produced, read in both ways."""
    kept.rows.truncate(0)
    [at] = kept.plain.position([KafkaPartition("t", 0)])
    if kept.end and at.offset != kept.end:  # another test has read its records by the rows alone
        kept.plain.seek(KafkaPartition("t", 0, kept.end))
    for record in made:
        kept.produce(**record)
    kept.read(len(made))
    messages = ListedRecords()
    while len(messages) < len(made):
        for message in kept.plain.consume(len(made) - len(messages), 10.0):
            messages.append(read(message))
    return messages, kept.rows


@settings(max_examples=150, deadline=None)
@given(made=st.lists(records, min_size=1, max_size=20))
def test_a_frame_of_rows_says_what_a_frame_of_messages_says(shared: Log, made: list[dict[str, Any]]) -> None:
    messages, rows = both(shared, made)
    (expected,), (found,) = frames_of(messages), frames_of(rows)
    assert content(found) == content(expected)
    assert (found.first, found.last, found.count) == (expected.first, expected.last, expected.count)
    assert found.offsets is None


@settings(max_examples=50, deadline=None)
@given(made=st.lists(records, min_size=1, max_size=20), most=st.integers(1, 20), at=st.integers(0, 50))
def test_a_frame_in_memory_of_ours_is_the_same(shared: Log, made: list[dict[str, Any]], most: int, at: int) -> None:
    _, kept = both(shared, made)
    assert isinstance(kept, RowRecords)
    rows = kept._rows
    data, *others = rows.frame(most, LIMIT)
    assert rows.frame_size(most, LIMIT) == len(data)
    memory = bytearray(b"\x55" * (at + len(data) + 10))
    assert rows.frame_into(most, LIMIT, memory, at) == (len(data), *others)
    assert memory == b"\x55" * at + data + b"\x55" * 10
    before = bytes(memory)
    for wrong in (at + 11, -1, len(memory) + 1):
        with pytest.raises(ValueError, match="do not fit"):
            rows.frame_into(most, LIMIT, memory, wrong)
    with pytest.raises(BufferError):
        rows.frame_into(most, LIMIT, cast("bytearray", before), at)  # it cannot be written to
    assert memory == before


@settings(max_examples=100, deadline=None)
@given(made=st.lists(records, min_size=1, max_size=20), limit=st.integers(100, 3_000))
def test_no_frame_of_several_rows_is_over_the_limit(shared: Log, made: list[dict[str, Any]], limit: int) -> None:
    _, rows = both(shared, made)
    frames = frames_of(rows, limit)
    assert sum(frame.count for frame in frames) == len(made)
    for frame in frames:
        assert frame.count == 1 or len(frame.data) <= limit
    assert [value for frame in frames for value in content(frame).values] == [one["value"] or b"" for one in made]


@settings(max_examples=100, deadline=None)
@given(
    made=st.lists(records, min_size=1, max_size=20),
    steps=st.lists(st.tuples(st.sampled_from(["drop", "truncate", "remove"]), st.integers(0, 20)), max_size=6),
)
def test_rows_and_listed_records_are_the_same_after_any_steps(
    shared: Log, made: list[dict[str, Any]], steps: list[tuple[str, int]]
) -> None:
    messages, rows = both(shared, made)
    for name, number in steps:
        if name == "remove":
            if len(rows):
                index = number % len(rows)
                count = 1 + number % (len(rows) - index)
                messages.remove(index, count)
                rows.remove(index, count)
        else:
            count = min(number, len(rows))
            getattr(messages, name)(count)
            getattr(rows, name)(count)
        assert len(rows) == len(messages)
        assert [rows.offset(one) for one in range(len(rows))] == [messages.offset(one) for one in range(len(rows))]
        assert (rows.size > 0) == (len(rows) > 0)
    if len(rows):
        assert rows.next_offset == messages.next_offset
        assert rows.first() == messages.first()
        for offset in range(rows.offset(0) - 1, rows.next_offset + 2):
            assert rows.before(offset) == messages.before(offset)
        (expected,), (found,) = frames_of(messages), frames_of(rows)
        assert content(found) == content(expected)
        assert (found.offsets or None) == (expected.offsets or None)


def test_a_record_in_a_frame_costs_no_python_statement(shared: Log) -> None:
    """Counted are the interpreter's instructions in this project's code."""

    def cost(count: int) -> int:
        for _ in range(count):
            shared.produce(value=b"v", key=b"k", headers=[("name", b"value")])
        shared.read(count)
        made: list[Frame | Undeliverable] = []
        cost = steps("opcode", (sidecar,), lambda: made.append(shared.rows.frame(2 * count, 1 << 30, 1 << 30)))
        [frame] = made
        assert isinstance(frame, Frame)
        assert frame.count == count
        shared.rows.truncate(0)
        return cost

    assert cost(100) == cost(1_000)


def test_a_record_that_is_too_large_is_undeliverable_and_stays(shared: Log) -> None:
    shared.produce(value=b"v" * 5_000)
    shared.produce(value=b"small")
    shared.read(2)
    bad = shared.rows.frame(10, 1_000, 4_000)
    assert isinstance(bad, Undeliverable)
    assert (bad.offset, bad.readable) == (shared.rows.offset(0), True)
    assert len(shared.rows) == 2
    frame = shared.rows.frame(10, 1_000, 6_000)
    assert isinstance(frame, Frame)
    assert frame.count == 1, "one that is over the soft limit goes alone"
    shared.rows.truncate(0)


def test_mistakes_are_python_errors(shared: Log) -> None:
    shared.rows.truncate(0)  # whatever another test has left
    assert len(shared.rows) == 0
    for mistake in (
        lambda: shared.rows.offset(0),
        lambda: shared.rows.drop(1),
        lambda: shared.rows.truncate(-1),
        lambda: shared.rows.remove(0),
        lambda: shared.rows.remove(0, 0),
        shared.rows.first,
        lambda: shared.rows.next_offset,
    ):
        with pytest.raises(IndexError):
            mistake()
    with pytest.raises(ValueError, match="at least one"):
        shared.rows.frame(1, 10, 10)
    with pytest.raises(RuntimeError, match="no consumer"):
        _native.Source(1)  # the shared one was taken already


def test_a_partition_that_is_led_again_keeps_its_records(shared: Log) -> None:
    shared.produce(value=b"before")
    shared.read(1)
    [again] = shared.source.lead(shared.tp)
    assert len(again) == 1
    shared.produce(value=b"after")
    assert shared.read(1) == [(shared.tp, 0, 1)]
    assert len(again) == 2
    shared.rows.truncate(0)


def test_a_partition_that_we_unassigned_is_led_again(shared: Log) -> None:
    """Again and again, since it stops in a thread of the client's: to be led too early is to be led nowhere."""
    came: list[Run] = []
    source = RowSource(shared.consumer, shared.source, Mailbox(), lambda runs, _: came.extend(runs), lambda *_: None)
    source.lead([shared.tp])
    at = KafkaPartition("t", 0)
    for _ in range(50):
        at.offset = shared.end
        shared.consumer.incremental_unassign([at])
        shared.consumer.pause([at])  # it returns after the partition was stopped
        source.lead([shared.tp])
        shared.consumer.resume([at])
        shared.consumer.incremental_assign([at])
        shared.produce(value=b"v")
        shared.producer.flush()
        while not came:
            source.wait(PATIENCE)
        (run,) = came
        assert (run.partition, run.added, run.records.offset(0)) == (shared.tp, 1, at.offset)
        run.records.truncate(0)
        came.clear()


def test_a_misrouted_record_is_reported_and_the_next_one_is_read_as_a_row(shared: Log) -> None:
    came: list[Run] = []
    strays: list[tuple[TopicPartition, int]] = []
    tp = TopicPartition("t", 3)
    source = RowSource(
        shared.consumer,
        shared.source,
        Mailbox(),
        lambda runs, _: came.extend(runs),
        lambda *stray: strays.append(stray),
    )
    shared.consumer.incremental_assign([KafkaPartition("t", 3, 0)])  # nobody has led it
    shared.producer.produce("t", partition=3, value=b"stray")
    shared.producer.flush()
    while not strays:
        source.wait(PATIENCE)
    assert strays == [(tp, 0)]
    shared.producer.produce("t", partition=3, value=b"row")
    shared.producer.flush()
    while not came:
        source.wait(PATIENCE)
    assert [(run.partition, run.records.offset(0)) for run in came] == [(tp, 1)]


def test_a_record_of_a_partition_that_is_not_led_is_reported_and_the_partition_is_led(shared: Log) -> None:
    led: list[TopicPartition] = []
    strays: list[tuple[TopicPartition, int]] = []

    class Straying:
        """The real one, and a record of a partition that nobody has led: librdkafka gives none."""

        wake = shared.source.wake

        def lead(self, tp: TopicPartition) -> tuple[_native.Records, ...]:
            led.append(tp)
            return shared.source.lead(tp)

        def read(self) -> Any:
            assert shared.source.read() == ([], [], [])
            return [], [], [("t", 2, 7)]

    played: Any = Straying()
    source = RowSource(shared.consumer, played, Mailbox(), lambda *_: None, lambda *stray: strays.append(stray))
    assert source.read()
    assert strays == [(TopicPartition("t", 2), 7)]
    assert led == [TopicPartition("t", 2)]


@pytest.mark.parametrize(
    "properties",
    [{"security.protocol": "ssl", "ssl.ca.location": "/nonexistent"}, {"session.timeout.ms": 600_000}],
    ids=["late", "early"],
)
def test_a_consumer_that_could_not_be_made_is_not_taken(properties: dict[str, Any]) -> None:
    """librdkafka tells of a client before it is complete, and frees it where that fails."""
    common = {
        "group.id": "g",
        "log_level": 0,
        "max.poll.interval.ms": 1_000,
        "plugin.library.paths": _native.__file__,
    }
    common |= {"session.timeout.ms": 1_000}
    with pytest.raises(KafkaException, match="Failed to create consumer"):
        Consumer(common | properties)
    with pytest.raises(RuntimeError, match="no consumer"):
        _native.Source(1)
    Consumer(common).close()
    with pytest.raises(RuntimeError, match="no consumer"):
        _native.Source(1)


def test_a_record_with_too_many_headers_is_an_error_and_its_neighbours_are_read(shared: Log) -> None:
    """And in the room that was made for them: the first one frees all when it is taken back."""
    shared.produce(value=b"bad", headers=[("h", None)] * 100_001)
    for _ in range(2):
        shared.produce(value=b"v" * 30_000)
    shared.producer.flush()
    failures: list[tuple[str, int, int, int, str, int]] = []
    while len(shared.rows) < 2:
        runs, failed, strays = shared.source.read()
        assert all(added for *_, added in runs)
        assert strays == []
        failures += failed
        if not runs and not failed:
            shared.source.wait(PATIENCE)
    [(topic, partition, offset, code, *_)] = failures
    assert (topic, partition, offset) == (*shared.tp, shared.end - 3)
    assert code == KafkaError._BAD_MSG
    assert [shared.rows.offset(0), shared.rows.offset(1)] == [shared.end - 2, shared.end - 1]
    shared.rows.truncate(0)


def test_the_clients_errors_are_read_with_the_records_and_not_by_the_bindings_callback() -> None:
    """The binding sets that one in every client, and ends the process where a read outside of its calls needs it."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        address = f"127.0.0.1:{held.getsockname()[1]}"
    properties = {"bootstrap.servers": address, "group.id": "g", "log_level": 0}
    consumer = Consumer(properties | {"plugin.library.paths": _native.__file__})
    source = _native.Source(1)
    complaints: list[tuple[str, int, int, int, str, int]] = []
    deadline = monotonic() + PATIENCE
    while True:
        # A complaint that came before the source was made rings no bell: read first, then wait.
        assert consumer.poll(0) is None
        _, complaints, _ = source.read()
        if complaints:
            break
        assert monotonic() < deadline
        source.wait(PATIENCE)
    assert {(topic, partition) for topic, partition, *_ in complaints} == {("", -1)}
    assert {code for _, _, _, code, *_ in complaints} <= {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}
    source.close()
    consumer.close()


def test_wake_ends_a_wait(shared: Log) -> None:
    shared.source.wait(0)  # whatever came before
    other = threading.Timer(0.01, shared.source.wake)
    other.start()
    shared.source.wait(60.0)
    other.join()
    shared.source.wake()
    shared.source.wait(60.0)  # a wake-up that came before the wait is not lost


def test_a_wait_after_a_full_read_ends_at_once() -> None:
    """librdkafka tells of a queue that was empty, and of no other: what a read leaves there must not wait."""
    began = monotonic()
    with log(most=2) as made:
        for _ in range(100):
            made.produce(value=b"v")
        made.producer.flush()
        while len(made.rows) < 100:
            made.source.wait(PATIENCE)
            made.source.read()
    assert monotonic() - began < PATIENCE, "a wait lasted until its end"


def test_a_closed_source_has_no_records_and_its_methods_do_no_harm() -> None:
    with log() as made:
        made.produce(value=b"v")
        made.read(1)
        made.source.close()
        made.source.close()
        made.source.wake()
        assert len(made.rows) == 0
        made.rows.truncate(0)
        with pytest.raises(RuntimeError, match="closed"):
            made.source.read()
        with pytest.raises(RuntimeError, match="closed"):
            made.source.wait(1.0)
