"""A plugin for pytest: `sidecar.records._native` is compiled with sanitizers and used instead of the installed one.

For `make sanitize`, which also loads the sanitizers' own libraries into Python.
"""

import atexit
import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import sidecar.records
from tests.unit.native.library import SANITIZERS, command, sources

_NAME = "sidecar.records._native"


def _compiled(folder: Path) -> Path:
    made = folder / "_native.abi3.so"
    include = f"-I{sysconfig.get_path('include')}"
    files = [*sources(), *sources("module", "outlet_module")]
    subprocess.run(
        [*command(), "-fvisibility=hidden", "-shared", include, *files, "-o", made, "-lm", "-ldl"], check=True
    )
    return made


def _use(made: Path) -> None:
    spec = importlib.util.spec_from_file_location(_NAME, made)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[_NAME] = module
    vars(sidecar.records)["_native"] = module


if not os.environ.get(SANITIZERS):
    raise RuntimeError(f"{SANITIZERS} says which sanitizers, as -fsanitize takes them")
_folder = tempfile.TemporaryDirectory(prefix="sanitized-")
atexit.register(_folder.cleanup)
_use(_compiled(Path(_folder.name)))
