"""Log lines as JSON: one object for each, whatever is logged."""

import json
import logging
import os
from typing import Any

import pytest
from hypothesis import given, strategies as st

from sdk_python._json_log import JsonFormatter
from sdk_python._log import PartitionLogger
from sdk_python._place import Place
from sdk_python._stderr import StderrHandler


class Written(StderrHandler):
    """Keeps the lines."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.lines: list[dict[str, Any]] = []

    def _write(self, text: str) -> None:
        assert text.count("\n") == 1
        self.lines.append(json.loads(text))


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.fixture
def logger(written: Written) -> logging.Logger:
    """A logger of which no other code knows."""
    made = logging.Logger("kafka_sidecar.sdk")  # noqa: LOG001  apart from those that have handlers
    made.addHandler(written)
    return made


def test_a_partition_is_told_by_keys_and_not_in_the_text(written: Written, logger: logging.Logger) -> None:
    extra = {"lambda": "words", "topic": "t", "partition": 3, "lease": "a long l"}
    partition = PartitionLogger(logger, extra, Place("t", 3, 0, 1))
    partition.info("ready (start offset %s, %d %%)", 7, 100)
    partition.info("100 %")
    first, second = written.lines
    assert first.pop("ts").endswith("Z")
    assert first == {
        "level": "info",
        "event": "ready (start offset 7, 100 %)",
        "logger": "kafka_sidecar.sdk",
        "lambda": "words",
        "topic": "t",
        "partition": 3,
        "lease": "a long l",
    }
    assert second["event"] == "100 %"


def test_an_exception_is_one_line_too(written: Written, logger: logging.Logger) -> None:
    logger.error("it failed", exc_info=ValueError("two\nlines"))
    (line,) = written.lines
    assert line["event"] == "it failed"
    assert line["exception"].endswith("ValueError: two\nlines")


def test_what_is_not_of_json_is_shown_as_text(written: Written, logger: logging.Logger) -> None:
    logger.warning("odd", extra={"offset": b"x", "partition": OSError("away")})
    (line,) = written.lines
    assert (line["offset"], line["partition"]) == ("b'x'", "away")


def test_last_words_and_lines_that_cannot_be_formatted_are_objects_too(
    written: Written, logger: logging.Logger
) -> None:
    written.say("error: \x1b[31m no config")
    logger.info("%d", "no number")
    assert written.lines[0]["event"] == "error: \x1b[31m no config"
    assert "cannot be put together: TypeError" in written.lines[1]["event"]


@given(st.text())
def test_any_text_is_one_line(text: str) -> None:
    line = JsonFormatter().format(logging.LogRecord("n", logging.INFO, "f.py", 1, text.replace("%", ""), (), None))
    assert json.loads(line)["event"] == text.replace("%", "")
    assert line.isascii()
    assert os.linesep not in line
