"""Lambda processes that the sidecar starts (`command:` in the config) and keeps running.

On the event loop. Each runs behind a guard, so it dies with the sidecar, also when that is killed. Its output comes
line by line into the log. One that ends is started again: at once the first time, then with a growing back-off.
"""

import asyncio
import os
import random
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic

from structlog.typing import FilteringBoundLogger

from sidecar.config.lambdas import LambdaConfig
from sidecar.logs import get_logger
from sidecar.partitions.backoff import delay
from sidecar.supervise.guard import guarded

BACKOFF_FIRST = 0.5
BACKOFF_MOST = 30.0
HEALTHY_AFTER = 30.0
"""Seconds of life after which an end counts as the first again."""

STOP_TIMEOUT = 15.0
"""Seconds between SIGTERM and SIGKILL: longer than the SDK's own drain."""

LONGEST_LINE = 64 * 1024


class Supervisor:
    """The processes of one lambda."""

    def __init__(self, name: str, config: LambdaConfig, environment: Mapping[str, str]) -> None:
        """``environment`` is what every child gets; the config's own variables come on top."""
        assert config.command is not None
        self._command = config.command
        self._cwd = config.cwd
        self._environment = _with_interpreter_first({**environment, **(config.env or {})})
        self._log = get_logger(__name__).bind(lambda_=name)
        self._stopping = asyncio.Event()
        self._running: dict[int, Process] = {}
        self._tasks = [asyncio.ensure_future(self._keep(instance)) for instance in range(config.instances)]

    def restart_none(self) -> None:
        """What ends from now on is not started again."""
        self._stopping.set()

    async def stop(self) -> None:
        """End the processes in order: SIGTERM, and SIGKILL when they take too long."""
        self.restart_none()
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.terminate()
        done, late = await asyncio.wait(self._tasks, timeout=STOP_TIMEOUT)
        for task in late:
            task.cancel()
        if late:
            self._log.warning("lambda process did not end in time, killing it", seconds=STOP_TIMEOUT)
            for process in self._running.values():
                if process.stdin is not None:
                    process.stdin.write(bytes([9]))  # a byte is a signal for the whole group
                    process.stdin.close()
            await asyncio.gather(*(process.wait() for process in self._running.values()))
        await asyncio.gather(*done, *late, return_exceptions=True)

    async def _keep(self, instance: int) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = monotonic()
            await self._run_once(instance)
            if self._stopping.is_set():
                return
            failures = 1 if monotonic() - began > HEALTHY_AFTER else failures + 1
            seconds = 0.0 if failures == 1 else delay(failures - 1, BACKOFF_FIRST, BACKOFF_MOST, random.random)
            self._log.warning("starting the lambda process again", instance=instance, seconds=round(seconds, 2))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _run_once(self, instance: int) -> None:
        log = self._log.bind(instance=instance)
        try:
            process = await asyncio.create_subprocess_exec(
                *guarded(self._command),
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                cwd=self._cwd,
                env=self._environment,
                limit=LONGEST_LINE,
                start_new_session=True,  # Ctrl-C in the terminal is for the sidecar, which then drains first
            )
        except OSError as error:
            log.error("cannot start the lambda process", command=self._command[0], error=str(error))
            return
        self._running[instance] = process
        if self._stopping.is_set():  # said while it was being started
            process.terminate()
        log.info("lambda process started", command=self._command[0], guard_pid=process.pid)
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            await asyncio.gather(
                _copy(process.stdout, log.bind(output="stdout")),
                _copy(process.stderr, log.bind(output="stderr")),
                process.wait(),
            )
            log.log(20 if self._stopping.is_set() else 30, "lambda process ended", exit_code=process.returncode)
        finally:
            if process.returncode is not None:
                del self._running[instance]


async def _copy(pipe: asyncio.StreamReader, log: FilteringBoundLogger) -> None:
    """Each line of a child's output as a line of ours; a line over the limit comes in pieces."""
    while True:
        try:
            line = await pipe.readuntil(b"\n")
        except asyncio.IncompleteReadError as end:
            if end.partial:
                log.info("lambda output", line=end.partial.decode(errors="replace"))
            return
        except asyncio.LimitOverrunError:
            line = await pipe.read(LONGEST_LINE)
        log.info("lambda output", line=line.decode(errors="replace").rstrip("\r\n"))


def _with_interpreter_first(environment: dict[str, str]) -> dict[str, str]:
    """`python` in a command means the sidecar's own, whatever virtual environment the shell has active."""
    directory = str(Path(sys.executable).parent)
    return {**environment, "PATH": f"{directory}{os.pathsep}{environment.get('PATH', os.defpath)}"}
