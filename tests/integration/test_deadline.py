"""A lambda with a `deadline`: a handler that hangs is replaced, and one that reports its progress is left alone."""

from __future__ import annotations

import time
from typing import Any

from sdk_python.protocol import admin_pb2, lambda_pb2 as pb
from tests.integration.hand_client import hand_client
from tests.integration.harness import LAMBDAS, NAME, Stage, wait_for

DEADLINE: dict[str, Any] = {"deadline": "2s", "shutdown_drain": "1s"}
FOR_EVER: dict[str, Any] = {"slow_offset": 4, "slow_for": 3600.0}
MISSED = "lambda misses its deadline: it is ended, and counts as failed"
REASON = "neither a checkpoint nor progress for 2 s (`deadline`)"


def test_a_handler_that_awaits_for_ever_is_cancelled_and_its_lambda_starts_again(embedded_stage: Stage) -> None:
    stage = embedded_stage
    stage.create_topic(1)
    stage.produce_numbers(10)
    sidecar = stage.sidecar(**DEADLINE)
    process = stage.process(sidecar, module="slow", slow_how="await", **FOR_EVER)
    line = sidecar.wait_for_log(MISSED)
    assert (line["reason"], line["checkpoint"], line["outstanding"]) == (REASON, 3, 6)
    again = sidecar.wait_for_log("partition backs off", reason=REASON)
    assert again["attempt"] == 2
    wait_for(lambda: len(stage.history.events("created")) == 2, "a second lambda")
    assert [event.start for event in stage.history.events("created")] == [0, 4]
    assert process.running()
    assert sidecar.partitions()[0].last_error.kind == admin_pb2.FAILURE_KIND_DEADLINE
    assert not sidecar.log("a lambda process is stuck, and is none that this sidecar runs: end it")


def test_a_process_that_is_stuck_is_killed_and_started_again(embedded_stage: Stage) -> None:
    """Nobody else could end it: it does not answer, and it has a spare stream all the same."""
    stage = embedded_stage
    stage.create_topic(1)
    stage.produce_numbers(10)
    command = f"python -m sdk_python.serve {NAME} {LAMBDAS}slow"
    sidecar = stage.sidecar(command=command, settings={"slow_how": "block", **FOR_EVER}, **DEADLINE)
    sidecar.wait_for_log(MISSED)
    line = sidecar.wait_for_log("killing the lambda process: it is stuck", instance=0)
    first = stage.history.pids()[0]
    assert line["pid"] == first
    wait_for(lambda: len(stage.history.pids()) == 2, "a second process")
    wait_for(lambda: len(stage.history.events("created")) >= 2, "a second lambda")
    assert [event.attempt for event in stage.history.events("created")][:2] == [1, 2]


def test_a_stuck_process_of_somebody_else_is_named_and_another_takes_over(embedded_stage: Stage) -> None:
    stage = embedded_stage
    stage.create_topic(1)
    stage.produce_numbers(10)
    sidecar = stage.sidecar(**DEADLINE)
    stage.process(sidecar, "stuck", module="slow", slow_how="block", **FOR_EVER)
    wait_for(lambda: stage.history.count() == 5, "the handler that hangs")
    stage.process(sidecar, "well")
    sidecar.wait_for_log("a lambda process is stuck, and is none that this sidecar runs: end it")
    stage.wait_until_handled()
    assert stage.history.events("created")[-1].process == "well"


def test_progress_is_shown_and_keeps_the_lambda_alive(embedded_stage: Stage) -> None:
    stage = embedded_stage
    stage.create_topic(1)
    stage.produce_numbers(10)
    sidecar = stage.sidecar(**DEADLINE)
    sidecar.wait_until_listening()
    with hand_client(sidecar.address) as hand:
        hand.offer(NAME)
        hand.take()
        hand.hear("batch")
        for number in range(5):  # each second, as a client does
            hand.say(progress=pb.Progress(text=f"{number}/5"))
            wait_for(lambda said=f"{number}/": sidecar.partitions()[0].progress.startswith(said), "the progress")  # type: ignore[misc]
            time.sleep(1.0)
        assert not sidecar.log(MISSED), "five seconds without a checkpoint, and only two are allowed"
        assert sidecar.partitions()[0].HasField("overdue_at_ms")
        revoked = hand.hear("revoked")
        assert (revoked.reason, revoked.deadline_ms) == (pb.REVOKE_REASON_DEADLINE, 1000)
        hand.close(pb.CLOSED_REASON_REVOKED, 3)
        hand.ended()
    assert sidecar.wait_for_log(MISSED)["progress"] == "4/5"
    sidecar.wait_for_log("partition backs off", attempt=2)
