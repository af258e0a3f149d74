"""Which command starts a test program of a language."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sdk_python._settings import from_environment
from tests.clients import languages


def test_a_program_that_is_not_built_says_how_to_build_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(languages, "BUILT", tmp_path)
    with pytest.raises(languages.NotBuiltError, match=r"go/noop is missing: build it with `make clients`"):
        languages.command("go", "noop")
    (tmp_path / "go").mkdir()
    (tmp_path / "go" / "noop").touch()
    assert languages.command("go", "noop") == [str(tmp_path / "go" / "noop")]


def test_python_needs_no_building() -> None:
    assert languages.command("python", "recorder") == [sys.executable, "-m", "tests.chaos.recorder"]


def test_settings_arrive_as_they_were() -> None:
    values = {"label": "17", "slot": "a", "every": 10, "folder": "/tmp/x"}
    assert {path[0]: value for path, value in from_environment(languages.settings(values))} == values
