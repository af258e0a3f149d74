"""Lambdas that are slow or never checkpoint stop their own partitions only."""

from __future__ import annotations

import pytest

from sdk_python.protocol import admin_pb2
from tests.integration import checks
from tests.integration.harness import NAME, Stage, wait_for
from tests.servers.topics import Record, create_topic, produce


def test_partition_without_checkpoints_blocks_only_itself(stage: Stage) -> None:
    stage.create_topic(3)
    stage.produce_numbers(900, 3)
    sidecar = stage.sidecar(window={"messages": 100})
    stage.process(sidecar, silent=[1])
    stage.wait_until_handled(100 + 600)
    wait_for(lambda: sidecar.partitions()[1].HasField("blocked_since_ms"), "the status to say that it is blocked")
    blocked = sidecar.partitions()[1]
    assert blocked.state == admin_pb2.PARTITION_STATE_RUNNING
    assert (blocked.outstanding, blocked.delivered) == (100, 99)
    assert not blocked.HasField("checkpoint")
    assert "window full for" in sidecar.cli("status").stdout
    # The others go on, with new records too.
    stage.produce_numbers(300, 3, first=900)
    stage.wait_until_handled(100 + 800)
    others = [one for one in stage.produced if one[0] != 1]
    events = stage.history.events()
    checks.all_handled_once(others, [event for event in events if event.partition != 1])
    assert [event.offset for event in stage.history.handled(partition=1)] == [*range(100)]
    ends = stage.end_offsets()
    wait_for(lambda: stage.committed() == {**ends, 1: 0}, lambda: f"{stage.committed()}")
    assert sidecar.health() == "SERVING"
    # Records without a checkpoint come again with the next process.
    stage.process(sidecar, "p2", silent=[])
    stage.programs[1].kill()
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    assert stage.history.events("created", process="p2", partition=1)[0].start == 0
    checks.gapless_leases(stage.produced, stage.history.events())


def test_the_memory_of_waiting_records_is_bounded(embedded_stage: Stage) -> None:
    """A stalled lambda has 40 MB in its log: the sidecar fetches only its share."""
    stage = embedded_stage
    stage.create_topic()
    stage.produce(Record(value=b"x" * 100_000) for _ in range(400))
    sidecar = stage.sidecar(window={"messages": 10, "bytes": "1MiB"})
    stage.process(sidecar, every=0)
    wait_for(lambda: sidecar.partitions() and sidecar.partitions()[0].HasField("blocked_since_ms"), "to block")
    stage.wait_until_handled(10)
    waiting = sidecar.partitions()[0].waiting
    assert waiting < 400, "what is fetched is bounded"
    status = sidecar.lambda_status()
    assert status.records_sent == 10


def test_slow_handler_does_not_disturb_the_other_partition(stage: Stage) -> None:
    stage.create_topic(2)
    stage.produce([Record(value=b"s", partition=0)] * 300 + [Record(value=b"f", partition=1)] * 300)
    sidecar = stage.sidecar(window={"messages": 20})
    stage.process(sidecar, handler_takes=0.003)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    checks.all_handled_once(stage.produced, stage.history.events())
    checks.in_order(stage.history.events())


def test_two_lambdas_in_one_sidecar(stage: Stage) -> None:
    """They consume the same topic in different groups: one fails, the other is not affected."""
    stage.create_topic(2)
    stage.produce_numbers(100, 2)
    other_topic = f"{stage.topic}-other"
    create_topic(stage.broker.address, other_topic)
    produce(stage.broker.address, other_topic, [Record(value=b"o")] * 10)
    config = stage.config()
    mine = config["lambdas"][NAME]
    settings = {**mine["settings"], "fail_offset": 5}
    config["lambdas"]["second"] = {
        "topics": [stage.topic, other_topic],
        "group": f"{stage.group}-2",
        "settings": settings,
    }
    sidecar = stage.sidecar(config)
    stage.process(sidecar, "good")
    bad = stage.process(sidecar, "bad", module="failing", name="second", fail_how="raise")
    sidecar.wait_for_log("partition halted", count=2, offset=5)
    wait_for(lambda: len(stage.history.handled("good")) == 100, "the good one to have all")
    stage.wait_until_caught_up()
    checks.all_handled_once(stage.produced, stage.history.events(process="good"))
    second = {(one.topic, one.partition): one for one in sidecar.lambda_status("second").partitions}
    halted = {tp for tp, one in second.items() if one.state == admin_pb2.PARTITION_STATE_HALTED}
    assert halted == {(stage.topic, 0), (other_topic, 0)}
    wait_for(
        lambda: len([e for e in stage.history.handled("bad") if e.topic == stage.topic and e.partition == 1]) == 50,
        "the healthy partition of the bad one to have all",
    )
    bad.kill()
    stage.produce_numbers(20, 2, first=100)
    wait_for(lambda: len(stage.history.handled("good")) == 120, "the good one to go on")
    assert sidecar.lambda_status().restarts == 0
    wait_for(lambda: not sidecar.lambda_status("second").processes, "the bad one's end to be noticed")
    assert sidecar.terminate() == 0


@pytest.mark.kafka  # the embedded broker's end offset is wrong while a batch is new
def test_the_lag_is_right_while_a_partition_is_stalled(kafka_stage: Stage) -> None:
    """Large records and a lambda that never checkpoints: the client stops fetching and gets no new end offset."""
    stage = kafka_stage
    stage.create_topic()
    sidecar = stage.sidecar(window={"messages": 10})
    stage.process(sidecar, every=0)
    sidecar.wait_for_state("running")
    stage.produce([Record(value=b"x" * 60_000)] * 200)
    stage.wait_until_handled(10)
    stage.produce([Record(value=b"x" * 60_000)] * 400)

    def lag() -> int:
        one = sidecar.partitions()[0]
        return one.end - one.committed if one.HasField("committed") else -1

    end = stage.end_offsets()[0]
    wait_for(lambda: lag() == end, lambda: f"{lag()} of {end}")
