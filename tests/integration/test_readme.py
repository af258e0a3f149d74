"""What the README and the docs show works as written there."""

import json
import re
import shlex
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from sidecar.config import load
from tests.integration.deli import boxcar, join, operation
from tests.integration.harness import Program, Stage, wait_for
from tests.servers.topics import Record, create_topic, produce, read_all

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
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


def test_code_comes_before_line_35_and_the_commands_are_these() -> None:
    first_code = next(number for number, line in enumerate(README.splitlines(), 1) if line.startswith("```python"))
    assert first_code < 35
    assert commands(README) == [
        ["make", "demo"],  # test_demo.py
        ["make", "test"],  # runs this
        ["kafka-sidecar", "--config", "config.yaml"],
        ["python", "-m", "sdk_python.serve", "words", "words.py"],
    ]


def serve_and_catch_up(stage: Stage, config: dict[str, Any], lambda_command: list[str]) -> None:
    """Run the config, its topic replaced by one of our own, and a lambda process, until all is committed."""
    config["lambdas"]["words"] |= {"topic": stage.topic, "group": stage.group}
    stage.create_topic(2)
    stage.produce([Record(value=b"the quick brown fox", partition=n % 2) for n in range(10)])
    config = {**config, "server": {"listen": f"unix://{stage.folder}/readme.sock"}}
    sidecar = stage.sidecar(config)
    stage.program("words", [*lambda_command, "--address", sidecar.address])
    stage.wait_until_caught_up()


def test_the_lambda_and_the_config_of_the_readme_run(stage: Stage) -> None:
    (python,) = blocks(README, "python")
    (configuration,) = blocks(README, "yaml")
    module = stage.folder / "words.py"
    module.write_text(python)
    config = yaml.safe_load(configuration)
    config["kafka"] = stage.broker.properties
    serve_and_catch_up(stage, config, [sys.executable, "-m", "sdk_python.serve", "words", str(module)])


def test_the_example_config_runs_as_it_is_but_for_ports(tmp_path: Path) -> None:
    """`kafka-sidecar --config config.yaml`, and deli beside it: its own broker, and numbers come out."""
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
    tls = config["server"].pop("tls")  # names files that are not there
    assert {*tls} == {"certificate", "key", "client_ca"}
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


def test_what_the_docs_link_to_is_there() -> None:
    for path in [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / "docs").iterdir(),
        ROOT / "benchmarks" / "README.md",
    ]:
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
