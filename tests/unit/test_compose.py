"""docker-compose.yml, Dockerfile and .dockerignore are valid and match this project.

Nothing is started or built here; tests/integration/test_image.py carries out the Dockerfile.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import yaml

from sdk_python import _config
from sdk_python._client import DRAIN_TIMEOUT_S
from sidecar.app import LEAVE_TIMEOUT_S, STOP_GRACE_S
from sidecar.config import load
from tests.dockerfile import COMPOSE, ENVIRONMENTS, ROOT, STAGES, Instruction, environment, image

SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ["sidecar", "deli", "scriptorium"]
LAMBDAS = ["deli", "scriptorium"]


def only(name: str, target: str = "sidecar") -> Instruction:
    """An image's one instruction of that name."""
    (found,) = [instruction for instruction in image(target) if instruction.name == name]
    return found


def target_of(service: str) -> str:
    """The image that a service of ours runs."""
    return str(SERVICES[service]["build"]["target"])


def seconds(duration: str) -> int:
    """The seconds of a duration such as 15s."""
    return int(duration.removesuffix("s"))


def ignored(path: str) -> bool:
    """Whether .dockerignore excludes a path: the last matching pattern decides."""
    result = False
    parts = list(accumulate(Path(path).parts, lambda parent, name: f"{parent}/{name}"))
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        negated, pattern = pattern.startswith("!"), pattern.removeprefix("!")
        anywhere = pattern.startswith("**/")
        names = [part.rpartition("/")[2] for part in parts] if anywhere else parts
        if any(fnmatch(name, pattern.removeprefix("**/")) and name.count("/") == 0 for name in names) or (
            not anywhere and pattern in parts
        ):
            result = not negated
    return result


def test_compose_fits_the_schema_of_its_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*command, str(ROOT / "docker-compose.yml")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_itself_accepts_the_file() -> None:
    """Skipped without the command; it needs no engine."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("there is no `docker compose`")
    done = subprocess.run(
        [docker, "compose", "-f", str(ROOT / "docker-compose.yml"), "config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_services() -> None:
    assert [*SERVICES] == ["kafka", "mongo", *OURS]


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned_and_ours_is_built_here(name: str) -> None:
    image, tag = SERVICES[name]["image"].rsplit(":", 1)
    assert image
    assert tag not in {"", "latest"}
    assert (name in OURS) == ("build" in SERVICES[name])
    if name in OURS:
        assert SERVICES[name]["build"] == {"context": ".", "target": "sidecar" if name == "sidecar" else "examples"}
        assert {one["image"] for one in SERVICES.values() if one.get("build") == SERVICES[name]["build"]} == {
            SERVICES[name]["image"]
        }


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_runs_with_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"}
    if name != "kafka":  # its image has a user of its own
        assert str(service["user"]).split(":")[0] not in {"", "0", "root"}
    if name in OURS:
        assert service["read_only"] is True
        assert service["user"] == only("USER", target_of(name)).text


@pytest.mark.parametrize("name", SERVICES)
def test_only_the_host_itself_reaches_published_ports(name: str) -> None:
    ports = SERVICES[name].get("ports", [])
    assert ports == {"kafka": ["127.0.0.1:9092:9092"], "mongo": ["127.0.0.1:27017:27017"]}.get(name, [])
    networks = SERVICES[name]["networks"]
    internal = [network for network in networks if (COMPOSE["networks"][network] or {}).get("internal")]
    # A service without published ports is in internal networks only; one with them needs one more network.
    assert len(networks) - len(internal) == (1 if ports else 0)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_until_its_dependencies_are_healthy(name: str) -> None:
    service = SERVICES[name]
    for other, how in service.get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert SERVICES[other]["healthcheck"]["test"][0] == "CMD"
        assert set(service["networks"]) & set(SERVICES[other]["networks"]), f"{name} cannot reach {other}"
    # Each host in the environment is a service for which it waits, or itself.
    text = " ".join(environment(name).values())
    named = {other for other in SERVICES if re.search(rf"(?<![\w.-]){other}:\d", text)}
    assert named - {name} - ({"mongo"} if name == "sidecar" else set()) <= {*service.get("depends_on", {})}
    # The sidecar only passes MongoDB's address on: scriptorium dials it.
    assert "mongo" in SERVICES["scriptorium"]["depends_on"]


@pytest.mark.parametrize("name", ["kafka", "mongo", "sidecar"])
def test_health_checks_are_bounded_and_need_no_shell(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "start_period", "retries"} <= check.keys()


def test_kafkas_health_check_uses_an_existing_listener() -> None:
    settings = environment("kafka")
    *_, address = SERVICES["kafka"]["healthcheck"]["test"]
    assert f":{address.rpartition(':')[2]}," in settings["KAFKA_LISTENERS"]
    assert settings["KAFKA_ADVERTISED_LISTENERS"] == "INTERNAL://kafka:29092,HOST://127.0.0.1:9092"
    assert settings["KAFKA_NUM_PARTITIONS"] == "8"


@pytest.mark.parametrize("name", SERVICES)
def test_mounted_files_exist(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        source, target, *options = mount.split(":")
        assert target.startswith("/")
        if source.startswith("."):
            assert (ROOT / source).exists()
            assert options == ["ro"]
        else:
            assert source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", OURS)
def test_commands_are_of_the_project_and_in_exec_form(name: str) -> None:
    command = SERVICES[name]["command"]
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    if command[0] == "python":
        assert command[1] == "-m"
        assert importlib.util.find_spec(command[2]) is not None
    else:
        module, _, function = scripts[command[0]].partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def variables_of_the_config() -> set[str]:
    """The variables in ${...} of config.yaml, outside comments."""
    text = re.sub(r"(?m)^\s*#.*$|\s#.*$", "", (ROOT / "config.yaml").read_text())
    return set(re.findall(r"\$\{(\w+)", text))


def test_each_variable_is_read_by_a_program() -> None:
    read = variables_of_the_config()
    assert environment("sidecar").keys() == {"KAFKA", "MAKE_TOPICS", "LISTEN", "MONGO", "KAFKA_SIDECAR_TOKEN"}
    assert environment("sidecar").keys() - {_config.TOKEN_VARIABLE} <= read  # the sidecar reads that one by itself
    for name in LAMBDAS:
        assert environment(name).keys() == {_config.ADDRESS_VARIABLE, _config.TOKEN_VARIABLE}


def test_the_config_has_the_addresses_of_composes_network() -> None:
    config = load(ROOT / "config.yaml", environment("sidecar"))
    assert config.kafka["bootstrap.servers"] == "kafka:29092"
    assert config.server.listen == "0.0.0.0:50051"
    assert config.server.token is not None
    assert config.server.token.get_secret_value() == environment("deli")["KAFKA_SIDECAR_TOKEN"]
    assert config.warnings == ()
    host, _, port = environment("deli")["KAFKA_SIDECAR_ADDRESS"].partition(":")
    assert host == "sidecar"
    assert config.server.endpoint.port == int(port) == int(only("EXPOSE").text)
    # Each lambda has its process, and no address is loopback, where a container would dial itself.
    assert {*config.lambdas} == {*LAMBDAS}
    for one in config.lambdas.values():
        assert "127.0.0.1" not in str([one, dict(one.settings)])


@pytest.mark.parametrize("name", LAMBDAS)
def test_the_plugins_of_the_lambdas_are_in_the_image(name: str) -> None:
    one = yaml.safe_load((ROOT / "config.yaml").read_text())["lambdas"][name]
    assert SERVICES[name]["command"][-1] == name
    copied = {source for one in image(target_of(name)) if one.name == "COPY" for source in one.words[:-1]} | {
        "sdk_python"
    }
    inner = one.get("settings", {}).get("document_lambda")
    for module in filter(None, [one["plugin"], inner]):
        assert importlib.util.find_spec(module) is not None
        assert module.split(".")[0] in copied


def test_the_stop_grace_period_is_longer_than_a_drain() -> None:
    config = load(ROOT / "config.yaml", environment("sidecar"))
    longest = max(one.shutdown_drain for one in config.lambdas.values())
    assert seconds(SERVICES["sidecar"]["stop_grace_period"]) > longest + LEAVE_TIMEOUT_S + STOP_GRACE_S
    for name in LAMBDAS:
        assert seconds(SERVICES[name]["stop_grace_period"]) > DRAIN_TIMEOUT_S


def test_the_token_can_be_set_and_its_default_says_that_it_is_for_demos() -> None:
    (token,) = {SERVICES[name]["environment"]["KAFKA_SIDECAR_TOKEN"] for name in OURS}
    assert re.fullmatch(r"\$\{KAFKA_SIDECAR_TOKEN:-[\w-]*demo[\w-]*\}", token)


def test_files_that_the_dockerfile_copies_exist_and_are_in_the_build_context() -> None:
    copies = [one for stage in STAGES.values() for one in stage if one.name == "COPY" and "from" not in one.flags]
    assert not [one for stage in STAGES.values() for one in stage if one.name == "ADD"]
    for source in [source for one in copies for source in one.words[:-1]]:
        assert (ROOT / source).exists(), source
        assert not ignored(source), source
        assert not [path for path in (ROOT / source).rglob("*.py") if ignored(str(path.relative_to(ROOT)))]


@pytest.mark.parametrize(
    "path", [".git", ".env", ".venv/bin/python", "tests/unit", "sidecar/__pycache__", "config.yaml"]
)
def test_the_build_context_has_no_other_files(path: str) -> None:
    assert ignored(path)


def test_the_images_are_built_in_stages_on_one_pinned_slim_base() -> None:
    assert [*STAGES] == ["build", "base", "lambda", "examples", "sidecar"]  # the last is what `docker build .` makes
    bases = {name: stage[0].words[0] for name, stage in STAGES.items()}
    assert bases["build"] == bases["base"].replace("-slim", "")  # the same, with a compiler
    assert re.fullmatch(r"python:3\.13-slim-\w+", bases["base"])
    assert {bases[target] for target in ENVIRONMENTS} == {"base"}
    for name, environment_of in ENVIRONMENTS.items():
        copied = [one for one in image(name) if one.name == "COPY" and one.flags == {"from": "build"}]
        assert [one.words for one in copied] == [[environment_of, environment_of]]


def test_all_installed_packages_are_pinned_with_hashes_and_wheels() -> None:
    pip = [one.words for stage in STAGES.values() for one in stage if one.name == "RUN" and "pip" in one.words]
    download, *installs = pip
    assert {"download", "--require-hashes", "--no-deps", "--only-binary"} <= set(download)
    assert (ROOT / "requirements" / download[-1]).is_file()
    assert len(installs) == len(ENVIRONMENTS)
    for install in installs:
        assert {"install", "--no-index", "--find-links"} <= set(install)
    assert not re.search(r"apt-get|gcc|build-essential|curl|wget", (ROOT / "Dockerfile").read_text())


def test_an_image_has_what_its_programs_import_and_nothing_more() -> None:
    """A lambda's: the SDK, with what reads the config file. The examples': also what their extra asks for."""
    installs = {
        one.words[one.words.index("--python") + 1].removesuffix("/bin/python"): one.words[
            one.words.index("wheels") + 1 :
        ]
        for one in STAGES["build"]
        if one.name == "RUN" and "install" in one.words
    }
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    examples = [re.split(r"[^\w.-]", needed)[0] for needed in extras["examples"]]
    assert installs == {
        ENVIRONMENTS["lambda"]: ["./sdk_python[config]"],
        ENVIRONMENTS["examples"]: ["./sdk_python[config]", *examples],
        ENVIRONMENTS["sidecar"]: ["."],
    }


@pytest.mark.parametrize("target", ENVIRONMENTS)
def test_an_image_runs_as_somebody_without_rights(target: str) -> None:
    user = only("USER", target).text
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)  # numbers: an orchestrator can tell that it is not root
    assert f"--uid {user.split(':')[0]} " in only("RUN", target).text
    assert only("STOPSIGNAL", target).text == "SIGTERM"
    set_there = [word for one in image(target) if one.name == "ENV" for word in one.words]
    assert "PYTHONUNBUFFERED=1" in set_there
    assert f"PATH={ENVIRONMENTS[target]}/bin:$PATH" in set_there
    order = [one.name for one in image(target)]
    assert order.index("USER") > order.index("RUN")


def test_the_image_of_the_sidecar_starts_it() -> None:
    assert only("CMD").exec_form == ["kafka-sidecar"]


def test_the_health_check_of_the_image_and_of_compose_are_one() -> None:
    check = only("HEALTHCHECK")
    in_compose = SERVICES["sidecar"]["healthcheck"]
    command = Instruction("CMD", {}, check.text.removeprefix("CMD ")).exec_form
    assert command == in_compose["test"][1:]
    assert {name.replace("-", "_"): value for name, value in check.flags.items()} == {
        name: str(value) for name, value in in_compose.items() if name != "test"
    }
