"""Run a command so that it can never outlive the process that started it.

A child process survives its parent's SIGKILL. A guard stands between the two: it holds the read end of a
pipe whose write end only the parent has, so however the parent dies, the guard sees the end of the pipe
and takes the command down, with everything the command has started in its process group.

Usage: ``python -m sidecar.supervise.guard COMMAND [ARGUMENT...]``; from Python: `guarded`.

The pipe is the guard's standard input, or the inherited descriptor whose number is in the environment
variable `KAFKA_SIDECAR_GUARD_FD`. What the guard does with it:

- each byte written to the pipe is a signal number for the whole group (9 kills it at once; a SIGKILL to the
  guard itself would leave the command running);
- at the end of the pipe the group gets SIGTERM, and SIGKILL 5 s later, or as many seconds later as the
  environment variable `KAFKA_SIDECAR_GUARD_GRACE` says.

SIGTERM, SIGINT, SIGHUP and SIGQUIT sent to the guard go on to the group; nothing follows them by itself.
The command inherits stdout, stderr and the environment; its stdin is `/dev/null`. The guard ends when the
command does, with the command's exit code, or 128 + the signal's number when a signal ended it; 126 or 127
when the command could not be started, 2 when the guard was called wrongly.

Start the guard in a session or process group of its own where Ctrl-C in a terminal is to reach the parent
only, which then decides how the command ends.

The standard library only, and little of it: a guard runs for each supervised process.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

GUARD_FD = "KAFKA_SIDECAR_GUARD_FD"
"""Environment variable: number of the inherited descriptor to hold. Without it, standard input is held."""

GUARD_GRACE = "KAFKA_SIDECAR_GUARD_GRACE"
"""Environment variable: seconds between SIGTERM and SIGKILL once the parent is gone; 5 without it."""

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def guarded(command: Sequence[str]) -> list[str]:
    """Return the command line that runs `command` under a guard.

    The guard is started by its file name and isolated from PYTHONPATH and site-packages: it then starts
    fast, in any working directory, and nothing in the user's environment can break it.
    """
    return [sys.executable, "-I", "-S", __file__, *command]


class _Guard:
    def __init__(self, command: Sequence[str], pipe: selectors.BaseSelector, grace: float) -> None:
        self._selector = pipe
        self._grace = grace
        self._wake, wake_end = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake_end, False)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        # Before the command exists: from here on, no signal can end the guard and leave the command running.
        for number in (*FORWARDED, signal.SIGCHLD):
            signal.signal(number, _leave_it_to_the_wakeup_fd)
        _adopt_orphans()
        environment = {name: value for name, value in os.environ.items() if name not in {GUARD_FD, GUARD_GRACE}}
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, env=environment)

    def run(self) -> int:
        """Pass signals on until the command has ended; return the exit code for the guard."""
        kill_at: float | None = None
        self._selector.register(self._wake, selectors.EVENT_READ)
        while (code := self._reap()) is None:
            ready = self._selector.select(None if kill_at is None else max(0.0, kill_at - time.monotonic()))
            if not ready and kill_at is not None:
                self._send(signal.SIGKILL)
                kill_at = None
            for key, _ in ready:
                data = os.read(key.fd, 512)
                if key.fd == self._wake:
                    self._send_all(number for number in data if number in FORWARDED)
                elif data:
                    self._send_all(data)
                else:
                    self._selector.unregister(key.fd)
                    self._send(signal.SIGTERM)
                    kill_at = time.monotonic() + self._grace
        self._end_the_group(kill_at)
        return code if code >= 0 else 128 - code

    def _reap(self) -> int | None:
        """Reap all children that have ended; return the command's exit code, as Popen would, once it has ended."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == self._child.pid:
                    self._child.returncode = os.waitstatus_to_exitcode(status)
        return self._child.returncode

    def _send_all(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._send(number)

    def _send(self, number: int) -> bool:
        """Signal the group; return whether there was one. A number that is no signal is ignored."""
        try:
            os.killpg(self._child.pid, number)
        except (ProcessLookupError, PermissionError):  # PermissionError: macOS, when only zombies are left
            return False
        except OSError:
            return True
        return True

    def _end_the_group(self, kill_at: float | None) -> None:
        """End the processes that the command has left in its group, such as a program that a shell had started."""
        if kill_at is None:
            kill_at = time.monotonic() + self._grace
        self._send(signal.SIGTERM)
        while self._send(0) and time.monotonic() < kill_at:
            time.sleep(0.01)  # no event tells that a group is empty: its members may be anyone's children
            self._reap()
        self._send(signal.SIGKILL)


def _adopt_orphans() -> None:
    """Become the parent of processes under this guard whose own parent has ended (Linux).

    Otherwise process 1 becomes their parent, and in a container that is often a program that reaps nobody. A group
    with a zombie counts as alive, so the guard would wait for it in vain.
    """
    if not sys.platform.startswith("linux"):
        return
    set_child_subreaper = 36
    with suppress(OSError, AttributeError, ImportError):
        import ctypes  # noqa: PLC0415  (not everywhere, and not for those who only import `guarded`)

        ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0)


def _leave_it_to_the_wakeup_fd(_number: int, _frame: object) -> None:
    """A handler must exist for the interpreter to write the signal's number to the wakeup descriptor."""


def _fail(text: str, code: int) -> int:
    print(f"guard: {text}", file=sys.stderr)
    return code


def main(command: Sequence[str]) -> int:
    """Run `command` under guard and return the guard's exit code."""
    if not command:
        return _fail("no command given; usage: python -m sidecar.supervise.guard COMMAND [ARGUMENT...]", 2)
    number, grace = os.environ.get(GUARD_FD, "0"), os.environ.get(GUARD_GRACE, "5")
    # Before the command is started: a command that nobody can stop must not run.
    with selectors.DefaultSelector() as selector:
        try:
            selector.register(int(number), selectors.EVENT_READ)
        except (ValueError, OverflowError, OSError):
            return _fail(f"{GUARD_FD}={number} is no open pipe; the parent must pass on the read end of one", 2)
        try:
            seconds = float(grace)
        except ValueError:
            return _fail(f"{GUARD_GRACE}={grace} is not a number of seconds", 2)
        try:
            guard = _Guard(command, selector, seconds)
        except OSError as error:
            code = 127 if isinstance(error, FileNotFoundError) else 126
            return _fail(f"cannot start {command[0]}: {error.strerror}", code)
        return guard.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
