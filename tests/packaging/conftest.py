"""The two distributions, built as they are for others: an sdist of each in a clone, and a wheel from each sdist."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.servers import wheels

_SDIST = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"


def run(command: Sequence[object], cwd: Path, **environ: str) -> str:
    """What a command wrote to stdout; AssertionError with all of it when it fails. It gets no variable of ours."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


class Built(NamedTuple):
    """One distribution: its two archives."""

    sdist: Path
    wheel: Path

    @property
    def source_files(self) -> set[str]:
        """The files of the sdist, without its own folder."""
        with tarfile.open(self.sdist) as archive:
            return {name.partition("/")[2] for name in archive.getnames()}

    @property
    def files(self) -> set[str]:
        """The files of the wheel, without those about it."""
        with zipfile.ZipFile(self.wheel) as archive:
            return {name for name in archive.namelist() if ".dist-info/" not in name}

    @property
    def metadata(self) -> Message:
        """What the wheel says of itself."""
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
            return message_from_bytes(archive.read(name))


class Dist(NamedTuple):
    """Both of them."""

    sdk: Built
    sidecar: Built


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Dist:
    """Both distributions, in one folder."""
    folder = tmp_path_factory.mktemp("dist")
    clone = wheels.clone(tmp_path_factory.mktemp("packaging") / "clone")
    made = []
    for name, tree in (("kafka_sidecar_sdk", clone / "sdk_python"), ("kafka_sidecar", clone)):
        run([sys.executable, "-W", "ignore", "-c", _SDIST, folder], tree)
        (sdist,) = folder.glob(f"{name}-*.tar.gz")
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
        run([*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", folder, sdist], folder)
        (wheel,) = folder.glob(f"{name}-*.whl")
        made.append(Built(sdist, wheel))
    return Dist(*made)
