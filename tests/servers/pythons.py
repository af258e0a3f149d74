"""The Pythons that the project is tried on: ``python -m tests.servers.pythons 3.13`` writes where that one is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


class PythonMissingError(RuntimeError):
    """There is no Python of that version here; the text says what to do."""


def find(version: str) -> str:
    """The path of a Python such as "3.13".

    Looked for on the PATH, then where pyenv has its versions; then uv is asked, which fetches one. Raises
    ``PythonMissingError`` when none of them has it.
    """
    for candidate in _candidates(version):
        if _answers(candidate, version):
            return candidate
    uv = shutil.which("uv")
    if uv is not None:
        subprocess.run([uv, "python", "install", "--quiet", version], stdin=subprocess.DEVNULL, check=False)
        done = subprocess.run([uv, "python", "find", version], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    raise PythonMissingError(
        f"there is no Python {version}: put python{version} on the PATH"
        + (", since uv has not found one to fetch either" if uv else ", or install uv, which fetches it")
    )


def _candidates(version: str) -> Iterator[str]:
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        yield sys.executable
    name = f"python{version}"
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        found = shutil.which(name, path=folder)
        if found is not None:
            yield found
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/{name}")))


def _answers(python: str, version: str) -> bool:
    """Whether it runs, and is of that version: a shim of pyenv may be neither."""
    code = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.strip() == version


if __name__ == "__main__":
    try:
        print(find(*sys.argv[1:]))
    except PythonMissingError as error:
        sys.exit(f"error: {error}")
