"""`kafka-sidecar dead-letters` on letters that a real sidecar wrote: looked at, replayed, mended, deleted."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from sidecar.dead_letters.letter import Stored as StoredLetter
from tests.integration.dead import check_left_out, dead_topic, failures_of, read_dead, start_failing
from tests.integration.harness import NAME, PATIENCE, ROOT, Broker, Program, Stage, wait_for
from tests.servers.secured import USER, SecuredKafka
from tests.servers.topics import (
    Record,
    Stored,
    committed,
    create_topic,
    delete_topic,
    produce,
    read_all,
)
from tests.unit.dead_letters.letters import stored

REPLAY = "__kafka_sidecar.replay"


class Workbench:
    """The commands, with a config file of a stage."""

    def __init__(self, stage: Stage, config: dict[str, Any] | None = None) -> None:
        self.stage = stage
        path = stage.folder / "workbench.yaml"
        path.write_text(yaml.safe_dump(config or stage.config(on_critical="dead-letter")))
        self._command = [sys.executable, "-m", "sidecar", "--config", str(path), "dead-letters"]

    def run(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """What a command wrote to standard output and standard error."""
        command = [*self._command, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=2 * PATIENCE)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback (most recent call last)" not in done.stderr
        return done.stdout, done.stderr

    def groups(self, *arguments: str) -> list[dict[str, Any]]:
        """The answer of `list --json`."""
        found: list[dict[str, Any]] = json.loads(self.run("list", "--json", *arguments)[0])["groups"]
        return found

    def letters(self, *arguments: str) -> list[dict[str, Any]]:
        """The answer of `list --letters --json`."""
        said = json.loads(self.run("list", "--letters", "--json", *arguments)[0])
        found: list[dict[str, Any]] = said["letters"]
        return found

    def start(self, *arguments: str) -> Program:
        """A command that the test does not wait for."""
        return self.stage.program(" ".join(arguments), [*self._command, *arguments])


def write_letters(stage: Stage, count: int, partitions: int = 1, **fields: Any) -> None:
    """Write dead letters as the sidecar does, many at once; the source gets no records."""
    stage.create_topic(partitions)
    create_topic(stage.broker.address, dead_topic(stage), partitions)
    add_letters(stage, ((number % partitions, number // partitions) for number in range(count)), **fields)


def add_letters(
    stage: Stage, sources: Iterable[tuple[int, int]], values: Sequence[bytes] | None = None, **fields: Any
) -> None:
    """Write more of them: of these partitions and offsets of the source. By default a value is its offset."""

    def value(number: int, offset: int) -> bytes:
        return b"%d" % offset if values is None else values[number]

    def letter(number: int, partition: int, offset: int) -> StoredLetter:
        given: dict[str, Any] = {"value": value(number, offset), **fields}
        return stored(0, offset, partition=partition, source_topic=stage.topic, **given)

    letters = (letter(number, *source) for number, source in enumerate(sources))
    records = (Record(one.key, one.value, one.headers, one.place.partition) for one in letters)
    produce(stage.broker.address, dead_topic(stage), records)


def numbers(stage: Stage, topic: str = "") -> dict[int, list[int]]:
    """The numbers in a topic's values, by partition; by default of the source."""
    found: dict[int, list[int]] = {}
    for one in read_all(stage.broker.address, topic or stage.topic):
        found.setdefault(one.partition, []).append(int(one.value or b""))
    return found


def headers(record: Stored) -> dict[str, bytes | None]:
    assert record.headers is not None
    return dict(record.headers)


def test_from_failure_to_replay(stage: Stage) -> None:
    """The whole way: records fail, are listed and shown, are replayed, fail again, and pass in the end."""
    stage.create_topic(2)
    records = [Record(b"k%d" % n, b'{"n":%d}' % n, [("trace", b"t")], n % 2) for n in range(12)]
    stage.produce(records)
    dead = [(0, 1), (0, 3), (1, 0)]
    sidecar, process = start_failing(stage, [*dead, (0, 6)], fail_attempts=1000)
    bench = Workbench(stage)
    check_left_out(stage, dead)
    before = stage.committed()

    [group] = bench.groups()
    assert (group["letters"], group["open"], group["type"]) == (3, 3, "ValueError"), "one cause is one line"
    assert (group["lambdas"], group["sources"]) == ([NAME], [stage.topic])
    text, _ = bench.run("show", group["fingerprint"], "--limit", "3")
    assert text.count("ValueError: cannot read message") == 3
    assert '"n": 2' in text, "JSON is laid out"
    assert [one["source"] for one in bench.letters()] == [f"{stage.topic}/{p}/{offset}" for p, offset in dead]
    assert stage.committed() == before, "looking moves nothing"

    said, _ = bench.run("replay", "--all", "--dry-run")
    assert "to replay: 3 records" in said
    assert sum(map(len, read_numbers(stage).values())) == 12, "a dry run writes nothing"
    first = bench.letters()[0]["letter"]
    said, _ = bench.run("replay", first, "--yes")
    assert "replayed 1 of 1 record" in said

    # The record is now at offset 6 of partition 0, where it fails once more: that is a new letter.
    wait_for(lambda: len(read_letters(stage)) == 4, lambda: f"{read_dead(stage)}")
    assert failures_of(stage)[-1] == (0, 6)
    [group] = bench.groups()
    assert (group["letters"], group["open"]) == (4, 3)
    [shown] = json.loads(bench.run("show", group["newest"], "--json")[0])
    assert shown["failure"]["source"] == f"{stage.topic}/0/6"
    assert (shown["headers"], shown["value"]) == ([["trace", "t"]], '{"n":2}'), "the record is as it was"
    assert [one["source"] for one in shown["earlier_failures"]] == [f"{stage.topic}/0/1"]

    process.kill()
    stage.process(sidecar, "mended")
    said, _ = bench.run("replay", "--all", "--yes")
    assert "replayed 3 of 3 records" in said
    stage.wait_until_handled(12 + 3 - 3)
    stage.wait_until_caught_up()
    assert read_numbers(stage) == {0: [0, 2, 4, 6, 8, 10, 2, 6, 2], 1: [1, 3, 5, 7, 9, 11, 1]}, (
        "in the order of their sources: offset 3, and then offset 6"
    )
    assert "nothing to replay" in bench.run("replay", "--all", "--yes")[0], "none is replayed twice"
    assert [one["replayed"] for one in bench.letters()] == [True] * 4
    assert bench.groups("--open") == []
    last = read_all(stage.broker.address, stage.topic)[8]
    assert [one["source"] for one in json.loads(headers(last)[REPLAY] or b"")["failures"]] == [
        f"{stage.topic}/0/1",
        f"{stage.topic}/0/6",
    ]


def read_numbers(stage: Stage) -> dict[int, list[int]]:
    """The numbers in the JSON of the source's values, by partition."""
    found: dict[int, list[int]] = {}
    for one in read_all(stage.broker.address, stage.topic):
        found.setdefault(one.partition, []).append(json.loads(one.value or b"")["n"])
    return found


def read_letters(stage: Stage) -> list[Stored]:
    """The dead letters, without the marks."""
    return [one for one in read_dead(stage) if one.headers and one.headers[0][0] != "__kafka_sidecar.mark"]


def test_without_dead_letters(embedded_stage: Stage) -> None:
    bench = Workbench(embedded_stage)
    assert bench.run("list")[0] == "no dead letters\n"
    assert bench.groups() == []
    assert bench.run("show")[0] == "no dead letters\n"
    assert bench.run("export")[0] == ""
    assert "nothing to replay" in bench.run("replay", "--all", "--yes")[0]
    assert "00000000" in bench.run("show", "00000000", code=1)[1]
    assert "no partition" in bench.run("show", "nowhere/0/0", code=1)[1]
    assert "no topic nowhere" in bench.run("list", "--topic", "nowhere", code=1)[1]
    assert f"it has {NAME}" in bench.run("list", "--lambda", "nobody", code=1)[1]


def test_the_embedded_broker_says_what_it_cannot(embedded_stage: Stage) -> None:
    write_letters(embedded_stage, 1)
    bench = Workbench(embedded_stage)
    assert "cannot delete records" in bench.run("purge", "--all", "--yes", code=1)[1]
    assert "has no transactions" in bench.run("replay", "--all", "--yes")[1]
    assert numbers(embedded_stage) == {0: [0]}


def test_without_a_yes_nothing_is_written(embedded_stage: Stage) -> None:
    write_letters(embedded_stage, 1)
    _, said = Workbench(embedded_stage).run("replay", "--all", code=1)
    assert "--yes" in said
    assert numbers(embedded_stage) == {}


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


def marks(stage: Stage) -> int:
    """How many marks the dead-letter topic has."""
    return len(read_dead(stage)) - len(read_letters(stage))


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
def test_letters_are_mended_in_a_file_and_replayed(kafka_stage: Stage, tmp_path: Path) -> None:
    stage = kafka_stage
    write_letters(stage, 3, headers=(("trace", b"\xff"),))
    bench = Workbench(stage)
    exported, mended = tmp_path / "letters.jsonl", tmp_path / "mended.jsonl"
    bench.run("export", "--open", "-o", str(exported))
    lines = [json.loads(line) for line in exported.read_text().splitlines()]
    assert [one["value"] for one in lines] == ["0", "1", "2"]
    lines[1] |= {"value": "100", "key": None}
    mended.write_text("\n".join(map(json.dumps, lines[1:])))
    bench.run("replay", "--from", str(mended), "--yes")
    changed, same = read_source(stage)
    assert (changed.key, changed.value, same.key, same.value) == (None, b"100", b"k", b"2")
    assert [json.loads(headers(one)[REPLAY] or b"")["edited"] for one in (changed, same)] == [True, False]
    assert [headers(one)["trace"] for one in (changed, same)] == [b"\xff"] * 2
    assert "nothing to replay" in bench.run("replay", "--from", str(mended), "--yes")[0]
    mended.write_text("{")
    assert "mended.jsonl:1: it is no JSON" in bench.run("replay", "--from", str(mended), "--yes", code=1)[1]


def read_source(stage: Stage) -> list[Stored]:
    return read_all(stage.broker.address, stage.topic)


@pytest.mark.kafka
def test_a_value_is_edited_and_replayed(kafka_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = kafka_stage
    write_letters(stage, 4, value=b'{"amount":null,"id":1.10}')
    bench = Workbench(stage)
    names = [one["letter"] for one in bench.letters()]
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "sed -i s/null/7/")
    bench.run("edit", names[0], "--yes")
    assert [one.value for one in read_source(stage)] == [b'{"amount":7,"id":1.10}'], "laid out only for the editor"
    assert "was replayed already" in bench.run("edit", names[0], code=1)[1]
    monkeypatch.setenv("EDITOR", "true")
    assert "nothing was changed" in bench.run("edit", names[1])[0]
    monkeypatch.setenv("EDITOR", "sed -i s/null/nothing/")
    assert "was JSON and is none now" in bench.run("edit", names[1], "--yes", code=1)[1]
    assert len(read_source(stage)) == 1


@pytest.mark.kafka
def test_purge_deletes_from_the_beginning_and_says_what_stays(kafka_stage: Stage) -> None:
    stage = kafka_stage
    write_letters(stage, 10, 2)
    bench = Workbench(stage)
    dead = dead_topic(stage)
    bench.run("replay", *(f"{dead}/0/{offset}" for offset in (0, 1, 3)), "--yes")
    _, said = bench.run("purge", "--replayed", "--dry-run")
    assert len(bench.letters()) == 10
    said, told = bench.run("purge", "--replayed", "--yes")
    assert said == "deleted 2 dead letters\n"
    assert "1 chosen letter stays" in told
    left = bench.letters()
    assert [one["letter"] for one in left if one["replayed"]] == [f"{dead}/0/3"], "its mark has stayed"
    assert len(left) == 8
    assert "of which 7 were never replayed" in bench.run("purge", "--all", code=1)[1]
    assert bench.run("purge", "--all", "--yes")[0] == "deleted 8 dead letters\n"
    assert bench.run("list")[0] == "no dead letters\n"
    add_letters(stage, [(0, 77)])
    assert [one["source"] for one in bench.letters()] == [f"{stage.topic}/0/77"], "the topic goes on"


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
def test_no_group_is_made_and_none_is_moved(kafka_stage: Stage) -> None:
    stage = kafka_stage
    write_letters(stage, 3)
    bench = Workbench(stage)
    bench.run("list")
    bench.run("replay", "--all", "--yes")
    ours = "kafka-sidecar-dead-letters"
    assert committed(stage.broker.address, ours, dead_topic(stage)) == {}
    admin = AdminClient({"bootstrap.servers": stage.broker.address})
    known = {group.group_id for group in admin.list_consumer_groups().result(PATIENCE).valid}
    assert ours not in known


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


@pytest.mark.kafka
def test_odd_records_in_the_topic_are_not_shown_raw_and_not_replayed(kafka_stage: Stage) -> None:
    stage = kafka_stage
    write_letters(stage, 1, message="\x1b[2J\x9b gone\nline 2", key=b"\x1b]0;x\x07", headers=(("\x1b[1m", b"\x07"),))
    produce(stage.broker.address, dead_topic(stage), [Record(None, b"somebody's own", partition=0)])
    bench = Workbench(stage)
    [group] = bench.groups()
    for arguments in (
        ["list"],
        ["list", "--letters"],
        ["show", group["fingerprint"]],
        ["export"],
        ["list", "--json"],
    ):
        text, _ = bench.run(*arguments)
        assert all(one.isprintable() for line in text.split("\n") for one in line), text
    assert "1 record that is no dead letter" in bench.run("list")[0]
    bench.run("replay", "--all", "--yes")
    [record] = read_source(stage)
    assert record.key == b"\x1b]0;x\x07"
    assert headers(record)["\x1b[1m"] == b"\x07", "byte for byte"


@pytest.mark.kafka
def test_rights_and_passwords(secured: SecuredKafka, tmp_path: Path) -> None:
    """The right to read the topic is enough to look. What is missing for a replay is named, and so is a wrong
    password, which is not shown."""
    stage = Stage(Broker("kafka", secured.address), tmp_path, "secured-letters")
    try:
        write_letters(stage, 2)
        secured.allow([stage.topic, dead_topic(stage)])
        bench = Workbench(stage, stage.config(kafka=secured.client(), on_critical="dead-letter"))
        assert bench.groups()[0]["letters"] == 2, f"{USER} may read the topic, and no group"
        _, said = bench.run("replay", "--all", "--yes", code=1)
        assert f"Write on the transactional id kafka-sidecar-replay-{dead_topic(stage)}" in said
        assert numbers(stage) == {}
        _, said = bench.run("purge", "--all", "--yes", code=1)
        assert "Delete on the topic" in said
        wrong = Workbench(stage, stage.config(kafka=secured.client("a-wrong-secret")))
        _, said = wrong.run("list", code=1)
        assert "sasl.password" in said
        assert "a-wrong-secret" not in said
    finally:
        stage.close()


def test_no_broker_is_an_error_with_its_reason(embedded_stage: Stage) -> None:
    stage = embedded_stage
    config = stage.config(kafka={"bootstrap.servers": "127.0.0.1:1"})
    _, said = Workbench(stage, config).run("list", code=1)
    assert "127.0.0.1:1 does not answer" in said
    assert "Connection refused" in said
