"""Fetches the wheels for building the images, once: all that requirements/dev.txt pins, for a version of Python.

Also copies the files of the repository from which a stranger installs.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from tests.servers.process import last_lines

ROOT = Path(__file__).resolve().parents[2]
PINNED = ROOT / "requirements" / "dev.txt"
CACHE = ROOT / ".cache"
THIS = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The Python that runs this."""


class WheelsError(RuntimeError):
    """The wheels could not be fetched; the text has pip's last lines."""


def folder(version: str = THIS) -> Path:
    """The folder of the wheels, which may not exist yet. Its name depends on the pinned versions and the Python."""
    pinned = sha256(PINNED.read_bytes()).hexdigest()[:12]
    return CACHE / f"wheels-{version}-{pinned}"


def fetch(version: str = THIS) -> Path:
    """Return the folder with the wheels for a Python; fetch them from pip's index if they are missing.

    Raises ``WheelsError`` when pip fails.
    """
    fetched = folder(version)
    if fetched.is_dir():
        return fetched
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "wheels.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # parallel test runs: one fetches, the others wait for it
        if fetched.is_dir():
            return fetched
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="wheels.part.") as part:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
            # As in the Dockerfile.
            command += ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement", str(PINNED)]
            command += ["--python-version", version]
            done = subprocess.run(
                [*command, "--dest", f"{part}/wheels"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                last = last_lines(done.stdout + done.stderr)
                raise WheelsError(f"pip could not fetch the wheels of {PINNED.relative_to(ROOT)}:\n{last}")
            (Path(part) / "wheels").rename(fetched)  # a finished folder appears at once or not at all
    return fetched


def clone(to: Path) -> Path:
    """Copy into a new folder what is installed from in a clone, and nothing built here; returns the folder."""
    to.mkdir(parents=True)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, to)
    built = shutil.ignore_patterns("__pycache__", "*.so", "build", "*.egg-info")
    for name in ("sidecar", "sdk_python"):
        shutil.copytree(ROOT / name, to / name, ignore=built)
    return to
