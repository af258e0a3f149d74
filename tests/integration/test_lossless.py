"""No part of a record is lost or changed, and a record that cannot be sent stops only its partition."""

from __future__ import annotations

import time
from typing import Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # documented, but not in its __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from sdk_python import CREATE_TIME, LOG_APPEND_TIME
from sdk_python.protocol import lambda_pb2 as pb
from tests.integration import checks
from tests.integration.hand_client import hand_client
from tests.integration.harness import NAME, Sidecar, Stage, needs_extension, wait_for
from tests.integration.lambdas.writer import as_text
from tests.servers.topics import Record, produce_non_utf8_header, read_all

YEAR_2020 = 1_577_836_800_000
ALL_BYTES = bytes(range(256))

RECORDS = [
    Record(b"key", b"value"),
    Record(None, b"no key"),
    Record(b"no value", None),
    Record(None, None),
    Record(b"", b"empty key"),
    Record(b"empty value", b""),
    Record(b"", b""),
    Record(b"", None),
    Record(None, b""),
    Record(ALL_BYTES, ALL_BYTES, [("all bytes", ALL_BYTES)]),
    Record(b"k", b"v", [("a", b"1"), ("b", b"2"), ("a", b"3"), ("a", b"1")]),
    Record(b"k", b"v", [("null", None), ("empty", b""), ("", b"no name"), ("null", None)]),
    Record(None, None, [("only a header", None)]),
    Record("schlüssel".encode(), b"wert", [("größe ☃", b"\xff\xfe")]),
    Record(b"zero time", b"v", timestamp=1),
    Record(b"large", b"x" * 300_000, [("large", b"y" * 100_000)]),
    Record(b"plain again", b"v"),
]


def sent(record: Record, kind: int = CREATE_TIME) -> dict[str, Any]:
    """The values that the handler must get."""
    return {
        "timestamp": record.timestamp,
        "timestamp_type": kind,
        "key": as_text(record.key),
        "value": as_text(record.value),
        "headers": [[name, as_text(value)] for name, value in record.headers],
    }


def seen(stage: Stage) -> dict[checks.RecordId, dict[str, Any]]:
    """The values that the handlers got, by record."""
    return {(event.partition, event.offset): event.record for event in stage.history.handled()}


def test_every_field_of_every_record(stage: Stage) -> None:
    stage.create_topic(2)
    records = [
        record._replace(partition=number % 2, timestamp=record.timestamp or YEAR_2020 + number)
        for number, record in enumerate(RECORDS * 7)
    ]
    where = stage.produce(records)
    sidecar = stage.sidecar()
    stage.process(sidecar, full=True)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    checks.all_handled_once(stage.produced, stage.history.events())
    checks.in_order(stage.history.events())
    got = seen(stage)
    for record_id, record in zip(where, records, strict=True):
        assert got[record_id] == sent(record), f"at {record_id}"


@pytest.mark.kafka
def test_a_topic_changes_its_timestamp_type(kafka_stage: Stage) -> None:
    stage = kafka_stage
    stage.create_topic()
    old = [Record(b"k", b"%d" % number, timestamp=YEAR_2020 + number) for number in range(20)]
    stage.produce(old)
    entry = ConfigEntry("message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, stage.topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": stage.broker.address})
    admin.incremental_alter_configs([resource])[resource].result(10)
    before = time.time_ns() // 1_000_000
    new = [Record(b"k", b"%d" % number, timestamp=YEAR_2020 + number) for number in range(20, 40)]
    stage.produce(new)
    sidecar = stage.sidecar()
    stage.process(sidecar, full=True)
    stage.wait_until_handled()
    stored = {record.offset: record.timestamp for record in read_all(stage.broker.address, stage.topic)}
    got = seen(stage)
    for offset, record in enumerate(old):
        assert got[0, offset] == sent(record)
    for offset, record in enumerate(new, len(old)):
        assert stored[offset] >= before, "the topic has not switched"
        assert got[0, offset] == sent(record._replace(timestamp=stored[offset]), LOG_APPEND_TIME)


def produce_with_hostile(stage: Stage, name: bytes = b"\xff\xfe") -> None:
    """Two partitions with twelve records each; in partition 0 the one at offset 5 has a header of this name."""
    stage.create_topic(2)
    numbers = range(12)
    stage.produce(Record(b"k", b"%d" % n, [("n", b"%d" % n)], 0, YEAR_2020 + n) for n in numbers[:5])
    assert produce_non_utf8_header(stage.broker.address, stage.topic, 0, value=b"hostile", name=name) == (0, 5)
    stage.produce(Record(b"k", b"%d" % n, [("n", b"%d" % n)], 0, YEAR_2020 + n) for n in numbers[6:])
    stage.produce(Record(b"k", b"%d" % n, [], 1, YEAR_2020 + n) for n in numbers)


def wait_until_halted(sidecar: Sidecar, offset: int, count: int) -> str:
    """Wait until partition 0 has halted at ``offset``, for the ``count``-th time. Returns the reason."""
    sidecar.wait_for_log("record cannot be delivered", count=count, offset=offset, partition=0)
    halted = sidecar.wait_for_state("halted")
    assert halted.failing_offset == offset
    return halted.reason


@needs_extension
@pytest.mark.parametrize("hostile", [b"\xff\xfe", b"a\0b"], ids=["no text", "with a NUL"])
def test_header_name_that_is_no_text_or_has_a_nul(stage: Stage, hostile: bytes) -> None:
    """Header names are bytes to Kafka and in the contract."""
    produce_with_hostile(stage, hostile)
    stage.produced.append((0, 5))
    stage.process(stage.sidecar(), full=True)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    checks.all_handled_once(stage.produced, stage.history.events())
    [(name, _)] = seen(stage)[0, 5]["headers"]
    assert name.encode(errors="surrogateescape") == hostile


def test_header_name_that_the_binding_cannot_read(stage: Stage) -> None:
    """Without the extension it halts its partition, and an operator can skip it."""
    produce_with_hostile(stage)
    target = f"{NAME}/{stage.topic}/0"
    sidecar = stage.sidecar(native=False)
    stage.process(sidecar, full=True)
    halts = 1
    assert "not UTF-8" in wait_until_halted(sidecar, 5, halts)
    # Records that the lambda has not begun when it hears of the halt come again: on a busy machine, there are some.
    while (begun := len(stage.history.handled(partition=0))) < 5:
        done = sidecar.cli("resume", target)
        assert f"goes on from offset {begun}" in done.stdout, done.stderr
        halts += 1
        wait_until_halted(sidecar, 5, halts)
        assert len(stage.history.handled(partition=0)) > begun
    # All records before it are handled and committed. The other partition goes on.
    stage.wait_until_handled(5 + 12)
    assert [event.offset for event in stage.history.handled(partition=0)] == [0, 1, 2, 3, 4]
    stage.produce(Record(b"k", b"later", partition=1, timestamp=YEAR_2020) for _ in range(5))
    stage.wait_until_handled(5 + 17)
    assert sidecar.partitions()[0].checkpoint == 4
    wait_for(lambda: stage.committed().get(0) == 5, lambda: f"{stage.committed()}")

    done = sidecar.cli("resume", target)
    assert done.returncode == 0, done.stderr
    assert "goes on from offset 5" in done.stdout
    wait_until_halted(sidecar, 5, halts + 1)
    assert [event.offset for event in stage.history.handled(partition=0)] == [0, 1, 2, 3, 4]

    done = sidecar.cli("resume", target, "--skip")
    assert done.returncode == 0, done.stderr
    assert "leaving out offset 5" in done.stdout
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    checks.all_handled_once(stage.produced, stage.history.events())
    got = seen(stage)
    for offset in (0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11):
        number = b"%d" % offset
        assert got[0, offset] == sent(Record(b"k", number, [("n", number)], timestamp=YEAR_2020 + offset))


def test_record_over_the_clients_limit(stage: Stage) -> None:
    stage.create_topic()
    sizes = [10, 10, 20_000, 10, 10]
    stage.produce(Record(value=b"x" * size, partition=0) for size in sizes)
    sidecar = stage.sidecar()
    sidecar.wait_until_listening()
    with hand_client(sidecar.address) as client:
        client.offer(NAME, max_message_bytes=4096)
        client.take()
        assert sum(map(len, client.hear("batch").values)) == 20
        assert client.hear("revoked").reason == pb.REVOKE_REASON_HALTED
        client.close(pb.CLOSED_REASON_REVOKED, 1)
        reason = wait_until_halted(sidecar, 2, 1)
        assert "more than the lambda process accepts (4096)" in reason
    done = sidecar.cli("resume", f"{NAME}/{stage.topic}/0", "--skip")
    assert done.returncode == 0, done.stderr
    with hand_client(sidecar.address) as client:
        client.offer(NAME, max_message_bytes=4096)
        assert client.take().start_offset == 2
        batch = client.hear("batch")
        assert (batch.first_offset, len(batch.values)) == (3, 2)
        assert client.checkpoint(4).outcome == pb.CHECKPOINT_OUTCOME_ACCEPTED
        stage.wait_until_caught_up()


def test_a_larger_limit_accepts_the_record(embedded_stage: Stage) -> None:
    stage = embedded_stage
    stage.create_topic()
    stage.produce([Record(value=b"x" * 20_000)])
    sidecar = stage.sidecar(frame={"bytes": 1000})
    sidecar.wait_until_listening()
    with hand_client(sidecar.address) as client:
        client.offer(NAME, max_message_bytes=30_000)
        client.take()
        assert [*map(len, client.hear("batch").values)] == [20_000]
