"""The guard: its command ends with the parent, gets the signals, and gives the guard its exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sidecar.supervise import guard

TIMEOUT = 10.0

# A command that prints a line when it is up and for each signal, and ignores them all. The signals are blocked and
# waited for: a handler with pause() would miss one that comes between the handler's end and the next pause().
STUBBORN = """
import os, signal
numbers = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
os.write(1, b"%d\\n" % os.getpid())
while True:
    os.write(1, b"%d\\n" % signal.sigwait(numbers))
"""
# Prints its pid and waits for a signal.
PLAIN = "import os, signal; os.write(1, b'%d\\n' % os.getpid()); signal.pause()"
# Starts a process in its own group, prints that process's pid, and ends at once on a signal.
WITH_A_CHILD = """
import subprocess, sys, signal
subprocess.Popen([sys.executable, "-S", "-c", sys.argv[1]])
signal.pause()
"""


def python(source: str, *arguments: str) -> list[str]:
    return [sys.executable, "-S", "-c", source, *arguments]


@contextmanager
def running(command: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a command under a guard. Gives the guard and the pid in the command's first line."""
    process = subprocess.Popen(
        guard.guarded(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline())
    finally:
        with suppress(BrokenPipeError, ValueError):  # it has ended; the test has closed the pipe
            write(process, signal.SIGKILL)
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        process.wait(TIMEOUT)


def line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end_the_pipe(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()


def write(process: subprocess.Popen[bytes], number: int) -> None:
    assert process.stdin is not None
    process.stdin.write(bytes([number]))
    process.stdin.flush()


def nobody_writes(process: subprocess.Popen[bytes]) -> bool:
    """Wait until all processes that hold the guard's stdout have ended: the command and its children."""
    assert process.stdout is not None
    return process.stdout.read() == b""


@pytest.mark.parametrize(("source", "code"), [("pass", 0), ("raise SystemExit(7)", 7)])
def test_exits_with_the_code_of_the_command(source: str, code: int) -> None:
    # The write end stays open, so only the command's end can end the guard.
    done = subprocess.Popen(guard.guarded(python(source)), stdin=subprocess.PIPE)
    assert done.wait(TIMEOUT) == code
    end_the_pipe(done)


def test_exits_with_128_and_the_signal_that_ended_the_command() -> None:
    with running(python(PLAIN)) as (process, pid):
        os.kill(pid, signal.SIGKILL)
        assert process.wait(TIMEOUT) == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", guard.FORWARDED)
def test_passes_signals_on_and_nothing_follows_them(number: signal.Signals) -> None:
    with running(python(STUBBORN)) as (process, _):
        for _ in range(2):
            process.send_signal(number)
            assert line(process) == b"%d" % number
        assert process.poll() is None


def test_a_byte_in_the_pipe_is_a_signal_for_the_group() -> None:
    with running(python(STUBBORN)) as (process, _):
        write(process, 255)  # no signal: ignored
        write(process, signal.SIGHUP)
        assert line(process) == b"%d" % signal.SIGHUP
        write(process, signal.SIGKILL)
        assert process.wait(TIMEOUT) == 128 + signal.SIGKILL


def test_the_end_of_the_pipe_ends_the_command() -> None:
    with running(python(PLAIN)) as (process, _):
        end_the_pipe(process)
        assert process.wait(TIMEOUT) == 128 + signal.SIGTERM


def test_a_command_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(guard.GUARD_GRACE, "0.1")
    with running(python(STUBBORN)) as (process, _):
        end_the_pipe(process)
        assert process.wait(TIMEOUT) == 128 + signal.SIGKILL
        assert line(process) == b"%d" % signal.SIGTERM


def test_children_of_the_command_end_too() -> None:
    with running(python(WITH_A_CHILD, PLAIN)) as (process, _):
        end_the_pipe(process)
        assert process.wait(TIMEOUT) == 128 + signal.SIGTERM
        assert nobody_writes(process)


def test_processes_left_by_a_dead_command_are_ended() -> None:
    # It ends when the other process is up, which a line in the pipe between them tells.
    leave = (
        "import os, subprocess, sys\n"
        "read_end, write_end = os.pipe()\n"
        "command = [sys.executable, '-S', '-c', sys.argv[1], str(write_end)]\n"
        "subprocess.Popen(command, pass_fds=[write_end])\n"
        "os.read(read_end, 1)\n"
    )
    left = (
        "import os, sys, signal\n"
        "os.write(1, b'%d\\n' % os.getpid())\n"
        "os.write(int(sys.argv[1]), b'x')\n"
        "signal.pause()\n"
    )
    with running(python(leave, left)) as (process, _):
        assert process.wait(TIMEOUT) == 0
        assert nobody_writes(process)


def test_the_command_ends_when_the_parent_is_killed() -> None:
    parent = (
        "import subprocess, sys, signal\n"
        "process = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\n"
        "signal.pause()\n"
    )
    command = python(parent, *guard.guarded(python(PLAIN)))
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert int(line(process)) > 0
        process.kill()
        assert nobody_writes(process)


def test_holds_the_descriptor_that_the_environment_names() -> None:
    read_end, write_end = os.pipe()
    show = "import os; os.write(1, b'%d\\n' % ('KAFKA_SIDECAR_GUARD_FD' in os.environ)); " + PLAIN
    with subprocess.Popen(
        guard.guarded(python(show)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        pass_fds=(read_end,),
        env={**os.environ, guard.GUARD_FD: str(read_end)},
    ) as process:
        os.close(read_end)
        assert line(process) == b"0"  # it is the guard's own affair
        assert int(line(process)) > 0
        os.close(write_end)
        assert process.wait(TIMEOUT) == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("command", "environment", "code", "text"),
    [
        ([], {}, 2, "no command given"),
        (["/does/not/exist"], {}, 127, "cannot start /does/not/exist: No such file or directory"),
        ([os.devnull], {}, 126, f"cannot start {os.devnull}: Permission denied"),
        (["true"], {guard.GUARD_FD: "x"}, 2, "KAFKA_SIDECAR_GUARD_FD=x is no open pipe"),
        (["true"], {guard.GUARD_FD: "987"}, 2, "KAFKA_SIDECAR_GUARD_FD=987 is no open pipe"),
        (["true"], {guard.GUARD_GRACE: "soon"}, 2, "KAFKA_SIDECAR_GUARD_GRACE=soon is not a number of seconds"),
    ],
)
def test_mistakes_are_reported(command: list[str], environment: dict[str, str], code: int, text: str) -> None:
    with subprocess.Popen(
        guard.guarded(command),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        assert process.wait(TIMEOUT) == code
        assert process.stderr is not None
        said = process.stderr.read()
    assert text in said
    assert "Traceback" not in said


def test_starts_no_command_that_it_could_not_end(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    command = guard.guarded(["touch", str(mark)])
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "is no open pipe" in done.stderr
    assert not mark.exists()


def test_runs_as_a_module() -> None:
    root = Path(guard.__file__).parents[2]
    command = [sys.executable, "-m", "sidecar.supervise.guard", *python("raise SystemExit(3)")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=root) as process:
        assert process.wait(TIMEOUT) == 3
