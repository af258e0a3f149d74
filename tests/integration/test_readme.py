"""The examples of the README and the docs work as written."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from sidecar.config import load
from tests.integration.deli import boxcar, join, operation
from tests.integration.harness import PATIENCE, Program, wait_for
from tests.servers import wheels
from tests.servers.process import free_ports
from tests.servers.topics import Record, create_topic, produce, read_all

pytestmark = pytest.mark.timeout(600)  # the first test installs the project

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    """The fenced code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    """The words of each `$ command` in the console blocks, without comments."""
    lines = [line for block in blocks(text, "console") for line in block.splitlines() if line.startswith("$ ")]
    return [shlex.split(line[2:], comments=True) for line in lines]


@contextmanager
def as_file(config: object) -> Iterator[Path]:
    """The config as a YAML file."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(config, file)
        file.flush()
        yield Path(file.name)


def output(text: str, command: Sequence[str]) -> list[str]:
    """The lines after a command in a console block: its output."""
    for block in blocks(text, "console"):
        lines = block.splitlines()
        for number, line in enumerate(lines):
            if line.startswith("$ ") and shlex.split(line[2:], comments=True) == command:
                after = [*lines[number + 1 :], "$ "]
                return after[: next(index for index, one in enumerate(after) if one.startswith("$ "))]
    raise AssertionError(f"the text has no command {command}")


_, _, INSTALL, RUN, WRITE, SERVE = commands(README)
"""The README's commands for its first lambda; the two commands before them are `make`."""


def test_code_comes_before_line_35_and_the_commands_are_these() -> None:
    first_code = next(number for number, line in enumerate(README.splitlines(), 1) if line.startswith("```python"))
    assert first_code < 35
    assert len(blocks(README, "python")[0].splitlines()) <= 14
    assert commands(README)[:2] == [
        ["make", "demo"],
        ["make", "test"],
    ]  # test_demo.py tests the first; the second runs this test
    assert INSTALL == ["pip", "install", ".[embedded]"]
    assert RUN == ["kafka-sidecar", "--config", "config.yaml"]
    assert WRITE[:2] == ["python", "-c"]
    assert SERVE == ["python", "-m", "sdk_python.serve", "words"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a clone in which the README's `pip install` was run, without a network."""
    folder = tmp_path_factory.mktemp("stranger")
    clone, environment = wheels.clone(folder / "clone"), folder / "venv"
    venv.create(environment, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "--quiet"]
    fetched = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels.fetch())}
    done = subprocess.run(
        [*pip, *INSTALL[1:]], cwd=clone, env={**os.environ, **fetched}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return environment


def test_the_first_lambda_of_the_page_shows_what_the_page_shows(installed: Path, tmp_path: Path) -> None:
    """Follow the README alone: create the files, run the commands in order, and compare the output.

    Only the port differs, and the sidecar's address is a socket, since other tests may run on the machine.
    """
    (python,), (configuration,) = blocks(README, "python"), blocks(README, "yaml")
    port = str(free_ports(1)[0])
    (tmp_path / "words.py").write_text(python)
    assert ":9092 " in configuration
    listen = f"server: {{listen: 'unix://{tmp_path}/s.sock'}}\n"
    (tmp_path / "config.yaml").write_text(configuration.replace(":9092 ", f":{port} ") + listen)
    environment = {"PATH": f"{installed / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def command(words: Sequence[str]) -> list[str]:
        return [str(installed / "bin" / words[0]), *(word.replace(":9092", f":{port}") for word in words[1:])]

    sidecar = Program("sidecar", command(RUN), environment, tmp_path)
    programs = [sidecar]
    try:
        sidecar.wait_for_log("listening for lambdas")
        subprocess.run(command(WRITE), cwd=tmp_path, check=True, timeout=PATIENCE)
        words = Program("words", command(SERVE), environment, tmp_path)
        programs.append(words)
        shown = output(README, SERVE)
        assert shown, "the page shows what one sees"
        for line in shown:
            words.wait_for_log(line)
        subprocess.run(command(WRITE), cwd=tmp_path, check=True, timeout=PATIENCE)
        words.wait_for_log("[('the', 4), ('fox', 2)]")
        assert words.terminate() == 0
        sidecar.signal(signal.SIGINT)
        assert sidecar.ended() == 0
    finally:
        for program in programs:
            program.close()


def test_the_installed_package_has_the_licence(installed: Path) -> None:
    (licence,) = installed.glob("lib/python*/site-packages/kafka_sidecar-*.dist-info/licenses/LICENSE")
    assert licence.read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_example_config_runs_as_it_is_but_for_ports(tmp_path: Path) -> None:
    """`kafka-sidecar --config config.yaml` starts its broker, and deli with it writes sequenced operations."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    text = (ROOT / "config.yaml").read_text()
    assert text.count(":19092") == 2
    path = tmp_path / "config.yaml"
    path.write_text(text.replace(":19092", f":{port}"))
    environment = {"LISTEN": f"unix://{tmp_path}/s.sock"}
    serve = [sys.executable, "-m", "sdk_python.serve", "deli", "--config", str(path)]
    run = [sys.executable, "-m", "sidecar", "--config", str(path), "--log-format", "json"]
    sidecar = Program("sidecar", run, environment)
    deli = Program("deli", serve, environment)
    try:
        sidecar.wait_for_log("listening for lambdas")
        broker = f"127.0.0.1:{port}"
        create_topic(broker, "rawdeltas", 4)
        create_topic(broker, "deltas", 4)
        value = json.dumps(boxcar("d", join("c"), operation("c", 1))).encode()
        produce(broker, "rawdeltas", [Record(key=b"d", value=value)])
        wait_for(
            lambda: len(read_all(broker, "deltas")) == 2, lambda: f"numbers\n{sidecar.text()}\n{deli.text()}", 30.0
        )
        assert deli.terminate() == 0
        assert sidecar.terminate() == 0
    finally:
        deli.close()
        sidecar.close()


def test_every_setting_of_the_example_config_is_right() -> None:
    text = (ROOT / "config.yaml").read_text()
    uncommented = re.sub(r"^(\s*)# (\s*[a-z_]+:)", r"\1\2", text, flags=re.MULTILINE)
    config = yaml.safe_load(uncommented)
    assert len(config["lambdas"]["scriptorium"]) > 12
    tls = config["server"].pop("tls")  # it names files that do not exist
    assert {*tls} == {"certificate", "key", "client_ca"}
    (identity,) = config["server"]["identities"]
    assert identity.pop("token_file")  # the same
    identity["token"] = "of-the-archive"
    one = config["lambdas"]["scriptorium"]
    with as_file(config) as path:
        loaded = load(path, {"KAFKA": "x:1", "TOKEN": "secret", "ADMIN_TOKEN": "other"})
    assert loaded.lambdas["scriptorium"].command is not None
    shown_defaults = {key: one[key] for key in ("checkpoint", "window", "frame", "rebalance_drain", "start")}
    bare = {"kafka": {"bootstrap.servers": "x:1"}, "lambdas": {"words": {"topic": "t", "group": "g"}}}
    with as_file(bare) as path:
        defaults = load(path, {}).lambdas["words"]
    for key in shown_defaults:
        assert getattr(loaded.lambdas["scriptorium"], key) == getattr(defaults, key)


def test_the_python_of_the_docs_is_python() -> None:
    for name in ("lambdas.md", "design.md", "operations.md"):
        for block in blocks((ROOT / "docs" / name).read_text(), "python"):
            compile(block, name, "exec")


def test_the_links_of_the_docs_exist() -> None:
    for path in [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "benchmarks" / "README.md",
        *ROOT.glob("sdk_*/README.md"),
        *(path for path in (ROOT / "examples").rglob("README.md") if "node_modules" not in path.parts),
    ]:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
