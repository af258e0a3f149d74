"""The environment variables with which a `command` of the config is looked up and run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def with_interpreter_first(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which `python` is the sidecar's own, whatever virtual environment the shell has active."""
    directory = str(Path(sys.executable).parent)
    return {**environment, "PATH": f"{directory}{os.pathsep}{environment.get('PATH', os.defpath)}"}
