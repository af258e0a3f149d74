"""Lanes: several lambdas work on one partition, each on some of its keys."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from sdk_python.protocol import admin_pb2
from sidecar.records.key_lane import lane_of
from tests.integration import checks
from tests.integration.harness import Sidecar, Stage, wait_for
from tests.integration.test_exactly_once import committed, copier
from tests.integration.test_produce import out_topic
from tests.servers.topics import Record, read_all

LANES = 8
KEYS = [f"user-{number}".encode() for number in range(40)]
RECORDS = 400
SLOW = 5
"""The offset of the record whose handler takes long, or that cannot be handled."""


def key_of(offset: int) -> bytes:
    return KEYS[offset % len(KEYS)]


def start(stage: Stage, count: int = RECORDS, **options: Any) -> Sidecar:
    """One partition with ``count`` records, and a sidecar that splits it."""
    stage.create_topic()
    stage.produce(Record(key_of(number), b"%d" % number) for number in range(count))
    return stage.sidecar(lanes=LANES, **options)


def rows(sidecar: Sidecar) -> dict[int, admin_pb2.Partition]:
    """The lanes of the partition, by their numbers."""
    return {one.lane: one for one in sidecar.lambda_status().partitions}


def wait_for_lanes(sidecar: Sidecar, state: int, *numbers: int) -> None:
    """Wait until these lanes are in this state."""

    def states() -> list[int]:
        return [rows(sidecar)[number].state for number in numbers]

    wait_for(lambda: states() == [state] * len(numbers), lambda: f"lanes in state {state}, they are {states()}")


def check_order(stage: Stage) -> None:
    """The records of each key were handled in their order."""
    handled: dict[bytes, list[int]] = defaultdict(list)
    for event in stage.history.handled():
        handled[key_of(event.offset)].append(event.offset)
    for key, offsets in handled.items():
        assert offsets == sorted(offsets), key


def test_two_processes_work_on_one_partition_and_each_key_stays_in_order(stage: Stage) -> None:
    sidecar = start(stage)
    for label in ("p1", "p2"):
        stage.process(sidecar, label, handler_takes=0.002)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    checks.all_handled_once(stage.produced, stage.history.events())
    check_order(stage)
    lanes = rows(sidecar)
    assert [*lanes] == [*range(LANES)]
    assert {one.lanes for one in lanes.values()} == {LANES}
    wait_for(
        lambda: len({one.process_id for one in rows(sidecar).values() if one.process_id}) == 2,
        "both processes to have lanes",
    )
    leases: dict[str, set[int]] = defaultdict(set)
    for event in stage.history.handled():
        leases[event.lease].add(lane_of(key_of(event.offset), event.offset, LANES))
    assert all(len(numbers) == 1 for numbers in leases.values()), "a lambda gets the records of one lane"


def others_than(slow: int) -> int:
    """How many records are in other lanes than the one at this offset."""
    number = lane_of(key_of(slow), slow, LANES)
    return sum(1 for offset in range(RECORDS) if lane_of(key_of(offset), offset, LANES) != number)


def test_a_slow_key_stops_its_lane_only(stage: Stage) -> None:
    sidecar = start(stage)
    slow: dict[str, Any] = {"slow_offset": SLOW, "slow_for": 3600.0, "slow_how": "await"}
    stage.process(sidecar, module="slow", **slow)
    number = lane_of(key_of(SLOW), SLOW, LANES)
    stage.wait_until_handled(others_than(SLOW) + 1)
    # The committed offset is that of the slow record, whatever its lane has checkpointed before.
    wait_for(lambda: stage.committed() == {0: SLOW}, lambda: f"{stage.committed()}")
    lanes = rows(sidecar)
    wait_for(
        lambda: all(one.outstanding == 0 for one in rows(sidecar).values() if one.lane != number),
        "the other lanes to be done",
    )
    assert lanes[number].outstanding > 1


@pytest.mark.kafka
def test_after_a_kill_the_other_lanes_go_on_where_they_were(kafka_stage: Stage) -> None:
    """What other lanes did beyond the slow record is in the commit's metadata, and does not come again."""
    stage = kafka_stage
    sidecar = start(stage)
    slow: dict[str, Any] = {"slow_offset": SLOW, "slow_for": 3600.0, "slow_how": "await"}
    process = stage.process(sidecar, "p1", module="slow", **slow)
    number = lane_of(key_of(SLOW), SLOW, LANES)
    stage.wait_until_handled(others_than(SLOW) + 1)
    wait_for(
        lambda: all(one.committed > RECORDS - LANES * 10 for one in rows(sidecar).values() if one.lane != number),
        lambda: f"the other lanes to be committed: {[one.committed for one in rows(sidecar).values()]}",
    )
    assert stage.committed() == {0: SLOW}
    sidecar.kill()
    process.kill()
    before = len(stage.history.handled())
    stage.produce(Record(key_of(offset), b"later") for offset in range(RECORDS, RECORDS + 40))
    again = stage.sidecar(lanes=LANES, label="again")
    stage.process(again, "p2", module="slow", **(slow | {"slow_offset": -1}))
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    check_order(stage)
    twice = [event.offset for event in stage.history.handled()[before:] if event.offset < RECORDS]
    assert {lane_of(key_of(offset), offset, LANES) for offset in twice if offset < RECORDS - LANES * 10} == {number}
    checks.all_handled(stage.produced, stage.history.events())


def test_a_poison_key_halts_its_lane_and_an_operator_skips_it_there(stage: Stage) -> None:
    sidecar = start(stage)
    stage.process(sidecar, module="failing", fail_offset=SLOW)
    number = lane_of(key_of(SLOW), SLOW, LANES)
    stage.wait_until_handled(others_than(SLOW))
    wait_for_lanes(sidecar, admin_pb2.PARTITION_STATE_HALTED, number)
    wait_for_lanes(sidecar, admin_pb2.PARTITION_STATE_RUNNING, *(other for other in range(LANES) if other != number))
    refused = sidecar.cli("resume", f"echo/{stage.topic}/0", "--skip")
    assert refused.returncode == 1
    assert "name the lane" in refused.stderr
    done = sidecar.cli("resume", f"echo/{stage.topic}/0.{number}", "--skip")
    assert done.returncode == 0, done.stderr
    stage.wait_until_handled(RECORDS - 1)
    stage.wait_until_caught_up()
    checks.all_handled_once(stage.produced, stage.history.events(), left_out=[(0, SLOW)])
    check_order(stage)


def test_without_the_extension_it_is_the_same(embedded_stage: Stage) -> None:
    stage = embedded_stage
    stage.create_topic()
    stage.produce(Record(key_of(number), b"%d" % number) for number in range(RECORDS))
    sidecar = stage.sidecar(lanes=LANES, native=False)
    stage.process(sidecar)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    checks.all_handled_once(stage.produced, stage.history.events())
    check_order(stage)


def wait_for_copies(stage: Stage, out: str, count: int) -> None:
    """Wait until there are more than so many."""
    wait_for(lambda: len(read_all(stage.broker.address, out)) > count, "more to be copied")


@pytest.mark.kafka
def test_with_exactly_once_each_record_is_copied_once_and_in_the_order_of_its_key(kafka_stage: Stage) -> None:
    """Lambdas and sidecars are killed in between. A transaction has the places of all lanes."""
    stage = kafka_stage
    out = out_topic(stage, 1)
    options: dict[str, Any] = {"produce": [out], "guarantee": "exactly-once", "window": {"messages": 100}}
    kafka = {"session.timeout.ms": 1000}
    stage.create_topic()
    wanted = 0
    for number in range(4):
        stage.produce(Record(key_of(offset), b"v") for offset in range(wanted, wanted + 1_000))
        label = f"s{number}"
        sidecar = stage.sidecar(stage.config(label=label, lanes=LANES, kafka=kafka, **options), label)
        process = copier(stage, sidecar, out, ("commit", "held", "sources")[number % 3], f"p{number}")
        wait_for_copies(stage, out, wanted)
        process.kill()
        if number % 2:
            sidecar.kill()
        else:
            assert sidecar.terminate() == 0
        wanted += 1_000
    last = stage.sidecar(stage.config(label="last", lanes=LANES, kafka=kafka, **options), "last")
    copier(stage, last, out, label="p")
    wait_for(lambda: committed(stage) == {0: wanted}, lambda: f"{committed(stage)} to become {wanted}")
    copied = [int((record.value or b"").decode().split(":")[1]) for record in read_all(stage.broker.address, out)]
    assert sorted(copied) == [*range(wanted)]
    for key in KEYS:
        offsets = [offset for offset in copied if key_of(offset) == key]
        assert offsets == sorted(offsets), key
