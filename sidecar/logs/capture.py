"""Logs the lines that native code writes to standard error.

gRPC's core, the C library and the interpreter itself write to descriptor 2, without any logger of Python. We replace
that descriptor with a pipe, which a thread reads. Python's fault handler reports a crash (SIGSEGV, SIGABRT) on the
real standard error, since nobody would read the pipe any more.
"""

from __future__ import annotations

import faulthandler
import os
import re
import threading
from collections.abc import Callable

STDERR = 2
MAX_LINE_BYTES = 16 * 1024

_GRPC = re.compile(r"(?P<level>[IWEF])\d{4} [\d:.]+\s+\d+ (?P<source>[\w./-]+:\d+)\] (?P<text>.*)")
_LEVELS = {
    "I": "info",
    "W": "warning",
    "E": "warning",
    "F": "critical",
}  # a stranger's handshake can cause an E


def take_apart(line: str) -> tuple[str, str, str, str]:
    """Split a line into logger, level, source file and line (empty: unknown), and text."""
    match = _GRPC.fullmatch(line)
    if match is None:
        return "stderr", "warning", "", line
    return "grpc", _LEVELS[match["level"]], match["source"], match["text"]


class Capture:
    """Captures standard error between `start` and `stop`."""

    def __init__(self, said: Callable[[str], None]) -> None:
        """``said`` is called with each line, without its line end, in the capture's own thread."""
        self._said = said
        self._reader: threading.Thread | None = None
        self.descriptor = os.dup(STDERR)
        """The descriptor of the real standard error."""

    def start(self) -> None:
        """Replace descriptor 2 with a pipe and start the thread that reads it."""
        read_end, write_end = os.pipe()
        os.dup2(write_end, STDERR)
        os.close(write_end)
        faulthandler.enable(self.descriptor)
        self._reader = threading.Thread(target=self._read, args=(read_end,), name="stderr-reader", daemon=True)
        self._reader.start()

    def stop(self, timeout: float) -> None:
        """Restore standard error. Lines until then are still reported, for at most ``timeout`` seconds."""
        if self._reader is None:
            return
        os.dup2(self.descriptor, STDERR)  # this closes the last write end, so the reader gets the end of file
        self._reader.join(timeout)
        self._reader = None

    def _read(self, read_end: int) -> None:
        rest = b""
        while data := os.read(read_end, 65536):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > MAX_LINE_BYTES:
                lines.append(rest)
                rest = b""
            for line in lines:
                self._say(line)
        self._say(rest)
        os.close(read_end)

    def _say(self, line: bytes) -> None:
        text = line[:MAX_LINE_BYTES].decode(errors="replace").rstrip()
        if text:
            self._said(text)


def reserve_descriptors() -> None:
    """Open the null device for each of the three standard descriptors that is closed.

    Otherwise the next file or socket gets its number, and writes to standard error go into that file.
    """
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > STDERR:
            os.close(descriptor)
            return
