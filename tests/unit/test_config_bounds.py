"""Settings that `--check` refuses: beyond the limits of the protocol, of the system, or of reason."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from sidecar.config import Endpoint, describe, load
from sidecar.config.runnable import as_mistake, cannot_run, doubtful
from tests.unit.config_files import DELI, KAFKA, config_file, lambda_mistakes, mistakes, read

HUGE = "9" * 5000


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("window: {messages: 4294967296}", "window.messages: expected at most 4294967295, not 4294967296"),
        ("window: {bytes: 99999999TiB}", "window.bytes: expected a size"),
        ("window: {bytes: 99999999999999999999}", "window.bytes: expected at most 1099511627776"),
        ("frame: {records: 1e9}", "frame.records: expected"),
        ("frame: {bytes: 4GiB}", "frame.bytes: expected at most 1GiB, not '4GiB'"),
        ("command: python, instances: 100000000", "instances: expected at most 1000, not 100000000"),
        ("max_restarts: 99999999999", "max_restarts: expected at most 4294967295"),
        ("stall_after: 99999999999999999999h", "stall_after: expected at most 8760h"),
        (f"shutdown_drain: {HUGE}h", "shutdown_drain: expected a duration"),
        ("checkpoint: {interval: 0.00001ms}", "checkpoint.interval: expected at least 1ms"),
        ('command: ["python", "a\\0b"]', "command: word 2 has a NUL"),
        ('command: "a\\0b"', "command: word 1 has a NUL"),
        ('command: ["python", "\\ud800"]', "command: word 2 has a NUL or half of a surrogate pair"),
        ('command: python, env: {A: "x\\0y"}', "env: the value of A has a NUL"),
        ('command: python, env: {"A\\0": x}', "env: a key in it cannot be the name"),
        ('command: python, cwd: "/a\\0b"', "cwd: the path has a NUL"),
        (f"command: [python, {'x' * 140_000}]", "command: word 2 is too long"),
        (f"command: python, env: {{A: {'x' * 140_000}}}", "env: A is too long"),
        ('plugin: "a\\0b"', "plugin: the text has a NUL"),
        (f"plugin: {'x' * 40_000}", "plugin: expected at most 32767 bytes"),
    ],
)
def test_bounds_of_a_lambda(tmp_path: Path, body: str, expected: str) -> None:
    (found,) = lambda_mistakes(tmp_path, body)
    assert found.startswith(expected)
    assert len(found) < 400, "a huge value is not repeated"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[" * 3000 + "]" * 3000, "more than 50 mappings and lists inside each other"),
        ("\n".join("  " * level + "a:" for level in range(3000)), "more than 50 mappings and lists"),
        (
            "a: &a [x,x,x,x,x,x,x,x,x]\n"
            + "".join(
                f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n"
                for old, new in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            "the file has more than 20000 values",
        ),
        (
            "a: &a {x: 1}\n"
            + "".join(
                f"{new}: &{new} {{<<: [{','.join([f'*{old}'] * 9)}]}}\n"
                for old, new in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            "the file has more than 20000 values",
        ),
        (f"a: &a {'x' * 100_000}\nb: [{','.join(['*a'] * 100)}]", "have more than 4194304 characters"),
        (f"a: {HUGE}", "not valid YAML: "),
    ],
)
def test_a_file_that_is_too_large(tmp_path: Path, text: str, expected: str) -> None:
    (found,) = mistakes(tmp_path, text)
    assert expected in found


def test_aliases_within_reason_are_fine(tmp_path: Path) -> None:
    config = read(tmp_path, f"{KAFKA}lambdas:\n  a: &a {{topic: t, group: g}}\n  b: {{<<: *a, group: h}}\n")
    assert [one.group for one in config.lambdas.values()] == ["g", "h"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "server: {listen: '127.0.0.1:7'}\noperate: {listen: '127.0.0.1:7'}\n",
            "operate.listen: 127.0.0.1:7 is",
        ),
        (
            "server: {listen: '127.0.0.1:7', token: a}\noperate: {listen: 'localhost:7'}\n",
            "operate.listen: localhost:7",
        ),
        ("server: {listen: '[::]:7', token: a}\noperate: {listen: '127.0.0.1:7'}\n", "operate.listen: 127.0.0.1:7"),
        ("operate: {listen: '127.0.0.1:50051'}\n", "operate.listen: 127.0.0.1:50051 is taken by server.listen"),
        (
            "server: {listen: 'localhost:8080'}\noperate: {}\n",
            "operate.listen: 127.0.0.1:8080 is taken by",
        ),
        (
            "server: {listen: 'localhost:9092'}\n",
            "kafka.bootstrap.servers: localhost:9092 is where the sidecar",
        ),
        ("operate: {listen: '[::1]:9092'}\n", "kafka.bootstrap.servers: localhost:9092 is where the sidecar"),
    ],
)
def test_two_servers_on_one_port_are_a_mistake(tmp_path: Path, text: str, expected: str) -> None:
    (found,) = mistakes(tmp_path, f"{KAFKA}{DELI}{text}")
    assert found.partition(" ")[2].startswith(expected)


def test_the_embedded_brokers_port(tmp_path: Path) -> None:
    kafka = "kafka: {bootstrap.servers: 'embedded:50051'}\n"
    (found,) = mistakes(tmp_path, f"{kafka}{DELI}")
    assert "1 kafka.bootstrap.servers: 127.0.0.1:50051 is taken by server.listen" in found
    (found,) = mistakes(tmp_path, f"{kafka.replace('50051', '7')}{DELI}operate: {{listen: 'localhost:7'}}\n")
    assert "operate.listen: localhost:7 is taken by kafka.bootstrap.servers" in found


@pytest.mark.parametrize(
    "text",
    [
        "server: {listen: '127.0.0.1:0'}\noperate: {listen: '127.0.0.1:0'}\n",
        "server: {listen: '127.0.0.1:7'}\noperate: {listen: '127.0.0.2:7'}\n",
        "server: {listen: '127.0.0.1:7'}\noperate: {listen: '[::1]:7'}\n",
        "server: {listen: 'unix:///tmp/7'}\noperate: {listen: '127.0.0.1:7'}\n",
        "server: {listen: '0.0.0.0:7', token: a}\noperate: {listen: '127.0.0.1:8'}\n",
    ],
)
def test_ports_that_do_not_clash(tmp_path: Path, text: str) -> None:
    read(tmp_path, f"{KAFKA}{DELI}{text}")


def test_a_broker_elsewhere_with_our_port(tmp_path: Path) -> None:
    read(tmp_path, f"kafka: {{bootstrap.servers: 'kafka:7'}}\n{DELI}server: {{listen: '0.0.0.0:7', token: a}}\n")


@pytest.mark.parametrize("section", ["server", "operate"])
@pytest.mark.parametrize("listen", ["0.0.0.0:7", "[::]:7", "192.0.2.1:7", "[2001:db8::1]:7", "no.name.invalid:7"])
def test_listening_beyond_loopback_needs_insecure(tmp_path: Path, section: str, listen: str) -> None:
    text = f"{KAFKA}{DELI}{section}: {{listen: '{listen}'}}\n"
    (found,) = mistakes(tmp_path, text)
    assert found.startswith(f"3 {section}.listen: {listen} is reachable from other machines")
    assert f"{section}.insecure: true" in found
    read(tmp_path, text.replace("'}", "', insecure: true}"))


@pytest.mark.parametrize("listen", ["127.0.0.1:7", "127.1.2.3:7", "[::1]:7", "[::ffff:127.0.0.1]:7", "localhost:7"])
@pytest.mark.parametrize("section", ["server", "operate"])
def test_loopback_in_all_its_forms(tmp_path: Path, section: str, listen: str) -> None:
    read(tmp_path, f"{KAFKA}{DELI}{section}: {{listen: '{listen}'}}\n")


def test_a_name_counts_as_what_it_resolves_to(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = {"here": ["127.0.0.1", "::1"], "there": ["127.0.0.1", "192.0.2.1"], "nowhere": []}

    def resolve(name: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, 0, 0, "", (address, 0)) for address in addresses[name]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert [Endpoint(name, 7).local for name in addresses] == [True, False, False]


def test_with_a_lambdas_token_listening_beyond_loopback_is_allowed(tmp_path: Path) -> None:
    text = f"{KAFKA}{DELI}server: {{listen: '0.0.0.0:7'}}\n"
    read(tmp_path, text, KAFKA_SIDECAR_TOKEN="a")
    assert mistakes(tmp_path, text.replace("'}", "', admin_token: a}")), "it guards operators' calls alone"


def test_the_values_of_settings_env_and_command_are_never_shown(tmp_path: Path) -> None:
    body = "settings: {dsn: hunter2, deep: {x: [hunter2]}}, env: {PLAIN: hunter2}, command: [python, -c, hunter2]"
    config = read(tmp_path, f"{KAFKA}lambdas: {{x: {{topic: t, group: g, {body}}}}}")
    shown = describe(config)
    assert "hunter2" not in f"{shown} {config!r} {config.lambdas['x']}"
    one = shown["lambdas"]["x"]
    assert (one["settings"], one["env"], one["command"]) == (["dsn", "deep"], ["PLAIN"], "python")


@pytest.mark.parametrize(
    "body",
    [
        "settings: 'dsn=hunter2'",
        "settings: hunter2",
        "settings: {a: '${hunter2'}",
        "command: python, env: {'A=hunter2': x}",
        "command: python, env: 'A=hunter2'",
        "command: {python: hunter2}",
        "command: 'python \"hunter2'",
        "command: python, env: {A: [hunter2]}",
        "'password=hunter2': x",
    ],
)
def test_mistakes_do_not_quote_possible_secrets(tmp_path: Path, body: str) -> None:
    assert not [one for one in lambda_mistakes(tmp_path, body) if "hunter2" in one]


@pytest.mark.parametrize(
    "kafka",
    [
        "sasl.password: !hunter2",
        "sasl.password: *hunter2",
        "sasl.password: '${hunter2-x}'",
        "sasl.password: [hunter2]",
        "'sasl.password=hunter2': x",
        "sasl.password: 'hunter2\\0'",
    ],
)
def test_mistakes_in_kafka_properties_do_not_quote_secrets(tmp_path: Path, kafka: str) -> None:
    kafka = kafka.replace("'hunter2\\0'", '"hunter2\\0"')
    found = mistakes(tmp_path, f"kafka: {{bootstrap.servers: 'localhost:9092', {kafka}}}\n{DELI}")
    assert not [one for one in found if "hunter2" in one]


def test_lambdas_do_not_inherit_variables_of_kafka_and_the_server(tmp_path: Path) -> None:
    text = """
lambdas:
  asks: {topic: t, group: a, settings: {password: "${SHARED}", own: "${OWN}"}}
  sees: {topic: t, group: b, settings: &settings {there: "${BY_ALIAS:-}"}}
  other: {topic: t, group: c}
kafka:
  bootstrap.servers: localhost:9092
  sasl.password: "${SASL}${SHARED}"
  client.id: &alias "${ALIASED:-x}"
  client.rack: "$${NOT_ONE}"
server: {token: "${TOKEN_OF_LAMBDAS}", admin_token: "${OPS_TOKEN:-none}"}
"""
    environ = {"SASL": "s", "SHARED": "h", "TOKEN_OF_LAMBDAS": "t", "OPS_TOKEN": "o", "OWN": "w", "ALIASED": "a"}
    config = read(tmp_path, text, **environ)
    secret = {"SASL", "SHARED", "TOKEN_OF_LAMBDAS", "OPS_TOKEN", "ALIASED"}
    assert config.withheld("other") == secret
    assert config.withheld("asks") == secret - {"SHARED"}


def test_an_alias_in_kafka_names_the_variable_of_its_anchor(tmp_path: Path) -> None:
    text = (
        "lambdas:\n  a: {topic: t, group: a, settings: {password: &p '${SASL}'}}\n  b: {topic: t, group: b}\n"
        "kafka: {bootstrap.servers: 'localhost:9092', sasl.password: *p}\n"
    )
    config = read(tmp_path, text, SASL="s")
    assert (config.withheld("a"), config.withheld("b")) == (set(), {"SASL"})


def found_here(path: Path, body: str, **environ: str) -> list[str]:
    config = load(config_file(path, f"{KAFKA}lambdas: {{x: {{topic: t, group: g, {body}}}}}"), environ)
    return [str(as_mistake(one)) for one in (*cannot_run(config, environ), *doubtful(config, environ))]


def test_a_missing_program_and_a_missing_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (missing,) = found_here(tmp_path, "command: [no-such-program, x]", PATH=os.environ["PATH"])
    assert missing.startswith("lambdas.x.command: the program 'no-such-program' cannot be found")
    (missing,) = found_here(tmp_path, "command: ./run.sh")
    assert "the program './run.sh' cannot be found" in missing
    (missing,) = found_here(tmp_path, "plugin: no.such.plugin")
    assert missing.startswith("lambdas.x.plugin: the module 'no.such.plugin' cannot be found")
    (missing,) = found_here(tmp_path, "plugin: sdk_python.document_router, document_lambda: no_file.py")
    assert missing.startswith("lambdas.x.document_lambda: the file 'no_file.py' cannot be found")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / "beside.py").write_text("raise AssertionError('a check imports nothing')\n")
    assert found_here(tmp_path, "command: ./run.sh, plugin: beside.py") == []
    assert found_here(tmp_path, "command: python -m sdk_python.serve x, plugin: beside") == []
    assert found_here(tmp_path, f"command: run.sh, env: {{PATH: {tmp_path}}}") == []


def test_tls_and_sockets_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("no certificate")
    files = f"{{certificate: {tmp_path}/c.pem, key: {tmp_path}/c.pem, client_ca: {tmp_path}/c.pem}}"
    config = read(tmp_path, f"{KAFKA}{DELI}server: {{tls: {files}}}\n")
    found = [one.message for one in cannot_run(config, {})]
    assert len(found) == 2
    assert "cannot be used" in found[0]
    for path in (f"{tmp_path}/none/s", f"{tmp_path}/c.pem"):
        config = read(tmp_path, f"{KAFKA}{DELI}server: {{listen: 'unix://{path}'}}\n")
        assert len([*cannot_run(config, {})]) == 1
