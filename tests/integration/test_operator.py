"""An operator's pause, resume and seek of one partition, while the group goes on."""

from __future__ import annotations

import time

import pytest

from sdk_python.protocol import lambda_pb2 as pb
from tests.integration import checks
from tests.integration.hand_client import hand_client
from tests.integration.harness import NAME, PATIENCE, Sidecar, Stage, Traffic, wait_for
from tests.servers.topics import Record


def order(sidecar: Sidecar, command: str, target: str, *options: str) -> str:
    """Run a command that must succeed. Returns its output."""
    done = sidecar.cli(command, target, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(sidecar: Sidecar, command: str, target: str, *options: str) -> str:
    """Run a command that must be refused. Returns the reason."""
    done = sidecar.cli(command, target, *options)
    assert done.returncode == 1, done.stdout
    return done.stderr


def test_pause_and_resume(stage: Stage) -> None:
    stage.create_topic(2)
    sidecar = stage.sidecar()
    stage.process(sidecar)
    target = f"{NAME}/{stage.topic}/1"
    with Traffic(stage, 2, 0.01):
        wait_for(lambda: len(stage.history.handled(partition=1)) > 20, "records to flow")
        said = order(sidecar, "pause", target, "--reason", "the schema is being changed")
        assert "resume" in said
        partition = sidecar.partitions()[1]
        assert sidecar.state(1) == "paused", "it stands still when the command is back"
        assert partition.reason == "the schema is being changed"
        assert not partition.process_id
        before = len(stage.history.handled(partition=1))
        others = len(stage.history.handled(partition=0))
        wait_for(lambda: len(stage.history.handled(partition=0)) > others + 50, "the other to go on")
        assert len(stage.history.handled(partition=1)) == before
        again = order(sidecar, "pause", target)
        assert "resume" in again, "twice is once"
        order(sidecar, "resume", target)
        assert "neither halted nor paused" in refused(sidecar, "resume", target)
        wait_for(lambda: len(stage.history.handled(partition=1)) > before + 20, "it to go on")
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    events = stage.history.events()
    checks.all_handled_once(stage.produced, events)
    checks.in_order(events)
    checks.leases_go_on(events, exactly=True)
    assert len(sidecar.log("partitions assigned")) == 1
    assert sidecar.lambda_status().restarts == 0


def test_seek_back_and_forth(stage: Stage) -> None:
    stage.create_topic(2)
    stage.produce_numbers(200, 2)
    sidecar = stage.sidecar()
    stage.process(sidecar)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    target = f"{NAME}/{stage.topic}/0"
    said = order(sidecar, "seek", target, "--to", "40")
    assert "40" in said
    assert "100" in said, "where it was"
    wait_for(lambda: len(stage.history.handled(partition=0)) == 160, "sixty of them again")
    runs = [event.offset for event in stage.history.handled(partition=0)]
    assert runs == [*range(100), *range(40, 100)]
    assert len(stage.history.handled(partition=1)) == 100, "the other has noticed nothing"
    stage.wait_until_caught_up()

    order(sidecar, "pause", target)
    stage.produce_numbers(200, 2, first=200)
    said = order(sidecar, "seek", target, "--to", "150")
    assert "resume" in said, "it stays paused"
    assert stage.committed()[0] == 150, "the new offset is committed at once"
    assert sidecar.state(0) == "paused"
    order(sidecar, "resume", target)
    wait_for(lambda: len(stage.history.handled(partition=0)) == 210, "the records after the new offset")
    assert [event.offset for event in stage.history.handled(partition=0)][160:] == [*range(150, 200)]
    stage.wait_until_caught_up()
    assert len(sidecar.log("partitions assigned")) == 1


def test_seek_to_a_time_and_to_the_edges(kafka_stage: Stage) -> None:
    stage = kafka_stage
    stage.create_topic()
    first = time.time_ns() // 1_000_000 - 60_000
    stage.produce([Record(value=b"%d" % n, timestamp=first + 1000 * n) for n in range(50)])
    sidecar = stage.sidecar()
    stage.process(sidecar)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    target = f"{NAME}/{stage.topic}/0"
    order(sidecar, "seek", target, "--to", f"@{first + 29_500}")
    wait_for(lambda: len(stage.history.handled()) == 70, "the twenty since then")
    order(sidecar, "seek", target, "--to", "earliest")
    wait_for(lambda: len(stage.history.handled()) == 120, "all of them")
    order(sidecar, "seek", target, "--to", "latest")
    stage.produce_numbers(1)
    wait_for(lambda: len(stage.history.handled()) == 121, "the new one")
    assert stage.history.handled()[-1].offset == 50
    why = refused(sidecar, "seek", target, "--to", "1000")
    assert "0 to 51" in why, why
    assert stage.history.handled()[-1].offset == 50
    far = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    assert "51" in order(sidecar, "seek", target, "--to", far), "nothing is so young: the end"


def test_seek_fences_the_old_lease(embedded_stage: Stage) -> None:
    stage = embedded_stage
    stage.create_topic()
    stage.produce_numbers(100)
    sidecar = stage.sidecar()
    sidecar.wait_until_listening()
    with hand_client(sidecar.address) as client:
        client.offer(NAME)
        client.take()
        assert client.hear("batch").first_offset == 0
        order(sidecar, "seek", f"{NAME}/{stage.topic}/0", "--to", "50")
        revoked = client.hear("revoked")
        assert (revoked.reason, revoked.deadline_ms) == (pb.REVOKE_REASON_SEEK, 0)
        assert client.checkpoint(80).outcome == pb.CHECKPOINT_OUTCOME_STALE_LEASE
        client.close(pb.CLOSED_REASON_REVOKED, last=90)
        with hand_client(sidecar.address) as other:
            other.offer(NAME)
            assert other.take().start_offset == 50
            assert other.hear("batch").first_offset == 50
            assert stage.committed() == {0: 50}


def test_halted_partition_is_moved_and_resumed(stage: Stage) -> None:
    stage.create_topic()
    stage.produce_numbers(20)
    sidecar = stage.sidecar()
    stage.process(sidecar, module="failing", fail_offset=7)
    sidecar.wait_for_state("halted")
    target = f"{NAME}/{stage.topic}/0"
    assert "resume" in order(sidecar, "seek", target, "--to", "10")
    assert sidecar.state(0) == "halted"
    assert "cannot be paused" in refused(sidecar, "pause", target)
    order(sidecar, "resume", target)
    wait_for(lambda: len(stage.history.handled()) == 17, "the records after it")
    assert [event.offset for event in stage.history.handled()] == [*range(7), *range(10, 20)]


@pytest.mark.parametrize("command", [["pause"], ["seek", "--to", "0"], ["resume"]])
def test_a_partition_that_this_sidecar_does_not_own(embedded_stage: Stage, command: list[str]) -> None:
    stage = embedded_stage
    stage.create_topic()
    sidecar = stage.sidecar()
    sidecar.wait_until_listening()
    name, *options = command
    why = refused(sidecar, name, f"{NAME}/{stage.topic}/7", *options)
    assert f"{stage.topic}/7 is not assigned to this sidecar now" in why
    assert "there is no lambda 'eco'" in refused(sidecar, name, f"eco/{stage.topic}/7", *options)


@pytest.mark.parametrize("protocol", ["range", "cooperative-sticky"])
def test_a_pause_holds_while_the_partition_is_ours(kafka_stage: Stage, protocol: str) -> None:
    """A second member joins and leaves: with `range` all partitions are revoked and assigned again each time."""
    stage = kafka_stage
    stage.create_topic(2)
    kafka = {"partition.assignment.strategy": protocol}
    first = stage.sidecar(kafka=kafka)
    stage.process(first)
    first.wait_for_state("running", 0)
    first.wait_for_state("running", 1)
    for partition in (0, 1):
        done = first.cli("pause", f"{NAME}/{stage.topic}/{partition}", "--reason", "upgrade")
        assert done.returncode == 0, done.stderr
    second = stage.sidecar(label="second", kafka=kafka)
    stage.process(second, "p2")
    second.wait_for_log("joining the group")
    wait_for(lambda: len(first.partitions()) == len(second.partitions()) == 1, "each to have one", 2 * PATIENCE)
    [kept] = first.partitions()
    first.wait_for_state("paused", kept)
    assert first.partitions()[kept].reason == "upgrade"
    ended = first.wait_for_log("an operator's pause ended: the partition is not this sidecar's any more")
    assert ended["partition"] != kept
    stage.produce_numbers(10, 2)
    wait_for(lambda: len(stage.history.handled(partition=1 - kept)) == 5, "what the second has")
    assert stage.history.handled(partition=kept) == []
