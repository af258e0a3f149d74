"""The commands without Kafka: what they refuse, and what they print."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from sidecar.cli import main
from sidecar.commands.dead_letters import dead_letters, render
from sidecar.commands.dead_letters.editor import edited, one_place
from sidecar.commands.dead_letters.targets import checked, plan_text
from sidecar.config import Config, load
from sidecar.dead_letters.choice import Choice
from sidecar.dead_letters.groups import grouped
from sidecar.dead_letters.letter import Place, Stored
from sidecar.dead_letters.plan import Step, replay_plan
from sidecar.dead_letters.topics import consumers, dead_letter_topics
from tests.unit.dead_letters.letters import DEAD, contents, letter, mark, stored

EVIL = "\x1b[2J\x9b\u202e"
CONFIG = """
kafka: {bootstrap.servers: SERVERS, sasl.password: hunter2}
lambdas:
  billing: {topic: orders, group: billing, on_critical: dead-letter}
  audit: {topics: [orders, ^audit-.*], group: audit, on_critical: dead-letter, dead_letter_topic: dead}
"""

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """A function that runs `kafka-sidecar dead-letters` with a config for these servers."""
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name.startswith("KAFKA_SIDECAR_"):
            monkeypatch.delenv(name)

    def run(*arguments: str, servers: str = "embedded") -> Result:
        Path("config.yaml").write_text(CONFIG.replace("SERVERS", servers))
        return CliRunner().invoke(main, ["dead-letters", *arguments], prog_name="kafka-sidecar")

    return run


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.replace("SERVERS", "localhost:9092"))
    return load(path, {})


def test_each_command_has_examples(invoke: Invoke) -> None:
    assert "kafka-sidecar dead-letters list" in invoke("--help").output
    for name in dead_letters.commands:
        assert f"\n    kafka-sidecar dead-letters {name}" in invoke(name, "--help").output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["replay"], "which letters?"),
        (["replay", "7f3a9c21", "--all"], "which letters?"),
        (["replay", "--all", "--from", "config.yaml"], "which letters?"),
        (["replay", "--all", "--rate", "0"], "--rate"),
        (["replay", "--from", "nowhere"], "nowhere"),
        (["purge"], "which letters?"),
        (["purge", "7f3a9c21", "--all"], "which letters?"),
        (["purge", "--all", "--replayed"], "exclude each other"),
        (["list", "7f3a"], "TOPIC/PARTITION/OFFSET"),
        (["edit", "7f3a9c21"], "is a group"),
        (["edit", "t/0"], "TOPIC/PARTITION/OFFSET"),
    ],
)
def test_a_wrong_command_line(invoke: Invoke, arguments: list[str], text: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert text in result.stderr


@pytest.mark.parametrize("command", [["list"], ["show"], ["export"], ["replay", "--all"], ["purge", "--all"]])
def test_only_the_sidecar_knows_where_its_embedded_broker_is(invoke: Invoke, command: list[str]) -> None:
    result = invoke(*command)
    assert result.exit_code == 1
    assert "embedded:9092" in result.stderr


def test_a_wrong_config(invoke: Invoke) -> None:
    result = invoke("list", servers="localhost:x")
    assert result.exit_code == 2
    assert "no valid port" in result.stderr
    assert "hunter2" not in result.output


def test_which_topics_have_dead_letters(config: Config) -> None:
    existing = [
        DEAD,
        "orders",
        "dead",
        "orders.audit.dead-letter",
        "audit-7.audit.dead-letter",
        "x.billing.dead-letter",
    ]
    assert dead_letter_topics(config, existing, "billing") == [DEAD]
    of_audit = ["audit-7.audit.dead-letter", "dead", "orders.audit.dead-letter"]
    assert dead_letter_topics(config, existing, "audit") == of_audit
    assert dead_letter_topics(config, existing) == sorted([*of_audit, DEAD])
    assert (consumers(config, "orders"), consumers(config, "audit-1")) == (["billing", "audit"], ["audit"])


def test_ten_thousand_letters_of_one_cause_are_one_line() -> None:
    records = [stored(n, message=f"order {n} has no amount", failed_at=1e9 + n) for n in range(10_000)]
    records += [stored(10_000, kind="KeyError", failed_at=5e8), mark(10_001, Place(DEAD, 0, 3))]
    found = contents(*records)
    text = render.groups_text(grouped(found, found.letters.values()), found)
    heading, columns, first, second = text.split("\n")
    assert heading == f"{DEAD}: 10001 dead letters of billing from orders, 10000 open"
    assert columns.split() == ["FINGERPRINT", "LETTERS", "OPEN", "FIRST", "FAILURE", "LAST", "FAILURE", "ERROR"]
    assert first.split()[1:5] == ["10000", "9999", "2001-09-09T01:46:40.000Z", "2001-09-09T04:33:19.000Z"]
    assert first.endswith("ValueError: order 9999 has no amount"), "the latest one"
    assert "KeyError: cannot" in second


def evil(offset: int) -> Stored:
    names = {"message": f"{EVIL}\n{EVIL}", "kind": EVIL, "lambda_name": EVIL, "version": EVIL, "group": EVIL}
    return stored(offset, key=EVIL.encode(), value=EVIL.encode(), headers=((EVIL, EVIL.encode()),), **names)  # type: ignore[arg-type]


def test_no_text_from_elsewhere_reaches_the_terminal_raw(config: Config) -> None:
    found = contents(evil(0), evil(1))
    one = found.letters[Place(DEAD, 0, 0)]
    texts = [
        render.groups_text(grouped(found, found.letters.values()), found),
        render.letters_text(found.letters.values(), found),
        render.letter_text(one, evil(0), False, True),
        plan_text(config, [Step(one)], None),
    ]
    for text in texts:
        assert all(line.isprintable() for line in text.split("\n"))
        assert "\\x1b[2J" in text


def test_a_letter_in_full_and_in_short() -> None:
    long = json.dumps({"a": "x" * 10_000})
    one = stored(0, 9, key=bytes(range(20)), value=long.encode(), headers=(("null", None), ("empty", b"")))
    of = letter(0, 9, key=bytes(range(20)), value=long.encode(), headers=(("null", None), ("empty", b"")))
    short, full = (render.letter_text(of, one, True, full) for full in (False, True))
    assert "--full shows them" in short
    assert len(short) < 6_000
    assert len(full) > 10_000
    for text in (short, full):
        assert f"letter    {DEAD}/0/0, fingerprint {of.fingerprint}, replayed" in text
        assert "source    orders/0/9, 2020-09-13T12:26:40.000Z (create_time)" in text
        assert "00000000  00 01 02" in text
        assert '{\n    "a": "xxx' in text
        assert "  null: null\n  empty: 0 bytes\n" in text
        assert "stack\n  line 1\n  line 2" in text


def test_the_plan_says_where_records_go_and_who_else_gets_them(config: Config) -> None:
    steps = replay_plan(contents(stored(0, 7), stored(1, 7), stored(2, 9)), Choice())
    text = plan_text(config, steps, None)
    assert text.split("\n") == [
        "to replay: 2 records, which 1 more letter is about too",
        f"  {steps[0].letter.fingerprint}  2  ValueError: cannot",
        "  to orders/0  2 records  from offsets 7 to 9",
        "note: all groups that consume orders get these records, among them audit",
    ]
    assert "note: billing does not consume audit-1" in plan_text(config, steps, "audit-1")
    with pytest.raises(click.ClickException, match="dead-letter topic itself"):
        checked(steps, DEAD, {DEAD: 1})
    with pytest.raises(click.ClickException, match="no topic orders"):
        checked(steps, None, {})


def edit_with(monkeypatch: pytest.MonkeyPatch, saved: bytes | None) -> list[bytes]:
    """An editor that saves this. Returns what it was shown."""
    shown: list[bytes] = []

    def edit(text: bytes, extension: str) -> bytes | None:
        shown.append(text + extension.encode())
        return saved

    monkeypatch.setattr(click, "edit", edit)
    return shown


@pytest.mark.parametrize(
    ("value", "shown", "saved", "written"),
    [
        (b'{"a":1.10}', b'{\n  "a": 1.10\n}.json', b'{\n  "a": 2.50\n}\n', b'{"a":2.50}'),
        (b'{"a": 1}', b'{\n  "a": 1\n}.json', b'{\n  "a": 2\n}\n', b'{\n  "a": 2\n}'),
        (b"text", b"text.txt", b"other\n", b"other"),
        (b"text\n", b"text\n.txt", b"other\n", b"other\n"),
        (b"", b".txt", b"x", b"x"),
        (b"text", b"text.txt", b"text\n", None),
        (b"text", b"text.txt", None, None),
    ],
)
def test_an_edited_value_is_written_as_it_was_saved(
    monkeypatch: pytest.MonkeyPatch, value: bytes, shown: bytes, saved: bytes | None, written: bytes | None
) -> None:
    seen = edit_with(monkeypatch, saved)
    content = edited(stored(0, value=value, headers=(("a", b"1"),)))
    assert seen == [shown]
    assert (None if content is None else content.value) == written
    assert content is None or (content.key, content.headers) == (b"k", (("a", b"1"),))


@pytest.mark.parametrize(
    ("value", "saved", "text"),
    [(None, b"", "is null"), (b"\x00", b"", "is binary"), (b"{}", b"{", "was JSON"), (b"{}", b"\xff", "was JSON")],
)
def test_what_cannot_be_edited(monkeypatch: pytest.MonkeyPatch, value: bytes | None, saved: bytes, text: str) -> None:
    edit_with(monkeypatch, saved)
    with pytest.raises(click.ClickException, match=text):
        edited(stored(0, value=value))
    assert one_place(f"{DEAD}/0/1") == Place(DEAD, 0, 1)
