"""What native code writes to standard error, line by line into the log.

gRPC's core, the C library and the interpreter itself write to descriptor 2 what no logger of Python sees. Behind it
is a pipe, whose other end a thread reads. A crash (SIGSEGV, SIGABRT) is told on the real standard error, by Python's
fault handler: nobody would read the pipe any more.
"""

from __future__ import annotations

import faulthandler
import os
import re
import threading
from collections.abc import Callable

STDERR = 2
LONGEST_LINE = 16 * 1024

_GRPC = re.compile(r"(?P<level>[IWEF])\d{4} [\d:.]+\s+\d+ (?P<place>[\w./-]+:\d+)\] (?P<text>.*)")
_LEVELS = {"I": "info", "W": "warning", "E": "warning", "F": "critical"}  # E: what a stranger's handshake can cause


def take_apart(line: str) -> tuple[str, str, str, str]:
    """Logger, level, place in the source (empty: unknown) and text of a line."""
    match = _GRPC.fullmatch(line)
    if match is None:
        return "stderr", "warning", "", line
    return "grpc", _LEVELS[match["level"]], match["place"], match["text"]


class Capture:
    """Standard error while it is captured."""

    def __init__(self, said: Callable[[str], None]) -> None:
        """``said`` is called with each line, without its end, in a thread of its own."""
        self._said = said
        self._reader: threading.Thread | None = None
        self.descriptor = os.dup(STDERR)
        """The real standard error."""

    def start(self) -> None:
        """From now on."""
        read_end, write_end = os.pipe()
        os.dup2(write_end, STDERR)
        os.close(write_end)
        faulthandler.enable(self.descriptor)
        self._reader = threading.Thread(target=self._read, args=(read_end,), name="stderr-reader", daemon=True)
        self._reader.start()

    def stop(self, timeout: float) -> None:
        """Standard error is what it was; the lines until then are said."""
        if self._reader is None:
            return
        os.dup2(self.descriptor, STDERR)  # it was the last write end, so the reader comes to the end
        self._reader.join(timeout)
        self._reader = None

    def _read(self, read_end: int) -> None:
        rest = b""
        while data := os.read(read_end, 65536):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > LONGEST_LINE:
                lines.append(rest)
                rest = b""
            for line in lines:
                self._say(line)
        self._say(rest)
        os.close(read_end)

    def _say(self, line: bytes) -> None:
        text = line[:LONGEST_LINE].decode(errors="replace").rstrip()
        if text:
            self._said(text)


def reserve_descriptors() -> None:
    """Open the null device for each of the three standard descriptors that is closed.

    Else the next file or socket gets its number, and whoever writes to standard error writes into it.
    """
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > STDERR:
            os.close(descriptor)
            return
