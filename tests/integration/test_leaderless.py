"""A partition whose broker is down does not keep other partitions from being consumed, and status names it."""

from __future__ import annotations

import pytest

from tests.integration.harness import Stage, wait_for
from tests.servers import topics
from tests.servers.kafka import KafkaCluster
from tests.servers.topics import Record

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]  # brokers are started again


@pytest.mark.parametrize("protocol", ["cooperative-sticky", "range"])
def test_a_new_group_runs_the_partitions_that_have_a_leader(
    two_brokers: KafkaCluster, cluster_stage: Stage, protocol: str
) -> None:
    """The broker of one of three partitions is killed before the group starts."""
    stage = cluster_stage
    stage.create_topic(replicas=[[1], [1], [2]])
    stage.produce([Record(value=b"v", partition=p) for p in (0, 1, 2)] * 10)
    two_brokers.broker(2).kill()
    wait_for(lambda: topics.leaders(stage.broker.address, stage.topic)[2] == -1, "the leader to be gone", 30.0)
    sidecar = stage.sidecar(kafka={"partition.assignment.strategy": protocol})
    stage.process(sidecar)
    stage.wait_until_handled(20, timeout=30.0)
    assert {event.partition for event in stage.history.handled()} == {0, 1}
    assert [sidecar.state(p) for p in (0, 1, 2)] == ["running", "running", "resolving"]
    assert "no broker leads" in sidecar.partitions()[2].reason
    wait_for(lambda: f"{stage.topic}/2" in sidecar.lambda_status().problem, "the problem to name it")
    assert sidecar.health() == "SERVING"
    two_brokers.broker(2).start()
    stage.wait_until_handled(30, timeout=60.0)
    wait_for(lambda: sidecar.lambda_status().problem == "", "no problem to be left", 30.0)


def test_a_leader_that_dies_while_the_group_runs(two_brokers: KafkaCluster, cluster_stage: Stage) -> None:
    """The others go on; a seek of that partition is refused at once; it goes on when its leader is back."""
    stage = cluster_stage
    stage.create_topic(replicas=[[1], [2]])
    sidecar = stage.sidecar()
    stage.process(sidecar)
    stage.produce([Record(value=b"v", partition=p) for p in (0, 1)] * 5)
    stage.wait_until_handled(10)
    two_brokers.broker(2).kill()
    wait_for(lambda: f"{stage.topic}/1" in sidecar.lambda_status().problem, "the problem to name it", 30.0)
    assert "no broker leads" in sidecar.partitions()[1].reason
    refused = sidecar.cli("seek", f"echo/{stage.topic}/1", "--to", "earliest")
    assert refused.returncode != 0
    assert "no broker leads" in refused.stderr
    stage.produce([Record(value=b"v", partition=0)] * 10)
    stage.wait_until_handled(20)
    two_brokers.broker(2).start()
    wait_for(lambda: topics.leaders(stage.broker.address, stage.topic)[1] == 2, "the leader to be back", 60.0)
    stage.produce([Record(value=b"v", partition=1)] * 5)
    stage.wait_until_handled(25, timeout=60.0)
    wait_for(lambda: sidecar.lambda_status().problem == "", "no problem to be left", 30.0)
