"""The command under test: one process, with a guard that ends it whatever happens to the kit.

Owner: the event loop. One task reads the output, another waits for the end.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress

from sidecar.conformance.events import Kind
from sidecar.conformance.trace import Trace
from sidecar.supervise import guard

KEPT_BYTES = 32 * 1024
"""The last bytes of a program's output are kept."""
_OURS = ("KAFKA_SIDECAR_", "CONFORMANCE_")
_OUTSIDE = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
"""The tester's own settings must not reach the program, and neither what this process sets for itself."""
_END_S = 5.0


class Program:
    """The process of one case."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], trace: Trace) -> None:
        self.code: int | None = None
        """The exit code; None: it runs. 128 + the number of a signal that ended it."""
        self.signalled = False
        """Whether it was sent a signal: then its end is no surprise."""
        self._command = command
        self._environment = {**_OUTSIDE, **environment}
        self._trace = trace
        self._process: asyncio.subprocess.Process | None = None
        self._output = bytearray()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def output(self) -> str:
        """The end of what it wrote."""
        return self._output.decode(errors="replace")

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self.code is None

    @property
    def ended_by_itself(self) -> bool:
        """Whether it has ended without a signal."""
        return self.code is not None and not self.signalled

    async def start(self) -> None:
        """Start it; again when it has ended."""
        self.code = None
        self.signalled = False
        self._process = await asyncio.create_subprocess_exec(
            *guard.guarded(self._command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment,
            start_new_session=True,
        )
        self._trace.add(Kind.STARTED)
        self._tasks = [asyncio.create_task(self._read(self._process)), asyncio.create_task(self._end(self._process))]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and all that it has started."""
        process = self._process
        if process is None or process.stdin is None or not self.running:
            return
        self.signalled = True
        self._trace.add(Kind.SIGNALLED, note=number.name)
        with suppress(OSError):
            process.stdin.write(bytes([number]))

    async def kill(self) -> None:
        """End it now, and wait until it has ended."""
        if self._process is not None and self.running:
            self.signal(signal.SIGKILL)
            _, late = await asyncio.wait(self._tasks, timeout=_END_S)
            for task in late:
                task.cancel()
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while data := await process.stdout.read(64 * 1024):
            self._output += data
            del self._output[:-KEPT_BYTES]

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        self.code = await process.wait()
        self._trace.add(Kind.EXITED, note=f"with {self.code}")
