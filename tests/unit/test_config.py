"""The config file: what it accepts, its defaults, and what every kind of mistake gets."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sidecar.config import (
    CheckpointConfig,
    Config,
    ConfigError,
    LambdaConfig,
    client_settings,
    describe,
    dial,
    load,
    parse_duration,
    parse_endpoint,
    parse_size,
)
from sidecar.config.base import Section

KAFKA = "kafka: {bootstrap.servers: localhost:9092}\n"
DELI = "lambdas: {deli: {topic: rawdeltas, group: deli}}\n"


def config_file(path: Path, text: str) -> Path:
    made = path / "config.yaml"
    made.write_text(text)
    return made


def read(path: Path, text: str, **environ: str) -> Config:
    return load(config_file(path, text), environ)


def mistakes(path: Path, text: str, **environ: str) -> list[str]:
    """Each mistake as `line path: message; hint`."""
    with pytest.raises(ConfigError) as caught:
        read(path, text, **environ)
    return [f"{mistake.line} {mistake}" for mistake in caught.value.mistakes]


def lambda_mistakes(path: Path, body: str) -> list[str]:
    """Those of a lambda that has a topic, a group and `body`, without their place."""
    found = mistakes(path, f"{KAFKA}lambdas: {{x: {{topic: t, group: g, {body}}}}}")
    assert all(one.startswith("2 lambdas.x.") for one in found)
    return [one.removeprefix("2 lambdas.x.") for one in found]


def test_the_smallest_file_has_all_defaults(tmp_path: Path) -> None:
    config = read(tmp_path, KAFKA + DELI)
    deli = config.lambdas["deli"]
    assert config.kafka == {"bootstrap.servers": "localhost:9092"}
    assert config.source == tmp_path / "config.yaml"
    assert not config.embedded
    assert config.server.listen == "127.0.0.1:50051"
    assert config.server.token is None
    assert config.operate is None
    assert config.warnings == ()
    assert (deli.topics, deli.group, deli.command, deli.instances) == (("rawdeltas",), "deli", None, 1)
    assert (deli.start, deli.on_offset_lost, deli.on_critical) == ("earliest", "earliest", "halt")
    assert deli.checkpoint.interval == 1.0
    assert (deli.window.messages, deli.window.bytes) == (10_000, 16 * 1024 * 1024)
    assert (deli.frame.records, deli.frame.bytes) == (4_000, 1024 * 1024)
    assert (deli.rebalance_drain, deli.shutdown_drain, deli.leave_group_after) == (2.0, 10.0, 60.0)
    assert deli.settings == {}
    assert (deli.dead_letter_topic, deli.max_restarts, deli.stall_after) == (None, None, 300.0)
    assert config.server.admin_token is None


FULL = """
kafka:
  bootstrap.servers: ${BROKERS:-localhost:9092}
  socket.keepalive.enable: yes
  fetch.min.bytes: 10
  client.id: 0123
server:
  listen: unix:///run/sidecar.sock
  token: ${TOKEN}
  admin_token: 0123
operate: {listen: "[::1]:0"}
lambdas:
  deli:
    topics: [rawdeltas, more.deltas]
    group: g
    plugin: examples.deli
    document_lambda: examples.document
    command: python -m "my module" --name=${NAME}
    instances: ${COUNT}
    env: {A: 1, B: true, C: text}
    cwd: .
    settings: {mongo: {url: "mongodb://$${x}"}, list: [1, 2.5, null, true]}
    start: latest
    on_offset_lost: halt
    checkpoint: {interval: 500ms}
    window: {messages: 5, bytes: 64kB}
    frame: {records: 10, bytes: 4096}
    on_critical: dead-letter
    dead_letter_topic: d
    max_restarts: 20
    stall_after: 90s
    rebalance_drain: 0
    shutdown_drain: 1.5m
    leave_group_after: 2h
"""


def test_everything_can_be_set(tmp_path: Path) -> None:
    config = read(tmp_path, FULL, TOKEN="hunter2", NAME="a b", COUNT="3")
    deli = config.lambdas["deli"]
    assert config.kafka == {
        "bootstrap.servers": "localhost:9092",
        "socket.keepalive.enable": "true",
        "fetch.min.bytes": "10",
        "client.id": "0123",  # as it is written, not the number 83
    }
    assert config.server.endpoint.path == "/run/sidecar.sock"
    assert config.server.token is not None
    assert config.server.token.get_secret_value() == "hunter2"
    assert config.server.admin_token is not None
    assert config.server.admin_token.get_secret_value() == "0123"
    assert config.operate is not None
    assert (config.operate.endpoint.host, config.operate.endpoint.port) == ("::1", 0)
    assert deli.topics == ("rawdeltas", "more.deltas")
    assert deli.command == ("python", "-m", "my module", "--name=a", "b")
    assert (deli.instances, deli.env) == (3, {"A": "1", "B": "true", "C": "text"})
    assert deli.settings == {"mongo": {"url": "mongodb://${x}"}, "list": [1, 2.5, None, True]}
    assert (deli.checkpoint.interval, deli.window.bytes, deli.frame.bytes) == (0.5, 64_000, 4096)
    assert (deli.rebalance_drain, deli.shutdown_drain, deli.leave_group_after) == (0.0, 90.0, 7200.0)
    assert (deli.on_critical, deli.dead_letter_topic) == ("dead-letter", "d")
    assert (deli.max_restarts, deli.stall_after) == (20, 90.0)


def test_a_section_whose_keys_are_commented_out_is_all_defaults(tmp_path: Path) -> None:
    text = f"{KAFKA}server:\noperate:\nlambdas: {{x: {{topic: t, group: g, window: , settings: , frame: }}}}"
    config = read(tmp_path, text)
    assert config.operate is None
    assert config.lambdas["x"].window.messages == 10_000


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
        ('command: a, env: {"b=c": d}', "env: 'b=c' cannot be the name of an environment variable"),
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
        ("settings: {5: a}", "settings.5: a key must be text, this is 5; put it in quotes"),
        ("on: a", "True: a key must be text, this is True; put it in quotes"),
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
        ("topic: ^deltas", "topic: '^deltas' cannot be a topic"),
        (f"topic: {'a' * 250}", f"topic: '{'a' * 250}' cannot be a topic"),
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


def test_dead_letters_of_several_topics_may_go_to_one(tmp_path: Path) -> None:
    for more in ("", ", dead_letter_topic: d"):
        text = f"{KAFKA}lambdas: {{x: {{group: g, topics: [a, b], on_critical: dead-letter{more}}}}}"
        assert read(tmp_path, text).lambdas["x"].dead_letter_topic == ("d" if more else None)


def test_the_longest_topic_is_allowed(tmp_path: Path) -> None:
    name = "a" * 249
    assert read(tmp_path, f"{KAFKA}lambdas: {{x: {{topic: {name}, group: g}}}}").lambdas["x"].topics == (name,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "None the file is empty"),
        ("# nothing\n", "None the file is empty"),
        ("null", "None expected a mapping, not nothing"),
        ("[1]", "None expected a mapping, not a list"),
        ("a: b: c", "1 not valid YAML: mapping values are not allowed here"),
        ("a: 1\nb: [1,\n", "3 not valid YAML: "),
        ("a: !!python/object:os.system x", "1 not valid YAML: could not determine a constructor"),
        ("a: \x07", "None not valid YAML: "),
        ("a: 2024-13-01", "None not valid YAML: "),
        ("a: &x [*x]", "1 not valid YAML: an alias contains itself"),
        (f"{KAFKA}lambdas: {{}}", "2 lambdas: expected at least one lambda"),
        (f"{KAFKA}lambdas: {{a/b: {{topic: t, group: g}}}}", "2 lambdas.a/b: 'a/b' cannot be a lambda's name"),
        (f"{KAFKA}lambdas: {{5: {{topic: t, group: g}}}}", "2 lambdas.5: a key must be text, this is 5"),
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


@pytest.mark.parametrize(
    ("value", "environ", "expected"),
    [
        ("${A}", {"A": "x"}, "x"),
        ("${A}${B}-${A}", {"A": "x", "B": "y"}, "xy-x"),
        ("${A:-d}", {}, "d"),
        ("${A:-d}", {"A": ""}, "d"),
        ("${A:-}", {}, ""),
        ("${A:-http://h:1/p?q}", {}, "http://h:1/p?q"),
        ("${A}", {"A": ""}, ""),
        ("$${A} $A $(A)", {}, "${A} $A $(A)"),
        ("${A}", {"A": "${B}"}, "${B}"),
        ("'${A}'", {"A": "b: [c"}, "b: [c"),
        ("${A}", {"A": "0123"}, "0123"),
    ],
)
def test_variables(tmp_path: Path, value: str, environ: dict[str, str], expected: str) -> None:
    text = f"{KAFKA}lambdas:\n  x:\n    topic: t\n    group: g\n    settings:\n      v: {value}\n"
    assert read(tmp_path, text, **environ).lambdas["x"].settings == {"v": expected}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${A}", "the environment variable A is not set; set it, or give a default: ${A:-...}"),
        ("${A", "'${A' is no variable; ${NAME} or ${NAME:-default}"),
        ("${}", "'${}' is no variable"),
        ("${A-b}", "'${A-b}' is no variable"),
    ],
)
def test_a_bad_variable_is_reported_once(tmp_path: Path, value: str, expected: str) -> None:
    for key in ("group", "plugin", "start"):
        text = f"{KAFKA}lambdas:\n  x:\n    topic: t\n    {key}: {value}\n" + (
            "" if key == "group" else "    group: g\n"
        )
        (found,) = mistakes(tmp_path, text)
        assert found.startswith(f"5 lambdas.x.{key}: {expected}")


def test_anchors_and_merges(tmp_path: Path) -> None:
    text = f"""{KAFKA}lambdas:
  a: &a
    topic: t
    group: g
    window: {{messages: 0}}
  b:
    <<: *a
    group: h
"""
    found = mistakes(tmp_path, text)
    assert found == ["6 lambdas.a.window.messages: expected at least 1, not 0",
                     "6 lambdas.b.window.messages: expected at least 1, not 0"]  # fmt: skip
    assert read(tmp_path, text.replace("messages: 0", "messages: 7")).lambdas["b"].window.messages == 7


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file; give the config file with --config"):
        load(tmp_path / "none.yaml", {})
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, {})
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "latin.yaml", {})


def tls(path: Path, *names: str) -> str:
    for name in names:
        (path / name).write_text("")
    return ", ".join(f"{name}: {path / name}" for name in names)


def test_tls_files_must_exist(tmp_path: Path) -> None:
    good = tls(tmp_path, "certificate", "key", "client_ca")
    config = read(tmp_path, f"{KAFKA}{DELI}server: {{tls: {{{good}}}}}")
    assert config.server.tls is not None
    assert config.server.tls.client_ca == tmp_path / "client_ca"
    found = mistakes(tmp_path, f"{KAFKA}{DELI}server: {{tls: {{certificate: /none, ca: x}}}}")
    assert [one.split(";")[0] for one in found] == [
        "3 server.tls.certificate: there is no file '/none'",
        "3 server.tls.key: missing: this key is required",
        "3 server.tls.ca: unknown key",
    ]


@pytest.mark.parametrize(
    ("listen", "secured", "warns"),
    [
        ("127.0.0.1:1", "", False),
        ("localhost:1", "", False),
        ("'[::1]:1'", "", False),
        ("unix:///run/x", "", False),
        ("0.0.0.0:1", "", True),
        ("'[::]:1'", "", True),
        ("sidecar.example:1", "", True),
        ("0.0.0.0:1", "token: abc", False),
        ("0.0.0.0:1", "certificate", True),
        ("0.0.0.0:1", "client_ca", False),
    ],
)
def test_an_open_door_is_a_warning(tmp_path: Path, listen: str, secured: str, warns: bool) -> None:
    if secured in {"certificate", "client_ca"}:
        files = ("certificate", "key", *(["client_ca"] if secured == "client_ca" else []))
        secured = f"tls: {{{tls(tmp_path, *files)}}}"
    config = read(tmp_path, f"{KAFKA}{DELI}server: {{listen: {listen}, {secured}}}")
    assert bool(config.warnings) is warns
    assert all(listen.strip("'") in warning for warning in config.warnings)


def test_an_admin_token_that_lambdas_know_is_a_warning(tmp_path: Path) -> None:
    text = f"{KAFKA}{DELI}server: {{token: abc, admin_token: abc}}"
    (warning,) = read(tmp_path, text).warnings
    assert warning.startswith("server.admin_token: it is the same as server.token")
    assert read(tmp_path, text.replace("admin_token: abc", "admin_token: abcd")).warnings == ()


SECRETS = """
kafka:
  bootstrap.servers: localhost:9092
  security.protocol: SASL_SSL
  sasl.mechanisms: PLAIN
  sasl.username: me
  sasl.password: hunter2
server: {token: hunter2, admin_token: hunter2!}
lambdas:
  x:
    topic: t
    group: g
    command: [run, --token, hunter2]
    env: {DB_PASSWORD: hunter2, N: 1}
    settings: {db: {password: hunter2, url: "mongodb://me:hunter2@host/db"}}
"""


def test_secrets_are_shown_nowhere_and_used_everywhere(tmp_path: Path) -> None:
    config = read(tmp_path, SECRETS)
    one = config.lambdas["x"]
    assert config.kafka["sasl.password"] == one.settings["db"]["password"] == "hunter2"
    assert json.loads(json.dumps(one.settings))["db"]["url"] == "mongodb://me:hunter2@host/db"
    shown = describe(config)
    for text in (repr(config), str(config), json.dumps(shown), repr(config.kafka), f"{one.settings}", f"{one.env}"):
        assert "hunter2" not in text.replace("'--token', 'hunter2'", "")
    assert shown["kafka"]["sasl.password"] == "****"
    assert shown["server"] == {"listen": "127.0.0.1:50051", "token": "****", "admin_token": "****", "tls": None}
    assert shown["lambdas"]["x"]["window"] == {"messages": 10_000, "bytes": 16_777_216}
    assert shown["lambdas"]["x"]["command"] == ["run", "--token", "****"]
    assert shown["lambdas"]["x"]["env"] == {"DB_PASSWORD": "****", "N": "1"}


def test_mistakes_do_not_show_secrets(tmp_path: Path) -> None:
    text = SECRETS.replace("PLAIN", "NONE").replace("{token: hunter2, ", "{token: [hunter2], ")
    found = mistakes(tmp_path, text.replace("password: hunter2, url", "password: hunter2, n: .nan, url"))
    assert len(found) == 3
    assert not [one for one in found if "hunter2" in one]


def test_a_config_is_frozen(tmp_path: Path) -> None:
    config = read(tmp_path, KAFKA + DELI)
    for section, name in ((config, "lambdas"), (config.server, "listen"), (config.lambdas["deli"].window, "bytes")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, name, 5)


def test_models_made_in_python_are_checked_too() -> None:
    assert CheckpointConfig(interval=0.05).interval == 0.05
    assert LambdaConfig(topics=("a",), group="g").topics == ("a",)
    for wrong in ({"topics": ()}, {"topics": ("a",), "instances": 2}):
        with pytest.raises(ValidationError):
            LambdaConfig(group="g", **wrong)


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("1s", 1), ("1.5s", 1.5), ("2m", 120), ("1h", 3600), ("0", 0), (" 1 s ", 1)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "1d", "1S", "1s2", "1e3s", ".5s", "nan", "\u0661s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("16MiB", 2**24), ("64kB", 64_000), ("1KiB", 1024), ("1GiB", 2**30), ("1.5kb", 1500), ("7B", 7), ("42", 42)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "kB", "-1", "1K", "1TB", "1.5", "0.1B", "1 000", "1_000"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(text)


@pytest.mark.parametrize(
    "text",
    ["", "host", ":1", "host:", "host:x", "host:70000", "::1:50051", "[::x]:1", "a b:1", "unix:x", "unix://x", "unix:///",
     f"unix:///{'x' * 107}", "http://host:1", "host:-1"],
)  # fmt: skip
def test_no_endpoints(text: str) -> None:
    with pytest.raises(ValueError, match="expected host:port or unix:///path"):
        parse_endpoint(text)


@pytest.mark.parametrize(
    ("listen", "dialled"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051"),
        ("0.0.0.0:50051", "127.0.0.1:50051"),
        ("[::]:50051", "[::1]:50051"),
        ("sidecar.example:1", "sidecar.example:1"),
        ("unix:///run/x", "unix:///run/x"),
    ],
)
def test_dial(listen: str, dialled: str) -> None:
    assert dial(listen) == dialled


def test_client_settings_need_only_what_they_read(tmp_path: Path) -> None:
    text = "server: {listen: '0.0.0.0:7', token: '${TOKEN}'}\nlambdas: {x: {group: '${UNSET}'}}\n"
    path = config_file(tmp_path, text)
    assert client_settings(path, {"TOKEN": "hunter2"}) == ("127.0.0.1:7", "hunter2", False, None)
    assert client_settings(path, {}) == ("127.0.0.1:7", None, False, None)
    assert client_settings(config_file(tmp_path, KAFKA), {}) == ("127.0.0.1:50051", None, False, None)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ("token: lambdas", "lambdas"),
        ("token: lambdas, admin_token: 0123", "0123"),
        ("admin_token: operators", "operators"),
        ("token: lambdas, admin_token: '${UNSET}'", None),  # the lambdas' would be refused
        ("token: lambdas, admin_token: ", "lambdas"),
    ],
)
def test_client_settings_have_the_token_of_operators(tmp_path: Path, tokens: str, expected: str | None) -> None:
    assert client_settings(config_file(tmp_path, f"server: {{{tokens}}}"), {}).token == expected


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        ("{certificate: a.pem, key: b}", Path("a.pem")),
        ("{certificate: '${HERE}/a.pem'}", Path("/x/a.pem")),
        ("{certificate: '${UNSET}'}", None),
        ("[]", None),
    ],
)
def test_client_settings_know_that_the_server_encrypts(tmp_path: Path, tls: str, expected: Path | None) -> None:
    settings = client_settings(config_file(tmp_path, f"server: {{tls: {tls}}}"), {"HERE": "/x"})
    assert (settings.tls, settings.certificate) == (True, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [", "not valid YAML"),
        ("\nserver: {listen: '127.0.0.1:0'}", ":2: server.listen: 127.0.0.1:0 means any free port"),
        ("server: {listen: 5}", ":1: server.listen: expected host:port"),
        ("server: {listen: '${A}'}", ":1: server.listen: the environment variable A is not set"),
    ],
)
def test_client_settings_that_cannot_be_dialled(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        client_settings(config_file(tmp_path, text), {})
    assert expected in str(caught.value)


def test_every_key_is_documented() -> None:
    def undocumented(model: Any) -> list[str]:
        return [f"{model.__name__}.{name}" for name, field in model.model_fields.items() if not field.description]

    sections = [Config, *(type(value) for value in (LambdaConfig(topics=("a",), group="g"), CheckpointConfig()))]
    sections += [type(getattr(LambdaConfig(topics=("a",), group="g"), name)) for name in ("window", "frame")]
    assert [name for section in sections for name in undocumented(section)] == []


def test_the_example_config_names_every_setting(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "config.yaml").read_text()
    uncommented = re.sub(r"^(\s*)# ?(\s*[a-z_]+:)", r"\1\2", text, flags=re.MULTILINE)
    for name in ("server.pem", "server.key", "lambdas.pem"):
        (tmp_path / name).touch()
        uncommented = uncommented.replace(name, str(tmp_path / name))
    config = read(tmp_path, uncommented, TOKEN="a", ADMIN_TOKEN="b")

    def unnamed(section: Section, path: str) -> list[str]:
        missing = []
        for name in type(section).model_fields:
            value = getattr(section, name)
            if name not in section.model_fields_set:
                missing.append(f"{path}{name}")
            elif isinstance(value, Section):
                missing += unnamed(value, f"{path}{name}.")
        return missing

    missing = [{*unnamed(one, "")} for one in config.lambdas.values()]
    assert unnamed(config, "") == []
    assert set.intersection(*missing) == set()
    assert config.lambdas["scriptorium"].stall_after == LambdaConfig(topics=("a",), group="g").stall_after
