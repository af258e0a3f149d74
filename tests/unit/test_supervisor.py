"""Processes that the sidecar keeps running, and the problems of those that end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import AsyncMock

import pytest
from structlog.testing import capture_logs

from sidecar.config import LambdaConfig
from sidecar.supervise import process
from sidecar.supervise.process import Record, Supervisor, guard_of
from sidecar.tasks import Tasks
from tests.unit.waiting import until


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "FIRST_BACKOFF_S", 0.01)


@asynccontextmanager
async def supervised(*command: str, **config: Any) -> AsyncIterator[tuple[Supervisor, list[str]]]:
    faults: list[str] = []
    one = LambdaConfig(topics=("t",), group="g", command=command, **config)
    supervisor = Supervisor("deli", one, {"PATH": "/usr/bin:/bin"}, Tasks(faults.append))
    try:
        yield supervisor, faults
    finally:
        async with asyncio.timeout(30):
            await supervisor.stop()


def told(supervisor: Supervisor) -> str:
    return "\n".join(problem.text for problem in supervisor.problems())


async def test_a_crash_loop_is_a_problem_with_exit_code_last_line_and_next_start() -> None:
    program = "import sys; print('not this'); sys.stderr.write('first\\nno database\\n'); sys.exit(3)"
    async with supervised(sys.executable, "-c", program) as (supervisor, faults):
        await until(lambda: supervisor.exits >= 2, timeout=30)
        await until(lambda: "starts again in" in told(supervisor), timeout=30)
        text = told(supervisor)
        (problem,) = supervisor.problems()
    assert (problem.kind, problem.blocks) == ("process:0", False)
    assert f"process 0 ({sys.executable}) ended with exit code 3, " in text
    assert "times in a row; its last line on stderr: no database; it starts again in " in text
    assert faults == []


async def test_a_program_that_does_not_exist() -> None:
    async with supervised("no-such-program", "--token", "hunter2") as (supervisor, _):
        await until(supervisor.problems, timeout=30)
        text = told(supervisor)
    assert "process 0 (no-such-program) ended with exit code 127" in text
    assert "guard: cannot start no-such-program: No such file or directory" in text
    assert "hunter2" not in text


async def test_a_signal_has_its_name() -> None:
    async with supervised("sh", "-c", "kill -9 $$") as (supervisor, _):
        await until(supervisor.problems, timeout=30)
        assert "ended with exit code 137 (SIGKILL)" in told(supervisor)


async def test_a_start_that_the_system_refuses_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing directory is an OSError, a NUL a ValueError; the sidecar keeps trying after both."""
    for error in (FileNotFoundError(2, "No such file or directory"), ValueError("embedded null byte")):
        refuse = AsyncMock(side_effect=error)
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "create_subprocess_exec", refuse)
            async with supervised("sh") as (supervisor, faults):
                await until(lambda mock=refuse: mock.await_count >= 3)  # type: ignore[misc]
                assert f"cannot be started: {error}, " in told(supervisor)
                assert faults == []


async def test_many_failing_processes_are_summarised() -> None:
    async with supervised("false", instances=6) as (supervisor, _):
        await until(lambda: all(record.exits for record in supervisor._records), timeout=60)
        assert [problem.text[:9] for problem in supervisor.problems()] == [
            "process 0",
            "process 1",
            "process 2",
            "3 more pr",
        ]


async def test_a_task_that_dies_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(Record, "begins", broken)
    with capture_logs() as logged:
        async with supervised("true") as (_, faults):
            await until(lambda: faults)
    (fault,) = faults
    assert fault.startswith("what keeps process 0 of deli running died of RuntimeError: a fault of ours; restart")
    (line,) = [one for one in logged if one["event"] == "a task of the sidecar died"]
    assert isinstance(line["exc_info"], RuntimeError)


async def test_a_task_that_ends_or_is_cancelled_is_no_fault() -> None:
    faults: list[str] = []
    tasks = Tasks(faults.append)

    async def work() -> None:
        pass

    await tasks.spawn(work(), name="done")
    sleeping = tasks.spawn(asyncio.sleep(60), name="cancelled")
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    assert faults == []


def test_the_problem_is_over_after_a_healthy_run() -> None:
    record = Record(0, "run")
    record.begins(100.0)
    assert record.problem(101.0) == ""
    record.said("mongodb://me:hunter2@host is away")
    assert record.ended("ended with exit code 1", 102.0) == 1
    record.next_start = 105.0
    assert record.problem(103.0) == (
        "process 0 (run) ended with exit code 1; its last line on stderr: mongodb://me:****@host is away; "
        "it starts again in 2 s"
    )
    record.begins(105.0)
    assert record.problem(108.0).endswith("; it runs again for 3 s")
    assert record.problem(105.0 + process.HEALTHY_AFTER_S + 1) == ""
    assert record.ended("ended with exit code 1", 200.0) == 1, "it is the first again"


async def test_the_history_of_a_process() -> None:
    program = "import sys; sys.stderr.write('no database at mongodb://me:hunter2@db\\n'); sys.exit(3)"
    async with supervised(sys.executable, "-c", program, instances=2) as (supervisor, _):
        await until(lambda: all(one.exits >= 3 for one in supervisor.status()), timeout=60)
        first, second = supervisor.status()
    assert (first.instance, second.instance, first.program) == (0, 1, sys.executable)
    assert first.failures == first.exits == len(first.last_exits)
    assert all(one.how == "ended with exit code 3" for one in first.last_exits)
    assert first.last_exits[-1].last_line == "no database at mongodb://me:****@db"
    times = [one.at for one in first.last_exits]
    assert times == sorted(times)
    assert all(one.ran > 0 for one in first.last_exits)


async def test_a_process_that_runs_has_a_pid_and_no_history() -> None:
    async with supervised("sleep", "60") as (supervisor, _):
        await until(lambda: supervisor.status()[0].pid, timeout=30)
        (status,) = supervisor.status()
    assert (status.exits, status.failures, status.next_start, status.last_exits) == (0, 0, None, ())


def test_only_the_latest_ends_are_kept() -> None:
    record = process.Record(0, "x")
    for number in range(25):
        record.begins(float(number))
        record.ended(f"end {number}", number + 0.5)
    assert [one.how for one in record.last_exits] == [f"end {number}" for number in range(15, 25)]
    assert record.failures_at(30.0) == 25
    record.begins(30.0)
    assert record.failures_at(100.0) == 0


async def test_a_stuck_process_is_killed_with_all_that_it_started_and_started_again() -> None:
    program = "sleep 1000 & echo $! >&2; trap '' TERM; wait; wait"
    async with supervised("sh", "-c", program) as (supervisor, _):
        await until(lambda: supervisor._records[0].last_line, timeout=30)
        deeper = int(supervisor._records[0].last_line)
        assert guard_of(deeper) == supervisor.status()[0].pid
        assert supervisor.kill_stuck(deeper)
        await until(lambda: supervisor.exits == 1, timeout=30)
        assert "ended with exit code 137 (SIGKILL)" in supervisor.status()[0].last_exits[0].how
        await until(lambda: guard_of(deeper) is None, timeout=30)
        await until(lambda: supervisor.status()[0].pid, timeout=30)


@pytest.mark.parametrize("pid", [0, -1, 1, 2**31, 2**70])
async def test_a_process_that_is_none_of_ours_is_left_alone(pid: int) -> None:
    async with supervised("sleep", "1000") as (supervisor, _):
        await until(lambda: supervisor.status()[0].pid, timeout=30)
        assert not supervisor.kill_stuck(pid)
        assert supervisor.exits == 0
