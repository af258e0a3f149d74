"""What the Dockerfile does, done without an engine: its stages in a folder, and the image's commands there.

The instructions are taken from the Dockerfile's text, and the commands from docker-compose.yml. Two things differ:
the base image is the Python that runs this, and /build, /opt and /app are in a temporary folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka import Producer

from tests.dockerfile import COMPOSE, ENVIRONMENT, ROOT, STAGES, Instruction, environment, workdir
from tests.integration.conftest import need
from tests.servers import wheels
from tests.servers.kafka import KafkaServer, missing_requirements
from tests.servers.process import free_ports
from tests.servers.topics import end_offsets, partition_count

TOKEN = "a-token-of-the-test"
GRACE = float(COMPOSE["services"]["sidecar"]["stop_grace_period"].removesuffix("s"))


class Image(NamedTuple):
    """The image's files in a folder."""

    folder: Path
    environ: dict[str, str]

    def path(self, inside: str) -> Path:
        """Where an absolute path of the image is."""
        return self.folder / inside.removeprefix("/")

    def translated(self, command: str) -> str:
        """A command with its absolute paths moved into the folder."""
        return re.sub(r"(?<![\w./-])/(?=(?:opt|build|app)\b)", f"{self.folder}/", command)

    def run(self, command: Sequence[str], **environ: str) -> subprocess.CompletedProcess[str]:
        """One command in the image's last working directory, with the image's PATH and no other variable of ours."""
        program = shutil.which(command[0], path=self.environ["PATH"])
        assert program is not None, f"{command[0]} is not in the image"
        return subprocess.run(
            [program, *command[1:]],
            cwd=self.path(workdir(STAGES[-1])),
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def copy(image: Image, source: str, target: str, directory: str) -> None:
    """COPY of one file or folder out of the build context."""
    to = image.path(os.path.normpath(Path(directory, target)))
    if (ROOT / source).is_dir():
        shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("__pycache__", "*.so"), dirs_exist_ok=True)
    else:
        shutil.copy(ROOT / source, to / Path(source).name if target.endswith("/") else to)


def build(image: Image, stage: Sequence[Instruction]) -> None:
    """Carry out what a stage says that can be done in a folder."""
    directory = "/"
    for instruction in stage:
        match instruction:
            case Instruction("WORKDIR"):
                directory = instruction.text
                image.path(directory).mkdir(parents=True, exist_ok=True)
            case Instruction("COPY", {"from": _}):
                assert instruction.words == [ENVIRONMENT, ENVIRONMENT]  # it stays where the first stage made it
            case Instruction("COPY"):
                *sources, target = instruction.words
                for source in sources:
                    copy(image, source, target, directory)
            case Instruction("RUN") if not instruction.text.startswith("useradd "):
                # pip fetches nothing: the wheels were fetched before the first test.
                wheels_only = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels.fetch())}
                search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
                done = subprocess.run(
                    ["sh", "-c", image.translated(instruction.text)],
                    cwd=image.path(directory),
                    env={**os.environ, "PATH": search, **wheels_only},
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, f"{instruction.text}\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image, and what docker-compose.yml mounts into the sidecar."""
    folder = tmp_path_factory.mktemp("image")
    made = Image(folder, {"PATH": f"{folder}{ENVIRONMENT}/bin", "HOME": "/nonexistent"})
    for stage in STAGES:
        build(made, stage)
    for mount in COMPOSE["services"]["sidecar"]["volumes"]:
        source, target, _ = mount.split(":")
        shutil.copy(ROOT / source, made.path(target))
    return made


def test_the_environment_has_what_the_project_needs_and_no_tools(image: Image) -> None:
    code = "import importlib.metadata as m; print(*sorted(d.name.lower() for d in m.distributions()))"
    there = set(image.run(["python", "-c", code]).stdout.split())
    assert {"kafka-sidecar", "confluent-kafka", "grpcio", "pymongo"} <= there
    assert there.isdisjoint({"pip", "pytest", "mypy", "ruff", "grpcio-tools", "setuptools"})


def test_the_extension_was_compiled_for_it(image: Image) -> None:
    assert image.run(["python", "-c", "import sidecar.records._native as n; print(n.__file__)"]).stdout.strip()


def test_all_versions_are_the_pinned_ones(image: Image) -> None:
    code = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    installed = {line.lower().replace("_", "-") for line in image.run(["python", "-c", code]).stdout.split()}
    pinned = set(re.findall(r"^[\w.-]+==[^\s;\\]+", (ROOT / "requirements" / "dev.txt").read_text(), re.MULTILINE))
    assert len(installed) > 10
    assert {entry for entry in installed if not entry.startswith("kafka-sidecar==")} <= pinned


def test_the_project_is_installed_and_not_linked_to_this_tree(image: Image) -> None:
    done = image.run(["python", "-c", "import sidecar, sdk_python; print(sidecar.__file__, sdk_python.__file__)"])
    assert done.stdout.count(f"{image.folder}{ENVIRONMENT}/") == 2, done.stdout + done.stderr


def test_the_sidecar_accepts_the_config_with_what_compose_sets(image: Image) -> None:
    command = COMPOSE["services"]["sidecar"]["command"]
    done = image.run([*command, "--check"], **environment("sidecar"))
    assert done.returncode == 0, done.stderr
    assert "kafka:29092" in done.stdout
    assert "0.0.0.0:50051 with token" in done.stdout
    assert done.stderr == ""  # no warning that everybody is let in
    for name in ("deli", "scriptorium"):
        assert f"lambda   {name}: " in done.stdout


def test_the_image_runs_the_sidecar_when_it_is_not_told_what(image: Image) -> None:
    (command,) = [one.exec_form for one in STAGES[-1] if one.name == "CMD"]
    assert command is not None
    done = image.run([*command, "--check"], **environment("sidecar"))
    assert done.stdout.endswith("config.yaml: ok\n"), done.stdout + done.stderr


@pytest.mark.parametrize("name", ["deli", "scriptorium"])
def test_a_lambda_is_found_and_dials_the_sidecar(image: Image, name: str) -> None:
    """Its plugin loads and its own config is right: what fails is only that there is no sidecar."""
    command = COMPOSE["services"][name]["command"]
    assert image.run([*command, "--help"]).returncode == 0
    variables = {**environment(name), "KAFKA_SIDECAR_ADDRESS": "no-port"}
    done = image.run(command, **variables)
    assert (done.returncode, "address 'no-port'" in done.stderr) == (2, True), done.stderr
    program = (
        "import sys\n"
        "from sdk_python._config import read_config\n"
        "from sdk_python._loading import load_plugin\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, '')\n"
        f"config = read_config(Path('config.yaml'), {name!r})\n"
        "print(load_plugin(config.plugin))\n"
    )
    done = image.run(["python", "-c", program], **environment(name))
    assert done.returncode == 0, done.stderr


def test_the_health_check_asks_the_sidecar_and_fails_without_one(image: Image) -> None:
    (check,) = [one.text for one in STAGES[-1] if one.name == "HEALTHCHECK"]
    command = json.loads(check.removeprefix("CMD "))
    done = image.run(command, **{**environment("sidecar"), "LISTEN": "127.0.0.1:1"})
    assert done.returncode == 1, done.stdout
    assert "127.0.0.1:1" in done.stderr


def test_the_health_check_finds_a_sidecar_that_runs(image: Image) -> None:
    """As it is in the container: the address and the token are from the environment and the config file."""
    (port,) = free_ports(1)
    variables = {**environment("sidecar"), "LISTEN": f"0.0.0.0:{port}", "KAFKA": "127.0.0.1:1"}
    variables["KAFKA_SIDECAR_TOKEN"] = TOKEN
    program = shutil.which("kafka-sidecar", path=image.environ["PATH"])
    assert program is not None
    process = subprocess.Popen(
        [program, *COMPOSE["services"]["sidecar"]["command"][1:]],
        cwd=image.path("/app"),
        env={**image.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "listening for lambdas" in line:
                break
        check = COMPOSE["services"]["sidecar"]["healthcheck"]["test"][1:]
        assert image.run(check, **variables).returncode == 0
        refused = image.run(check, **{**variables, "KAFKA_SIDECAR_TOKEN": "another"})
        assert refused.returncode == 1
    finally:
        process.terminate()
        process.communicate(timeout=GRACE)
    assert process.returncode == 0


@pytest.fixture
def compose_kafka() -> Iterator[tuple[str, str]]:
    """Real Kafka with the settings of docker-compose.yml: its listeners, for containers and for the host."""
    need(missing_requirements())
    inner, outer, controller = free_ports(3)
    ports = {"29092": inner, "9092": outer, "9093": controller}
    settings: dict[str, object] = {}
    for name, value in environment("kafka").items():
        if name.startswith("KAFKA_") and name != "KAFKA_LOG_DIRS":
            # The image's rule: KAFKA_LOG_DIRS is log.dirs. The names and ports of the network become this machine's.
            text = re.sub(r"\b(?:29092|9092|9093)\b", lambda match: str(ports[match[0]]), value)
            text = re.sub(r"//(?:kafka|localhost)?:", "//127.0.0.1:", text)
            settings[name.removeprefix("KAFKA_").lower().replace("_", ".")] = text
    server = KafkaServer(settings)
    server._port = outer
    with server:
        yield f"127.0.0.1:{inner}", f"127.0.0.1:{outer}"


@pytest.mark.kafka
def test_kafka_starts_with_what_compose_sets(compose_kafka: tuple[str, str]) -> None:
    """Either listener leads back to itself, and a topic that is written to has its eight partitions."""
    inner, outer = (Producer({"bootstrap.servers": address}) for address in compose_kafka)
    for producer, address in zip((inner, outer), compose_kafka, strict=True):
        brokers = producer.list_topics(timeout=60.0).brokers.values()
        assert [f"{broker.host}:{broker.port}" for broker in brokers] == [address]
    outer.produce("rawdeltas", b"an operation", b"a document")
    assert outer.flush(20.0) == 0
    assert sum(end_offsets(compose_kafka[0], "rawdeltas").values()) == 1
    assert partition_count(compose_kafka[0], "rawdeltas") == 8
