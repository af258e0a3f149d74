"""One run of the demo: start the sidecar, fill a topic, look on, drain, sum up."""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition
from rich.console import Console

from examples.demo.events import Events, sentence
from examples.demo.meter import Meter
from examples.demo.picture import Snapshot, Summary, contradictions, pid_of, state, summary_lines
from examples.demo.sidecar_process import Line, SidecarProcess
from examples.demo.store import read_saved
from examples.demo.tally import read_handled
from examples.demo.traffic import Traffic, create_topic
from examples.demo.view import View, view
from sdk_python.protocol import admin_pb2 as pb

PARTITIONS = 4
TICK = 0.25
"""Seconds between two looks."""

START_TIMEOUT = 40.0
DRAIN_TIMEOUT = 30.0

_LONGEST_SOCKET_PATH = 100
_LAST_LINES = 12


class DemoError(Exception):
    """Why the demo cannot go on."""


class StoppedEarlyError(Exception):
    """It was stopped before there was any traffic."""


class Session:
    """A run. ``stop`` is set from outside, by Ctrl-C."""

    def __init__(self, console: Console, stop: threading.Event, seconds: float | None) -> None:
        """``seconds`` of traffic, then it ends by itself; None: until it is stopped."""
        self._console = console
        self._stop = stop
        self._seconds = seconds
        self._began = time.monotonic()
        self._folder = _new_folder()
        self._sidecar: SidecarProcess | None = None
        self._traffic: Traffic | None = None
        self._events = Events()
        self._produced, self._handled = Meter(), Meter()
        self._bootstrap = ""
        self._status = pb.Lambda()
        self._phase = ""
        self._ended = False
        self._last_word = False

    def run(self) -> int:
        """Run it all; returns the exit code."""
        try:
            summary = self._run()
        except (DemoError, KafkaException) as error:
            self._explain(str(error))
            return 1
        except StoppedEarlyError as stopped:
            self._say(str(stopped))
            return 0
        except KeyboardInterrupt:
            self._say("error: stopped at once, nothing was drained")
            return 1
        finally:
            self._end()
        for line in summary_lines(summary):
            self._say(line)
        wrong = contradictions(summary)
        for line in wrong:
            self._say(f"error: {line}")
        return 1 if wrong else 0

    def _run(self) -> Summary:
        with view(self._console, self._events) as shown:
            self._sidecar = sidecar = SidecarProcess(self._folder)
            self._wait(shown, "starting the sidecar", lambda: bool(self._bootstrap))
            topic = self._status.topics[0]
            create_topic(self._bootstrap, topic, PARTITIONS)
            self._wait(shown, "joining the group", self._all_running)
            self._traffic = traffic = Traffic(self._bootstrap, topic)
            since = time.monotonic()
            traffic.start()
            while not self._over(since):
                self._look(sidecar)
                shown.show(self._snapshot())
                self._stop.wait(TICK)
            traffic.stop()
            lasted = time.monotonic() - since
            self._look(sidecar)  # finds what failed while the last messages went out
            committed = self._drain(shown, sidecar, traffic)
        return self._summary(traffic.produced, committed, lasted)

    # --- looking on ---------------------------------------------------------------------------------------------

    def _wait(self, shown: View, phase: str, ready: Callable[[], bool]) -> None:
        """Look on until ``ready()``, or until it is stopped before it has begun."""
        assert self._sidecar is not None
        self._phase = phase
        deadline = time.monotonic() + START_TIMEOUT
        while not ready():
            if time.monotonic() > deadline:
                raise DemoError(f"{phase}: not done in {START_TIMEOUT:g} s{self._problem()}")
            if self._stop.is_set():
                raise StoppedEarlyError(f"stopped while {phase}: there is nothing to sum up")
            self._look(self._sidecar)
            shown.show(self._snapshot())
            self._stop.wait(0.05)
        self._phase = ""

    def _over(self, since: float) -> bool:
        return self._stop.is_set() or (self._seconds is not None and time.monotonic() - since >= self._seconds)

    def _look(self, sidecar: SidecarProcess) -> None:
        """Take in how everything is doing. Raises DemoError when something has ended that should not have."""
        lines = sidecar.log.fresh()  # before the status: what the log tells, the status knows
        answer = sidecar.status() if sidecar.exit_code() is None else None
        if answer is not None:
            self._bootstrap = answer.bootstrap_servers
            self._status = answer.lambdas[0]
            self._events.compare(self._status.processes, self._now())
        self._take_in(lines)
        if sidecar.exit_code() is not None:
            raise DemoError(f"the sidecar ended with exit code {sidecar.exit_code()}{self._last_error()}")
        if self._traffic is not None and self._traffic.error:
            raise DemoError(f"the sample traffic stopped: {self._traffic.error}")

    def _take_in(self, lines: Iterable[Line]) -> None:
        now = self._now()
        self._events.read(lines, now)
        handled = read_handled(self._folder).messages
        acknowledged = self._traffic.produced if self._traffic is not None else 0
        self._handled.add(now, handled)
        self._produced.add(now, max(acknowledged, handled))  # a message may be handled before it is acknowledged

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            seconds=self._now(),
            phase=self._phase,
            ended=self._ended,
            bootstrap_servers=self._bootstrap,
            produced=self._produced.flow(),
            handled=self._handled.flow(),
            again=read_handled(self._folder).again,
            process_ends=self._events.process_ends,
            status=self._status,
            events=[*self._events.latest],
        )

    def _all_running(self) -> bool:
        partitions = self._status.partitions
        return len(partitions) == PARTITIONS and all(state(one) == "running" for one in partitions)

    # --- the end ------------------------------------------------------------------------------------------------

    def _drain(self, shown: View, sidecar: SidecarProcess, traffic: Traffic) -> int:
        """SIGTERM, and wait. Returns how much the group has committed.

        The sidecar commits, leaves the group, ends its children and then its broker, so the broker is asked all the
        while: the answer after the group was left is the last word.
        """
        self._phase = "draining"
        client = Consumer({"bootstrap.servers": self._bootstrap, "group.id": self._status.group, "log_level": 0})
        deadline = time.monotonic() + DRAIN_TIMEOUT
        try:
            # A first answer takes its time: it finds out whom to ask. Later ones come at once.
            committed = _committed(client, self._status.topics[0], timeout=5.0)
            sidecar.terminate()
            while not sidecar.wait(0.02):
                if time.monotonic() > deadline:
                    raise DemoError(f"the sidecar did not end within {DRAIN_TIMEOUT:g} s of SIGTERM")
                self._take_in(sidecar.log.fresh())
                left = self._events.left_group
                answer = {} if self._last_word else _committed(client, self._status.topics[0], timeout=0.2)
                if answer:
                    committed, self._last_word = answer, left
                shown.show(self._snapshot())
        finally:
            client.close()
        self._take_in(sidecar.log.fresh())
        if sidecar.exit_code() != 0:
            raise DemoError(f"the drain ended with exit code {sidecar.exit_code()}{self._last_error()}")
        self._settle(committed, traffic.ends)
        shown.show(self._snapshot())
        return sum(committed.values())

    def _settle(self, committed: dict[int, int], ends: dict[int, int]) -> None:
        """The last picture shows what is known now: a sidecar that drains has no status of these partitions."""
        self._phase, self._ended = "", True
        handled = read_handled(self._folder).next_offsets
        for one in self._status.partitions:
            place = committed.get(one.partition, 0)
            one.state = pb.PARTITION_STATE_UNSPECIFIED
            one.committed, one.end = place, ends.get(one.partition, 0)
            one.handled, one.checkpoint = handled.get(one.partition, 0) - 1, place - 1
            one.outstanding = 0

    def _summary(self, produced: int, committed: int, seconds: float) -> Summary:
        assert self._sidecar is not None
        handled, saved = read_handled(self._folder), read_saved(self._folder)
        return Summary(
            seconds=seconds,
            produced=produced,
            handled=handled.messages,
            again=handled.again,
            committed=committed,
            last_word=self._last_word,
            process_ends=self._events.process_ends,
            partition_restarts=self._status.restarts,
            sensors=saved.sensors,
            readings=saved.readings,
            log=self._sidecar.log.path,
        )

    def _end(self) -> None:
        """Leave nothing behind but the log."""
        if self._sidecar is not None:
            self._sidecar.kill()
        if self._traffic is not None:
            self._traffic.stop(0.0)
        for path in self._folder.iterdir():
            if path.name != "sidecar.log":
                path.unlink(missing_ok=True)
        if not any(self._folder.iterdir()):
            shutil.rmtree(self._folder, ignore_errors=True)

    # --- what went wrong ----------------------------------------------------------------------------------------

    def _explain(self, why: str) -> None:
        self._say(f"error: {why}")
        if self._sidecar is None:
            return
        lines = self._sidecar.log.all()[-_LAST_LINES:]
        if lines:
            self._say("the last lines of its log:")
        for line in lines:
            self._say(f"  {line.get('level', '')!s:<7} {sentence(line)}"[:400])
        self._say(f"the whole log: {self._sidecar.log.path}")

    def _last_error(self) -> str:
        assert self._sidecar is not None
        for line in reversed(self._sidecar.log.all()):
            if line.get("level") in {"error", "critical"}:
                return f": {line.get('error', line['event'])}"
        return ""

    def _problem(self) -> str:
        if self._status.problem:
            return f": {self._status.problem}"
        return "" if pid_of(self._status) else ": no lambda process has come"

    def _say(self, text: str) -> None:
        self._console.out(text, highlight=False)

    def _now(self) -> float:
        return time.monotonic() - self._began


def _committed(client: Consumer, topic: str, timeout: float) -> dict[int, int]:
    """By partition; empty when the broker does not say."""
    try:
        answer = client.committed([TopicPartition(topic, number) for number in range(PARTITIONS)], timeout)
    except KafkaException:
        return {}
    return {one.partition: max(0, one.offset) for one in answer if one.error is None}


def _new_folder() -> Path:
    """For the socket, the log and the stores. The path of a socket must be short."""
    folder = Path(tempfile.mkdtemp(prefix="kafka-sidecar-demo-"))
    if len(str(folder / "sidecar.sock")) > _LONGEST_SOCKET_PATH:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="kafka-sidecar-demo-", dir="/tmp"))
    return folder
