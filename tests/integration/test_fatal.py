"""A Kafka client with a fatal error is replaced; meanwhile the status shows that nothing is consumed."""

from __future__ import annotations

import signal

import pytest

from tests.integration.harness import Sidecar, Stage, wait_for

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

PATIENCE = 60.0
"""Seconds for a former member's session, the pause before the next try, and a busy machine."""


def kinds(sidecar: Sidecar) -> list[str]:
    """The kinds of the lambda's problems."""
    sidecar.wait_for_log("listening for lambdas", timeout=PATIENCE)
    return [problem.kind for problem in sidecar.lambda_status().problems]


@pytest.mark.parametrize("native", [True, False])
def test_an_instance_id_that_is_not_released_yet_is_waited_for(kafka_stage: Stage, native: bool) -> None:
    stage = kafka_stage
    stage.create_topic(2)
    stage.produce_numbers(10, 2)
    static = {"group.protocol": "consumer", "group.instance.id": "one"}
    first = stage.sidecar(label="first", kafka=static, native=native)
    stage.process(first, "p1")
    stage.wait_until_handled(timeout=PATIENCE)

    # The second starts before the first dies: on a busy machine the session could expire before it had started.
    second = stage.sidecar(label="second", kafka=static, native=native)
    stage.process(second, "p2")
    wait_for(lambda: "client" in kinds(second), "the client to fail", PATIENCE)
    status = second.lambda_status()
    assert not status.joined
    assert "instance ID is still used" in status.problem
    assert second.health() == "NOT_SERVING"

    first.kill()
    stage.produce_numbers(10, 2, first=10)
    stage.wait_until_handled(timeout=PATIENCE)
    wait_for(lambda: not kinds(second), "the problem to end")
    assert second.health() == "SERVING"
    assert second.lambda_status().joined
    assert len(second.log("Kafka's client failed for good")) == 1, "said once"
    second.wait_for_log("Kafka's client works again")
    assert len(second.log("connected to Kafka")) == 1
    assert second.terminate() == 0


def test_a_permanent_failure_stays_a_problem_and_the_sidecar_ends_in_order(kafka_stage: Stage) -> None:
    stage = kafka_stage
    stage.create_topic()
    sidecar = stage.sidecar(kafka={"group.protocol": "consumer", "group.remote.assignor": "nonsense"})
    stage.process(sidecar, "p1")
    wait_for(lambda: "client" in kinds(sidecar), "the client to fail", PATIENCE)
    assert sidecar.health() == "NOT_SERVING"
    assert "assignor" in sidecar.lambda_status().problem
    since = sidecar.lambda_status().problems[0].since_ms
    # Further tries are not reported again.
    tries = "joining the group"
    wait_for(lambda: len(sidecar.log("Kafka's client failed for good")) == 1, "it to be said")
    wait_for(lambda: sidecar.lambda_status().problems[0].since_ms == since, "it to be the same problem")
    assert len(sidecar.log(tries)) == 1
    assert sidecar.terminate() == 0


def test_a_fenced_sidecar_revokes_its_partitions_and_joins_again(kafka_stage: Stage) -> None:
    """Two sidecars with one instance id: the second takes all partitions from the first, which reports it."""
    stage = kafka_stage
    stage.create_topic(2)
    static = {"group.instance.id": "one"}
    first = stage.sidecar(label="first", kafka=static)
    stage.process(first, "p1")
    stage.produce_numbers(10, 2)
    stage.wait_until_handled(timeout=PATIENCE)
    second = stage.sidecar(label="second", kafka=static)
    p2 = stage.process(second, "p2")
    first.wait_for_log("Kafka's client failed for good", timeout=PATIENCE)
    assert "fenced" in first.log("Kafka's client failed for good")[0]["error"]
    second.signal(signal.SIGKILL)
    p2.kill()
    wait_for(lambda: not kinds(first), "the first to be a member again", PATIENCE)
    stage.produce_numbers(10, 2, first=10)
    stage.wait_until_handled(timeout=PATIENCE)
    assert first.terminate() == 0
