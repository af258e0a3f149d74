"""The config file: accepted settings, and defaults."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sidecar.config import (
    CheckpointConfig,
    Config,
    LambdaConfig,
)
from sidecar.config.base import Section
from tests.unit.config_files import DELI, KAFKA, mistakes, read


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
    assert (deli.dead_letter_topic, deli.max_restarts, deli.stall_after, deli.deadline) == (None, None, 300.0, None)
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
    deadline: 10m
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
    assert (deli.max_restarts, deli.stall_after, deli.deadline) == (20, 90.0, 600.0)


def test_a_section_whose_keys_are_commented_out_is_all_defaults(tmp_path: Path) -> None:
    text = f"{KAFKA}server:\noperate:\nlambdas: {{x: {{topic: t, group: g, window: , settings: , frame: }}}}"
    config = read(tmp_path, text)
    assert config.operate is None
    assert config.lambdas["x"].window.messages == 10_000


def test_dead_letters_of_several_topics_may_go_to_one(tmp_path: Path) -> None:
    for more in ("", ", dead_letter_topic: d"):
        text = f"{KAFKA}lambdas: {{x: {{group: g, topics: [a, b], on_critical: dead-letter{more}}}}}"
        assert read(tmp_path, text).lambdas["x"].dead_letter_topic == ("d" if more else None)


def test_the_longest_topic_is_allowed(tmp_path: Path) -> None:
    name = "a" * 249
    assert read(tmp_path, f"{KAFKA}lambdas: {{x: {{topic: {name}, group: g}}}}").lambdas["x"].topics == (name,)


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


def test_every_key_is_documented() -> None:
    def undocumented(model: Any) -> list[str]:
        return [f"{model.__name__}.{name}" for name, field in model.model_fields.items() if not field.description]

    sections = [Config, *(type(value) for value in (LambdaConfig(topics=("a",), group="g"), CheckpointConfig()))]
    sections += [type(getattr(LambdaConfig(topics=("a",), group="g"), name)) for name in ("window", "frame")]
    assert [name for section in sections for name in undocumented(section)] == []


def test_the_example_config_names_every_setting(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "config.yaml").read_text()
    uncommented = re.sub(r"^(\s*)# ?(\s*[a-z_]+:)", r"\1\2", text, flags=re.MULTILINE)
    for name in ("server.pem", "server.key", "lambdas.pem", "archive.token"):
        (tmp_path / name).touch()
        uncommented = uncommented.replace(name, str(tmp_path / name))
    config = read(tmp_path, uncommented, TOKEN="a", ADMIN_TOKEN="b", KAFKA="127.0.0.1:9092")

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
