"""`kafka-sidecar dead-letters` on letters that a real sidecar wrote: looked at, mended, replayed, deleted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from tests.integration.dead import check_left_out, dead_topic, failures_of, read_dead, start_failing
from tests.integration.harness import NAME, PATIENCE, Broker, Stage, wait_for
from tests.integration.workbench import (
    Workbench,
    add_letters,
    headers,
    numbers,
    read_letters,
    read_source,
    write_letters,
)
from tests.servers.secured import USER, SecuredKafka
from tests.servers.topics import Record, commit, committed, produce, read_all

REPLAY = "__kafka_sidecar.replay"


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
def test_no_group_is_made_and_none_is_moved(kafka_stage: Stage) -> None:
    stage = kafka_stage
    write_letters(stage, 3)
    commit(stage.broker.address, stage.group, dead_topic(stage), {0: 1})
    bench = Workbench(stage)
    bench.run("list")
    bench.run("replay", "--all", "--yes")
    assert committed(stage.broker.address, stage.group, dead_topic(stage)) == {0: 1}
    ours = "kafka-sidecar-dead-letters"
    assert committed(stage.broker.address, ours, dead_topic(stage)) == {}
    admin = AdminClient({"bootstrap.servers": stage.broker.address})
    known = {group.group_id for group in admin.list_consumer_groups().result(PATIENCE).valid}
    assert stage.group in known
    assert ours not in known


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
