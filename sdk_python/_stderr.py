"""Log lines on stderr that never fail and never wait: a lambda goes on whether its log is read or not.

A line that cannot be written is dropped and counted: the reader went away, the disk is full, or the pipe is full
since nobody reads it. The count is logged when writing works again.
"""

import errno
import io
import logging
import os
import select
import sys
import threading
from typing import Final, TextIO

from ._json_log import JsonFormatter, last_words

_CHUNK_BYTES: Final = 4096
"""A pipe that can be written at all takes so many bytes (PIPE_BUF) at once."""
_PATIENCE_MS: Final = 200
"""How long to wait for a slow reader. One that was too slow is not waited for again until it reads."""


class StderrHandler(logging.Handler):
    """Writes to the file descriptor of stderr, or to an object that replaces stderr, such as in a test."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = sys.stderr if stream is None else stream
        self._descriptor = _descriptor_of(self._stream)
        self._dropped = 0
        self._why = ""
        self._in_a_line = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one log record. Never raises."""
        try:
            text = self.format(record)
        except Exception as error:  # noqa: BLE001, RUF100  arguments that do not fit the text, or a broken __str__
            where = f"{record.pathname}:{record.lineno}"
            text = self._shaped(f"a log line of {where} cannot be put together: {type(error).__name__}")
        self._line(text)

    def say(self, text: str) -> None:
        """Write a line that is not a log record, such as how this process ends."""
        # The process may hang in a log call of another thread that holds the lock, and these may be its last words.
        if self.lock is None or self.lock.acquire(timeout=0.5):
            try:
                self._line(self._shaped(text))
            finally:
                if self.lock is not None:
                    self.lock.release()

    def _shaped(self, text: str) -> str:
        """Return the line for a text that is no log record, in the format of the others."""
        return last_words(text) if isinstance(self.formatter, JsonFormatter) else text

    def _line(self, text: str) -> None:
        try:
            if self._dropped:
                lines = "1 log line was" if self._dropped == 1 else f"{self._dropped} log lines were"
                told = f"{lines} dropped here, since stderr could not be written: {self._why}"
                self._write(f"{self._shaped(told)}\n")
                self._dropped = 0
            self._write(f"{text}\n")
        except (OSError, ValueError) as error:  # ValueError: a closed stream
            self._dropped += 1
            self._why = (error.strerror if isinstance(error, OSError) else None) or str(error)

    def _write(self, text: str) -> None:
        if self._descriptor is None:
            if self._stream is None:
                raise ValueError("there is no stderr")
            self._stream.write(text)
            self._stream.flush()
            return
        if self._in_a_line:
            text = f"\n{text}"  # the line before was cut
        data = text.encode("utf-8", "backslashreplace")
        while data:
            self._wait()
            written = os.write(self._descriptor, data[:_CHUNK_BYTES])
            data = data[written:]
            self._in_a_line = bool(data)

    def _wait(self) -> None:
        """Wait until stderr can be written. Raises ``OSError`` when it cannot be in time."""
        assert self._descriptor is not None
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        patience = 0 if self._dropped else _PATIENCE_MS
        if not poll.poll(patience):
            raise BlockingIOError(errno.EAGAIN, "nobody reads it")


def _descriptor_of(stream: TextIO | None) -> int | None:
    if stream is None:  # closed when the process began: its number may belong to another file now
        return None
    try:
        return stream.fileno()
    except (AttributeError, OSError, ValueError, io.UnsupportedOperation):
        return None


def threads_left() -> list[str]:
    """Return the names of the threads that Python waits for at its end."""
    mine = (threading.main_thread(), threading.current_thread())
    return [thread.name for thread in threading.enumerate() if thread not in mine and not thread.daemon]
