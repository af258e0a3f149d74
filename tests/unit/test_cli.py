"""The command line: its output, its exit codes, and its calls of a running sidecar."""

import json
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import grpc
import pytest
import structlog
from click.testing import CliRunner, Result

import sidecar
from sdk_python._tls import Tls
from sdk_python.protocol import admin_pb2
from sidecar.cli import main
from sidecar.commands import client
from sidecar.commands.operator import COMMANDS
from sidecar.commands.show import status_json
from sidecar.config import Config

GOOD = """
kafka:
  bootstrap.servers: localhost:9092
  sasl.username: me
  sasl.password: hunter2
server: {listen: "0.0.0.0:7000", token: "${TOKEN:-hunter3}"}
lambdas:
  deli: {topic: rawdeltas, group: deli, command: python --token hunter4, instances: 2, settings: {secret: hunter5}}
  scribe: {topics: [a, b], group: scribe}
"""
BAD = "kafka: {group.id: x, sasl.password: hunter2}\nlambdas: {deli: {topc: t, group: g}}\n"

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """A function that runs the command line in an empty directory, without our environment variables."""
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name.startswith("KAFKA_SIDECAR_") or name == "TOKEN":
            monkeypatch.delenv(name)

    def run(*arguments: str, **environ: str) -> Result:
        return CliRunner().invoke(
            main, arguments, env={"GRPC_VERBOSITY": "NONE", **environ}, prog_name="kafka-sidecar"
        )

    return run


def stub(monkeypatch: pytest.MonkeyPatch, package: ModuleType, name: str, **content: Any) -> None:
    """Replace `package.name` by a module, whether or not it exists or was imported."""
    module = ModuleType(f"{package.__name__}.{name}")
    module.__dict__.update(content)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(package, name, module, raising=False)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Config]]:
    """The configs with which the app was run. It exits with 3."""
    configs: list[Config] = []

    async def run(config: Config) -> int:
        configs.append(config)
        return 3

    stub(monkeypatch, sidecar, "app", run=run)
    root = logging.getLogger()
    level, handlers = root.level, [*root.handlers]
    yield configs
    root.setLevel(level)
    root.handlers[:] = handlers
    structlog.reset_defaults()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The calls of the client."""
    calls: list[tuple[Any, ...]] = []

    def status(address: str, token: str | None, tls: Tls | None) -> admin_pb2.StatusResponse:
        assert tls is None
        calls.append((address, token))
        return STATUS

    monkeypatch.setattr(client, "status", status)
    return calls


def test_the_help_has_examples(invoke: Invoke) -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    for text in ("--config PATH", "KAFKA_SIDECAR_CONFIG", "--check", "Exit codes", "Examples"):
        assert text in result.output
    assert "\n    0  stopped in order" in result.output
    for command in COMMANDS:
        help_text = invoke(str(command.name), "--help").output
        for text in ("KAFKA_SIDECAR_ADDRESS", "KAFKA_SIDECAR_ADMIN_TOKEN", "KAFKA_SIDECAR_TOKEN", "KAFKA_SIDECAR_CA"):
            assert text in help_text
        assert "Example" in help_text
        assert f"\n    kafka-sidecar {command.name}" in help_text
        assert f"\n    kafka-sidecar {command.name}" in result.output


def test_version(invoke: Invoke) -> None:
    result = invoke("--version")
    assert result.exit_code == 0
    assert result.output.startswith("kafka-sidecar, version ")


def test_check_says_what_would_run_and_starts_nothing(invoke: Invoke, ran: list[Config]) -> None:
    Path("config.yaml").write_text(GOOD)
    result = invoke("--check")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "kafka    bootstrap.servers=localhost:9092, sasl.username=me, sasl.password=****",
        "server   0.0.0.0:7000 with token",
        "operate  no HTTP endpoint",
        "lambda   deli: rawdeltas in group deli; the sidecar starts python 2 times",
        "lambda   scribe: a, b in group scribe; its process dials in",
        "config.yaml: ok",
    ]
    assert result.stderr == ""
    assert ran == []


def test_check_shows_on_critical_unless_it_is_halt(invoke: Invoke) -> None:
    others = "identities: [{name: ops, token: y, operate: all}], admin_token: x"
    text = GOOD.replace("group: deli", "group: deli, on_critical: exit").replace("token: ", f"{others}, token: ")
    text = text.replace("group: scribe", "group: scribe, on_critical: dead-letter, dead_letter_topic: dead")
    Path("config.yaml").write_text(text)
    lines = invoke("--check").stdout.splitlines()
    assert lines[1] == "server   0.0.0.0:7000 with token and admin token and the identity ops"
    assert lines[3].endswith("2 times; a critical error ends the sidecar")
    assert lines[4].endswith("its process dials in; dead letters go to dead")
    Path("config.yaml").write_text(text.replace(", dead_letter_topic: dead", ""))
    assert "; dead letters go to TOPIC.scribe.dead-letter\n" in invoke("--check").stdout


def test_check_shows_the_warnings(invoke: Invoke) -> None:
    Path("config.yaml").write_text(GOOD.replace('token: "${TOKEN:-hunter3}"', "insecure: true"))
    result = invoke("--check")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: server.listen: everybody who reaches 0.0.0.0:7000")
    assert result.stdout.endswith("config.yaml: ok\n")


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_a_bad_config_prints_every_mistake_and_exits_with_2(
    invoke: Invoke, ran: list[Config], arguments: list[str]
) -> None:
    Path("my.yaml").write_text(BAD)
    result = invoke("--config", "my.yaml", *arguments)
    assert result.exit_code == 2
    assert ran == []
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert [line.split(": ")[:2] for line in lines[:-1]] == [
        ["my.yaml:1", "kafka.group.id"],
        ["my.yaml:1", "kafka.bootstrap.servers"],
        ["my.yaml:2", "lambdas.deli.topc"],
        ["my.yaml:2", "lambdas.deli.topic"],
    ]
    assert lines[-1] == "my.yaml: 4 mistakes, nothing was started"


def test_without_a_config_it_says_how_to_give_one(invoke: Invoke, ran: list[Config]) -> None:
    result = invoke()
    assert result.exit_code == 2
    assert "config.yaml: there is no such file; give the config file with --config PATH" in result.stderr
    assert ran == []


def test_it_runs_the_app_and_exits_with_its_code(
    invoke: Invoke, ran: list[Config], capfd: pytest.CaptureFixture[str]
) -> None:
    Path("elsewhere.yaml").write_text(GOOD)
    result = invoke("--log-format", "json", KAFKA_SIDECAR_CONFIG="elsewhere.yaml", TOKEN="hunter6")
    assert result.exit_code == 3
    (config,) = ran
    assert config.server.token is not None
    assert config.server.token.get_secret_value() == "hunter6"
    assert result.stdout == ""
    (line,) = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert (line["event"], line["file"]) == ("starting", "elsewhere.yaml")
    assert line["config"]["lambdas"]["deli"]["window"] == {"messages": 10_000, "bytes": 16_777_216}
    assert "hunter" not in result.output


@pytest.mark.parametrize("arguments", [[], ["--check"], ["--log-level", "debug", "--log-format", "console"]])
def test_no_secret_is_printed(invoke: Invoke, ran: list[Config], arguments: list[str]) -> None:
    Path("config.yaml").write_text(GOOD)
    assert "hunter" not in invoke(*arguments).output
    Path("config.yaml").write_text(GOOD.replace("scribe: {", "scribe: {x: 1, "))
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "hunter" not in result.output


@pytest.mark.parametrize("arguments", [["--log-level", "loud"], ["--nonsense"], ["nonsense"], ["--check", "status"]])
def test_a_wrong_command_line_exits_with_2(invoke: Invoke, arguments: list[str]) -> None:
    assert invoke(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        ([], {}, ("127.0.0.1:50051", None)),
        (["--address", "h:1"], {}, ("h:1", None)),
        (["--address", "h:1", "--token", "t"], {}, ("h:1", "t")),
        (["--address", "0.0.0.0:1"], {}, ("127.0.0.1:1", None)),
        ([], {"KAFKA_SIDECAR_ADDRESS": "unix:///run/x", "KAFKA_SIDECAR_TOKEN": "t"}, ("unix:///run/x", "t")),
        (["--address", "h:1"], {"KAFKA_SIDECAR_ADDRESS": "h:2"}, ("h:1", None)),
        ([], {"KAFKA_SIDECAR_TOKEN": "t", "KAFKA_SIDECAR_ADMIN_TOKEN": "a"}, ("127.0.0.1:50051", "a")),
        (["--token", "x"], {"KAFKA_SIDECAR_ADMIN_TOKEN": "a"}, ("127.0.0.1:50051", "x")),
        ([], {"KAFKA_SIDECAR_CA": "", "KAFKA_SIDECAR_ADMIN_TOKEN": ""}, ("127.0.0.1:50051", None)),
    ],
)
def test_the_address_without_a_config(
    invoke: Invoke, asked: list[Any], arguments: list[str], environ: dict[str, str], expected: tuple[Any, ...]
) -> None:
    assert invoke("status", *arguments, **environ).exit_code == 0
    assert asked == [expected]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ("127.0.0.1:7000", "hunter3")),
        (["--token", "t"], ("127.0.0.1:7000", "t")),
        (["--address", "h:1"], ("h:1", None)),  # the file's token is not for another address
    ],
)
def test_the_address_with_a_config(
    invoke: Invoke, asked: list[Any], arguments: list[str], expected: tuple[Any, ...]
) -> None:
    Path("config.yaml").write_text(GOOD)
    assert invoke("status", *arguments).exit_code == 0
    assert asked == [expected]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [({}, "a"), ({"KAFKA_SIDECAR_TOKEN": "t"}, "t"), ({"KAFKA_SIDECAR_ADMIN_TOKEN": "b"}, "b")],
)
def test_the_admin_token_of_a_config(
    invoke: Invoke, asked: list[Any], environ: dict[str, str], expected: str
) -> None:
    Path("config.yaml").write_text(GOOD.replace("server: {", "server: {admin_token: a, "))
    assert invoke("status", **environ).exit_code == 0
    assert asked == [("127.0.0.1:7000", expected)]


def test_a_given_config_file_must_exist(invoke: Invoke, asked: list[Any]) -> None:
    for result in (invoke("--config", "none.yaml", "status"), invoke("status", KAFKA_SIDECAR_CONFIG="none.yaml")):
        assert result.exit_code == 2
        assert "none.yaml: there is no such file" in result.stderr
    assert asked == []


class Refusal(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode, details: str | None) -> None:
        super().__init__()
        self._answer = (code, details)

    def code(self) -> grpc.StatusCode:
        return self._answer[0]

    def details(self) -> str | None:
        return self._answer[1]


def _no_such_name(*_: object, **__: object) -> None:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize(
    ("code", "details", "expected"),
    [
        (
            grpc.StatusCode.UNAVAILABLE,
            "connection refused",
            "no sidecar answers at h:1 (connection refused); does it",
        ),
        (grpc.StatusCode.UNAVAILABLE, "Kafka does not answer", "at h:1 says: Kafka does not answer"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "late", "no answer from h:1 in time (late); does a sidecar run there?"),
        (grpc.StatusCode.UNIMPLEMENTED, "no Seek", "the sidecar at h:1 does not know this command"),
        (grpc.StatusCode.UNAUTHENTICATED, "no token", "refuses the token (no token); --token, $KAFKA_SIDECAR_ADMIN"),
        (grpc.StatusCode.UNAUTHENTICATED, "no token", "or $KAFKA_SIDECAR_TOKEN sets it: the server.admin_token of"),
        (grpc.StatusCode.NOT_FOUND, "no lambda x", "the sidecar at h:1 refuses: no lambda x"),
        (grpc.StatusCode.OUT_OF_RANGE, "the log has 0 to 5", "the sidecar at h:1 refuses: the log has 0 to 5"),
        (grpc.StatusCode.INTERNAL, None, "the sidecar at h:1 refuses: no reason was given"),
    ],
)
def test_a_refusal_is_one_sentence(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, code: grpc.StatusCode, details: str | None, expected: str
) -> None:
    def refuse(*_: object) -> None:
        raise Refusal(code, details)

    for name in ("resume", "status", "pause", "seek"):
        monkeypatch.setattr(client, name, refuse)
    # Nobody is asked for the addresses of `h`: without a network the answer comes after seconds.
    monkeypatch.setattr(socket, "getaddrinfo", _no_such_name)
    for arguments in (["status"], ["resume", "a/b/1"], ["pause", "a/b/1"], ["seek", "a/b/1", "--to", "latest"]):
        result = invoke(*arguments, "--address", "h:1")
        assert result.exit_code == 1
        assert expected in result.stderr


STATUS = admin_pb2.StatusResponse(
    version="0.1.0",
    started_at_ms=1_000_000,
    bootstrap_servers="localhost:9092",
    lambdas=[
        admin_pb2.Lambda(
            name="deli",
            group="g",
            topics=["rawdeltas"],
            connected=True,
            joined=True,
            processes=[
                admin_pb2.Process(process_id="p1", instance="host-1", pid=7, partitions=1, spare=True, client="py 1")
            ],
            partitions=[
                admin_pb2.Partition(
                    topic="rawdeltas",
                    partition=0,
                    state=admin_pb2.PARTITION_STATE_RUNNING,
                    process_id="p1",
                    delivered=9,
                    committed=5,
                    end=12,
                    outstanding=4,
                    blocked_since_ms=1_175_000,
                ),
                admin_pb2.Partition(
                    topic="rawdeltas",
                    partition=1,
                    state=admin_pb2.PARTITION_STATE_HALTED,
                    reason="ValueError: no",
                    failing_offset=0,
                ),
            ],
        ),
        admin_pb2.Lambda(
            name="scribe",
            group="s",
            topics=["a", "b"],
            problems=[admin_pb2.Problem(kind="topics", text="the topic a does not exist", since_ms=1_060_000)],
        ),
    ],
)


def test_numbers_are_numbers_in_every_part_of_the_json() -> None:
    failure = admin_pb2.Failure(at_ms=2, text="no", offset=3)
    one = admin_pb2.Lambda(
        last_rebalance=admin_pb2.Rebalance(at_ms=1, partitions=4),
        partitions=[admin_pb2.Partition(partition=0, last_error=failure), admin_pb2.Partition(partition=1)],
    )
    [shown] = json.loads(status_json(admin_pb2.StatusResponse(lambdas=[one])))["lambdas"]
    assert (shown["last_rebalance"]["at_ms"], shown["last_rebalance"]["partitions"]) == (1, 4)
    failed, well = shown["partitions"]
    assert (failed["last_error"]["at_ms"], failed["last_error"]["offset"]) == (2, 3)
    assert "last_error" not in well


def test_status_as_json(invoke: Invoke, asked: list[Any]) -> None:
    result = invoke("status", "--json")
    assert result.output == f"{status_json(STATUS)}\n"
    shown = json.loads(result.output)
    running, halted = shown["lambdas"][0]["partitions"]
    assert shown["started_at_ms"] == 1_000_000
    assert (running["end"], running["committed"], running["partition"]) == (12, 5, 0)
    assert "checkpoint" not in running
    assert (halted["state"], halted["failing_offset"]) == ("PARTITION_STATE_HALTED", 0)
    assert invoke("status").output.startswith("kafka-sidecar 0.1.0, up ")


def test_every_option_has_a_help_text() -> None:
    for command in (main, *main.commands.values()):
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help, parameter.name
