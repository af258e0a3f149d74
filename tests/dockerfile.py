"""The Dockerfile and docker-compose.yml as data, for the tests of both."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
ENVIRONMENTS = {"sidecar": "/opt/kafka-sidecar", "lambda": "/opt/lambda", "examples": "/opt/examples"}
"""Where each of the images has its virtual environment."""


class Instruction(NamedTuple):
    """One instruction of a Dockerfile."""

    name: str
    """In capitals."""
    flags: dict[str, str]
    """Those that start with two dashes, before the arguments."""
    text: str
    """The arguments, as one line."""

    @property
    def words(self) -> list[str]:
        """The arguments, split as a shell does."""
        return shlex.split(self.text)

    @property
    def exec_form(self) -> list[str] | None:
        """The arguments as a JSON array of texts; None when they are not."""
        try:
            value = json.loads(self.text)
        except ValueError:
            return None
        return value if isinstance(value, list) and all(isinstance(word, str) for word in value) else None


def stages(text: str) -> list[list[Instruction]]:
    """The stages of a Dockerfile, each with its FROM. Knows what ours uses: no heredocs, no other escape."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found: list[list[Instruction]] = []
    for logical in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if not logical.strip():
            continue
        name, rest = logical.split(maxsplit=1)
        flags = {}
        while (match := re.match(r"--([a-z-]+)(?:=(\S+))?\s+", rest)) is not None:
            flags[match[1]] = match[2] or ""
            rest = rest[match.end() :]
        if name.upper() == "FROM":
            found.append([])
        found[-1].append(Instruction(name.upper(), flags, rest.strip()))
    return found


STAGES = {stage[0].words[-1]: stage for stage in stages((ROOT / "Dockerfile").read_text())}
"""Each stage by its name, which all of ours have, in their order."""


def image(target: str) -> list[Instruction]:
    """What makes an image, without FROM: first the instructions of the stage that it continues, then its own."""
    first, *own = STAGES[target]
    base = first.words[0]
    return [*(image(base) if base in STAGES else []), *own]


def workdir(target: str) -> str:
    """Where an image's commands run."""
    return [instruction.text for instruction in image(target) if instruction.name == "WORKDIR"][-1]


def environment(service: str) -> dict[str, str]:
    """What docker-compose.yml sets for a service, where nobody sets a token."""
    values: Mapping[str, object] = COMPOSE["services"][service].get("environment", {})
    return {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value)) for name, value in values.items()}
