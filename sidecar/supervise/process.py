"""Lambda processes that the sidecar starts (`command:` in the config) and keeps running.

Runs on the event loop. A guard runs each process, so it dies with the sidecar, even when the sidecar is killed. Each
line of its output goes to the log. A process that ends is restarted: at once the first time, then with a growing
back-off.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from structlog.typing import FilteringBoundLogger

from sidecar.causes import Cause
from sidecar.config.environment import with_interpreter_first
from sidecar.config.lambdas import LambdaConfig
from sidecar.logs import get_logger
from sidecar.partitions.backoff import delay
from sidecar.redact import masked
from sidecar.status import ExitStatus, Problem, SupervisedStatus
from sidecar.supervise.guard import guarded
from sidecar.tasks import Tasks

FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0
HEALTHY_AFTER_S = 30.0
"""A process that ran for longer counts as healthy: its next end is the first in a row."""

STOP_TIMEOUT_S = 15.0
"""Between SIGTERM and SIGKILL: longer than the SDK's own drain."""

MAX_LINE_BYTES = 64 * 1024


MAX_PROBLEMS = 3
"""Failing processes of one lambda that are reported one by one; the others are one problem."""

MAX_SHOWN_EXITS = 10
"""Ends of one process that its status shows."""

MAX_SHOWN_CHARACTERS = 200
"""The shown length of a process's last line on stderr, in its problem."""


@dataclass(slots=True)
class Record:
    """The history of one process. Times are seconds of the monotonic clock."""

    instance: int
    program: str
    exits: int = 0
    """Since the sidecar's start."""
    failures: int = 0
    """Ends in a row, each soon after the process's start."""
    how: str = ""
    """How it last ended, in words."""
    last_line: str = ""
    """The last line that it wrote to stderr in this run."""
    last_end: str = ""
    """The last line that it wrote to stderr in the run before."""
    since: float = 0.0
    """The time of the first of these ends."""
    began: float = 0.0
    next_start: float | None = None
    last_exits: deque[ExitStatus] = field(default_factory=lambda: deque(maxlen=MAX_SHOWN_EXITS))

    def begins(self, now: float) -> None:
        """The process is started."""
        self.began, self.next_start, self.last_line = now, None, ""

    def said(self, line: str) -> None:
        """The process wrote a line to stderr."""
        if line.strip():
            self.last_line = line

    def nothing(self, line: str) -> None:
        """The process wrote a line to stdout, which does not explain its end."""

    def ended(self, how: str, now: float) -> int:
        """The process ended by itself. Returns how often in a row."""
        self.exits += 1
        self.failures = 1 if now - self.began > HEALTHY_AFTER_S else self.failures + 1
        self.since = now if self.failures == 1 else self.since
        self.how, self.last_end = how, self.last_line
        line = masked(self.last_line[:MAX_SHOWN_CHARACTERS])
        self.last_exits.append(ExitStatus(now, how, now - self.began, line))
        return self.failures

    def failures_at(self, now: float) -> int:
        """Ends in a row, each soon after its start; 0: it is well."""
        return 0 if self.next_start is None and now - self.began > HEALTHY_AFTER_S else self.failures

    def problem(self, now: float) -> str:
        """What is wrong with the process, as a sentence; empty when nothing is."""
        if not self.failures_at(now):
            return ""
        often = f", {self.failures} times in a row" if self.failures > 1 else ""
        said = f"; its last line on stderr: {masked(self.last_end[:MAX_SHOWN_CHARACTERS])}" if self.last_end else ""
        if self.next_start is None:
            then = f"it runs again for {now - self.began:.0f} s"
        else:
            then = f"it starts again in {max(0.0, self.next_start - now):.0f} s"
        return f"process {self.instance} ({self.program}) {self.how}{often}{said}; {then}"


class Supervisor:
    """The processes of one lambda."""

    def __init__(self, name: str, config: LambdaConfig, environment: Mapping[str, str], tasks: Tasks) -> None:
        """``environment``: the variables of every child; the config's `env` is added to them."""
        assert config.command is not None
        self._command = config.command
        self._cwd = config.cwd
        self._environment = with_interpreter_first({**environment, **(config.env or {})})
        self._log = get_logger(__name__).bind(lambda_=name)
        self._stopping = asyncio.Event()
        self._running: dict[int, Process] = {}
        self._records = [Record(instance, config.command[0]) for instance in range(config.instances)]
        self._tasks = [
            tasks.spawn(self._keep(record), name=f"what keeps process {record.instance} of {name} running")
            for record in self._records
        ]

    @property
    def exits(self) -> int:
        """How often a process ended by itself, or could not be started."""
        return sum(record.exits for record in self._records)

    def problems(self) -> list[Problem]:
        """One problem for each process that keeps ending. None of them blocks the sidecar."""
        now = monotonic()
        found = [
            Problem(f"process:{record.instance}", text, record.since, blocks=False, cause=Cause.PROCESS_ENDS)
            for record in self._records
            if (text := record.problem(now))
        ]
        if len(found) > MAX_PROBLEMS:
            text = f"{len(found) - MAX_PROBLEMS} more processes ended"
            since = min(one.since for one in found[MAX_PROBLEMS:])
            found[MAX_PROBLEMS:] = [Problem("process:others", text, since, blocks=False, cause=Cause.PROCESS_ENDS)]
        return found

    def status(self) -> tuple[SupervisedStatus, ...]:
        """Each process, for operators."""
        now = monotonic()
        return tuple(
            SupervisedStatus(
                instance=record.instance,
                program=record.program,
                pid=process.pid if (process := self._running.get(record.instance)) is not None else 0,
                since=record.began if record.next_start is None else record.last_exits[-1].at,
                exits=record.exits,
                failures=record.failures_at(now),
                next_start=record.next_start,
                last_exits=tuple(record.last_exits),
            )
            for record in self._records
        )

    def restart_none(self) -> None:
        """Do not restart processes that end from now on."""
        self._stopping.set()

    def kill_stuck(self, pid: int) -> bool:
        """Kill the process to which ``pid`` belongs; it is started again as after another end.

        A process says its id itself, so it is believed only if it is in the session of a process of this lambda.
        Returns whether it is.
        """
        guard = guard_of(pid)
        for record in self._records:
            process = self._running.get(record.instance)
            if process is not None and process.pid == guard and process.stdin is not None:
                self._log.error("killing the lambda process: it is stuck", instance=record.instance, pid=pid)
                process.stdin.write(bytes([signal.SIGKILL]))  # the guard sends it to the whole group
                return True
        return False

    async def stop(self) -> None:
        """End the processes in order: SIGTERM, and SIGKILL when they take too long."""
        self.restart_none()
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.terminate()
        done, late = await asyncio.wait(self._tasks, timeout=STOP_TIMEOUT_S)
        for task in late:
            task.cancel()
        if late:
            self._log.warning("lambda process did not end in time, killing it", seconds=STOP_TIMEOUT_S)
            for process in self._running.values():
                if process.stdin is not None:
                    process.stdin.write(bytes([9]))  # a byte is a signal for the whole group
                    process.stdin.close()
            await asyncio.gather(*(process.wait() for process in self._running.values()))
        await asyncio.gather(*done, *late, return_exceptions=True)

    async def _keep(self, record: Record) -> None:
        while not self._stopping.is_set():
            record.begins(monotonic())
            how = await self._run_once(record)
            if self._stopping.is_set():
                return
            failures = record.ended(how, monotonic())
            seconds = 0.0 if failures == 1 else delay(failures - 1, FIRST_BACKOFF_S, MAX_BACKOFF_S, random.random)
            record.next_start = monotonic() + seconds
            self._log.warning(
                "starting the lambda process again", instance=record.instance, seconds=round(seconds, 2)
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _run_once(self, record: Record) -> str:
        """Start the process and wait for its end. Returns how it ended, in words."""
        log = self._log.bind(instance=record.instance)
        try:
            process = await asyncio.create_subprocess_exec(
                *guarded(self._command),
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                cwd=self._cwd,
                env=self._environment,
                limit=MAX_LINE_BYTES,
                start_new_session=True,  # Ctrl-C in a terminal reaches the sidecar only, which then drains first
            )
        except (OSError, ValueError) as error:
            log.error("cannot start the lambda process", command=self._command[0], error=str(error))
            return f"cannot be started: {error}"
        self._running[record.instance] = process
        if self._stopping.is_set():  # `stop` was called while it was being started
            process.terminate()
        log.info("lambda process started", command=self._command[0], guard_pid=process.pid)
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            await asyncio.gather(
                _copy(process.stdout, log.bind(output="stdout"), record.nothing),
                _copy(process.stderr, log.bind(output="stderr"), record.said),
                process.wait(),
            )
            log.log(20 if self._stopping.is_set() else 30, "lambda process ended", exit_code=process.returncode)
        finally:
            if process.returncode is not None:
                del self._running[record.instance]
        return f"ended with exit code {process.returncode}{_signal(process.returncode or 0)}"


def guard_of(pid: int) -> int | None:
    """The id of the guard of the command that ``pid`` is, or that has started it; None: unknown.

    A guard starts its command in a session of its own: so the parent of the session's leader is the guard.
    """
    try:
        leader = os.getsid(pid) if pid > 0 else 0
        status = Path(f"/proc/{leader}/stat").read_text(errors="replace")
    except (OSError, OverflowError):
        return None
    return int(status.rpartition(")")[2].split()[1])


async def _copy(pipe: asyncio.StreamReader, log: FilteringBoundLogger, heard: Callable[[str], None]) -> None:
    """Log each line of a child's output and give it to ``heard``. A line over the limit comes in pieces."""
    while True:
        try:
            line = await pipe.readuntil(b"\n")
        except asyncio.IncompleteReadError as end:
            if end.partial:
                text = end.partial.decode(errors="replace")
                heard(text)
                log.info("lambda output", line=text)
            return
        except asyncio.LimitOverrunError:
            line = await pipe.read(MAX_LINE_BYTES)
        text = line.decode(errors="replace").rstrip("\r\n")
        heard(text)
        log.info("lambda output", line=text)


def _signal(code: int) -> str:
    """Name the signal in an exit code: the guard adds 128 to the number of the signal that ended the command."""
    try:
        return f" ({signal.Signals(code - 128).name})"
    except ValueError:
        return ""
