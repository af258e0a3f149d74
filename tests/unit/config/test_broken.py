"""Broken config files, each with the whole answer of `--check` beside it: `broken/NAME.yaml` and `broken/NAME.txt`.

The answers are for people. When one changes, read it as somebody would at night: does it name the thing, the cause
and the remedy? `tests/golden.py` says how to accept it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from sidecar.cli import main
from tests import golden

FOLDER = Path(__file__).parent / "broken"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))

SECRET = "s3cr3t"
"""In each secret of the files and of the environment."""

ENVIRONMENT = {
    "PATH": "/nowhere",
    "EMPTY": "",
    "KAFKA_SERVERS": "kafka:9092",
    "SASL_PASSWORD": f"{SECRET}-of-the-environment",
    "SIDECAR_TOKEN": f"{SECRET}-token",
    "NOT_A_NUMBER": "many",
}
"""The variables that the files may use; there are no others."""

ONLY_WARNED = {"token_is_the_admin_token", "plugin_is_elsewhere"}
"""What `--check` lets pass: it says so, and that it is probably not meant."""


def answer(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    """What `--check` says of a file, as on a terminal, and its exit code."""
    monkeypatch.chdir(FOLDER)
    monkeypatch.setattr(os, "environ", ENVIRONMENT)
    command = ["--config", f"{name}.yaml", "--check"]
    result = CliRunner().invoke(main, command, prog_name="kafka-sidecar")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return f"$ kafka-sidecar {' '.join(command)}\n{result.output}", result.exit_code


@pytest.mark.parametrize("name", NAMES)
def test_the_answer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, code = answer(name, monkeypatch)
    monkeypatch.undo()
    assert code == (0 if name in ONLY_WARNED else 2)
    golden.check(FOLDER / f"{name}.txt", text)


def test_each_file_has_its_answer_and_each_answer_its_file() -> None:
    assert len(NAMES) >= 60
    assert sorted(path.stem for path in FOLDER.glob("*.txt")) == NAMES


def test_no_answer_has_a_secret() -> None:
    with_secrets = [path.stem for path in FOLDER.glob("*.yaml") if SECRET.encode() in path.read_bytes()]
    assert len(with_secrets) >= 20
    found = [path.name for path in FOLDER.glob("*.txt") if SECRET in path.read_text()]
    assert found == []


def test_no_answer_is_too_long_or_would_move_the_cursor() -> None:
    for path in FOLDER.glob("*.txt"):
        lines = path.read_bytes().decode().split("\n")
        assert all(line.isprintable() for line in lines), path.name
        assert max(map(len, lines)) <= 700, path.name


def test_each_answer_says_how_many_mistakes_there_are() -> None:
    for path in FOLDER.glob("*.txt"):
        _, *mistakes, verdict, end = path.read_text().split("\n")
        assert end == ""
        assert not [line for line in mistakes if re.search(r"pydantic|Traceback|Error\b|None\b", line)], path.name
        if path.stem in ONLY_WARNED:
            assert verdict == f"{path.stem}.yaml: ok"
            assert any(line.startswith("warning: ") for line in mistakes)
            continue
        plural = "" if len(mistakes) == 1 else "s"
        assert verdict == f"{path.stem}.yaml: {len(mistakes)} mistake{plural}, nothing was started"
        assert all(line.startswith(f"{path.stem}.yaml") for line in mistakes)
