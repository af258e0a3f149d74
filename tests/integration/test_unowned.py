"""Partitions that no member of a group with static membership owns get an owner, by a rebalance that a sidecar asks
for."""

from __future__ import annotations

import signal
import sys

import pytest

from sdk_python.protocol import admin_pb2
from tests.integration.harness import Program, Sidecar, Stage, wait_for
from tests.servers import topics

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

PARTITIONS = 4
PATIENCE = 120.0
"""Seconds: a partition has been without an owner for up to 14 s when a sidecar asks, and with `range` for 45 s."""
ASKS = "partitions that no member of the group owns: asking the group for a rebalance"


def start(stage: Stage, instance: str, strategy: str, run: int = 1) -> Sidecar:
    """Start a sidecar that is to be this static member. It joins the group with its first lambda process."""
    kafka = {
        "group.instance.id": instance,
        "partition.assignment.strategy": strategy,
        "heartbeat.interval.ms": 1000,
        "session.timeout.ms": 30_000,
    }
    return stage.sidecar(label=f"{instance}{run}", kafka=kafka)


def join(stage: Stage, sidecar: Sidecar) -> Program:
    """Start the lambda process of a sidecar."""
    return stage.process(sidecar, f"for-{sidecar.label}")


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
    a, b = (start(stage, instance, "cooperative-sticky") for instance in ("a", "b"))
    a.wait_until_listening()
    join(stage, b)
    assert former.ended() == 128 + signal.SIGKILL
    join(stage, a)
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
    first = [start(stage, instance, strategy) for instance in ("a", "b")]
    processes = [join(stage, sidecar) for sidecar in first]
    wait_for(lambda: [len(running(one)) for one in first] == [1, 1], lambda: f"one each: {running(*first)}", PATIENCE)
    stage.wait_until_handled()
    # They have to be back within their sessions, so they start before the first ones end.
    a, b = (start(stage, instance, strategy, run=2) for instance in ("a", "b"))
    for sidecar in (a, b):
        sidecar.wait_until_listening()
    for program in (*first, *processes):
        program.kill()
    topics.add_partitions(stage.broker.address, stage.topic, PARTITIONS)
    stage.produce_numbers(40, PARTITIONS, first=20)

    for sidecar in (a, b):
        join(stage, sidecar)
    wait_until_all_run(a, b)
    stage.wait_until_handled()
    assert {*asked(a, b)} == {f"{stage.topic}/2-3"}
    for sidecar in (a, b):
        assert sidecar.terminate() == 0
