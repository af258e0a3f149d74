"""Records that lambdas produce: through the sidecar, in order, acknowledged, and only to allowed topics."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sdk_python.protocol import lambda_pb2 as pb
from tests.integration import checks
from tests.integration.conftest import _staged
from tests.integration.hand_client import hand_client
from tests.integration.harness import NAME, Broker, Program, Stage, Traffic, wait_for
from tests.integration.test_lossless import RECORDS
from tests.servers.kafka import KafkaServer
from tests.servers.topics import (
    Record,
    Stored,
    create_topic,
    end_offsets,
    produce,
    produce_non_utf8_header,
    read_all,
)

JAVA: dict[bytes, int] = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""Results of `org.apache.kafka.common.utils.Utils.murmur2`, from Kafka's own tests."""


def murmur2(data: bytes) -> int:
    """The hash of Kafka's Java client, unsigned."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = h * m & mask ^ k
    if len(data) > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def out_topic(stage: Stage, partitions: int = 1, suffix: str = "out", **config: str) -> str:
    """Create a topic besides the stage's own."""
    name = f"{stage.topic}-{suffix}"
    create_topic(
        stage.broker.address, name, partitions, {key.replace("_", "."): text for key, text in config.items()}
    )
    return name


def content(records: Sequence[Stored]) -> list[tuple[object, ...]]:
    """The parts of each record that a copy has too."""
    return [(m.partition, m.key, m.value, m.headers) for m in records]


def values(records: Sequence[Stored], partition: int) -> list[bytes]:
    return [m.value or b"" for m in records if m.partition == partition]


def firsts(found: Sequence[bytes]) -> list[bytes]:
    """Each value once, in the order of first occurrence."""
    return [*dict.fromkeys(found)]


def memory(pid: int) -> int:
    """A process's resident memory in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def pid_of(program: Program) -> int:
    """The process id of the guard's command."""
    guard = program._process.pid
    (pid,) = Path(f"/proc/{guard}/task/{guard}/children").read_text().split()
    return int(pid)


def test_records_are_copied_in_order(stage: Stage) -> None:
    stage.create_topic(3)
    out = [out_topic(stage, 3, "a"), out_topic(stage, 3, "b")]
    stage.produce(Record(value=b"%d" % n, key=b"k%d" % (n % 7), partition=n % 3) for n in range(6_000))
    sidecar = stage.sidecar(produce=out)
    process = stage.process(sidecar, module="producer", out=out, same_partition=True)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    assert process.terminate() == 0
    checks.all_handled_once(stage.produced, stage.history.events())
    source = read_all(stage.broker.address, stage.topic)
    for topic in out:
        copies = read_all(stage.broker.address, topic)
        assert [(m.partition, m.key, m.value) for m in copies] == [(m.partition, m.key, m.value) for m in source]


def test_keys_go_where_the_java_client_puts_them_and_nothing_is_changed(stage: Stage) -> None:
    for data, wanted in JAVA.items():
        assert murmur2(data) == wanted % 2**32
    stage.create_topic()
    out = out_topic(stage, 12)
    keys = [*JAVA, *(bytes([65 + n]) * n for n in range(1, 40)), *(b"%d" % n for n in range(200))]
    stage.produce([*RECORDS, *(Record(key, b"by key") for key in keys)])
    sidecar = stage.sidecar(produce=out)
    stage.process(sidecar, module="producer", out=[out])
    stage.wait_until_handled()
    source = read_all(stage.broker.address, stage.topic)
    copies = read_all(stage.broker.address, out)
    assert Counter(repr(one[1:]) for one in content(copies)) == Counter(repr(one[1:]) for one in content(source))
    for copy in copies:
        if copy.key is not None:
            assert copy.partition == (murmur2(copy.key) & 0x7FFFFFFF) % 12, copy.key
    assert len({copy.partition for copy in copies}) == 12


def test_the_lambda_handles_failed_records(stage: Stage) -> None:
    """One record of each kind that fails, among good records; the lambda lives on."""
    stage.create_topic(config={"max.message.bytes": "2000000"})
    out = out_topic(stage)
    fails = {
        2: ("not_allowed", Record(value=b"x", headers=[("out", b"elsewhere")])),
        5: ("too_large", Record(value=os.urandom(1_045_000))),
        8: ("failed", Record(value=b"x", headers=[("to", b"99")])),
    }
    source = [fails[n][1] if n in fails else Record(value=b"%d" % n) for n in range(11)]
    stage.produced += produce(stage.broker.address, stage.topic, source, {"message.max.bytes": 2_000_000})
    sidecar = stage.sidecar(produce=out)
    stage.process(sidecar, module="producer", out=[out], tolerates=["not_allowed", "too_large", "failed"])
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    failed = {event.offset: event.reason for event in stage.history.events("failing")}
    assert {offset: reason.partition(":")[0] for offset, reason in failed.items()} == {
        offset: kind for offset, (kind, _) in fails.items()
    }
    assert "'elsewhere' is not in `produce`" in failed[2]
    assert len(stage.history.events("created")) == 1
    assert values(read_all(stage.broker.address, out), 0) == [b"%d" % n for n in range(11) if n not in fails]
    assert sidecar.lambda_status().restarts == 0


def test_a_record_that_cannot_be_written_stops_no_other(stage: Stage) -> None:
    """A lambda copies records with header names that Kafka stores but its client cannot write."""
    stage.create_topic()
    out = out_topic(stage)
    stage.produce_numbers(2)
    stage.produced.append(produce_non_utf8_header(stage.broker.address, stage.topic, value=b"hostile"))
    stage.produce_numbers(2, first=2)
    sidecar = stage.sidecar(produce=out)
    stage.process(sidecar, module="producer", out=[out], tolerates=["failed"])
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    failed = {event.offset: event.reason for event in stage.history.events("failing")}
    assert [*failed] == [2]
    assert failed[2].startswith("failed: ")
    assert failed[2].endswith(": a header name is not UTF-8, which the Kafka client cannot write")
    assert values(read_all(stage.broker.address, out), 0) == [b"0", b"1", b"2", b"3"]
    assert sidecar.lambda_status().restarts == 0


def test_each_record_that_cannot_be_written_has_its_own_outcome(stage: Stage) -> None:
    """One call with a record for each way in which Kafka's client refuses one; the others are written, in order."""
    stage.create_topic()
    out = out_topic(stage, 2)
    bad: dict[int, tuple[dict[str, Any], str]] = {
        1: ({"name": b"a\0b"}, "a header name has a NUL"),
        3: ({"name": b"\xff"}, "a header name is not UTF-8"),
        5: ({"partition": 2}, "has no partition 2"),
        7: ({"partition": 2**31 - 1}, "has no partition 2147483647"),
        9: ({"partition": -2}, "partition -2 does not exist"),
        11: ({"partition": -(2**31)}, "partition -2147483648 does not exist"),
    }
    rows = [bad[number][0] if number in bad else {} for number in range(13)]
    sidecar = stage.sidecar(produce=out)
    sidecar.wait_until_listening()
    with hand_client(sidecar.address) as client:
        client.offer(NAME)
        client.take()
        request = pb.ProduceRequest(
            lease=client.lease,
            topics=[out],
            values=[b"%d" % number for number in range(13)],
            partitions=[row.get("partition", 0) for row in rows],
            header_counts=[1] * 13,
            header_names=[row.get("name", "größe".encode()) for row in rows],
            header_values=[b""] * 13,
        )
        # Twice: before the client knows the topic, it accepts records that it refuses later.
        answers = [client.stub.Produce(request, timeout=15) for _ in range(2)]
    good = [number for number in range(13) if number not in bad]
    for answer in answers:
        assert [number for number, one in enumerate(answer.outcomes) if one == pb.PRODUCE_OUTCOME_WRITTEN] == good
        for number, (_, text) in bad.items():
            assert answer.outcomes[number] == pb.PRODUCE_OUTCOME_FAILED
            assert text in answer.errors[number]
    stored = read_all(stage.broker.address, out)
    assert [record.value for record in stored] == [b"%d" % number for number in good] * 2
    assert stored[0].headers == [("größe", b"")]


@pytest.mark.kafka
def test_a_topic_whose_limit_is_below_a_batch(kafka_stage: Stage) -> None:
    """No record is refused because of others in its batch; each one that is too large is refused by itself."""
    stage = kafka_stage
    stage.create_topic()
    out = out_topic(stage, max_message_bytes="2000")
    large = {40, 41, 300}
    stage.produce(Record(value=os.urandom(3_000 if n in large else 100) + b" %d" % n) for n in range(500))
    sidecar = stage.sidecar(produce=out)
    stage.process(sidecar, module="producer", out=[out], tolerates=["too_large"])
    stage.wait_until_handled()  # each record is a request of its own
    stage.wait_until_caught_up()
    sidecar.wait_for_log("a topic takes no batch as ours are")
    failed = [event for event in stage.history.events("failing") if event.reason.startswith("too_large")]
    assert {event.offset for event in failed} == large
    source, copies = (values(read_all(stage.broker.address, topic), 0) for topic in (stage.topic, out))
    number = {value: n for n, value in enumerate(source)}
    found = [number[value] for value in copies]
    # A failed record leaves a gap, and later ones may have been written:
    # 1. the lambda's batch fails, and its next call is under way before the lambda hears of that;
    # 2. so the first lambda wrote all records before the failed one, and some or none of those after it, in order ...
    first, second = stage.history.events("created")
    begun = second.start or 0
    done, anew = ([n for n in part if n not in large] for part in (range(begun), range(begun, 500)))
    by_first, by_second = found[: -len(anew)], found[-len(anew) :]
    assert (first.start or 0) == 0
    assert by_first == sorted({*by_first})
    assert by_first[: len(done)] == done
    # 3. ... and the next lambda wrote all records after the checkpoint again.
    assert by_second == anew
    assert sidecar.lambda_status().restarts == 1


def test_a_dead_lease_writes_nothing(stage: Stage) -> None:
    stage.create_topic()
    out = out_topic(stage)
    stage.produce_numbers(3)
    sidecar = stage.sidecar(produce=out)
    sidecar.wait_until_listening()
    with hand_client(sidecar.address) as client:
        client.offer(NAME)
        client.take()
        client.hear("batch")
        answer = client.produce(out, b"1", b"2")
        assert [*answer.outcomes] == [pb.PRODUCE_OUTCOME_WRITTEN] * 2
        assert ([*answer.partitions], [*answer.offsets]) == ([0, 0], [0, 1])
        assert [*client.produce(stage.topic, b"x").outcomes] == [pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED]
        # A seek ends the lease when its lambda has closed: a drain may still write.
        done = sidecar.cli("seek", f"{NAME}/{stage.topic}/0", "--to", "earliest")
        assert done.returncode == 0, done.stderr
        dead = client.lease
        client.hear("revoked")
        client.close(pb.CLOSED_REASON_REVOKED)
        client.ended()
        assert [*client.produce(out, b"3").outcomes] == [pb.PRODUCE_OUTCOME_STALE_LEASE]
    with hand_client(sidecar.address) as client:
        client.offer(NAME)
        client.take()
        assert [*client.produce(out, b"4", lease=dead).outcomes] == [pb.PRODUCE_OUTCOME_STALE_LEASE]
        assert [*client.produce(out, b"5").outcomes] == [pb.PRODUCE_OUTCOME_WRITTEN]
    assert values(read_all(stage.broker.address, out), 0) == [b"1", b"2", b"5"]


def test_nothing_is_lost_with_a_lambda_that_is_killed_nor_with_a_sidecar_that_stops(stage: Stage) -> None:
    stage.create_topic(3)
    out = out_topic(stage, 3)
    stage.produce_numbers(3_000, 3)
    address = stage.broker.address
    sidecar = stage.sidecar(produce=out)
    first = stage.process(sidecar, "p1", module="producer", out=[out], same_partition=True)
    stage.wait_until_handled(100)
    stage.produce_numbers(6_000, 3, first=3_000)
    first.kill()
    stage.process(sidecar, "p2", module="producer", out=[out], same_partition=True)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    mark, count = end_offsets(address, out), stage.history.count()
    with Traffic(stage, 3, 0.001):
        stage.wait_until_handled(count + 500)
        assert sidecar.terminate() == 0
    sidecar = stage.sidecar(produce=out, label="again")
    stage.process(sidecar, "p3", module="producer", out=[out], same_partition=True)
    stage.wait_until_handled()
    assert stage.history.handled("p3"), "it was in the middle of it"
    source, copies = read_all(address, stage.topic), read_all(address, out)
    for partition in range(3):
        wanted, found = values(source, partition), values(copies, partition)
        assert firsts(found[: mark[partition]]) == wanted[:3_000]
        # Records under way at the end were written and committed: the sidecar's end duplicates nothing.
        assert found[mark[partition] :] == wanted[3_000:]


@pytest.fixture(scope="module")
def own_kafka(kafka: Broker) -> Iterator[KafkaServer]:
    """A broker that a test may kill or freeze. It needs ``kafka`` so that it is skipped together with it."""
    with KafkaServer() as server:
        yield server


@pytest.fixture
def own_stage(own_kafka: KafkaServer, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A stage on that broker."""
    yield from _staged(Broker("kafka", own_kafka.address), tmp_path, request)


def wait_until_still(stage: Stage) -> None:
    """Wait until the window is full: for a second the lambda handles nothing."""
    seen, since = -1, time.monotonic()

    def still() -> bool:
        nonlocal seen, since
        count = stage.history.count()
        if count != seen:
            seen, since = count, time.monotonic()
        return time.monotonic() - since > 1.0

    wait_for(still, lambda: f"the lambda to stand still at {stage.history.count()}")


@pytest.mark.kafka
def test_a_broker_that_hangs_and_dies_neither_loses_nor_duplicates_records(
    own_stage: Stage, own_kafka: KafkaServer
) -> None:
    stage = own_stage
    stage.create_topic(3)
    out = out_topic(stage, 3)
    stage.produce_numbers(30_000, 3)
    sidecar = stage.sidecar(produce=out, window={"messages": 1_000})
    stage.process(sidecar, module="producer", out=[out], same_partition=True, handler_takes=0)
    stage.wait_until_handled(1)
    own_kafka.pause()
    wait_until_still(stage)
    own_kafka.resume()
    count = stage.history.count()
    assert count < 30_000, "it is in the middle of it"
    own_kafka.kill()
    own_kafka.start()
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    source, copies = read_all(stage.broker.address, stage.topic), read_all(stage.broker.address, out)
    restarted = len(stage.history.events("created")) > 3
    for partition in range(3):
        wanted, found = values(source, partition), values(copies, partition)
        assert firsts(found) == wanted
        assert restarted or found == wanted
    assert not stage.history.events("failing")
    assert not restarted


@pytest.mark.kafka
def test_memory_is_bounded_while_the_broker_hangs(own_stage: Stage, own_kafka: KafkaServer) -> None:
    """A lambda produces 250 MB, five records for each of its own, while the broker hangs for a while."""
    stage = own_stage
    stage.create_topic()
    out = out_topic(stage)
    stage.produce(Record(value=b"%d" % n + b"x" * 100_000) for n in range(500))
    sidecar = stage.sidecar(produce=out)
    stage.process(sidecar, module="producer", out=[out], times=5)
    stage.wait_until_handled(20)
    pids = {"sidecar": pid_of(sidecar), "lambda": stage.history.pids()[0]}
    before = {name: memory(pid) for name, pid in pids.items()}
    own_kafka.pause()
    try:
        wait_until_still(stage)
        most = {name: memory(pid) for name, pid in pids.items()}
    finally:
        own_kafka.resume()
    grown = {name: (most[name] - before[name]) >> 20 for name in pids}
    print(f"grown by {grown} MiB while {stage.history.count()} of 500 were handled")
    assert stage.history.count() < 200, "the lambda does not go on without the broker"
    assert max(grown.values()) < 64
    stage.wait_until_handled()
    assert end_offsets(stage.broker.address, out) == {0: 2_500}
