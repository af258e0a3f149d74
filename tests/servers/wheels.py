"""The wheels that the image is built of, fetched once: all that requirements/dev.txt pins, for this Python."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from tests.servers.process import last_lines

ROOT = Path(__file__).resolve().parents[2]
PINNED = ROOT / "requirements" / "dev.txt"
CACHE = ROOT / ".cache"


class WheelsError(RuntimeError):
    """The wheels could not be fetched; the text has pip's last words."""


def folder() -> Path:
    """Where the wheels are, or will be. The name changes with what is pinned, and with the Python."""
    pinned = sha256(PINNED.read_bytes()).hexdigest()[:12]
    return CACHE / f"wheels-{sys.version_info.major}.{sys.version_info.minor}-{pinned}"


def fetch() -> Path:
    """Return the folder with the wheels; fetch them from pip's index if they are not there yet.

    Raises:
        WheelsError: pip failed.
    """
    fetched = folder()
    if fetched.is_dir():
        return fetched
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "wheels.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # parallel test runs: one fetches, the others wait for it
        if fetched.is_dir():
            return fetched
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="wheels.part.") as part:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
            # As the Dockerfile does it.
            command += ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement", str(PINNED)]
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
