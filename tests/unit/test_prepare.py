"""Tools are made before the first test, once, and every step and failure is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import ferretdb, kafka, prepare
from tests.servers.prepare import REQUIRED, Tool, prepare as make


class Workshop:
    """A tool that counts how often it is made."""

    def __init__(self, *, there: bool = False, missing: str | None = None, fails: str | None = None) -> None:
        self.there, self.made, self._fails = there, 0, fails
        self.tool = Tool("Hammer", "forging it", lambda: self.there, lambda: missing, self._make)

    def _make(self) -> None:
        self.made += 1
        if self._fails is not None:
            raise ferretdb.FerretServerError(self._fails)
        self.there = True


def test_each_tool_is_made_once_and_reported_before_and_after() -> None:
    said: list[str] = []
    shop = Workshop()
    assert make([shop.tool], said.append) == []
    assert said == ["Hammer: forging it ...", "Hammer: ready after 0 s"]
    assert make([shop.tool], said.append) == []
    assert (shop.made, len(said)) == (1, 2)


def test_a_missing_toolchain_is_reported() -> None:
    shop = Workshop(missing="no `anvil` on the PATH")
    assert make([shop.tool], print) == ["Hammer: no `anvil` on the PATH"]
    assert shop.made == 0


def test_after_a_failure_the_next_tool_is_made() -> None:
    bad, good = Workshop(fails="the fire is out"), Workshop()
    assert make([bad.tool, good.tool], lambda _: None) == ["Hammer: the fire is out"]
    assert good.made == 1


@pytest.mark.parametrize(
    ("shop", "required", "code"),
    [
        (Workshop(there=True), "1", 0),
        (Workshop(), "", 0),
        (Workshop(missing="no anvil"), "", 0),
        (Workshop(missing="no anvil"), "1", 1),
        (Workshop(fails="the fire is out"), "", 1),
    ],
    ids=["there", "made", "lacking", "lacking but required", "failed"],
)
def test_the_exit_code(shop: Workshop, required: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "TOOLS", (shop.tool,))
    monkeypatch.setenv(REQUIRED, required)
    assert prepare.main() == code


def test_without_a_toolchain_the_words_name_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(ferretdb, "binary", lambda: tmp_path / "ferretdb")
    monkeypatch.setattr(ferretdb, "_go", lambda: None)
    assert "no `java` on the PATH" in str(prepare.KAFKA.missing())
    assert "`go` (1.24 or newer) on the PATH" in str(prepare.FERRETDB.missing())
    (tmp_path / "java").write_text("#!/bin/sh\necho 'openjdk version \"17.0.1\"' >&2\n")
    (tmp_path / "java").chmod(0o755)
    monkeypatch.setattr(kafka, "is_resolved", lambda: False)
    assert "needs `mvn` on the PATH once" in str(kafka.missing_requirements())
