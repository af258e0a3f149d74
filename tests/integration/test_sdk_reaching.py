"""How a lambda process reaches its sidecar: TLS, the shared config, and the messages when it cannot."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from sdk_python import Message, SettingsError, partition_lambda
from sdk_python._client import Client, Options
from sdk_python._config import read_config
from sdk_python._connection import Endpoint
from sdk_python.serve import main, run
from sidecar.config import client_settings, load
from tests.unit.sdk.host import PATIENCE, Host, running_host
from tests.unit.server.test_access import authority, signed

ROOT = Path(__file__).parents[2]
PLUGIN = "from sdk_python import partition_lambda\n@partition_lambda\ndef handle(m, c): c.checkpoint(m.offset)\n"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pem")
    for name in ("ca", "other"):
        authority(directory, name)
    signed(directory, "server", "ca")
    signed(directory, "lambda", "ca")
    return directory


@asynccontextmanager
async def encrypted(pem: Path, *, mutual: bool = False) -> AsyncIterator[Host]:
    pair = ((pem / "server.key").read_bytes(), (pem / "server.pem").read_bytes())
    roots = (pem / "ca.pem").read_bytes() if mutual else None
    async with running_host(grpc.ssl_server_credentials([pair], roots, mutual)) as host:
        yield host


@asynccontextmanager
async def process(folder: Path, *arguments: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KAFKA_SIDECAR_")}
    with (folder / "stderr").open("wb") as log:
        made = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sdk_python.serve", "words", *arguments,
            env={**clean, "PYTHONPATH": str(ROOT), **environment}, cwd=folder, stderr=log,
        )  # fmt: skip
    try:
        yield made
    finally:
        if made.returncode is None:
            made.kill()
            await made.wait()


def config(folder: Path, host: Host, pem: Path, tls: str = "") -> Path:
    (folder / "made.py").write_text(PLUGIN)
    made = tls or f"{{certificate: {pem}/server.pem, key: {pem}/server.key}}"
    path = folder / "config.yaml"
    path.write_text(
        f"kafka: {{bootstrap.servers: nowhere:1}}\nserver: {{listen: '{host.address}', tls: {made}}}\n"
        "lambdas: {words: {topic: w, group: g, plugin: made.py}}\n"
    )
    return path


async def test_the_configs_own_certificate_is_trusted(pem: Path, tmp_path: Path) -> None:
    async with encrypted(pem) as host:
        config(tmp_path, host, pem)
        async with process(tmp_path):
            await (await host.offered()).assign()


async def test_a_plugins_file_is_looked_up_beside_the_config(pem: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with encrypted(pem) as host:
        path = config(tmp_path, host, pem)
        (elsewhere / "made.py").write_text("raise SystemExit('the wrong one')")
        async with process(elsewhere, "--config", str(path)):
            await (await host.offered()).assign()
    (elsewhere / "made.py").write_text(PLUGIN)
    async with encrypted(pem) as host:
        path = config(tmp_path, host, pem)
        (tmp_path / "made.py").unlink()
        async with process(elsewhere, "--config", str(path)):
            await (await host.offered()).assign()


@pytest.mark.parametrize("by", ["options", "environment"])
async def test_mutual_tls(pem: Path, tmp_path: Path, by: str) -> None:
    names = {"ca": "ca.pem", "cert": "lambda.pem", "key": "lambda.key"}
    options = [text for name, file in names.items() for text in (f"--tls-{name}", str(pem / file))]
    variables = {f"KAFKA_SIDECAR_{name.upper()}": str(pem / file) for name, file in names.items()}
    (tmp_path / "made.py").write_text(PLUGIN)
    async with encrypted(pem, mutual=True) as host:
        arguments = ("made.py", "--address", host.address, *(options if by == "options" else ()))
        async with process(tmp_path, *arguments, **(variables if by == "environment" else {})):
            await (await host.offered()).assign()


async def test_run_takes_tls_too(pem: Path) -> None:
    @partition_lambda
    def handle(message: Message) -> None: ...

    async with encrypted(pem) as host:
        name = host.address.replace("127.0.0.1", "localhost")
        task = asyncio.create_task(run("words", handle, address=name, tls_ca=pem / "ca.pem"))
        stream = await host.offered()
        await stream.assign()
        task.cancel()
        await stream.closed()
        await asyncio.gather(task, return_exceptions=True)
        with pytest.raises(SettingsError, match=r"certificate is not trusted.*other\.pem"):
            async with asyncio.timeout(PATIENCE):
                await run("words", handle, address=name, tls_ca=pem / "other.pem")
        with pytest.raises(SettingsError, match="for another name"):
            async with asyncio.timeout(PATIENCE):
                await run("words", handle, address=name, tls_ca=pem / "ca.pem", tls_name="somebody.else")
        with pytest.raises(SettingsError, match="cannot be read"):
            await run("words", handle, address=name, tls_ca="missing.pem")


async def test_permanent_errors_end_the_process(host: Host, pem: Path, tmp_path: Path) -> None:
    config(tmp_path, host, pem)  # the config has TLS, what listens there has not
    async with process(tmp_path) as it:
        assert await asyncio.wait_for(it.wait(), PATIENCE) == 2
    assert "does not speak TLS" in (tmp_path / "stderr").read_text()
    async with encrypted(pem) as secret:
        arguments = ("made.py", "--address", secret.address, "--tls-ca", str(pem / "other.pem"))
        async with process(tmp_path, *arguments) as it:
            assert await asyncio.wait_for(it.wait(), PATIENCE) == 2
    assert "the certificate is not trusted" in (tmp_path / "stderr").read_text()


@pytest.mark.parametrize("what", ["refused", "tls"])
async def test_transient_errors_are_logged_and_retried(
    what: str, pem: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with encrypted(pem) as secret:
        address = secret.address if what == "tls" else "127.0.0.1:1"
        client = Client("words", partition_lambda(print), Endpoint(address), Options(drain_timeout=1.0))
        task = asyncio.create_task(client.run())
        async with asyncio.timeout(PATIENCE):
            while not caplog.text:  # noqa: ASYNC110  a log line tells nobody
                await asyncio.sleep(0.01)
        client.stop()
        await task
    expected = "server.tls is set, give --tls-ca" if what == "tls" else "no sidecar answers at 127.0.0.1:1"
    assert expected in caplog.text


TEXTS = [
    "token: '$${A}x'",
    "token: ${A}",
    "token: ${NOT_SET:-d}",
    "token: ${EMPTY:-d}",
    "token: 0123",
    "token: 1e5",
    "token: 2024-01-01",
    "token: 'a b${A}'",
    "token: &t ${A}\n  admin_token: *t",
    "<<: {token: '${A}'}",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("overridden", [False, True])
def test_sidecar_sdk_and_commands_read_a_file_alike(tmp_path: Path, text: str, overridden: bool) -> None:
    path = tmp_path / "c.yaml"
    listen = "listen: '${HOST:-127.0.0.1}:7'"
    rest = "\nkafka: {bootstrap.servers: 'h:1', sasl.password: '${UNSET:-x}'}\nlambdas: {words: {topic: t, group: g}}"
    path.write_text(f"server:\n  {text}\n  {listen}{rest}\n")
    environ = {"A": "aval", "EMPTY": ""} | ({"KAFKA_SIDECAR_TOKEN": "over"} if overridden else {})
    ours = read_config(path, "words", environ)
    if "a b" in text and not overridden:
        assert ours.token == "a baval"  # which the sidecar refuses as a token
        return
    theirs = load(path, environ)
    assert theirs.server.token is not None
    assert ours.token == theirs.server.token.get_secret_value()
    assert ours.address == theirs.server.listen == client_settings(path, environ).address
    if not overridden:  # `--token` of the commands has the variable itself
        assert client_settings(path, environ).token == ours.token


def test_variables_that_this_process_does_not_read_may_be_unset(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "kafka: {sasl.password: '${UNSET}'}\nserver: {token: '${UNSET}'}\nlambdas: {w: {}, v: {x: '${U}'}}"
    )
    assert read_config(path, "w", {"KAFKA_SIDECAR_TOKEN": "t"}).token == "t"
    with pytest.raises(SettingsError, match=r"server\.token: the environment variable UNSET is not set; set it, or"):
        read_config(path, "w", {})
    path.write_text("a: " + "[" * 3000)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_config(path, "w", {})
    path.write_text("a: " + "[" * 500 + "]" * 500)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_config(path, "w", {})


def test_a_missing_plugin_file_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("lambdas: {w: {plugin: lost.py}}")
    assert main(["w", "--config", str(path)]) == 2
    assert "there is no file lost.py, neither beside the config nor in" in capsys.readouterr().err
