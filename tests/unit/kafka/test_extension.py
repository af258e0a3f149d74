"""Whether there is an extension, and what is done about it."""

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from sidecar.kafka import _native
from sidecar.kafka.extension import SWITCH, _extension, extension
from sidecar.kafka.source import PLUGINS, with_plugin


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(SWITCH, raising=False)
    _extension.cache_clear()
    yield
    _extension.cache_clear()


def test_it_was_built_and_works() -> None:
    assert extension() is _native


def test_it_can_be_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "0")
    assert extension() is None


def test_where_it_was_not_built_the_log_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr("sidecar.kafka._native")
    monkeypatch.setitem(sys.modules, "sidecar.kafka._native", None)
    assert extension() is None
    assert "install a C compiler" in capsys.readouterr().out


def test_a_client_that_takes_no_plugins_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    useless = ModuleType("sidecar.kafka._native")
    useless.__file__ = "/nonexistent.so"
    monkeypatch.setattr("sidecar.kafka._native", useless)
    monkeypatch.setitem(sys.modules, "sidecar.kafka._native", useless)
    assert extension() is None


def test_a_plugin_of_the_users_stays() -> None:
    assert with_plugin({"group.id": "g"}, None) == {"group.id": "g"}
    assert with_plugin({}, _native) == {PLUGINS: _native.__file__}
    assert with_plugin({PLUGINS: "theirs"}, _native) == {PLUGINS: f"theirs;{_native.__file__}"}
