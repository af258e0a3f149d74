"""Before the extension is trusted, records are read by it: what that takes, and what it leaves behind."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaException

from sidecar.records import _native
from sidecar.records.extension import TESTED, _is_tested
from sidecar.records.proof import UnprovenError, prove


def played(source: Callable[[int], Any]) -> ModuleType:
    """The extension, with another source."""
    made = ModuleType("played")
    made.__file__ = _native.__file__
    made.Source = source  # type: ignore[attr-defined]
    return made


class Altered:
    """The real source, of which something is different."""

    def __init__(self, most: int) -> None:
        self._source = _native.Source(most)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


def threads_and_files() -> tuple[int, int]:
    """How many this process has; those of the clients too, which Python does not know."""
    tasks, files = Path("/proc/self/task"), Path("/proc/self/fd")
    return len([*tasks.iterdir()]), len([*files.iterdir()])


def test_records_arrive() -> None:
    prove(_native)


def test_the_proof_leaks_no_threads_or_files() -> None:
    prove(_native)
    before = threads_and_files()
    for _ in range(5):
        prove(_native)
    assert threads_and_files() == before


def test_a_failed_proof_leaks_no_threads_or_files() -> None:
    class Broken(Altered):
        def read(self) -> Any:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        prove(played(Broken))
    before = threads_and_files()
    for _ in range(3):
        with pytest.raises(RuntimeError, match="broken"):
            prove(played(Broken))
    assert threads_and_files() == before


def test_the_proof_writes_no_output() -> None:
    """Neither by the mock cluster nor by its clients, to whatever the process's stderr is."""
    code = "from sidecar.records import _native; from sidecar.records.proof import prove; prove(_native)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout + ran.stderr == ""


def test_records_that_do_not_arrive_fail_the_proof() -> None:
    class Deaf(Altered):
        def read(self) -> Any:
            return [], [], []

    with pytest.raises(UnprovenError, match=r"had not arrived after 0\.3 s"):
        prove(played(Deaf), patience=0.3)


def test_misrouted_records_fail_the_proof() -> None:
    """As with a client whose queues cannot be led elsewhere."""

    class Unled(Altered):
        def lead(self, _: tuple[str, int]) -> Any:
            return self._source.lead(("another", 0))

    with pytest.raises(UnprovenError, match=r"proof/0, offset \d, came by the binding's queue"):
        prove(played(Unled))


def test_changed_records_fail_the_proof() -> None:
    class Changed(Altered):
        def lead(self, partition: tuple[str, int]) -> Any:
            [rows] = self._source.lead(partition)

            def first() -> Any:
                offset, _, *rest = rows.first()
                return (offset, b"other", *rest)

            names = ("offset", "before", "drop", "truncate", "remove")
            there = {name: getattr(rows, name) for name in names}
            return (_Rows(rows, SimpleNamespace(**there, first=first)),)

    with pytest.raises(UnprovenError, match=r"arrived as .*other.* was written as .*value"):
        prove(played(Changed))


class _Rows:
    def __init__(self, rows: Any, altered: SimpleNamespace) -> None:
        self._rows, self._altered = rows, altered

    def __len__(self) -> int:
        return len(self._rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._altered, name)


def test_a_client_that_does_not_take_the_plugin_fails_the_proof() -> None:
    useless = played(_native.Source)
    useless.__file__ = "/nonexistent.so"
    with pytest.raises(KafkaException, match="plugin"):
        prove(useless)


def test_the_tested_range_is_of_minor_versions() -> None:
    assert TESTED == ("2.16", "2.16")
    assert [_is_tested(one) for one in ("2.16.0", "2.16.9", "2.16.1-RC2")] == [True] * 3
    assert [_is_tested(one) for one in ("2.15.9", "2.17.0", "3.0.0", "2.1.16")] == [False] * 4
