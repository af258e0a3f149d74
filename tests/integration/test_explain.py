"""`kafka-sidecar explain` on real sidecars: each cause is made, and has to be named, with its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from random import randbytes
from typing import Any

import pytest

from sidecar.commands.status.selection import narrowed, parse_chosen
from sidecar.explain import explain
from tests.integration.dead import dead_topic, start_failing
from tests.integration.harness import LAMBDAS, NAME, Broker, Sidecar, Stage, wait_for
from tests.servers.process import free_ports
from tests.servers.secured import SecuredKafka
from tests.servers.topics import Record, create_topic, delete_topic, partition_count

WELL, NEEDS_A_PERSON = 0, 4


def explained(sidecar: Sidecar, cause: str, code: int, *which: str, urgency: str = "") -> dict[str, Any]:
    """Wait until the most urgent finding has this cause (and urgency). Returns what the command then says; its exit
    code has to be ``code``."""
    chosen = [parse_chosen(one) for one in which]

    def said() -> list[str]:
        findings = explain(narrowed(sidecar.status(), chosen))
        return [f"{one.cause} {one.urgency.name.lower()}: {one.text}" for one in findings]

    wanted = f"{cause} {urgency}"
    wait_for(lambda: (said() or [""])[0].startswith(wanted), lambda: f"{wanted}; it says: {said()}")
    done = sidecar.cli("explain", "--json", *which)
    assert done.returncode == code, done.stdout + done.stderr
    first: dict[str, Any]
    first, *_ = json.loads(done.stdout)["findings"]
    assert first["cause"] == cause, first
    return first


def test_nothing_to_do_and_no_process(stage: Stage) -> None:
    stage.create_topic(4)
    stage.produce_numbers(40, 4)
    sidecar = stage.sidecar()
    finding = explained(sidecar, "no-process", NEEDS_A_PERSON, urgency="act")
    assert finding["partitions"] == []
    assert f"has no lambda process, so the sidecar is not in group {stage.group}" in finding["text"]
    process = stage.process(sidecar)
    stage.wait_until_caught_up()
    finding = explained(sidecar, "nothing-to-do", WELL)
    assert finding["text"].startswith(f"4 partitions of {stage.topic} (0-3) have nothing to do")
    process.kill()
    finding = explained(sidecar, "no-process", NEEDS_A_PERSON, urgency="act")
    assert len(finding["partitions"]) == 4
    assert "wait" in finding["text"]


def test_a_full_window(stage: Stage) -> None:
    stage.create_topic(2)
    stage.produce_numbers(200, 2)
    sidecar = stage.sidecar(window={"messages": 10}, stall_after="2s")
    process = stage.process(sidecar, silent=[1])
    finding = explained(sidecar, "window-full", NEEDS_A_PERSON, urgency="act")
    text = finding["text"]
    assert text.startswith(f"{stage.topic}/1 is not moving: its window is full (10 messages since ")
    (pid,) = stage.history.pids()
    assert f"(pid {pid}) has not checkpointed yet" in text
    assert "All that it got is handled, up to offset 9: only the checkpoint is missing." in text
    assert "Kafka is 100 messages ahead." in text
    assert finding["commands"] == [f"kafka-sidecar pause {NAME}/{stage.topic}/1"]
    assert explained(sidecar, "nothing-to-do", WELL, f"{NAME}/{stage.topic}/0")["partitions"][0]["partition"] == 0
    assert process.running()


@pytest.mark.parametrize("how", ["await", "block"])
def test_a_handler_that_blocks(embedded_stage: Stage, how: str) -> None:
    stage = embedded_stage
    stage.create_topic()
    stage.produce_numbers(10)
    sidecar = stage.sidecar(stall_after="2s")
    stage.process(sidecar, module="slow", slow_offset=4, slow_for=30.0, slow_how=how)
    finding = explained(sidecar, "handler-blocks", NEEDS_A_PERSON, urgency="act")
    assert "is not moving: a handler does not return" in finding["text"]
    # A loop that is blocked cannot send the checkpoints that were called just before.
    progress = "since offset 3" if how == "await" else "yet"
    assert f"has not checkpointed {progress}, for " in finding["text"]


def test_a_process_that_crashes(embedded_stage: Stage) -> None:
    stage = embedded_stage
    stage.create_topic()
    sidecar = stage.sidecar(command=f"python -m sdk_python.serve {NAME} no.such.module")
    finding = explained(sidecar, "process-ends", NEEDS_A_PERSON, urgency="act")
    assert f"The sidecar runs process 0 (python) for {NAME}, which ended soon after its start" in finding["text"]
    assert "it ended with exit code 2" in finding["text"]
    assert "no.such.module" in finding["text"]


def test_a_halted_partition_and_one_that_backs_off(embedded_stage: Stage) -> None:
    stage = embedded_stage
    stage.create_topic(2)
    stage.produce_numbers(20, 2)
    sidecar = stage.sidecar()
    process = stage.process(sidecar, module="failing", fail_offset=3)
    finding = explained(sidecar, "halted", NEEDS_A_PERSON, urgency="act")
    target = f"{NAME}/{stage.topic}/0"
    assert finding["text"].startswith(f"{stage.topic}/0 has been halted at offset 3 since ")
    assert "cannot read message 3. Kafka is 7 messages ahead." in finding["text"]
    assert finding["commands"] == [f"kafka-sidecar resume {target}", f"kafka-sidecar resume {target} --skip"]
    process.kill()
    assert sidecar.cli("resume", target).returncode == 0
    stage.process(sidecar, "p2", module="failing", fail_offset=3, fail_how="restart")
    finding = explained(sidecar, "backing-off", NEEDS_A_PERSON, urgency="look")
    assert "lambda_error: the store is away." in finding["text"]
    assert "Nothing after offset 2 is processed yet." in finding["text"]


def test_a_partition_paused_by_an_operator_and_by_its_lambda(embedded_stage: Stage, tmp_path: Path) -> None:
    stage = embedded_stage
    stage.create_topic(2)
    down = tmp_path / "down"
    sidecar = stage.sidecar()
    stage.process(sidecar, module="breaker", down=str(down))
    sidecar.wait_for_state("running", 0)
    sidecar.wait_for_state("running", 1)
    target = f"{NAME}/{stage.topic}/1"
    assert sidecar.cli("pause", target, "--reason", "migration").returncode == 0
    finding = explained(sidecar, "paused-by-operator", NEEDS_A_PERSON, target, urgency="look")
    assert ": migration." in finding["text"]
    assert finding["commands"] == [f"kafka-sidecar resume {target}"]
    down.touch()
    stage.produce([Record(value=b"x", partition=0)])
    finding = explained(sidecar, "paused-by-lambda", NEEDS_A_PERSON, f"{NAME}/{stage.topic}/0", urgency="look")
    assert ": the store is away." in finding["text"]
    down.unlink()
    explained(sidecar, "nothing-to-do", WELL, f"{NAME}/{stage.topic}/0")


@pytest.mark.kafka
def test_a_dead_letter_that_cannot_be_written(kafka_stage: Stage) -> None:
    stage = kafka_stage
    create_topic(stage.broker.address, dead_topic(stage), 1, {"max.message.bytes": "2000"})
    stage.create_topic()
    stage.produce(Record(value=randbytes(5000), partition=0) for _ in range(6))
    sidecar, _ = start_failing(stage, [(0, 3)])
    finding = explained(sidecar, "dead-letter-failed", NEEDS_A_PERSON, urgency="act")
    assert "the dead letter for offset 3 cannot be written" in finding["text"]
    assert "Nothing is lost" in finding["text"]


@pytest.mark.kafka
def test_an_offset_that_is_lost(kafka_stage: Stage) -> None:
    """The topic is deleted and made anew while nobody looks."""
    stage = kafka_stage
    stage.create_topic()
    stage.produce_numbers(5)
    sidecar = stage.sidecar(on_offset_lost="halt")
    process = stage.process(sidecar)
    stage.wait_until_caught_up()
    delete_topic(stage.broker.address, stage.topic)
    wait_for(lambda: partition_count(stage.broker.address, stage.topic) == 0, "the topic to be gone")
    stage.create_topic()
    finding = explained(sidecar, "offset-lost", NEEDS_A_PERSON, urgency="act")
    assert "What the log no longer has cannot be processed." in finding["text"]
    assert process.running()


def test_kafka_is_away(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    stage = Stage(Broker("kafka", f"127.0.0.1:{port}"), tmp_path, "away")
    try:
        sidecar = stage.sidecar()
        stage.process(sidecar)
        finding = explained(sidecar, "kafka-away", NEEDS_A_PERSON, urgency="act")
        assert f"{NAME} gets nothing: Kafka cannot be reached" in finding["text"]
        assert "Connection refused" in finding["text"]
    finally:
        stage.close()


def test_a_topic_is_missing(stage: Stage) -> None:
    sidecar = stage.sidecar()
    stage.process(sidecar)
    finding = explained(sidecar, "topic-missing", NEEDS_A_PERSON, urgency="act")
    assert f"A topic of {NAME} does not exist: missing topics: {stage.topic}." in finding["text"]
    stage.create_topic()
    explained(sidecar, "nothing-to-do", WELL)


@pytest.mark.kafka
def test_the_group_refuses_us(kafka_stage: Stage) -> None:
    stage = kafka_stage
    stage.create_topic()
    other = stage.member_with_another_assignor()
    sidecar = stage.sidecar()
    stage.process(sidecar)
    finding = explained(sidecar, "group-refused", NEEDS_A_PERSON, urgency="act")
    assert f"{NAME} gets no partitions: Kafka refuses us in group {stage.group}" in finding["text"]
    other.close()
    explained(sidecar, "nothing-to-do", WELL)


@pytest.mark.kafka
def test_wrong_credentials_and_a_missing_right(secured_stage: Stage, secured: SecuredKafka) -> None:
    stage = secured_stage
    stage.create_topic()
    sidecar = stage.sidecar(kafka=secured.client("wrong"))
    stage.process(sidecar)
    finding = explained(sidecar, "wrong-credentials", NEEDS_A_PERSON, urgency="act")
    assert "since Kafka refuses the credentials" in finding["text"]
    assert "Authentication failed" in finding["text"]
    secured.allow([stage.topic])
    second = stage.sidecar(label="second", kafka=secured.client())
    stage.process(second, "p2")
    finding = explained(second, "not-authorised", NEEDS_A_PERSON)
    assert f"{NAME} lacks a right in Kafka" in finding["text"]


def test_corrupt_documents(embedded_stage: Stage) -> None:
    stage = embedded_stage
    stage.create_topic()
    stage.produce([Record(b"a", b"%d" % number, partition=0) for number in range(6)])
    sidecar = stage.sidecar()
    stage.process(sidecar, module="documents", fail_records=[(0, 2)], document_router={"corrupt_documents": "skip"})
    finding = explained(sidecar, "corrupt-documents", NEEDS_A_PERSON, urgency="look")
    assert "There is 1 corrupt document (a)." in finding["text"]


def test_a_part_that_is_not_there(embedded_stage: Stage) -> None:
    stage = embedded_stage
    stage.create_topic()
    sidecar = stage.sidecar(command=f"python -m sdk_python.serve {NAME} {LAMBDAS}recorder")
    sidecar.wait_for_state("running")
    for which, why in (
        ("nobody", f"there is no lambda 'nobody'; there are: {NAME}"),
        (f"{NAME}/{stage.topic}/7", f"is not assigned to this sidecar now; {NAME} has: {stage.topic}/0"),
    ):
        done = sidecar.cli("explain", which)
        assert done.returncode == 1
        assert why in done.stderr
