"""Logs: one line for each event, the same from structlog and the standard library, and without secrets."""

import json
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog

from sidecar import logs
from sidecar.logs import flood
from sidecar.logs.sink import SINK
from sidecar.redact import MaskedDict, is_secret, masked


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, [*root.handlers]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def fail_with(error: Exception) -> None:
    raise error


def test_a_json_line_has_the_conventional_keys_first(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    logs.get_logger("some.where").warning("lost", lambda_="deli", topic="rawdeltas", partition=3, offset=42)
    (line,) = lines(capsys)
    assert list(line)[:4] == ["ts", "level", "event", "logger"]
    assert datetime.fromisoformat(line.pop("ts")).utcoffset() == timedelta(0)
    assert line == {
        "level": "warning",
        "event": "lost",
        "logger": "some.where",
        "lambda": "deli",
        "topic": "rawdeltas",
        "partition": 3,
        "offset": 42,
    }


def test_the_standard_library_comes_out_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    logging.getLogger("some.library").error("%s of %d", "two", 3, extra={"topic": "t", "password": "hunter2"})
    (line,) = lines(capsys)
    line.pop("ts")
    line.pop("message", None)  # pytest's own handler leaves its text in the record
    assert line == {
        "level": "error",
        "event": "two of 3",
        "logger": "some.library",
        "topic": "t",
        "password": "****",
    }


@pytest.mark.parametrize(("level", "expected"), [("debug", 10), ("info", 8), ("warning", 6), ("critical", 2)])
def test_the_level_is_a_floor_for_both(capsys: pytest.CaptureFixture[str], level: str, expected: int) -> None:
    logs.configure("json", level)
    for log in (logs.get_logger("a"), logging.getLogger("a")):
        for name in logs.LEVELS:
            getattr(log, name)("x")
    assert len(lines(capsys)) == expected


def test_an_exception_is_in_its_line_without_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    password = "hunter2"  # a local variable that a traceback must not show
    for log in (logs.get_logger("a"), logging.getLogger("a")):
        try:
            fail_with(ConnectionError(f"no mongodb://me:{password}@host"))
        except ConnectionError:
            log.exception("failed")
    both = lines(capsys)
    assert len(both) == 2
    for line in both:
        assert "ConnectionError: no mongodb://me:****@host" in line["exception"]
        assert "hunter2" not in json.dumps(line)


def test_console_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("console")
    logs.get_logger("a").info("started", topic="t", token="hunter2")
    try:
        fail_with(ValueError("bad"))
    except ValueError:
        logging.getLogger("b").exception("failed")
    text = capsys.readouterr().err
    assert "started" in text
    assert "topic=t" in text
    assert "ValueError: bad" in text
    assert "\x1b[" not in text
    assert "hunter2" not in text


def test_without_a_terminal_the_format_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.get_logger("a").info("x")
    assert lines(capsys)[0]["event"] == "x"


def test_configure_again_does_not_double_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    logs.configure("json")
    logging.getLogger("a").warning("once")
    assert len(lines(capsys)) == 1


def test_a_line_break_in_a_value_makes_no_second_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    logs.get_logger("a").info("two\nlines", reason="a\nb", raw=b"\xff")
    assert len(lines(capsys)) == 1


@pytest.mark.parametrize(("log_format", "level"), [("xml", "info"), ("json", "loud"), ("json", "INFO")])
def test_a_wrong_format_or_level_is_refused(log_format: Any, level: str) -> None:
    with pytest.raises(ValueError, match="unknown log"):
        logs.configure(log_format, level)


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "sasl.password",
        "ssl.key.password",
        "ssl.keystore.password",
        "ssl.key.pem",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "token",
        "API-Key",
        "AWS_SECRET_ACCESS_KEY",
        "Authorization",
    ],
)
def test_secret_names(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "key",
        "topic",
        "partition",
        "ssl.key.location",
        "sasl.username",
        "sasl.oauthbearer.token.endpoint.url",
        "lease",
    ],
)
def test_other_names(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": {"password": "x", "user": "u"}}, {"a": {"password": "****", "user": "u"}}),
        ({"secrets": [1, 2]}, {"secrets": "****"}),
        ({"pin_token": 1234}, {"pin_token": "****"}),
        ({"token": None, "has_token": True}, {"token": None, "has_token": True}),
        ("mongodb://me:hunter2@host/db", "mongodb://me:****@host/db"),
        ("http://host:80/a@b", "http://host:80/a@b"),
        (["run", "--token", "x", "--topic", "t"], ["run", "--token", "****", "--topic", "t"]),
        (["run", "--password=y", "-v"], ["run", "--password=****", "-v"]),
        (({"token": "x"},), [{"token": "****"}]),
        (5, 5),
    ],
)
def test_masked(value: Any, expected: Any) -> None:
    assert masked(value) == expected


def test_a_masked_dict_hides_in_print_only() -> None:
    made = MaskedDict({"password": "hunter2", "n": 1})
    assert repr(made) == str(made) == "{'password': '****', 'n': 1}"
    assert json.loads(json.dumps(made)) == {"password": "hunter2", "n": 1}


def test_console_shows_no_control_characters_of_anybody(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("console")
    evil = "\x1b[2J\u202e\n2026-01-01 [error] forged"
    logs.get_logger("a").info(evil, text=evil, several=[evil], raw=evil.encode(), stack=evil)
    logging.getLogger("b").warning("%s", evil)
    text = capsys.readouterr().err
    assert not {"\x1b", "\u202e"} & {*text}
    assert not [line for line in text.splitlines() if line.startswith("2026-01-01")]


class _NoText:
    def __repr__(self) -> str:
        raise RuntimeError("no text of me")


@pytest.mark.parametrize("log_format", logs.FORMATS)
def test_a_value_that_cannot_be_shown_only_shortens_its_line(
    capsys: pytest.CaptureFixture[str], log_format: logs.Format
) -> None:
    root = logging.getLogger()
    root.handlers.clear()  # pytest's own raises what a value's text raises
    logs.configure(log_format)
    endless: list[Any] = []
    endless.append(endless)
    for value in (_NoText(), {(1, 2): _NoText()}, endless, "\ud800"):
        logs.get_logger("a").info("something happened", value=value)
        logging.getLogger("b").warning("wrong %s", _NoText())
    text = capsys.readouterr().err
    assert text.count("something happened") == 4
    assert text.count("wrong") == 1, "the same again and again is counted"


def test_a_flood_of_a_library_is_one_line_and_a_count(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.configure("json")
    for number in range(300):
        logging.getLogger("library").error("handshake with %d failed", number)
    assert [line["event"] for line in lines(capsys)] == ["handshake with 0 failed"]
    monkeypatch.setattr(flood, "INTERVAL_S", 0.0)
    SINK.tick()
    (line,) = lines(capsys)
    assert (line["logger"], line["kind"], line["not_shown"]) == ("library", "error: handshake with %d failed", 299)
    logging.getLogger("library").error("handshake with %d failed", 300)
    assert len(lines(capsys)) == 1, "and the next one is shown again"


@pytest.mark.parametrize("log_format", logs.FORMATS)
def test_the_line_about_missing_lines_is_one_of_ours(log_format: logs.Format) -> None:
    logs.configure(log_format)
    notice = SINK.notice(7)
    assert notice.endswith("\n")
    assert "7 log lines were dropped" in notice
    if log_format == "json":
        assert json.loads(notice)["dropped"] == 7
