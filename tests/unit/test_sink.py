"""Log lines on their way to standard error: no failure there affects the code that logs."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.logs import sink as module
from sidecar.logs.sink import Sink

PATIENCE = 10.0


class Reader:
    """The other end of a sink's pipe."""

    def __init__(self) -> None:
        self.end, self.write_end = os.pipe()
        self._read = b""

    def line(self) -> str:
        """The next line."""
        while b"\n" not in self._read:
            assert select.select([self.end], [], [], PATIENCE)[0], f"no more than {self._read!r} came"
            self._read += os.read(self.end, 65536)
        line, _, self._read = self._read.partition(b"\n")
        return f"{line.decode()}\n"

    def close(self) -> None:
        for descriptor in (self.end, self.write_end):
            if descriptor >= 0:
                os.close(descriptor)


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.close()


def started(descriptor: int) -> Sink:
    sink = Sink()
    sink.start(descriptor)
    return sink


def settled(sink: Sink) -> None:
    """Wait until the thread has processed everything that was written."""
    looked = threading.Event()
    sink.tick = looked.set
    assert looked.wait(PATIENCE)


@pytest.fixture(autouse=True)
def ticks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK_S", 0.01)


def test_lines_come_in_order(reader: Reader) -> None:
    sink = started(reader.write_end)
    for number in range(100):
        sink.write(f"{number}\n")
    assert [reader.line() for _ in range(100)] == [f"{number}\n" for number in range(100)]
    sink.stop(PATIENCE)
    assert sink.dropped == 0


def test_a_reader_that_went_away(reader: Reader) -> None:
    sink = started(reader.write_end)
    os.close(reader.end)
    for _ in range(3):
        sink.write("lost\n")
    settled(sink)
    assert sink.dropped == 3
    reader.end, again = os.pipe()  # as when its program is started again on the same descriptor
    os.dup2(again, reader.write_end)
    os.close(again)
    sink.write("found\n")
    assert reader.line() == "3 log lines were dropped\n"
    assert reader.line() == "found\n"
    sink.write("and on\n")
    assert reader.line() == "and on\n"
    sink.stop(PATIENCE)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk(reader: Reader) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    sink = started(full)
    sink.write("lost\n")
    settled(sink)
    os.dup2(reader.write_end, full)
    sink.write("found\n")
    assert [reader.line(), reader.line()] == ["1 log lines were dropped\n", "found\n"]
    sink.stop(PATIENCE)
    os.close(full)


def test_a_closed_descriptor(reader: Reader) -> None:
    closed = os.dup(reader.write_end)
    os.close(closed)
    sink = started(closed)
    sink.write("lost\n")
    settled(sink)
    assert sink.dropped == 1
    sink.stop(PATIENCE)


def test_logging_does_not_wait_for_a_reader_that_does_not_read(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", 256 * 1024)
    sink = started(reader.write_end)
    line = "x" * 1023 + "\n"
    for _ in range(2000):  # far more than the pipe and the queue take
        sink.write(line)
    assert sink.dropped > 1000
    dropped = sink.dropped
    sink.stop(0.05)  # bounded, though nobody reads
    came = [reader.line() for _ in range(2000 - dropped + 1)]
    assert came.count(line) == 2000 - dropped
    assert f"{dropped} log lines were dropped\n" in came, "it is said as soon as there is room"


def test_a_pipe_that_somebody_made_non_blocking_loses_nothing(reader: Reader) -> None:
    os.set_blocking(reader.write_end, False)
    sink = started(reader.write_end)
    for number in range(1000):
        sink.write(f"{number:01000}\n")
    assert [int(reader.line()) for _ in range(1000)] == [*range(1000)]
    sink.stop(PATIENCE)
    assert sink.dropped == 0


def test_a_file_at_its_limit_and_given_room_again(tmp_path: Path) -> None:
    """In a process of its own, which has the limit. A cut line gets a line end before the next one."""
    log = tmp_path / "log"
    program = f"""
import os, resource, threading
from sidecar.logs import sink as module
from sidecar.logs.sink import Sink
module.TICK_S = 0.01
sink = Sink()
descriptor = os.open({str(log)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def settled():
    looked = threading.Event(); sink.tick = looked.set; assert looked.wait({PATIENCE})
sink.start(descriptor)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
for _ in range(5):
    sink.write("x" * 39 + "\\n")
settled()
assert sink.dropped == 3, sink.dropped
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
sink.write("found\\n")
sink.stop({PATIENCE})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    whole = "x" * 39
    assert log.read_text().splitlines() == [whole, whole, "x" * 20, "3 log lines were dropped", "found"]


def test_before_the_start_it_is_sys_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = Sink()
    sink.write("here\n")
    assert capsys.readouterr().err == "here\n"
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", None)
        sink.write("lost\n")
    assert sink.dropped == 1
    sink.write("\ud800\n")
    assert capsys.readouterr().err == "1 log lines were dropped\n\\ud800\n"
