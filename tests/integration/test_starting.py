"""Starting: the sidecar reports once what is missing and waits for it; a lost offset is logged with its numbers."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from tests.integration import checks
from tests.integration.harness import NAME, PATIENCE, Broker, Program, Sidecar, Stage, wait_for, written
from tests.servers.tansu import TansuServer
from tests.servers.topics import delete_topic

QUICK = {"session.timeout.ms": 2000, "heartbeat.interval.ms": 500}


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_broker_starts_later(tmp_path: Path) -> None:
    port = free_port()
    stage = Stage(Broker("embedded", f"127.0.0.1:{port}"), tmp_path, "later")
    try:
        # The lambda process starts first: it needs no sidecar to start, and waits.
        early = stage.process(f"unix://{tmp_path}/sidecar.sock")
        early.wait_for_log("", count=1)
        sidecar = stage.sidecar()
        sidecar.wait_for_log("Kafka cannot be reached", level="warning")
        assert sidecar.health() == "NOT_SERVING"
        wait_for(lambda: sidecar.lambda_status().problem, "the status to say so too")
        status = sidecar.lambda_status()
        assert not status.connected
        assert not status.joined
        assert "Kafka cannot be reached" in status.problem
        with TansuServer(port) as server:
            assert server.address == stage.broker.address
            stage.create_topic()
            stage.produce_numbers(5)
            sidecar.wait_for_log("connected to Kafka")
            wait_for(lambda: sidecar.health() == "SERVING", "health")
            stage.wait_until_handled()
            stage.wait_until_caught_up()
            assert sidecar.lambda_status().problem == ""
            assert len(sidecar.log("Kafka cannot be reached")) == 1, "said once"
        # The broker is down again: that is reported again, and the health is NOT_SERVING.
        sidecar.wait_for_log("Kafka cannot be reached", count=2)
        wait_for(lambda: sidecar.health() == "NOT_SERVING", "health")
        assert sidecar.running()
        assert sidecar.terminate() == 0
        assert early.running(), "the lambda process waits for the next sidecar"
    finally:
        stage.close()


def test_the_topic_is_created_later(stage: Stage) -> None:
    sidecar = stage.sidecar()
    stage.process(sidecar)
    missing = sidecar.wait_for_log("the topic does not exist", level="warning")
    assert missing["topic"] == stage.topic
    wait_for(lambda: stage.topic in sidecar.lambda_status().problem, "the status to name it")
    until = time.monotonic() + 2.5
    wait_for(lambda: time.monotonic() > until, "some more looks at it")
    assert len(sidecar.log("the topic does not exist")) == 1, "said once"
    stage.create_topic(2)
    stage.produce_numbers(10, 2)
    sidecar.wait_for_log("the topic is there now")
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    assert sidecar.lambda_status().problem == ""


def test_start_latest(kafka_stage: Stage) -> None:
    # Real Kafka only: the embedded broker's end offsets are wrong.
    stage = kafka_stage
    stage.create_topic(2)
    stage.produce_numbers(10, 2)
    sidecar = stage.sidecar(start="latest")
    first = stage.process(sidecar)
    sidecar.wait_for_log("no committed offset: starting at the latest")
    # The start offset is committed without any record: a restart does not skip records that come meanwhile.
    wait_for(lambda: stage.committed() == {0: 5, 1: 5}, lambda: f"{stage.committed()}")
    assert sidecar.terminate() == 0
    new = stage.produce_numbers(10, 2, first=10)
    stage.sidecar(sidecar.config, "again")
    stage.wait_until_handled(10)
    stage.wait_until_caught_up()
    checks.all_handled_once(new, stage.history.events())
    assert first.running()


def prepare_lost(stage: Stage, policy: str) -> tuple[Sidecar, Program]:
    """Five of twenty records are done; then the log starts at 12. Start a sidecar with ``policy``."""
    stage.create_topic()
    stage.produce_numbers(5)
    sidecar = stage.sidecar(on_offset_lost=policy)
    process = stage.process(sidecar)
    stage.wait_until_handled()
    assert sidecar.terminate() == 0
    assert stage.committed() == {0: 5}
    stage.produce_numbers(15, first=5)
    admin = AdminClient({"bootstrap.servers": stage.broker.address})
    begin = TopicPartition(stage.topic, 0, 12)
    assert [one.result(10).low_watermark for one in admin.delete_records([begin]).values()] == [12]
    return stage.sidecar(sidecar.config, "again"), process


@pytest.mark.kafka
@pytest.mark.parametrize(("policy", "first"), [("earliest", 12), ("latest", 20)])
def test_committed_offset_is_gone(kafka_stage: Stage, policy: str, first: int) -> None:
    stage = kafka_stage
    sidecar, _ = prepare_lost(stage, policy)
    line = sidecar.wait_for_log(f"offset lost: going on at the {policy}", level="error", partition=0)
    assert (line["offset"], line["earliest"], line["latest"]) == (5, 12, 20)
    wait_for(lambda: stage.committed() == {0: 20}, lambda: f"{stage.committed()}")
    stage.produce_numbers(5, first=20)
    stage.wait_until_handled(5 + 25 - first)
    stage.wait_until_caught_up()
    assert [event.offset for event in stage.history.handled()] == [*range(5), *range(first, 25)]


@pytest.mark.kafka
def test_committed_offset_is_gone_and_an_operator_decides(kafka_stage: Stage) -> None:
    stage = kafka_stage
    sidecar, _ = prepare_lost(stage, "halt")
    line = sidecar.wait_for_log("offset lost: halting", level="error", partition=0)
    assert (line["offset"], line["earliest"], line["latest"]) == (5, 12, 20)
    reason = sidecar.wait_for_state("halted").reason
    assert "offset 5 is not in the log, which has 12 to 20" in reason
    assert stage.committed() == {0: 5}
    target = f"{NAME}/{stage.topic}/0"
    refused = sidecar.cli("resume", target, "--skip")
    assert refused.returncode == 1
    assert "resume without --skip" in refused.stderr
    assert sidecar.cli("resume", target).returncode == 0
    stage.wait_until_handled(5 + 8)
    stage.wait_until_caught_up()
    assert [event.offset for event in stage.history.handled()] == [*range(5), *range(12, 20)]


@pytest.mark.kafka
def test_a_topic_is_deleted_and_recreated(kafka_stage: Stage) -> None:
    stage = kafka_stage
    stage.create_topic()
    stage.produce_numbers(20)
    sidecar = stage.sidecar(kafka={"topic.metadata.refresh.interval.ms": 500})
    stage.process(sidecar)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    delete_topic(stage.broker.address, stage.topic)
    # A new topic with the same name and fewer records than were done of the old one.
    wait_for(lambda: not topic_is_there(stage), "the topic to be gone")
    stage.create_topic()
    old = len(stage.history.handled())
    stage.produce_numbers(5)
    wait_for(lambda: len(stage.history.handled()) == old + 5, "the new records")
    assert [event.offset for event in stage.history.handled()[old:]] == [0, 1, 2, 3, 4]
    stage.wait_until_caught_up()
    wait_for(lambda: sidecar.log("offset lost") or sidecar.log("no committed offset"), "said, not done in silence")


def topic_is_there(stage: Stage) -> bool:
    """Whether the broker still shows the topic."""
    admin = AdminClient({"bootstrap.servers": stage.broker.address})
    return stage.topic in admin.list_topics(timeout=PATIENCE).topics


@pytest.mark.alone
def test_embedded_broker_of_the_config(embedded: Broker, tmp_path: Path) -> None:
    """With only `bootstrap.servers: embedded` the broker starts, and the first record comes soon."""
    stage = Stage(embedded, tmp_path, "own-broker")
    try:
        config = stage.config()
        config["kafka"] = {"bootstrap.servers": "embedded"}
        sidecar = stage.sidecar(config)
        own = sidecar.wait_for_log("embedded broker started")["address"]
        stage.broker = Broker("embedded", own)
        stage.create_topic(2)
        stage.produce_numbers(10, 2)
        stage.process(sidecar)
        joins = sidecar.wait_for_log("joining the group")
        stage.wait_until_handled()
        took = stage.history.handled()[-1].utc - written(joins)
        stage.wait_until_caught_up()
        # It takes 1 s; on a busy machine more. With the client's default session timeout a join takes 23 s there.
        assert took < 15.0, f"from joining to the last of ten records it took {took:.1f} s"
        assert sidecar.terminate() == 0
    finally:
        stage.close()


@pytest.mark.alone
def test_membership_follows_the_lambda_processes(stage: Stage) -> None:
    stage.create_topic()
    stage.produce_numbers(5)
    sidecar = stage.sidecar(leave_group_after="700ms")
    sidecar.wait_for_log("connected to Kafka")
    status = sidecar.lambda_status()
    assert (status.connected, status.joined, len(status.partitions)) == (True, False, 0)
    wait_for(lambda: sidecar.health() == "SERVING", "health: it does not depend on lambda processes")
    process = stage.process(sidecar)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    assert sidecar.lambda_status().joined
    assert process.terminate() == 0
    leaves = sidecar.wait_for_log("no lambda process: leaving the group")
    stayed = written(leaves) - stage.history.events("closed")[-1].utc
    assert 0.69 < stayed < 30.0, (
        f"700 ms from the end of the last lambda on, and not the default of 60 s: {stayed:.2f} s"
    )
    wait_for(lambda: not sidecar.lambda_status().partitions, "no partitions")
    wait_for(lambda: not sidecar.lambda_status().joined, "it to have left")
    stage.produce_numbers(5, first=5)
    stage.process(sidecar, "p2")
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    checks.all_handled_once(stage.produced, stage.history.events())
    assert len(sidecar.log("joining the group")) == 2


def test_sidecar_is_killed_under_running_processes(stage: Stage) -> None:
    stage.create_topic(4)
    stage.produce_numbers(200, 4)
    sidecar = stage.sidecar(kafka=QUICK)
    processes = [stage.process(sidecar, label, handler_takes=0.002) for label in ("p1", "p2")]
    stage.wait_until_handled(100)
    sidecar.kill()
    # The killed sidecar stays a member until its session expires.
    sidecar = stage.sidecar(sidecar.config, "again")
    stage.produce_numbers(200, 4, first=200)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    events = stage.history.events()
    checks.all_handled(stage.produced, events)
    checks.gapless_leases(stage.produced, events)
    checks.leases_go_on(events)
    assert all(process.running() for process in processes)
    assert {event.reason for event in stage.history.events("closed")} == {"error"}
    assert [process.terminate() for process in processes] == [0, 0]
