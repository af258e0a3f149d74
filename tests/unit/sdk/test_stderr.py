"""Lines that cannot be written are dropped, counted, and told when writing works again."""

import logging
import os
import sys

import pytest

from sdk_python._log import log as sdk_log
from sdk_python._stderr import StderrHandler


class Stream:
    """A stderr that has a descriptor of its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor


def lines(handler: StderrHandler, *texts: str) -> None:
    for text in texts:
        handler.handle(logging.LogRecord("n", logging.INFO, "f.py", 1, text, (), None))


@pytest.fixture
def pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    return reader, writer


def test_lines_for_a_full_pipe_are_dropped_and_counted_until_it_is_read(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    handler = StderrHandler(Stream(writer))  # type: ignore[arg-type]
    lines(handler, "first", *["x" * 4000] * 40)
    read = b""
    while True:
        try:
            read += os.read(reader, 65536)
        except BlockingIOError:
            break
    assert read.startswith(b"first\n")
    lines(handler, "again")
    told = os.read(reader, 65536).decode()
    dropped = 40 - read.count(b"x" * 4000 + b"\n")
    assert 0 < dropped < 40
    assert f"{dropped} log lines were dropped here, since stderr could not be written: nobody reads it" in told
    assert told.endswith("again\n")
    os.close(reader)
    lines(handler, "to nobody", "to nobody")
    os.close(writer)
    lines(handler, "nowhere")


def test_without_stderr_lines_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    handler = StderrHandler()
    lines(handler, "nowhere")
    handler.say("nowhere")


def test_a_record_that_cannot_be_formatted_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    handler = StderrHandler()
    handler.handle(logging.LogRecord("n", logging.INFO, "f.py", 7, "%d", ("no number",), None))
    assert "a log line of f.py:7 cannot be put together" in capsys.readouterr().err


def test_a_programs_own_handler_that_raises_stops_nothing() -> None:
    class Broken(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            raise ValueError("I/O operation on closed file")

    broken = Broken()
    logging.root.addHandler(broken)
    try:
        sdk_log.error("a line")
        sdk_log.exception("another")
    finally:
        logging.root.removeHandler(broken)
