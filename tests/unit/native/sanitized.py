"""A plugin for pytest: the extensions are compiled with sanitizers and used instead of the installed ones.

For `make sanitize`, which also loads the sanitizers' own libraries into Python.
"""

import atexit
import importlib
import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from tests.unit.native.library import SANITIZERS, command, sdk_sources, sources

_EXTENSIONS = {
    "sidecar.records._native": [*sources(), *sources("held_module", "module", "outlet_module", "transaction_module")],
    "sdk_python._decoder": [*sdk_sources(), *sdk_sources("module")],
    "sdk_python._quick": sdk_sources("quick"),
}


def _compiled(name: str, files: list[str], folder: Path) -> Path:
    made = folder / f"{name.rpartition('.')[2]}.abi3.so"
    include = f"-I{sysconfig.get_path('include')}"
    subprocess.run(
        [*command(), "-fvisibility=hidden", "-shared", include, *files, "-o", made, "-lm", "-ldl"], check=True
    )
    return made


def _use(name: str, made: Path) -> None:
    spec = importlib.util.spec_from_file_location(name, made)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[name] = module


if not os.environ.get(SANITIZERS):
    raise RuntimeError(f"{SANITIZERS} says which sanitizers, as -fsanitize takes them")
_folder = tempfile.TemporaryDirectory(prefix="sanitized-")
atexit.register(_folder.cleanup)
for _name, _files in _EXTENSIONS.items():
    _use(_name, _compiled(_name, _files, Path(_folder.name)))
# After all of them: a package imports its own.
for _name in _EXTENSIONS:
    _package, _, _short = _name.rpartition(".")
    vars(importlib.import_module(_package))[_short] = sys.modules[_name]
