"""The languages that have an SDK, and how to start a test program that is written in one.

Each language has five programs: ``conformance`` (docs/conformance.md), ``recorder`` and ``copier`` (the lambdas of
the chaos runs), ``noop`` (counts records; for benchmarks) and ``by_hand`` (the client on one screen, of examples/).
``make clients`` builds those that must be built into dist/clients/LANGUAGE, from the packages that a user installs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
BUILT: Final = ROOT / "dist" / "clients"
LANGUAGES: Final = ("python", "go", "typescript", "java")

_PYTHON: Final[Mapping[str, Sequence[str]]] = {
    "conformance": ("tests/clients/python/conformance.py",),
    "recorder": ("-m", "tests.chaos.recorder"),
    "copier": ("-m", "tests.integration.sdk_copier"),
    "noop": ("-m", "tests.clients.python.noop"),
    "by_hand": ("-u", "-m", "examples.by_hand"),
}


class NotBuiltError(RuntimeError):
    """A program is missing. The text says how to make it."""


def command(language: str, program: str) -> list[str]:
    """The command that starts a program. The name of the lambda to serve is to come after it, except ``conformance``.

    Raises `NotBuiltError` when it has not been built, ``KeyError`` when there is no such program.
    """
    if language == "python":
        return [sys.executable, *_PYTHON[program]]
    path = BUILT / language / program
    if not path.is_file():
        raise NotBuiltError(f"{path} is missing: build it with `make clients`")
    return [str(path)]


def missing(languages: Sequence[str] = LANGUAGES, program: str = "recorder") -> str | None:
    """What has to be built before a program in these languages can be started; None: nothing."""
    for language in languages:
        try:
            command(language, program)
        except NotBuiltError as error:
            return str(error)
    return None


def settings(values: Mapping[str, Any]) -> dict[str, str]:
    """The environment variables that override these settings, in every SDK alike."""
    return {f"KAFKA_SIDECAR_SET_{name}": json.dumps(value) for name, value in values.items()}
