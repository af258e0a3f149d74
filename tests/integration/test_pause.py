"""A lambda whose dependency is down pauses its partition: the lambda and its offset stay, nothing is restarted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sdk_python.protocol import admin_pb2
from tests.integration import checks
from tests.integration.harness import NAME, Program, Sidecar, Stage, wait_for


def begin(stage: Stage, down: Path, **settings: Any) -> tuple[Sidecar, Program]:
    """Let two partitions handle a hundred records, then take the store down."""
    stage.create_topic(2)
    stage.produce_numbers(100, 2)
    sidecar = stage.sidecar()
    process = stage.process(sidecar, module="breaker", down=str(down), **settings)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    down.touch()
    stage.produce_numbers(400, 2, first=100)
    return sidecar, process


def wait_until_paused(sidecar: Sidecar) -> list[admin_pb2.Partition]:
    """Wait until both partitions are paused."""
    wait_for(lambda: {sidecar.state(n) for n in (0, 1)} == {"paused"}, "both to be paused")
    return [*sidecar.partitions().values()]


def check_nothing_was_restarted(stage: Stage, sidecar: Sidecar) -> None:
    events = stage.history.events()
    checks.all_handled_once(stage.produced, events)
    checks.in_order(events)
    assert len(stage.history.events("created")) == 2, "the lambdas of the beginning are those of the end"
    assert sidecar.lambda_status().restarts == 0
    assert len(sidecar.log("partitions assigned")) == 1


def test_the_store_is_down_and_comes_back(stage: Stage, tmp_path: Path) -> None:
    down = tmp_path / "down"
    sidecar, _ = begin(stage, down)
    wait_until_paused(sidecar)
    # The broker stores the commit a moment before the sidecar gets the response.
    wait_for(lambda: {one.committed for one in sidecar.partitions().values()} == {50}, "the commit to be known")
    for partition in sidecar.partitions().values():
        assert partition.reason == "the store is away"
        assert partition.process_id, "it keeps its lambda"
        assert partition.attempt == 1
        assert (partition.checkpoint, partition.committed) == (49, 50), "it keeps its offset"
        assert not partition.HasField("resumes_at_ms")
    shown = sidecar.cli("status").stdout
    assert "paused" in shown
    assert "the store is away" in shown
    down.unlink()
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    check_nothing_was_restarted(stage, sidecar)


def test_the_message_that_met_the_outage_need_not_be_repeated(stage: Stage, tmp_path: Path) -> None:
    down = tmp_path / "down"
    sidecar, _ = begin(stage, down, again=False)
    wait_until_paused(sidecar)
    down.unlink()
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    check_nothing_was_restarted(stage, sidecar)


def test_a_pause_ends_by_itself(stage: Stage, tmp_path: Path) -> None:
    down = tmp_path / "down"
    sidecar, _ = begin(stage, down, retry_after=0.3)
    for partition in wait_until_paused(sidecar):
        assert partition.HasField("resumes_at_ms")
    wait_for(lambda: len(stage.history.events("failing")) >= 6, "it to be tried again and again")
    offsets = {(event.partition, event.offset) for event in stage.history.events("failing")}
    assert offsets == {(0, 50), (1, 50)}, "always at the same message"
    down.unlink()
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    check_nothing_was_restarted(stage, sidecar)


def test_operator_ends_the_pause(embedded_stage: Stage, tmp_path: Path) -> None:
    stage = embedded_stage
    down = tmp_path / "down"
    sidecar, _ = begin(stage, down, retry_after=3600.0)
    wait_until_paused(sidecar)
    down.unlink()
    for number in (0, 1):
        done = sidecar.cli("resume", f"{NAME}/{stage.topic}/{number}")
        assert done.returncode == 0, done.stderr
        assert "from offset 50" in done.stdout
    stage.wait_until_handled()
    check_nothing_was_restarted(stage, sidecar)


@pytest.mark.parametrize("end", ["process", "process killed", "sidecar"])
def test_what_ends_a_paused_partition(stage: Stage, tmp_path: Path, end: str) -> None:
    """The pause ends with its lambda: the next lambda gets the messages, and nothing is lost or done twice."""
    down = tmp_path / "down"
    sidecar, process = begin(stage, down)
    wait_until_paused(sidecar)
    if end == "process killed":
        process.kill()
    else:
        assert (sidecar if end == "sidecar" else process).terminate() == 0
    down.unlink()
    if end == "sidecar":
        sidecar = stage.sidecar(sidecar.config, "sidecar2")
    else:
        stage.process(sidecar, "p2", module="breaker", down=str(down))
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    events = stage.history.events()
    checks.all_handled_once(stage.produced, events)
    checks.in_order(events)
    checks.gapless_leases(stage.produced, stage.history.events(process="p2"))
