"""Carries out the Dockerfile without an engine: its stages in a folder, and the images' commands there.

The instructions come from the Dockerfile's text, the commands from docker-compose.yml. Two things differ: the base
image is the Python that runs this, and /build, /opt and each image's /app are in a temporary folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka import Producer

from tests.dockerfile import (
    COMPOSE,
    ENVIRONMENTS,
    ROOT,
    STAGES,
    Instruction,
    environment,
    image as instructions,
    workdir,
)
from tests.integration.conftest import need
from tests.servers import wheels
from tests.servers.kafka import KafkaServer, missing_requirements
from tests.servers.process import free_ports
from tests.servers.topics import end_offsets, partition_count

TOKEN = "a-token-of-the-test"
GRACE = float(COMPOSE["services"]["sidecar"]["stop_grace_period"].removesuffix("s"))


class Image(NamedTuple):
    """An image's files in folders: an environment stays where the first stage made it, since it has its own path."""

    target: str
    folder: Path
    app: Path
    """The folder for the image's /app."""

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables of the image's commands."""
        return {"PATH": f"{self.folder}{ENVIRONMENTS[self.target]}/bin", "HOME": "/nonexistent"}

    def path(self, inside: str) -> Path:
        """The path in the folders of an absolute path in the image."""
        return (
            self.app / inside.removeprefix("/app").lstrip("/")
            if inside.startswith("/app")
            else Path(f"{self.folder}{inside}")
        )

    def run(self, command: Sequence[str], **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the image's last working directory, with the image's PATH and none of our variables."""
        program = shutil.which(command[0], path=self.environ["PATH"])
        assert program is not None, f"{command[0]} is not in the image"
        return subprocess.run(
            [program, *command[1:]],
            cwd=self.path(workdir(self.target)),
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def copy(source: str, to: Path, *, into: bool) -> None:
    """Carry out a COPY of one file or folder from the build context, to a path or into a folder."""
    if (ROOT / source).is_dir():
        built = shutil.ignore_patterns("__pycache__", "*.so", "build", "*.egg-info")
        shutil.copytree(ROOT / source, to, ignore=built, dirs_exist_ok=True)
    else:
        shutil.copy(ROOT / source, to / Path(source).name if into else to)


def build(stage: Sequence[Instruction], path: Callable[[str], Path]) -> None:
    """Carry out the instructions of a stage that can be done in a folder. ``path`` maps a path of the image."""
    directory = "/"
    for instruction in stage:
        match instruction:
            case Instruction("WORKDIR"):
                directory = instruction.text
                path(directory).mkdir(parents=True, exist_ok=True)
            case Instruction("COPY", {"from": _}):
                pass  # an environment stays where the first stage made it
            case Instruction("COPY"):
                *sources, target = instruction.words
                for source in sources:
                    copy(source, path(os.path.normpath(Path(directory, target))), into=target.endswith("/"))
            case Instruction("RUN") if not instruction.text.startswith("useradd "):
                # pip fetches nothing: the wheels were fetched before the first test.
                wheels_only = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels.fetch())}
                search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
                command = re.sub(r"(?<![\w./-])/(?=(?:opt|build|app)\b)", f"{path('/')}/", instruction.text)
                done = subprocess.run(
                    ["sh", "-c", command],
                    cwd=path(directory),
                    env={**os.environ, "PATH": search, **wheels_only},
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, f"{instruction.text}\n{done.stdout}{done.stderr}"


class Images(NamedTuple):
    """All images, with the files that docker-compose.yml mounts into them."""

    sidecar: Image
    one_lambda: Image
    examples: Image

    def of(self, service: str) -> Image:
        """The image that a service of docker-compose.yml runs."""
        target = COMPOSE["services"][service]["build"]["target"]
        return next(image for image in self if image.target == target)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """All images."""
    folder = tmp_path_factory.mktemp("images")
    build(STAGES["build"], lambda inside: Path(f"{folder}{inside}"))
    made = Images(*(Image(target, folder, folder / f"app-of-{target}") for target in ENVIRONMENTS))
    for image in made:
        build(instructions(image.target), image.path)
    for service in ("sidecar", "deli"):
        for mount in COMPOSE["services"][service]["volumes"]:
            source, target, _ = mount.split(":")
            shutil.copy(ROOT / source, made.of(service).path(target))
    return made


@pytest.fixture(scope="module")
def image(images: Images) -> Image:
    """The sidecar's."""
    return images.sidecar


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def each(request: pytest.FixtureRequest, images: Images) -> Image:
    """Each of them in turn."""
    return next(image for image in images if image.target == request.param)


DISTRIBUTIONS = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"


def installed(image: Image) -> set[str]:
    """What is installed, as NAME==VERSION."""
    return {line.lower().replace("_", "-") for line in image.run(["python", "-c", DISTRIBUTIONS]).stdout.split()}


def names(image: Image) -> set[str]:
    """The names of what is installed."""
    return {entry.partition("==")[0] for entry in installed(image)}


def test_the_sidecars_environment_has_what_it_needs_and_no_tools(images: Images) -> None:
    there = names(images.sidecar)
    assert {"kafka-sidecar", "kafka-sidecar-sdk", "confluent-kafka", "grpcio"} <= there
    assert there.isdisjoint({"pip", "pytest", "mypy", "ruff", "grpcio-tools", "setuptools", "pymongo", "orjson"})


def test_a_lambdas_environment_has_the_sdk_and_what_reads_the_config(images: Images) -> None:
    sdk = {"kafka-sidecar-sdk", "grpcio", "protobuf", "typing-extensions", "pyyaml"}  # the fourth is grpcio's
    assert names(images.one_lambda) == sdk
    assert names(images.examples) == {*sdk, "confluent-kafka", "orjson", "pymongo", "dnspython"}  # pymongo's


def test_the_extension_was_compiled_for_it(image: Image) -> None:
    assert image.run(["python", "-c", "import sidecar.records._native as n; print(n.__file__)"]).stdout.strip()


def test_all_versions_are_the_pinned_ones(each: Image) -> None:
    there = {entry for entry in installed(each) if not entry.startswith("kafka-sidecar")}
    pinned = set(re.findall(r"^[\w.-]+==[^\s;\\]+", (ROOT / "requirements" / "dev.txt").read_text(), re.MULTILINE))
    assert len(there) > 3
    assert there <= pinned


def test_what_is_ours_is_installed_and_not_linked_to_this_tree(images: Images) -> None:
    done = images.sidecar.run(
        ["python", "-c", "import sidecar, sdk_python; print(sidecar.__file__, sdk_python.__file__)"]
    )
    assert done.stdout.count(f"{images.sidecar.folder}/opt/kafka-sidecar/") == 2, done.stdout + done.stderr
    done = images.one_lambda.run(["python", "-c", "import sdk_python; print(sdk_python.__file__)"])
    assert done.stdout.startswith(f"{images.one_lambda.folder}/opt/lambda/"), done.stdout + done.stderr


def test_the_sidecar_accepts_the_config_with_what_compose_sets(image: Image) -> None:
    command = COMPOSE["services"]["sidecar"]["command"]
    done = image.run([*command, "--check"], **environment("sidecar"))
    assert done.returncode == 0, done.stderr
    assert "kafka:29092" in done.stdout
    assert "0.0.0.0:50051 with token" in done.stdout
    # No warning that everybody is let in. The lambdas are in the other image.
    assert [line for line in done.stderr.splitlines() if not line.endswith("unless its process runs elsewhere")] == []
    for name in ("deli", "scriptorium"):
        assert f"lambda   {name}: " in done.stdout


def test_the_image_runs_the_sidecar_by_default(image: Image) -> None:
    (command,) = [one.exec_form for one in instructions("sidecar") if one.name == "CMD"]
    assert command is not None
    done = image.run([*command, "--check"], **environment("sidecar"))
    assert done.stdout.endswith("config.yaml: ok\n"), done.stdout + done.stderr


@pytest.mark.parametrize("name", ["deli", "scriptorium"])
def test_a_lambda_is_found_and_dials_the_sidecar(images: Images, name: str) -> None:
    """Its plugin loads and its config is right: it fails only because no sidecar runs."""
    image = images.of(name)
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
        "for plugin in filter(None, [config.plugin, config.document_lambda]):\n"
        "    print(load_plugin(plugin))\n"
    )
    done = image.run(["python", "-c", program], **environment(name))
    assert done.returncode == 0, done.stderr


def test_the_health_check_asks_the_sidecar_and_fails_without_one(image: Image) -> None:
    (check,) = [one.text for one in instructions("sidecar") if one.name == "HEALTHCHECK"]
    command = json.loads(check.removeprefix("CMD "))
    done = image.run(command, **{**environment("sidecar"), "LISTEN": "127.0.0.1:1"})
    assert done.returncode == 1, done.stdout
    assert "127.0.0.1:1" in done.stderr


def test_the_health_check_finds_a_sidecar_that_runs(image: Image) -> None:
    """As in the container, the address and the token come from the environment and the config file."""
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
            # In Kafka's image KAFKA_LOG_DIRS sets log.dirs. Names and ports of the network become this machine's.
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
