"""One run of one peer: starts it as a user would, and measures all its processes."""

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from benchmarks.processes import ROOT, cpu_seconds, memory_mb
from tests.servers.topics import committed, end_offsets

LONGEST = 300.0
"""Seconds that a run may take, from the start of the program to the last handled record."""
CLOSING = 30.0
"""Seconds for a program to end, with its last commit."""

_TICKS = os.sysconf("SC_CLK_TCK")


class RunFailedError(RuntimeError):
    """The run has no figures: the program did not finish, or did not handle and commit all records once."""


@dataclass
class Work:
    """The records to handle."""

    broker: str
    topic: str
    group: str
    total: int

    @property
    def warm(self) -> int:
        """Records before the clock starts."""
        return self.total // 4

    def arguments(self) -> list[str]:
        """The arguments for a program's command line."""
        return [self.broker, self.topic, self.group, str(self.total), str(self.warm)]


@dataclass
class Program:
    """A program that handles it.

    ``beside`` are processes of the peer that are not its children. ``until_signal``: SIGTERM ends the program; else
    the end of its standard input does.
    """

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    beside: Sequence[int] = ()
    until_signal: bool = False


def measure(program: Program, work: Work, *, counted_only: bool = False, commits: bool = True) -> dict[str, float]:
    """Run it. Returns records per second, CPU seconds per million records after the warm-up, and the highest memory.

    Raises ``RunFailedError`` when the run has no figures.

    Args:
        program: the program.
        work: its records.
        counted_only: it cannot tell partitions and offsets, so only the number of records is checked.
        commits: whether its commits are checked.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            program.command,
            cwd=ROOT,
            env={**os.environ, **program.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        pids = [process.pid, *program.beside]
        try:
            _line(process, errors)  # the clock of the program has started
            before = _cpu(pids)
            result = _line(process, errors)
            cpu = _cpu(pids) - before
            memory = sum(memory_mb(pid, "VmHWM") for pid in _all(pids))
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()
            if program.until_signal:
                process.terminate()
            _wait(process, errors)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
    _check(result, work, counted_only=counted_only)
    if commits:
        _wait_until_committed(work)
    return {
        "records": result["records"],
        "records_per_second": result["measured"] / result["seconds"],
        "cpu_seconds_per_million": cpu / result["measured"] * 1e6,
        "memory_mb": memory,
        "seconds": result["seconds"],
    }


def _line(process: subprocess.Popen[bytes], errors: IO[bytes]) -> Any:
    """The program's next line of JSON; other lines, which libraries may write, are skipped."""
    assert process.stdout is not None
    deadline = time.monotonic() + LONGEST
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            raise RunFailedError(f"not done within {LONGEST:.0f} s{_said(errors)}")
        line = _read_line(process.stdout.fileno())
        if not line:
            raise RunFailedError(f"the program ended early{_said(errors)}")
        if b"{" in line:  # a library may have written something on the same line
            return json.loads(line[line.index(b"{") :])


def _read_line(descriptor: int) -> bytes:
    """Read byte by byte: `select` does not see bytes in a buffer. Lines are few and short."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            break
        line += byte
    return bytes(line)


def _wait(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    try:
        code = process.wait(CLOSING)
    except subprocess.TimeoutExpired:
        raise RunFailedError(f"the program did not end within {CLOSING:.0f} s{_said(errors)}") from None
    if code not in {0, -signal.SIGTERM}:
        raise RunFailedError(f"the program ended with {code}{_said(errors)}")


def _check(result: Mapping[str, Any], work: Work, *, counted_only: bool) -> None:
    if result["records"] != work.total:
        raise RunFailedError(f"{result['records']} records handled, {work.total} produced")
    if counted_only:
        return
    if result["strange"]:
        raise RunFailedError(f"missed, repeated or out of order: {result['strange']}")
    there = list(end_offsets(work.broker, work.topic).values())
    if result["per_partition"][: len(there)] != there:  # programs count for as many as the peers' topics have
        raise RunFailedError(f"handled {result['per_partition']} of {there}")


def _wait_until_committed(work: Work) -> None:
    there = end_offsets(work.broker, work.topic)
    deadline = time.monotonic() + CLOSING
    found = committed(work.broker, work.group, work.topic)
    while found != there:
        if time.monotonic() > deadline:
            raise RunFailedError(f"committed {found} of {there}")
        time.sleep(0.1)
        found = committed(work.broker, work.group, work.topic)


def _all(pids: Sequence[int]) -> list[int]:
    """These processes and all their descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = list(pids)
    for pid in found:
        found += children.get(pid, [])
    return found


def _cpu(pids: Sequence[int]) -> float:
    """CPU seconds of all of them, and of their children that have ended."""
    total = 0.0
    for pid in _all(pids):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += cpu_seconds(pid) + (int(fields[13]) + int(fields[14])) / _TICKS
    return total


def _said(errors: IO[bytes]) -> str:
    errors.seek(0)
    text = errors.read().decode(errors="replace").strip()
    return f": {text[-1500:]}" if text else ""
