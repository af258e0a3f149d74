"""The sidecar as a process: its standard error, its signals, its children's environment. No Kafka runs."""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.supervise.guard import GUARD_FD
from tests.integration import harness
from tests.integration.harness import ROOT
from tests.servers.process import free_ports

PATIENCE = 60.0


def wait_for(what: Callable[[], object], about: str) -> None:
    """Poll until ``what`` is true: a start may take long on a busy machine."""
    harness.wait_for(what, about, PATIENCE)


class Sidecar:
    """A sidecar with an HTTP endpoint, so that tests can see its state even without its log."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        (self.port,) = free_ports(1)
        whole = {
            "kafka": {"bootstrap.servers": "127.0.0.1:1"},
            "server": {"listen": "127.0.0.1:0"},
            "operate": {"listen": f"127.0.0.1:{self.port}"},
            "lambdas": {"x": {"topic": "t", "group": "g"}},
            **config,
        }
        self.config = folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(whole))
        self.process: subprocess.Popen[bytes] | None = None

    def start(
        self,
        stderr: Any,
        *,
        level: str = "info",
        before: Callable[[], None] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", GUARD_FD))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sidecar", "--config", str(self.config), "--log-level", level],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            cwd=ROOT,
            env={**clean, **(env or {})},
            preexec_fn=before,  # noqa: PLW1509 - limits and signals of the child only
        )

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "it ended"
        try:
            return self.get("/healthz")[0] == 200
        except OSError:
            return False

    def dropped(self) -> float:
        lines = self.get("/metrics")[1].splitlines()
        (value,) = [line.split()[1] for line in lines if line.startswith("kafka_sidecar_log_lines_dropped_total ")]
        return float(value)

    def ends(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


Make = Callable[..., Sidecar]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Sidecar] = []

    def one(**config: Any) -> Sidecar:
        made.append(Sidecar(tmp_path, config))
        return made[-1]

    yield one
    for sidecar in made:
        if sidecar.process is not None and sidecar.process.poll() is None:
            sidecar.process.kill()
            sidecar.process.wait()


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


def ignore_hang_ups() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def close_stderr() -> None:
    os.close(2)


def test_the_reader_of_its_log_closes_the_pipe(make: Make) -> None:
    sidecar = make()
    read_end, write_end = os.pipe()
    sidecar.start(write_end, level="debug")
    os.close(write_end)
    wait_for(sidecar.is_up, "the sidecar")
    os.close(read_end)
    wait_for(lambda: sidecar.dropped() > 0, "lines to be dropped")
    assert sidecar.ends() == 0


def test_the_reader_of_its_log_does_not_read(make: Make) -> None:
    sidecar = make()
    read_end, write_end = os.pipe()
    sidecar.start(write_end, level="debug")
    os.close(write_end)
    wait_for(sidecar.is_up, "the sidecar")
    # librdkafka's own lines at level debug fill the pipe; no thread waits for it.
    assert sidecar.ends() == 0
    os.close(read_end)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_the_disk_of_its_log_is_full(make: Make) -> None:
    sidecar = make()
    with Path("/dev/full").open("wb") as full:
        sidecar.start(full)
    wait_for(sidecar.is_up, "the sidecar")
    assert sidecar.dropped() > 0
    assert sidecar.ends() == 0


def test_the_file_of_its_log_is_at_its_limit(make: Make, tmp_path: Path) -> None:
    sidecar = make()
    log = tmp_path / "log"
    with log.open("ab") as file:
        sidecar.start(file, before=limit_files)
    wait_for(sidecar.is_up, "the sidecar")
    assert sidecar.dropped() > 0
    log.write_bytes(b"")  # as log rotation by copying does
    assert sidecar.ends() == 0
    *_, last = log.read_text().splitlines()
    assert json.loads(last)["event"] == "stopped"
    assert "log lines were dropped" in log.read_text()


def test_it_has_no_standard_error(make: Make) -> None:
    sidecar = make()
    sidecar.start(None, before=close_stderr)
    wait_for(sidecar.is_up, "the sidecar")
    assert sidecar.ends() == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT, signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_in_order(make: Make, tmp_path: Path, number: signal.Signals) -> None:
    def not_ignored() -> None:  # the tests themselves may run under nohup or in the background
        signal.signal(number, signal.SIG_DFL)

    sidecar = make()
    with (tmp_path / "log").open("wb") as log:
        sidecar.start(log, before=not_ignored)
    wait_for(sidecar.is_up, "the sidecar")
    assert sidecar.ends(number) == 0
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert events[-1] == "stopped"
    assert "signalled: draining" in events


def test_what_nohup_ignores_stays_ignored(make: Make, tmp_path: Path) -> None:
    sidecar = make()
    with (tmp_path / "log").open("wb") as log:
        sidecar.start(log, before=ignore_hang_ups)
    wait_for(sidecar.is_up, "the sidecar")
    assert sidecar.process is not None
    for number in (signal.SIGHUP, signal.SIGPIPE):
        sidecar.process.send_signal(number)
        assert sidecar.is_up()
    assert sidecar.ends() == 0
    assert (tmp_path / "log").read_text().count("signalled") == 1


def test_a_flood_of_failed_handshakes_is_counted(make: Make, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "c.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    (port,) = free_ports(1)
    tls = {"certificate": str(certificate), "key": str(key)}
    sidecar = make(server={"listen": f"127.0.0.1:{port}", "tls": tls})
    with (tmp_path / "log").open("wb") as log:
        sidecar.start(log)
    wait_for(sidecar.is_up, "the sidecar")
    context = ssl.create_default_context()  # it does not trust the certificate
    for number in range(200):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
            if number % 2:
                one.sendall(b"GET / HTTP/1.1\r\n\r\n")
                while one.recv(4096):
                    pass
            else:
                with pytest.raises(ssl.SSLError):
                    context.wrap_socket(one, server_hostname="localhost")
    assert sidecar.ends() == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    about = [line for line in lines if line["logger"] == "grpc"]
    assert 1 <= len(about) <= 10
    assert sum(line.get("not_shown", 0) for line in about) + len(about) >= 100, "and they are counted"


CHILD = "import json, os, sys, time; open(sys.argv[1], 'w').write(json.dumps(dict(os.environ))); time.sleep(600)"


def test_what_its_children_inherit(make: Make, tmp_path: Path) -> None:
    def child(name: str, **settings: str) -> dict[str, Any]:
        command = [sys.executable, "-c", CHILD, str(tmp_path / name)]
        return {"topic": "t", "group": name, "command": command, "settings": settings}

    sidecar = make(
        kafka={"bootstrap.servers": "127.0.0.1:1", "sasl.password": "${SASL}${BOTH}"},
        server={
            "listen": "127.0.0.1:0",
            "token": "${LAMBDAS}",
            "admin_token": "${OPS_TOKEN}",
            "identities": [{"name": "other", "token": "${OTHER}", "lambdas": "two"}],
        },
        lambdas={"one": child("one", both="${BOTH}"), "two": child("two")},
    )
    secrets = {name: f"secret-{name}" for name in ("SASL", "BOTH", "LAMBDAS", "OPS_TOKEN", "OTHER")}
    with (tmp_path / "log").open("wb") as log:
        sidecar.start(log, env={"KAFKA_SIDECAR_ADMIN_TOKEN": "secret-too", "HARMLESS": "yes", **secrets})
    seen = {}
    for name in ("one", "two"):
        path = tmp_path / name
        wait_for(lambda path=path: path.exists() and path.read_text().endswith("}"), "the child's environment")  # type: ignore[misc]
        seen[name] = json.loads(path.read_text())
    assert sidecar.ends() == 0
    for name, environment in seen.items():
        assert environment["HARMLESS"] == "yes"
        assert environment["KAFKA_SIDECAR_TOKEN"] not in ("", "secret-LAMBDAS"), "it has one of its own"
        inherited = {variable for variable in environment if variable in secrets or variable.endswith("ADMIN_TOKEN")}
        assert inherited == ({"BOTH"} if name == "one" else set())
    tokens = {environment["KAFKA_SIDECAR_TOKEN"] for environment in seen.values()}
    assert len(tokens) == 2, "each lambda has its own"
    logged = (tmp_path / "log").read_text()
    assert not [secret for secret in ("secret-", *tokens) if secret in logged]


def test_a_crashing_process_is_reported_in_log_status_and_metrics(make: Make, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no database \\x1b[31m')"]
    lambdas = {"x": {"topic": "t", "group": "g", "command": command}}
    lambdas |= {"y": {"topic": "t", "group": "h", "command": "no-such-program"}}
    (port,) = free_ports(1)
    sidecar = make(lambdas=lambdas, server={"listen": f"127.0.0.1:{port}"})
    check = [sys.executable, "-m", "sidecar", "--config", str(sidecar.config)]
    checked = subprocess.run([*check, "--check"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert checked.returncode == 2
    assert "lambdas.y.command: the program 'no-such-program' cannot be found" in checked.stderr
    with (tmp_path / "log").open("wb") as log:
        sidecar.start(log)
    wait_for(sidecar.is_up, "the sidecar")

    def problems() -> dict[str, str]:
        told: dict[str, str] = json.loads(sidecar.get("/healthz")[1])["problems"]
        return told

    wait_for(lambda: "exit code 1" in problems().get("x", ""), "the crash in /healthz")
    wait_for(lambda: "exit code 127" in problems().get("y", ""), "the missing program in /healthz")
    shown = subprocess.run([*check, "status"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert "ended with exit code 1" in shown
    assert "its last line on stderr: no database \\x1b[31m" in shown
    assert "\x1b" not in shown
    assert "No such file or directory" in shown
    as_json = subprocess.run(
        [*check, "status", "--json"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    assert "ended with exit code 1" in json.loads(as_json)["lambdas"][0]["problem"]
    assert 'kafka_sidecar_process_exits_total{lambda="x"}' in sidecar.get("/metrics")[1]
    assert sidecar.ends() == 0


@pytest.mark.parametrize("host", ["[::1]", "localhost", "127.0.0.1", "[::]"])
def test_ipv6_in_every_address(make: Make, tmp_path: Path, host: str) -> None:
    port, http_port = free_ports(2)
    open_door = {"insecure": True} if host == "[::]" else {}
    sidecar = make(
        kafka={"bootstrap.servers": "[::1]:1,127.0.0.1:1"},
        server={"listen": f"{host}:{port}", **open_door},
        operate={"listen": f"{host}:{http_port}", **open_door},
    )
    with (tmp_path / "log").open("wb") as log:
        sidecar.start(log)
    dialled = host.replace("[::]", "[::1]")
    command = [sys.executable, "-m", "sidecar", "status", "--address", f"{dialled}:{port}"]

    def answers() -> bool:
        return subprocess.run(command, capture_output=True, cwd=ROOT, check=False).returncode == 0

    wait_for(answers, "the answer to a command")
    for listener in (port, http_port):
        reached = [family for family in ("127.0.0.1", "::1") if _accepts(family, listener)]
        expected = {"[::1]": ["::1"], "127.0.0.1": ["127.0.0.1"], "[::]": ["127.0.0.1", "::1"]}
        assert reached == expected.get(host, reached)
        assert reached
    assert sidecar.ends() == 0


def _accepts(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=10).close()
    except OSError:
        return False
    return True
