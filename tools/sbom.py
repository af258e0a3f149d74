"""Write what is in each image as a CycloneDX document: python tools/sbom.py --into dist/sbom

The versions and the files' hashes are those of requirements/dev.txt, from which the images are built. Who needs whom,
and the licenses, come from the distributions that are installed here; each must have the version that is pinned. The
same lock file makes the same document, byte for byte.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements/dev.txt"
VERSION = (ROOT / "sdk_python/VERSION").read_text().strip()

IMAGES = {
    "sidecar": ("kafka-sidecar",),
    "lambda": ("kafka-sidecar-sdk[config]",),
    "examples": ("kafka-sidecar-sdk[config]", "confluent-kafka", "orjson", "pymongo"),
}
"""What the Dockerfile installs in each image; a test compares."""

OURS = frozenset({"kafka-sidecar", "kafka-sidecar-sdk"})

_MARKERS = {
    "python_version": "3.13",
    "python_full_version": "3.13.0",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "os_name": "posix",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}
"""The images' Python, whatever runs this program."""

_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)")


class Pinned(NamedTuple):
    """One package of the lock file."""

    version: str
    hashes: tuple[str, ...]
    """The SHA-256 of each file that may be installed."""


class MismatchError(Exception):
    """The lock file and what is installed here disagree."""


def locked(text: str) -> dict[str, Pinned]:
    """The packages of a lock file by their canonical names."""
    found: dict[str, Pinned] = {}
    for entry in text.replace("\\\n", " ").splitlines():
        match = _PINNED.match(entry)
        if match is not None:
            hashes = tuple(sorted(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)))
            found[canonicalize_name(match["name"])] = Pinned(match["version"], hashes)
    return found


def needed(name: str, extras: Iterable[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """What a distribution needs in the images, with the extras that it asks for."""
    for text in installed(name).requires or ():
        requirement = Requirement(text)
        asked = ["", *extras]
        marker = requirement.marker
        if marker is None or any(marker.evaluate({**_MARKERS, "extra": extra}) for extra in asked):
            yield canonicalize_name(requirement.name), frozenset(requirement.extras)


def installed(name: str) -> Distribution:
    """The distribution that is installed here. Raises ``MismatchError`` when there is none."""
    try:
        return distribution(name)
    except PackageNotFoundError:
        raise MismatchError(f"{name} is not installed here: make .venv/ready") from None


def closure(roots: Iterable[str]) -> dict[str, list[str]]:
    """All that is installed for ``roots``, each with what it needs itself; by name."""
    graph: dict[str, set[str]] = {}
    done: set[tuple[str, frozenset[str]]] = set()
    parsed = map(Requirement, roots)
    waiting = [(str(canonicalize_name(one.name)), frozenset(one.extras)) for one in parsed]
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in done:
            continue
        done.add((name, extras))
        for other, more in needed(name, extras):
            graph.setdefault(name, set()).add(other)
            waiting.append((other, more))
        graph.setdefault(name, set())
    return {name: sorted(others) for name, others in sorted(graph.items())}


def document(image: str, lock: Mapping[str, Pinned]) -> dict[str, Any]:
    """The CycloneDX document of one image."""
    graph = closure(IMAGES[image])
    roots = sorted({str(canonicalize_name(Requirement(one).name)) for one in IMAGES[image]})
    components = [_component(name, lock) for name in graph]
    subject = {"type": "container", "bom-ref": f"image:{image}", "name": f"kafka-sidecar/{image}", "version": VERSION}
    wiring = [{"ref": subject["bom-ref"], "dependsOn": [_ref(name, lock) for name in roots]}]
    wiring += [{"ref": _ref(n, lock), "dependsOn": [_ref(o, lock) for o in others]} for n, others in graph.items()]
    body = {"metadata": {"component": subject}, "components": components, "dependencies": wiring}
    # The same content, the same number.
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(body, sort_keys=True))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        **body,
    }


def _ref(name: str, lock: Mapping[str, Pinned]) -> str:
    return f"pkg:pypi/{name}@{VERSION if name in OURS else lock[name].version}"


def _component(name: str, lock: Mapping[str, Pinned]) -> dict[str, Any]:
    if name not in OURS and name not in lock:
        raise MismatchError(f"{name} is needed and not in {LOCK.name}: make lock")
    here = installed(name)
    ref = _ref(name, lock)
    version = ref.rpartition("@")[2]
    if name not in OURS and here.version != version:
        raise MismatchError(f"{name} is {here.version} here and {version} in {LOCK.name}: make .venv/ready")
    made: dict[str, Any] = {"type": "library", "bom-ref": ref, "name": name, "version": version, "purl": ref}
    if expressions := here.metadata.get_all("License-Expression"):
        made["licenses"] = [{"expression": expressions[0]}]
    elif names := _licenses(here):
        made["licenses"] = [{"license": {"name": one}} for one in names]
    if name in lock:
        # Which of these files is installed depends on the platform; pip refuses every other.
        hashes = [{"alg": "SHA-256", "content": one} for one in lock[name].hashes]
        url = f"https://pypi.org/project/{name}/{version}/"
        made["externalReferences"] = [{"type": "distribution", "url": url, "hashes": hashes}]
    return made


def _licenses(here: Distribution) -> list[str]:
    """The names of the licenses, as an older distribution tells them."""
    classifiers = here.metadata.get_all("Classifier") or ()
    found = [one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License :: ")]
    told = here.metadata.get_all("License") or ()
    return found or [one for one in told if one and "\n" not in one and len(one) < 80]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", metavar="FOLDER", type=Path, default=ROOT / "dist/sbom")
    into = parser.parse_args().into
    lock = locked(LOCK.read_text())
    into.mkdir(parents=True, exist_ok=True)
    try:
        for image in IMAGES:
            path = into / f"{image}.cdx.json"
            path.write_text(f"{json.dumps(document(image, lock), indent=2)}\n")
            print(path)
    except MismatchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
