"""Tokens, TLS and secrets in the config file, and the settings that clients read from it."""

import json
from pathlib import Path

import pytest

from sidecar.config import (
    ConfigError,
    client_settings,
    describe,
)
from tests.unit.config_files import DELI, KAFKA, config_file, mistakes, read, tls


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
        ("0.0.0.0:1", "insecure: true", True),
        ("'[::]:1'", "insecure: true", True),
        ("sidecar.example:1", "insecure: true", True),
        ("0.0.0.0:1", "token: abc", False),
        ("0.0.0.0:1", "certificate", True),
        ("0.0.0.0:1", "client_ca", False),
    ],
)
def test_an_unprotected_address_is_a_warning(tmp_path: Path, listen: str, secured: str, warns: bool) -> None:
    if secured in {"certificate", "client_ca"}:
        files = ("certificate", "key", *(["client_ca"] if secured == "client_ca" else []))
        secured = f"tls: {{{tls(tmp_path, *files)}}}"
    config = read(tmp_path, f"{KAFKA}{DELI}server: {{listen: {listen}, {secured}}}")
    assert bool(config.warnings) is warns
    assert all(listen.strip("'") in warning for warning in config.warnings)


def test_an_admin_token_equal_to_the_lambdas_is_a_warning(tmp_path: Path) -> None:
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
        assert "hunter2" not in text
    assert shown["kafka"]["sasl.password"] == "****"
    server: dict[str, object] = {"listen": "127.0.0.1:50051", "socket_mode": "0660", "tls": None, "insecure": False}
    server["shared_memory"] = 0
    assert shown["server"] == {**server, "token": "****", "admin_token": "****", "identities": []}
    assert shown["lambdas"]["x"]["window"] == {"messages": 10_000, "bytes": 16_777_216}
    assert shown["lambdas"]["x"]["command"] == "run"
    assert shown["lambdas"]["x"]["env"] == ["DB_PASSWORD", "N"]
    assert shown["lambdas"]["x"]["settings"] == ["db"]


def test_mistakes_do_not_show_secrets(tmp_path: Path) -> None:
    text = SECRETS.replace("PLAIN", "NONE").replace("{token: hunter2, ", "{token: [hunter2], ")
    found = mistakes(tmp_path, text.replace("password: hunter2, url", "password: hunter2, n: .nan, url"))
    assert len(found) == 3
    assert not [one for one in found if "hunter2" in one]


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


@pytest.mark.parametrize(
    ("said", "size"), [("off", 0), ('"off"', 0), ("0", 0), ("64MiB", 64 << 20), ("1000", 1000), ("no", 0)]
)
def test_shared_memory_is_a_size_or_off(tmp_path: Path, said: str, size: int) -> None:
    minimal = "kafka: {bootstrap.servers: b:1}\nlambdas: {x: {topic: t, group: g}}\n"
    assert read(tmp_path, f"{minimal}server: {{shared_memory: {said}}}").server.shared_memory == size


def test_shared_memory_without_a_unix_socket_is_a_warning(tmp_path: Path) -> None:
    minimal = "kafka: {bootstrap.servers: b:1}\nlambdas: {x: {topic: t, group: g}}\n"
    (warning,) = read(tmp_path, f"{minimal}server: {{shared_memory: 4MiB}}").warnings
    assert "server.shared_memory" in warning
    assert "Unix socket" in warning
    on_one = read(tmp_path, f"{minimal}server: {{shared_memory: 4MiB, listen: 'unix:///run/s'}}")
    assert on_one.warnings == ()
    assert read(tmp_path, minimal).server.shared_memory == 0


def test_shared_memory_that_is_too_little_for_any_partition_is_a_warning(tmp_path: Path) -> None:
    lambdas = "lambdas: {x: {topic: t, group: g}, y: {topic: u, group: h, frame: {bytes: 100kB}}}"
    text = f"kafka: {{bootstrap.servers: b:1}}\n{lambdas}\nserver: {{shared_memory: 4MB, listen: 'unix:///run/s'}}\n"
    (warning,) = read(tmp_path, text).warnings
    assert "a partition of x," in warning
    assert "at least 4MiB" in warning
