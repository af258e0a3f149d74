"""Partitions that no member of a group with static membership owns get an owner, by a rebalance that a sidecar asks
for."""

from __future__ import annotations

import sys

import pytest

from sdk_python.protocol import admin_pb2
from tests.integration.harness import Program, Sidecar, Stage, wait_for
from tests.servers import topics

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

PARTITIONS = 4
PATIENCE = 90.0
"""Seconds: a partition must have been without an owner for up to 14 s before a sidecar asks."""
ASKS = "partitions that no member of the group owns: asking the group for a rebalance"


def start(stage: Stage, instance: str, strategy: str, run: int = 1) -> tuple[Sidecar, Program]:
    """Start a sidecar that is this static member, and its lambda process."""
    kafka = {
        "group.instance.id": instance,
        "partition.assignment.strategy": strategy,
        "heartbeat.interval.ms": 1000,
    }
    label = f"{instance}{run}"
    sidecar = stage.sidecar(label=label, kafka=kafka)
    return sidecar, stage.process(sidecar, f"for-{label}")


def running(*sidecars: Sidecar) -> list[int]:
    """The partitions that their lambdas handle."""
    every = [item for sidecar in sidecars for item in sidecar.partitions().items()]
    return sorted(number for number, one in every if one.state == admin_pb2.PARTITION_STATE_RUNNING)


def wait_until_all_run(*sidecars: Sidecar) -> None:
    wait_for(
        lambda: running(*sidecars) == [*range(PARTITIONS)],
        lambda: f"all partitions to run, it is {running(*sidecars)}",
        PATIENCE,
    )


def asked(*sidecars: Sidecar) -> list[str]:
    """The partitions for which they asked for a rebalance."""
    return [str(line["partitions"]) for sidecar in sidecars for line in sidecar.log(ASKS)]


def test_what_a_member_gave_up_before_it_died_gets_an_owner(kafka_stage: Stage) -> None:
    """1. Member `a` has all partitions. `b` joins, and `a` is to give it half of them.
    2. `a` gives them up and dies before it joins again.
    3. The next `a` gets the former's other half, without a rebalance. Nobody has what was given up."""
    stage = kafka_stage
    stage.create_topic(PARTITIONS)
    stage.produce_numbers(40, PARTITIONS)
    arguments = [stage.broker.address, stage.group, stage.topic, "a"]
    former = stage.program("former", [sys.executable, "-m", "tests.integration.dying_member", *arguments])
    former.wait_for_log(f"assigned: {PARTITIONS}")
    b, _ = start(stage, "b", "cooperative-sticky")
    assert former.ended() == 128 + 9
    a, _ = start(stage, "a", "cooperative-sticky")
    a.wait_for_log("partitions assigned")
    wait_for(lambda: len(running(a)) == PARTITIONS // 2, "its successor to run", PATIENCE)
    kept = running(a)

    wait_until_all_run(a, b)
    stage.wait_until_handled()
    given_up = sorted({*range(PARTITIONS)} - {*kept})
    assert running(b) == given_up
    assert {*asked(a, b)} == {f"{stage.topic}/{given_up[0]}-{given_up[1]}"}
    # What had an owner never stopped.
    assert len(stage.history.events("created", process="for-a1")) == len(kept)
    for sidecar in (a, b):
        assert not sidecar.log("partitions revoked")
        assert not sidecar.lambda_status().problems
        assert not sidecar.log("Kafka client"), "the client's complaint about a topic that nobody has made"
    stage.produce_numbers(40, PARTITIONS, first=40)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    for sidecar in (a, b):
        assert sidecar.terminate() == 0


@pytest.mark.parametrize("strategy", ["cooperative-sticky", "range"])
def test_partitions_that_were_added_while_all_members_were_away_get_an_owner(
    kafka_stage: Stage, strategy: str
) -> None:
    stage = kafka_stage
    stage.create_topic(2)
    stage.produce_numbers(20, 2)
    pairs = [start(stage, instance, strategy) for instance in ("a", "b")]
    wait_for(lambda: [len(running(sidecar)) for sidecar, _ in pairs] == [1, 1], "one each", PATIENCE)
    stage.wait_until_handled()
    for sidecar, process in pairs:
        sidecar.kill()
        process.kill()
    topics.add_partitions(stage.broker.address, stage.topic, PARTITIONS)
    stage.produce_numbers(40, PARTITIONS, first=20)

    a, b = (start(stage, instance, strategy, run=2)[0] for instance in ("a", "b"))
    wait_until_all_run(a, b)
    stage.wait_until_handled()
    assert {*asked(a, b)} == {f"{stage.topic}/2-3"}
    for sidecar in (a, b):
        assert sidecar.terminate() == 0
