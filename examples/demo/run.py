"""The common part of a run of the demo and of the pipeline: sidecar, writers, the stream, and watching them."""

import shutil
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from confluent_kafka import KafkaException
from rich.console import Console

from examples.demo.documents import Documents
from examples.demo.events import Events
from examples.demo.feed import Feed
from examples.demo.meter import Meter
from examples.demo.pieces import lag_of, running
from examples.demo.sidecar_process import SidecarProcess
from examples.demo.stream import Stream
from examples.demo.trouble import explained, last_error, problem
from examples.demo.view import Shown, View, view
from sdk_python.protocol import admin_pb2 as pb

PARTITIONS = 4
TICK = 0.25
"""Seconds between two updates."""

START_TIMEOUT = 40.0
DRAIN_TIMEOUT = 30.0

_LONGEST_SOCKET_PATH = 100


class RunError(Exception):
    """The run cannot continue; the text says why."""


class StoppedEarlyError(Exception):
    """It was stopped before there was any traffic."""


class Run(ABC):
    """A run. ``stop`` is set from outside, by Ctrl-C."""

    def __init__(self, console: Console, stop: threading.Event, seconds: float | None, name: str) -> None:
        """The run ends after ``seconds`` of traffic; None: when it is stopped."""
        self.stop = stop
        self.seconds = seconds
        self.folder = _new_folder(name)
        self.documents = Documents()
        self.events = Events()
        self.sidecar: SidecarProcess | None = None
        self.feed: Feed | None = None
        self.stream: Stream | None = None
        self.status = pb.StatusResponse()
        self.phase = ""
        self.ended = False
        self.lasted = 0.0
        """Seconds with traffic."""
        self.sent, self.numbered = Meter(), Meter()
        self._console = console
        self._began = time.monotonic()

    @abstractmethod
    def prepare(self) -> None:
        """Everything before the first picture, up to the sidecar's start. Raises ``RunError`` when it fails."""

    @abstractmethod
    def play(self, shown: View) -> None:
        """The run itself, up to the sidecar's end."""

    @abstractmethod
    def snapshot(self) -> Shown:
        """The data to show now."""

    @abstractmethod
    def summary(self) -> tuple[Sequence[str], Sequence[str]]:
        """The text at the end, and the errors; without errors all is well."""

    def run(self) -> int:
        """Run everything. Returns the exit code."""
        try:
            self.prepare()
            with view(self._console, self.events) as shown:
                self.play(shown)
            lines, wrong = self.summary()
        except (RunError, KafkaException) as error:
            for line in explained(str(error), None if self.sidecar is None else self.sidecar.log):
                self.say(line)
            return 1
        except StoppedEarlyError as stopped:
            self.say(str(stopped))
            return 0
        except KeyboardInterrupt:
            self.say("error: stopped at once, nothing was drained")
            return 1
        finally:
            self.close()
        for line in [*lines, *(f"error: {text}" for text in wrong)]:
            self.say(line)
        return 1 if wrong else 0

    # --- pieces of `play` ---------------------------------------------------------------------------------------

    def wait(self, shown: View, phase: str, ready: Callable[[], bool]) -> None:
        """Watch until ``ready()``, or until it is stopped before it has begun."""
        self.phase = phase
        deadline = time.monotonic() + START_TIMEOUT
        while not ready():
            if time.monotonic() > deadline:
                raise RunError(f"{phase}: not done in {START_TIMEOUT:g} s{problem(self.status)}")
            if self.stop.is_set():
                raise StoppedEarlyError(f"stopped while {phase}: there is nothing to sum up")
            self.look()
            shown.show(self.snapshot())
            self.stop.wait(0.05)
        self.phase = ""

    def go_on(self, shown: View, done: Callable[[], bool]) -> None:
        """Watch until the time is over, it is stopped, or it is ``done()``; then let all writers leave."""
        assert self.feed is not None
        since = time.monotonic()
        while not (self.stop.is_set() or done() or self._is_over(since)):
            self.look()
            shown.show(self.snapshot())
            self.stop.wait(TICK)
        self.feed.leave()
        self.lasted = time.monotonic() - since

    def finish(self, shown: View, phase: str, done: Callable[[], bool], timeout: float) -> bool:
        """Watch until everything in flight is ``done()``. Returns whether that was in time."""
        self.phase = phase
        deadline = time.monotonic() + timeout
        while not done():
            if time.monotonic() > deadline:
                return False
            self.look()
            shown.show(self.snapshot())
            time.sleep(0.1)
        self.look()
        return True

    def drain(self, shown: View) -> None:
        """Send SIGTERM to the sidecar, and wait until it has ended."""
        assert self.sidecar is not None
        self.phase = "draining"
        if self.feed is not None:
            self.feed.stop()
        self.sidecar.terminate()
        deadline = time.monotonic() + DRAIN_TIMEOUT
        while not self.sidecar.wait(0.05):
            if time.monotonic() > deadline:
                raise RunError(f"the sidecar did not end within {DRAIN_TIMEOUT:g} s of SIGTERM")
            self._take_in()
            shown.show(self.snapshot())
        if self.stream is not None:
            self.stream.stop()  # not earlier: operations in flight may still get their numbers
        self._take_in()
        if self.sidecar.exit_code() != 0:
            raise RunError(f"the drain ended with exit code {self.sidecar.exit_code()}{last_error(self.sidecar.log)}")
        self.phase, self.ended = "", True
        for one in self.status.lambdas:
            for partition in one.partitions:
                partition.state = pb.PARTITION_STATE_UNSPECIFIED
        shown.show(self.snapshot())

    # --- looking on ---------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Read the state of everything. Raises ``RunError`` when a process has ended that must not end."""
        assert self.sidecar is not None
        answer = self.sidecar.status() if self.sidecar.exit_code() is None else None
        if answer is not None:
            self.status = answer
            self.events.compare(answer.lambdas, self.now())
        self._take_in()
        if self.sidecar.exit_code() is not None:
            raise RunError(
                f"the sidecar ended with exit code {self.sidecar.exit_code()}{last_error(self.sidecar.log)}"
            )
        for thread in (self.feed, self.stream):
            if thread is not None and thread.error:
                raise RunError(f"the {thread.name} stopped: {thread.error}")

    def _take_in(self) -> None:
        assert self.sidecar is not None
        now = self.now()
        self.events.read(self.sidecar.log.fresh(), now)
        self.numbered.add(now, self.documents.numbers)
        self.sent.add(now, self.feed.produced if self.feed is not None else 0)

    def lambda_status(self, name: str) -> pb.Lambda:
        """The status of one lambda; empty when it is unknown."""
        return next((one for one in self.status.lambdas if one.name == name), pb.Lambda())

    def all_running(self) -> bool:
        """Whether every partition of every lambda runs."""
        return bool(self.status.lambdas) and all(running(one) == PARTITIONS for one in self.status.lambdas)

    def lag(self) -> int:
        """The lag of all lambdas."""
        return sum(map(lag_of, self.status.lambdas))

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        """Print a line below the picture."""
        self._console.out(text, highlight=False)

    def close(self) -> None:
        """End and remove everything but the log."""
        if self.sidecar is not None:
            self.sidecar.kill()
        if self.feed is not None:
            self.feed.stop(0.0)
        if self.stream is not None:
            self.stream.stop()
        for path in self.folder.iterdir():
            if path.name != "sidecar.log":
                path.unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _is_over(self, since: float) -> bool:
        return self.seconds is not None and time.monotonic() - since >= self.seconds


def _new_folder(name: str) -> Path:
    """A folder for the socket and the log. The path of a socket must be short."""
    folder = Path(tempfile.mkdtemp(prefix=f"kafka-sidecar-{name}-"))
    if len(str(folder / "sidecar.sock")) > _LONGEST_SOCKET_PATH:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix=f"kafka-sidecar-{name}-", dir="/tmp"))
    return folder
