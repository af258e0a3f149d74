"""The command line: its errors, and a real process that is served and drained."""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from sdk_python import Message, RefusedError, SettingsError, partition_lambda
from sdk_python._config import read_config
from sdk_python._connection import Endpoint
from sdk_python.protocol import lambda_pb2 as pb
from sdk_python.serve import main, run

from .host import PATIENCE, Host

CONFIG = """
server: {listen: "${LISTEN:-127.0.0.1:1}", token: "${TOKEN_FOR_TEST}"}
lambdas:
  deli: {topic: raw, group: deli, plugin: examples.one_function, document_lambda: examples.deli}
  scriptorium: {topic: deltas, group: s}
"""
PLUGIN = """
from sdk_python import partition_lambda
@partition_lambda
def handle(message, context):
    context.checkpoint(message.offset)
"""
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder and none of our variables; the root logger as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in list(os.environ):
        if name.startswith("KAFKA_SIDECAR_"):
            monkeypatch.delenv(name)
    handlers, level = [*logging.root.handlers], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def failing(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    return capsys.readouterr().err


def test_a_lambda_that_is_not_in_the_config_is_named_with_those_that_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    assert "lambda 'delli' is not in config.yaml; it has: deli, scriptorium" in failing(capsys, "delli")


def test_without_a_plugin_the_error_says_how_to_name_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no plugin named for 'deli': give its module: python -m sdk_python.serve deli MODULE" in failing(
        capsys, "deli"
    )
    (tmp_path / "config.yaml").write_text(CONFIG)
    os.environ["TOKEN_FOR_TEST"] = "t"
    try:
        assert "config.yaml names no plugin for 'scriptorium'" in failing(capsys, "scriptorium")
    finally:
        del os.environ["TOKEN_FOR_TEST"]


def test_with_a_module_on_the_command_line_no_config_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text("broken: [")
    monkeypatch.setenv("KAFKA_SIDECAR_CONFIG", "config.yaml")
    assert "there is no module 'no_such_module'" in failing(capsys, "deli", "no_such_module")
    assert "cannot be read" in failing(capsys, "deli", "no_such_module", "--config", "config.yaml")
    assert "cannot be read" in failing(capsys, "deli")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--set", "novalue"), "expected key=value"),
        (("--address", "nowhere"), "expected host:port"),
        (("--tls-cert", "x"), "go together"),
        (("--tls-ca", "missing.pem"), "missing.pem"),
        (("--config", "missing.yaml"), "no config file missing.yaml"),
    ],
)
def test_wrong_options_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], text: str
) -> None:
    (tmp_path / "made.py").write_text(PLUGIN)
    assert text in failing(capsys, "deli", "made.py", *arguments)


def test_argparse_errors_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["deli", "made.py", "--max-partitions", "0"])
    assert caught.value.code == 2
    assert "less than 1" in capsys.readouterr().err


def test_variables_in_the_config_are_expanded(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    config = read_config(path, "deli", {"TOKEN_FOR_TEST": "secret"})
    assert (config.plugin, config.address, config.token) == ("examples.one_function", "127.0.0.1:1", "secret")
    assert config.document_lambda == "examples.deli"
    with pytest.raises(SettingsError, match="TOKEN_FOR_TEST is not set"):
        read_config(path, "deli", {})


def test_addresses_to_listen_on_are_dialled_on_loopback() -> None:
    dialled = {
        "0.0.0.0:1": "127.0.0.1:1",
        "[::]:1": "[::1]:1",
        ":1": "127.0.0.1:1",
        "unix:///run/a.sock": "unix:///run/a.sock",
        "sidecar.local:1": "sidecar.local:1",
    }
    assert {address: Endpoint(address).target for address in dialled} == dialled
    assert "secret" not in repr(Endpoint("a:1", token="secret"))


async def test_a_process_serves_and_drains_on_sigterm(host: Host, tmp_path: Path) -> None:
    (tmp_path / "made.py").write_text(PLUGIN)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sdk_python.serve", "words", "made", "--address", host.address,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        stream = await host.offered()
        await stream.assign()
        stream.batch([b"a", b"b"])
        await host.until(lambda: 1 in host.checkpoints)
        process.send_signal(signal.SIGTERM)
        assert (await stream.closed()).reason == pb.CLOSED_REASON_STOPPED
        _, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors
    assert b"words words/0 [lease-of] ready" in errors


async def test_a_refused_first_offer_exits_with_2(host: Host, tmp_path: Path) -> None:
    host.refuse = (grpc.StatusCode.UNAUTHENTICATED, "token missing: set KAFKA_SIDECAR_TOKEN")
    (tmp_path / "made.py").write_text(PLUGIN)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sdk_python.serve", "words", "made.py", "--address", host.address,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 2
    assert b"UNAUTHENTICATED): token missing: set KAFKA_SIDECAR_TOKEN" in errors


async def test_run_from_a_program_ends_with_a_drain_when_cancelled(host: Host) -> None:
    seen: list[int] = []

    @partition_lambda
    def handle(message: Message) -> None:
        seen.append(message.offset)

    task = asyncio.create_task(run("words", handle, address=host.address, settings={"a": 1}))
    stream = await host.offered()
    await stream.assign()
    task.cancel()
    assert (await stream.closed()).reason == pb.CLOSED_REASON_STOPPED
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_run_raises_what_the_sidecar_refuses(host: Host) -> None:
    host.refuse = (grpc.StatusCode.FAILED_PRECONDITION, "too old")
    with pytest.raises(RefusedError):
        await run("words", partition_lambda(print), address=host.address)


def test_an_address_for_metrics_that_is_none_is_an_error_and_so_is_one_that_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made.py").write_text(PLUGIN)
    assert "metrics 'here': expected host:port" in failing(capsys, "deli", "made.py", "--metrics", "here")
    monkeypatch.setenv("KAFKA_SIDECAR_METRICS", "there")
    assert "metrics 'there': expected host:port" in failing(capsys, "deli", "made.py")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:{1}".format(*taken.getsockname())
        text = failing(capsys, "deli", "made.py", "--metrics", address)
    assert f"error: metrics {address}: cannot listen there: " in text


def test_errors_are_objects_too_where_the_log_is_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = failing(capsys, "deli", "no_such_module", "--log-format", "json").splitlines()
    assert "there is no module 'no_such_module'" in json.loads(line)["event"]
