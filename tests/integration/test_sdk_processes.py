"""Real processes of ``python -m sdk_python.serve``: their ends, their children, and their logs."""

import asyncio
import json
import os
import re
import signal
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sdk_python.protocol import lambda_pb2 as pb
from tests.unit.sdk.host import Host, HostStream

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
"""Seconds within which a process starts, forks and ends on a busy machine; no test waits for its end."""


class Served:
    """A process with one partition."""

    def __init__(self, process: asyncio.subprocess.Process, stream: HostStream, log: Path) -> None:
        self.process = process
        self.log = log
        self.stream = stream

    async def ended(self) -> tuple[int, str]:
        """Wait for its end. Returns the exit code and the text on stderr."""
        code = await asyncio.wait_for(self.process.wait(), PATIENCE)
        return code, self.log.read_text()


@asynccontextmanager
async def served(
    host: Host, folder: Path, plugin: str, *options: str, stderr: int | None = None
) -> AsyncIterator[Served]:
    (folder / "made.py").write_text(plugin)
    log = folder / "stderr"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sdk_python.serve", "words", "made.py", "--address", host.address, *options,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=folder, stderr=file if stderr is None else stderr,
        )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE):
            stream = await host.offers.get()
        await stream.assign()
        yield Served(process, stream, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until_error(host: Host) -> pb.ErrorRequest:
    await host.until(lambda: bool(host.errors))
    return host.errors[0]


HEAD = """
import asyncio, os, signal, sys, threading, time
from sdk_python import partition_lambda
"""

# ------------------------------------------------------------------------------------- what leaves a handler

LEAVES = {
    "class Timeout(BaseException): pass\nraise Timeout('too late')": ("made.handle.<locals>.Timeout", "too late"),
    "raise GeneratorExit('out')": ("GeneratorExit", "out"),
    "raise asyncio.CancelledError('own')": ("asyncio.exceptions.CancelledError", "own"),
    "raise BaseExceptionGroup('all', [BaseException('one')])": ("BaseExceptionGroup", "all (1 sub-exception)"),
    "raise StopAsyncIteration('odd')": ("StopAsyncIteration", "odd"),
}


@pytest.mark.parametrize("how", ["def", "async def"])
async def test_any_exception_of_a_handler_is_critical_and_reported(host: Host, tmp_path: Path, how: str) -> None:
    """One process for all of these: it lives on after each."""
    body = "\n".join(
        f"    if message.value == b'{number}':\n" + "".join(f"        {line}\n" for line in raises.splitlines())
        for number, raises in enumerate(LEAVES)
    )
    plugin = f"{HEAD}\n@partition_lambda\n{how} handle(message, context):\n{body}"
    async with served(host, tmp_path, plugin) as it:
        stream = it.stream
        for number, (kind, text) in enumerate(LEAVES.values()):
            stream.batch([b"%d" % number], first=7)
            await host.until(lambda number=number: len(host.errors) > number)  # type: ignore[misc]
            told = host.errors[-1]
            assert (told.action, told.offset, told.type, told.message) == (pb.ERROR_ACTION_CRITICAL, 7, kind, text)
            assert "made.py" in told.stack
            assert (await stream.closed()).reason == pb.CLOSED_REASON_ERROR
            stream = await host.offered()
            await stream.assign()
        it.process.send_signal(signal.SIGTERM)
        await stream.closed()
        assert (await it.ended())[0] == 0


@pytest.mark.parametrize(
    ("plugin", "code"),
    [
        ("def handle(message, context):\n    context.checkpoint(message.offset)\n    sys.exit(3)", 3),
        ("async def handle(message, context):\n    context.checkpoint(message.offset)\n    sys.exit(3)", 3),
        ("async def handle(message, context):\n    context.checkpoint(message.offset)\n    sys.exit()", 0),
        ("def handle(message, context):\n    context.checkpoint(message.offset)\n    sys.exit('why')", 1),
        ("def handle(message, context):\n    context.checkpoint(message.offset)\n    raise KeyboardInterrupt", 130),
        (
            "def handle(message, context):\n    context.checkpoint(5)\n    context.error(SystemExit(3), True)",
            3,
        ),
        (
            (
                "async def handle(message, context):\n    context.checkpoint(message.offset)\n"
                "    async with asyncio.TaskGroup() as group:\n        group.create_task(leave())\n"
                "async def leave():\n    sys.exit(3)"
            ),
            3,
        ),
        (
            (
                "def handle(message, context):\n    context.checkpoint(message.offset)\n"
                "    asyncio.get_running_loop().call_soon(sys.exit, 3)"
            ),
            3,
        ),
        (
            (
                "def handle(message, context):\n    context.checkpoint(message.offset)\n"
                "    raise BaseExceptionGroup('g', [ValueError(), SystemExit(3)])"
            ),
            3,
        ),
    ],
)
async def test_the_process_drains_before_it_ends(host: Host, tmp_path: Path, plugin: str, code: int) -> None:
    async with served(host, tmp_path, f"{HEAD}\n@partition_lambda\n{plugin}\n") as it:
        it.stream.batch([b"a"], first=5)
        closed = await it.stream.closed()
        assert closed.reason == pb.CLOSED_REASON_STOPPED
        assert closed.last_checkpoint.offset == 5 or 5 in host.checkpoints
        ended, errors = await it.ended()
        assert ended == code
        assert f"exit code {code}" in errors
        assert not host.errors


@pytest.mark.parametrize(
    ("plugin", "code"),
    [
        ("import sys\nsys.exit(4)", 4),
        ("raise BaseException('odd')", 2),
        ("import sys\nasync def create(config): sys.exit(4)", 4),
        ("async def create(config): raise BaseException('odd')", 1),
        ("import asyncio\nasync def create(config): raise asyncio.CancelledError", 1),
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\nraise ValueError", 2),
    ],
)
async def test_exceptions_of_a_starting_plugin(host: Host, tmp_path: Path, plugin: str, code: int) -> None:
    (tmp_path / "made.py").write_text(plugin)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sdk_python.serve", "words", "made.py", "--address", host.address,
        "--drain-timeout", "0.5", env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    answering = asyncio.create_task(_welcome(host))
    _, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
    answering.cancel()
    assert process.returncode == code, errors.decode()
    assert "odd" in errors.decode() or "odd" not in plugin


async def _welcome(host: Host) -> None:
    stream = await host.offered()
    stream.send(welcome=pb.Welcome(settings_json="{}", protocol_version=1, window_messages=10))


# -------------------------------------------------------------------------------------------------- children

FORKS = {
    "pool": "with multiprocessing.Pool(2) as pool:\n        assert pool.map(abs, [-1, -2]) == [1, 2]",
    "executor": (
        "with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context('fork')) as pool:\n"
        "        assert [*pool.map(abs, [-1, -2])] == [1, 2]"
    ),
    "terminate": (
        "child = multiprocessing.get_context('fork').Process(target=time.sleep, args=(600,))\n"
        "    child.start()\n    child.terminate()\n    child.join()\n    assert child.exitcode == -signal.SIGTERM"
    ),
    "preexec": "assert subprocess.run(['true'], preexec_fn=os.getpid).returncode == 0",
    "fork": (
        "child = os.fork()\n    if not child:\n        signal.pause()\n"
        "    os.kill(child, signal.SIGTERM)\n    assert os.waitpid(child, 0)[1] == signal.SIGTERM"
    ),
}


@pytest.mark.parametrize("how", FORKS)
async def test_children_work_and_end(host: Host, tmp_path: Path, how: str) -> None:
    imports = "import concurrent.futures, multiprocessing, subprocess\n"
    plugin = f"{HEAD}{imports}\n@partition_lambda\ndef handle(message, context):\n    {FORKS[how]}\n"
    async with served(host, tmp_path, plugin + "    context.checkpoint(message.offset)\n") as it:
        it.stream.batch([b""] * 5)
        async with asyncio.timeout(PATIENCE):
            while 4 not in host.checkpoints and not host.errors:
                await host.until(lambda: 4 in host.checkpoints or bool(host.errors))
        assert not host.errors
        it.process.send_signal(signal.SIGTERM)
        await it.stream.closed()
        assert (await it.ended())[0] == 0


# --------------------------------------------------------------------------------------- the end, bounded

BLOCKS = {
    "a thread that is awaited": ("async def", "await asyncio.to_thread(time.sleep, 600)", 0, "asyncio_0"),
    "the event loop": ("def", "time.sleep(600)", 1, "words/0: the handler at offset 3"),
    "a thread of its own": (
        "def",
        "threading.Thread(target=time.sleep, args=(600,), name='flusher').start()",
        0,
        "threads: flusher",
    ),
    "its own cancellation": (
        "async def",
        "\n    while True:\n        try: await asyncio.sleep(600)\n        except asyncio.CancelledError: pass",
        1,
        "the handler at offset 3",
    ),
}


@pytest.mark.parametrize("what", BLOCKS)
async def test_the_drain_timeout_bounds_the_end(host: Host, tmp_path: Path, what: str) -> None:
    how, blocks, code, left = BLOCKS[what]
    body = f"    open('reached', 'w').close()\n    {blocks}\n"
    plugin = f"{HEAD}\n@partition_lambda\n{how} handle(message, context):\n{body}"
    async with served(host, tmp_path, plugin, "--drain-timeout", "2") as it:
        it.stream.batch([b""], first=3)
        async with asyncio.timeout(PATIENCE):
            while not (tmp_path / "reached").exists():  # noqa: ASYNC110  nothing else tells
                await asyncio.sleep(0.01)
        it.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        closing = asyncio.create_task(it.stream.closed())
        ended, errors = await it.ended()
        assert time.monotonic() - began < 10  # the thread sleeps for ten minutes
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        assert (ended, left in errors) == (code, True), errors
        assert "leaves behind" in errors


# --------------------------------------------------------------------------------------------------- its log

NOISY = """
import logging
@partition_lambda
def handle(message, context):
    for _ in range(50):
        logging.getLogger("mine").warning("x" * 5000)
    context.checkpoint(message.offset)
"""


@pytest.mark.parametrize("how", ["gone", "stalled", "full", "closed"])
async def test_a_log_that_cannot_be_written_stops_nothing(host: Host, tmp_path: Path, how: str) -> None:
    reader, writer = os.pipe()
    stderr: Any = writer
    if how == "full":
        stderr = os.open("/dev/full", os.O_WRONLY)
    options: tuple[str, ...] = ()
    plugin = HEAD + NOISY
    if how == "closed":
        plugin += "os.close(2)\n"
    async with served(host, tmp_path, plugin, *options, stderr=stderr) as it:
        if how == "gone":
            os.close(reader)
        it.stream.batch([b"a", b"b", b"c"])
        await host.until(lambda: 2 in host.checkpoints)
        it.process.send_signal(signal.SIGTERM)
        assert (await it.stream.closed()).reason == pb.CLOSED_REASON_STOPPED
        assert await asyncio.wait_for(it.process.wait(), PATIENCE) == 0
        assert not host.errors
    if how != "gone":
        os.close(reader)
    os.close(writer)
    if how == "full":
        os.close(stderr)


METRICS = """
import logging
from sdk_python import partition_lambda
log = logging.getLogger("author")
@partition_lambda
def handle(message, context):
    log.warning("handles\\n%s", message.value)
    context.checkpoint(message.offset)
"""


async def test_a_process_has_metrics_and_health_and_every_line_of_its_log_is_an_object(
    host: Host, tmp_path: Path
) -> None:
    async with served(host, tmp_path, METRICS, "--metrics", "0", "--log-format", "json") as made:
        made.stream.batch([b"one", b"two"])
        await host.until(lambda: bool(host.requests))
        (address,) = re.findall(r"at (http://127\.0\.0\.1:\d+)", made.log.read_text())

        def page(path: str) -> str:
            with urllib.request.urlopen(f"{address}{path}", timeout=PATIENCE) as answer:
                return str(answer.read().decode())

        assert json.loads(await asyncio.to_thread(page, "/readyz"))["partitions"] == 1
        numbers = {
            sample.name: sample.value
            for family in text_string_to_metric_families(await asyncio.to_thread(page, "/metrics"))
            for sample in family.samples
        }
        assert numbers["kafka_sidecar_sdk_records_total"] == 2
        assert numbers["kafka_sidecar_sdk_connected"] == 1
        made.process.send_signal(signal.SIGTERM)
        await made.stream.closed()
        code, text = await made.ended()
    assert code == 0, text
    lines = [json.loads(line) for line in text.splitlines()]
    assert {"ts", "level", "event", "logger"} <= set.intersection(*map(set, lines))
    (ready,) = [line for line in lines if line["event"].startswith("ready")]
    assert (ready["lambda"], ready["topic"], ready["partition"]) == ("words", "words", 0)
    assert [line["event"] for line in lines if line["logger"] == "author"] == ["handles\nb'one'", "handles\nb'two'"]
