"""Lambda processes that the sidecar starts itself (`command:`): they run, are restarted, and never outlive it."""

from __future__ import annotations

import os
import signal

import pytest

from tests.clients import languages
from tests.integration import checks
from tests.integration.conftest import need
from tests.integration.harness import LAMBDAS, NAME, Stage, wait_for

COMMAND = f"python -m sdk_python.serve {NAME} {LAMBDAS}recorder"


def exists(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_starts_and_comes_back_after_a_kill(embedded_stage: Stage) -> None:
    stage = embedded_stage
    stage.create_topic(2)
    stage.produce_numbers(100, 2)
    sidecar = stage.sidecar(command=COMMAND)
    stage.wait_until_handled()
    line = sidecar.wait_for_log("lambda output", line="the recorder is loaded")
    assert (line["lambda"], line["instance"], line["output"]) == (NAME, 0, "stdout")
    (process,) = sidecar.lambda_status().processes
    assert stage.history.pids() == [process.pid]

    os.kill(process.pid, signal.SIGKILL)
    stage.produce_numbers(100, 2, first=100)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    sidecar.wait_for_log("lambda process ended", level="warning")
    sidecar.wait_for_log("starting the lambda process again", seconds=0.0)
    pids = stage.history.pids()
    assert len(pids) == 2
    assert [one.pid for one in sidecar.lambda_status().processes] == pids[1:]
    checks.gapless_leases(stage.produced, stage.history.events())
    assert len(sidecar.log("partitions assigned")) == 1

    assert sidecar.terminate() == 0
    assert not exists(pids[1])
    assert stage.history.events("disposed"), "it ended in order"
    assert len(sidecar.log("starting the lambda process again")) == 1, "not started again while the sidecar ends"
    sidecar.wait_for_log("lambda process ended", level="info", exit_code=0)
    checks.all_handled(stage.produced, stage.history.events())


@pytest.mark.parametrize("language", languages.LANGUAGES)
def test_a_process_in_any_language_comes_back_after_a_kill_and_ends_with_0(
    embedded_stage: Stage, language: str
) -> None:
    need(languages.missing([language]))
    stage = embedded_stage
    stage.create_topic(2)
    stage.produce_numbers(100, 2)
    sidecar = stage.sidecar(command=[*languages.command(language, "noop"), NAME])
    stage.wait_until_caught_up()
    (process,) = sidecar.lambda_status().processes
    assert {"typescript": "node"}.get(language, language) in process.client.lower()
    os.kill(process.pid, signal.SIGKILL)
    stage.produce_numbers(100, 2, first=100)
    stage.wait_until_caught_up()
    sidecar.wait_for_log("lambda process ended", level="warning")
    (again,) = sidecar.lambda_status().processes
    assert again.pid != process.pid
    assert len(sidecar.log("partitions assigned")) == 1
    assert sidecar.terminate() == 0
    sidecar.wait_for_log("lambda process ended", level="info", exit_code=0)
    assert not exists(again.pid)


def test_several_instances_die_with_a_killed_sidecar(embedded_stage: Stage) -> None:
    stage = embedded_stage
    stage.create_topic(4)
    stage.produce_numbers(40, 4)
    sidecar = stage.sidecar(command=COMMAND.split(), instances=2, env={"KAFKA_SIDECAR_SET_label": "child"})
    stage.wait_until_handled()
    wait_for(lambda: len(sidecar.lambda_status().processes) == 2, "both instances")
    pids = stage.history.pids()
    assert len(pids) == 2
    assert {event.process for event in stage.history.events()} == {"child"}
    sidecar.kill()
    wait_for(lambda: not any(map(exists, pids)), "the lambda processes to be gone")


def test_command_that_cannot_run(embedded_stage: Stage) -> None:
    """Each failed start is logged, with growing pauses between the tries; the sidecar goes on and ends in order."""
    stage = embedded_stage
    stage.create_topic()
    sidecar = stage.sidecar(command=f"python -m sdk_python.serve {NAME} no.such.module")
    sidecar.wait_for_log("lambda output", output="stderr")
    sidecar.wait_for_log("lambda process ended", count=2, exit_code=2)
    again = sidecar.wait_for_log("starting the lambda process again", count=2)
    assert again["seconds"] > 0
    assert sidecar.lambda_status().joined is False, "without a lambda it is not in the group"
    assert sidecar.terminate() == 0
