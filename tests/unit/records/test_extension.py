"""Whether there is an extension, and what is done about it."""

import re
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
from confluent_kafka import libversion

import sdk_python
from sidecar.records import _native
from sidecar.records.extension import SWITCH, _extension, extension
from sidecar.records.proof import UnprovenError, prove
from sidecar.records.source import PLUGINS, with_plugin


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(SWITCH, raising=False)
    _extension.cache_clear()
    yield
    _extension.cache_clear()


def test_the_extension_was_built_and_works() -> None:
    assert extension() is _native


def test_no_format_of_an_argument_has_a_length() -> None:
    """A format with a '#' means an int or a Py_ssize_t, by the headers and by the interpreter: with those of 3.13 and
    3.11 it raises SystemError."""
    sources = [
        *Path(_native.__file__).parent.glob("native/*.c"),
        *Path(sdk_python.__file__).parent.glob("native/*.c"),
    ]
    assert len(sources) > 5
    formats = re.compile(
        r'(?:ParseTuple|ParseTupleAndKeywords|BuildValue|CallFunction|CallMethod)\([^;]*?"([^"]*)"', re.DOTALL
    )
    found = [(path.name, text) for path in sources for text in formats.findall(path.read_text()) if "#" in text]
    assert found == []


def test_the_extension_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "0")
    assert extension() is None


def test_without_the_extension_the_log_says_how_to_build_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr("sidecar.records._native")
    monkeypatch.setitem(sys.modules, "sidecar.records._native", None)
    assert extension() is None
    assert "install a C compiler" in capsys.readouterr().out


def test_an_extension_that_the_client_does_not_take_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    useless = ModuleType("sidecar.records._native")
    useless.__file__ = "/nonexistent.so"
    monkeypatch.setattr("sidecar.records._native", useless)
    monkeypatch.setitem(sys.modules, "sidecar.records._native", useless)
    assert extension() is None


def test_the_users_own_plugin_stays() -> None:
    assert with_plugin({"group.id": "g"}, None) == {"group.id": "g"}
    assert with_plugin({}, _native) == {PLUGINS: _native.__file__}
    assert with_plugin({PLUGINS: "theirs"}, _native) == {PLUGINS: f"theirs;{_native.__file__}"}


def test_an_extension_that_does_not_work_is_not_used_and_logged_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_: ModuleType) -> None:
        raise UnprovenError("a record was lost")

    monkeypatch.setattr("sidecar.records.extension.prove", fails)
    assert extension() is None
    assert extension() is None
    said = capsys.readouterr().out
    assert said.count("without the native extension") == 1
    assert f"no record was read by it with librdkafka {libversion()[0]}: a record was lost" in said
    assert SWITCH in said
    assert "compiler" not in said


def test_lambdas_that_start_together_try_the_extension_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    everybody = threading.Barrier(4)

    def slow(module: ModuleType) -> None:
        tried.append(threading.current_thread())
        prove(module)

    def start() -> ModuleType | None:
        everybody.wait()
        return extension()

    monkeypatch.setattr("sidecar.records.extension.prove", slow)
    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(lambda _: start(), range(4))] == [_native] * 4
    assert len(tried) == 1


def test_a_librdkafka_version_that_was_not_tested_is_logged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sidecar.records.extension.libversion", lambda: ("3.1.4", 0x03010400))
    assert extension() is _native
    said = capsys.readouterr().out
    assert "3.1.4" in said
    assert "2.16.x" in said


def test_a_librdkafka_version_that_was_tested_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    assert extension() is _native
    assert capsys.readouterr().out == ""
