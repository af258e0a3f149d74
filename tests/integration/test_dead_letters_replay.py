"""`dead-letters replay` when it is killed, refused, or not alone: each record is there once, in order."""

from __future__ import annotations

import random
from functools import partial

import pytest
from confluent_kafka import Producer

from tests.integration.dead import dead_topic
from tests.integration.harness import PATIENCE, Stage, wait_for
from tests.integration.workbench import Workbench, add_letters, marks, numbers, read_source, write_letters
from tests.servers.topics import create_topic, delete_topic, read_all


@pytest.mark.kafka
def test_a_replay_that_is_killed_is_finished_by_the_next(kafka_stage: Stage) -> None:
    """Whenever it is killed: each record is there once, in the order of the source."""
    stage = kafka_stage
    write_letters(stage, 3_000, 3)
    bench = Workbench(stage)
    for _ in range(3):
        before = marks(stage)
        replay = bench.start("replay", "--all", "--yes", "--rate", "200")
        wait_for(partial(_more_marks, stage, before), "another batch to be replayed")
        replay.kill()
    bench.run("replay", "--all", "--yes")
    assert numbers(stage) == {partition: [*range(1000)] for partition in range(3)}
    assert bench.letters("--open") == []


def _more_marks(stage: Stage, than: int) -> bool:
    return marks(stage) > than


@pytest.mark.kafka
def test_a_replay_that_is_stopped_says_what_is_left(kafka_stage: Stage) -> None:
    stage = kafka_stage
    write_letters(stage, 50)
    bench = Workbench(stage)
    replay = bench.start("replay", "--all", "--yes", "--rate", "10")
    wait_for(lambda: marks(stage) > 0, "a batch to be replayed")
    assert replay.terminate() == 1
    assert "stopped; start the command again" in replay.text()
    # Were the transaction still open, a consumer would not see these records, nor later ones.
    done = numbers(stage)[0]
    assert f"replayed {len(done)} of 50 records" in replay.text()
    bench.run("replay", "--all", "--yes")
    assert numbers(stage) == {0: [*range(50)]}


@pytest.mark.kafka
def test_only_one_replay_of_a_topic_runs(kafka_stage: Stage) -> None:
    """The second takes over; the first says so, and has written nothing twice."""
    stage = kafka_stage
    write_letters(stage, 200)
    bench = Workbench(stage)
    first = bench.start("replay", "--all", "--yes", "--rate", "5")
    wait_for(lambda: marks(stage) > 1, "two batches to be replayed")
    said, _ = bench.run("replay", "--all", "--yes")
    assert first.ended() == 1
    assert "was fenced: another one has begun" in first.text()
    assert numbers(stage) == {0: [*range(200)]}
    assert "replayed " in said


@pytest.mark.kafka
def test_a_topic_that_refuses_batches_gets_its_records_one_by_one(kafka_stage: Stage) -> None:
    """And a record that it refuses alone is named. Whoever is refused, nothing is written twice."""
    stage = kafka_stage
    stage.create_topic(1, {"max.message.bytes": "20000"})
    create_topic(stage.broker.address, dead_topic(stage), 1)
    # The limit is for what is stored, and that is compressed.
    noise = [random.Random(number).randbytes(9000) for number in range(8)]
    add_letters(stage, ((0, number) for number in range(8)), values=noise)
    bench = Workbench(stage)
    bench.run("replay", "--all", "--yes")
    assert [one.value for one in read_source(stage)] == noise
    add_letters(stage, [(0, 100)], value=noise[0] + noise[1] + noise[2])
    add_letters(stage, [(0, 101)], value=b"101")
    _, said = bench.run("replay", "--all", "--yes", code=1)
    name = bench.letters("--open")[0]["letter"]
    assert f"replaying {name} to {stage.topic}" in said
    assert "max.message.bytes" in said
    assert len(read_source(stage)) == len(noise)
    [other] = [one["letter"] for one in bench.letters("--open") if one["source"].endswith("/101")]
    bench.run("replay", other, "--yes")
    assert read_source(stage)[-1].value == b"101"


@pytest.mark.kafka
def test_records_go_to_another_topic(kafka_stage: Stage) -> None:
    """Where the source has changed, too: a partition that is missing there is chosen by the key."""
    stage = kafka_stage
    write_letters(stage, 6, 2)
    again = f"{stage.topic}-again"
    create_topic(stage.broker.address, again, 1)
    bench = Workbench(stage)
    assert "no topic nowhere" in bench.run("replay", "--all", "--to", "nowhere", "--yes", code=1)[1]
    assert "dead-letter topic itself" in bench.run("replay", "--all", "--to", dead_topic(stage), "--yes", code=1)[1]
    bench.run("replay", "--all", "--to", again, "--yes", "--keep-timestamps", "--no-history")
    assert sorted(numbers(stage, again)[0]) == [0, 0, 1, 1, 2, 2]
    for one in read_all(stage.broker.address, again):
        assert (one.headers, one.timestamp) == ([], 1_600_000_000_000)
    assert numbers(stage) == {}
    add_letters(stage, [(0, 9)])
    delete_topic(stage.broker.address, stage.topic)
    wait_for(lambda: f"no topic {stage.topic}" in bench.run("replay", "--all", "--yes", code=1)[1], "it is gone")


@pytest.mark.kafka
def test_another_program_s_open_transaction_may_hide_marks(kafka_stage: Stage) -> None:
    stage = kafka_stage
    write_letters(stage, 2)
    bench = Workbench(stage)
    producer = Producer({"bootstrap.servers": stage.broker.address, "transactional.id": stage.topic})
    producer.init_transactions(PATIENCE)
    producer.begin_transaction()
    producer.produce(dead_topic(stage), b"x", partition=0)
    producer.flush(PATIENCE)
    assert "open transaction of another program" in bench.run("replay", "--all", "--yes", code=1)[1]
    assert numbers(stage) == {}
    producer.abort_transaction(PATIENCE)
    bench.run("replay", "--all", "--yes")
    assert numbers(stage) == {0: [0, 1]}
