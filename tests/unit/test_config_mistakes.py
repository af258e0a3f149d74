"""Mistakes in the config file: each is reported with its line and a remedy."""

from pathlib import Path

import pytest

from sidecar.config import (
    ConfigError,
    load,
)
from tests.unit.config_files import DELI, KAFKA, config_file, lambda_mistakes, mistakes, read


def test_every_mistake_is_reported_at_once_in_the_files_order(tmp_path: Path) -> None:
    text = """\
kafka:
  bootstrap.servers: localhost:9092
  group.id: mine
  fetch.min.byts: 1
server:
  listen: 0.0.0.0
  token: ${TOKN}
lambds: {}
lambdas:
  deli:
    topc: rawdeltas
    window: {messages: 0, bytes: 16XB}
    on_critical: exlt
  scribe:
    topic: t
    topic: u
    group: ""
"""
    found = mistakes(tmp_path, text, TOKEN="x")
    expected = [
        "3 kafka.group.id: the sidecar sets this one itself; use lambdas.X.group",
        "4 kafka.fetch.min.byts: unknown property; did you mean `fetch.min.bytes`?",
        "6 server.listen: expected host:port or unix:///path, not '0.0.0.0': the port is missing",
        "7 server.token: the environment variable TOKN is not set; did you mean `TOKEN`?",
        "8 lambds: unknown key; did you mean `lambdas`?",
        "10 lambdas.deli.group: missing: this key is required",
        "10 lambdas.deli.topic: missing: a lambda needs something to consume",
        "11 lambdas.deli.topc: unknown key; did you mean `topic`?",
        "12 lambdas.deli.window.messages: expected at least 1, not 0",
        "12 lambdas.deli.window.bytes: expected a size such as 16MiB, 64kB or 4096, not '16XB'",
        "13 lambdas.deli.on_critical: expected halt, dead-letter or exit, not 'exlt'; did you mean `exit`?",
        "16 lambdas.scribe.topic: this key is here twice, the first time in line 15",
        "17 lambdas.scribe.group: expected a text, this one is empty",
    ]
    assert len(found) == len(expected)
    for one, start in zip(found, expected, strict=True):
        assert one.startswith(start)


def test_the_text_of_the_error_has_file_and_line(tmp_path: Path) -> None:
    path = config_file(tmp_path, f"{KAFKA}{DELI}x: 1\n")
    with pytest.raises(ConfigError) as caught:
        load(str(path), {})
    assert str(caught.value) == f"{path}:3: x: unknown key; known here: kafka, server, operate, lambdas"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("topics: [a]", "topics: `topic` and `topics` are both here"),
        ("instances: 2", "instances: only makes sense with `command`"),
        ("env: {A: b}", "env: only makes sense with `command`"),
        ("cwd: .", "cwd: only makes sense with `command`"),
        ("command: a, instances: 0", "instances: expected at least 1, not 0"),
        ("command: a, instances: two", "instances: expected a whole number, not 'two'"),
        ("command: a, cwd: /there/is/none", "cwd: there is no directory '/there/is/none'"),
        ("command: a, env: [b]", "env: expected a mapping of names to values"),
        ("command: a, env: {b: [c]}", "env: the value of b must be a text, a number or a boolean"),
        ('command: a, env: {"b=c": d}', "env: 'b' with a `=` after it cannot be the name of an environment variable"),
        ("command: 'a \"b'", "command: cannot be split into words"),
        ("command: ''", "command: expected a command, this one is empty"),
        ("command: [a, 5]", "command: expected a text or a list of texts"),
        ("plugin: 5", "plugin: expected a text, not 5; put it in quotes"),
        ("start: latst", "start: expected earliest or latest, not 'latst'"),
        ("on_offset_lost: 5", "on_offset_lost: expected earliest, latest or halt, not 5"),
        (
            "on_critical: deadletter",
            "on_critical: expected halt, dead-letter or exit, not 'deadletter'; did you mean `dead-letter`?",
        ),
        (
            "on_critical: deadletter, dead_letter_topic: d",
            "on_critical: expected halt, dead-letter or exit, not 'deadletter'",
        ),
        ("on_critical: [halt]", "on_critical: expected halt, dead-letter or exit, not a list"),
        ("dead_letter_topic: d", "dead_letter_topic: only makes sense with `on_critical: dead-letter`; add it, or"),
        (
            "on_critical: exit, dead_letter_topic: d",
            "dead_letter_topic: only makes sense with `on_critical: dead-letter`",
        ),
        ("on_critical: dead-letter, dead_letter_topic: 'a b'", "dead_letter_topic: 'a b' cannot be a topic"),
        (
            "on_critical: dead-letter, dead_letter_topic: t",
            "dead_letter_topic: the lambda consumes 't' itself: a dead letter would come back to it for ever; give",
        ),
        ("max_restarts: -1", "max_restarts: expected at least 0, not -1"),
        ("max_restarts: often", "max_restarts: expected a whole number, not 'often'"),
        ("stall_after: 0s", "stall_after: expected more than 0, not '0s'"),
        ("deadline: 0s", "deadline: expected at least 2s; leave it out for no deadline"),
        ("deadline: 1s", "deadline: expected at least 2s; a lambda reports its progress at most once a second"),
        ("deadline: 5", "deadline: expected a duration such as 500ms, 1s, 2m or 1h, not '5'"),
        (
            "deadline: 5s",
            "deadline: it is below shutdown_drain (10s): to close would take longer than the deadline; raise it, or",
        ),
        ("deadline: 1m, shutdown_drain: 2m", "deadline: it is below shutdown_drain (2m)"),
        ("stall_after: 5", "stall_after: expected a duration such as 500ms, 1s, 2m or 1h, not '5'"),
        (
            "checkpoint: {interval: 5}",
            "checkpoint.interval: expected a duration such as 500ms, 1s, 2m or 1h, not '5'",
        ),
        ("checkpoint: {interval: 0s}", "checkpoint.interval: expected more than 0, not '0s'"),
        ("checkpoint: {intervall: 1s}", "checkpoint.intervall: unknown key; did you mean `interval`?"),
        ("checkpoint: 1s", "checkpoint: expected a mapping, not '1s'"),
        ("shutdown_drain: [1s]", "shutdown_drain: expected a duration such as 500ms, 1s or 2m, not ['1s']"),
        ("window: {bytes: -1}", "window.bytes: expected at least 1, not -1"),
        ("window: {bytes: true}", "window.bytes: expected a size"),
        ("settings: [1]", "settings: expected a mapping, not a list"),
        ("settings: {a: {b: [2024-01-01]}}", "settings.a.b[0]: JSON has no date; put it in quotes"),
        ("settings: {a: .inf}", "settings.a: JSON has no inf; put it in quotes"),
        (
            "settings: {5: a}",
            "settings.5: a key must be a text, and YAML reads this one as a number; put it in",
        ),
        ("on: a", "on: a key must be a text, and YAML reads this one as true or false; put it in quotes"),
    ],
)
def test_mistakes_of_a_lambda(tmp_path: Path, body: str, expected: str) -> None:
    (found,) = lambda_mistakes(tmp_path, body)
    assert found.startswith(expected)


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        ("", "topic: missing: a lambda needs something to consume"),
        ("topic: 'a b'", "topic: 'a b' cannot be a topic"),
        ("topic: ..", "topic: '..' cannot be a topic"),
        ("topic: ^deltas(", "topic: '^deltas(' is no regular expression"),
        (f"topic: {'a' * 250}", f"topic: '{'a' * 56}... cannot be a topic; it has 250 characters"),
        ("topic: 5", "topic: expected a text, not 5; put it in quotes"),
        ("topic: [a, b]", "topic: expected one name, not a list"),
        ("topics: a", "topics: expected a list; write topics: [a], or topic: a"),
        ("topics: []", "topics: expected at least one topic, the list is empty"),
        ("topics: [a, b, a]", "topics[2]: the topic 'a' is here twice"),
        ("topics: [a, 'b c']", "topics[1]: 'b c' cannot be a topic"),
    ],
)
def test_mistakes_in_topics(tmp_path: Path, topics: str, expected: str) -> None:
    (found,) = mistakes(tmp_path, f"{KAFKA}lambdas: {{x: {{group: g, {topics}}}}}")
    assert found.startswith(f"2 lambdas.x.{expected}")


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        ("topics: [a, a.x.dead-letter]", "the lambda consumes 'a.x.dead-letter' itself"),
        (f"topic: {'a' * 240}", f"the dead-letter topic of '{'a' * 240}' would have a name that is too long"),
        ("topics: [b, a], dead_letter_topic: a", "the lambda consumes 'a' itself"),
    ],
)
def test_mistakes_in_dead_letter_topics(tmp_path: Path, topics: str, expected: str) -> None:
    (found,) = mistakes(tmp_path, f"{KAFKA}lambdas: {{x: {{group: g, on_critical: dead-letter, {topics}}}}}")
    assert found.startswith(f"2 lambdas.x.dead_letter_topic: {expected}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "None the file is empty"),
        ("# nothing\n", "None the file is empty"),
        ("null", "None expected a mapping, not nothing"),
        ("[1]", "None expected a mapping, not a list"),
        ("a: b: c", "1 not valid YAML: a `: ` where no key can be"),
        ("a: 1\nb: [1,\n", "3 not valid YAML: "),
        ("a: !!python/object:os.system x", "1 not valid YAML: a tag (`!`) that is not known here"),
        ("a: \x07", "1 not valid YAML: a control character"),
        ("a: 2024-13-01", "None not valid YAML: "),
        ("a: &x [*x]", "1 not valid YAML: an alias inside its own anchor"),
        (f"{KAFKA}lambdas: {{}}", "2 lambdas: expected at least one lambda"),
        (f"{KAFKA}lambdas: {{a/b: {{topic: t, group: g}}}}", "2 lambdas.a/b: 'a/b' cannot be a lambda's name"),
        (f"{KAFKA}lambdas: {{5: {{topic: t, group: g}}}}", "2 lambdas.5: a key must be a text"),
        (f"{KAFKA}lambdas: {{a: }}", "2 lambdas.a: expected a mapping, not nothing"),
        (f"kafka: x\n{DELI}", "1 kafka: expected a mapping, not 'x'"),
        (f"kafka: {{debug: all}}\n{DELI}", "1 kafka.bootstrap.servers: missing: where is Kafka?"),
        (f"{KAFKA}{DELI}server: {{listen: ''}}", "3 server.listen: expected host:port"),
        (f"{KAFKA}{DELI}server: {{token: ''}}", "3 server.token: the token is empty"),
        (f"{KAFKA}{DELI}server: {{token: 'a b'}}", "3 server.token: a token has visible ASCII characters only"),
        (f"{KAFKA}{DELI}operate: {{listen: 'unix:///x'}}", "3 operate.listen: expected host:port, not 'unix:///x'"),
    ],
)
def test_mistakes_of_the_file_as_a_whole(tmp_path: Path, text: str, expected: str) -> None:
    (found,) = mistakes(tmp_path, text)
    assert found.startswith(expected)


def test_two_lambdas_cannot_share_partitions(tmp_path: Path) -> None:
    text = f"{KAFKA}lambdas:\n  a: {{topics: [t, u], group: g}}\n  b: {{topic: u, group: g}}\n"
    (found,) = mistakes(tmp_path, text)
    assert found.startswith("4 lambdas.b.group: a consumes the topic 'u' in the group 'g' as well")
    assert set(read(tmp_path, text.replace("topic: u", "topic: v")).lambdas) == {"a", "b"}
    assert set(read(tmp_path, text.replace("u, group: g", "u, group: h")).lambdas) == {"a", "b"}


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file; give the config file with --config"):
        load(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, {})
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "latin.yaml", {})
