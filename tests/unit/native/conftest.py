"""The compiled library, once for all tests here."""

import ctypes
from collections.abc import Iterator

import pytest

from tests.unit.native.library import compiled, compiler


@pytest.fixture(scope="session")
def compiled_library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if compiler() is None:
        pytest.skip("no C compiler")
    return compiled(tmp_path_factory.mktemp("native"))


@pytest.fixture
def library(compiled_library: ctypes.CDLL) -> Iterator[ctypes.CDLL]:
    """With nothing left over from a test before, and nothing left over by this one."""
    flags = ("no_events", "no_partition", "refusal", "no_destroy", "layout")
    for flag in flags:
        ctypes.c_int.in_dll(compiled_library, f"played_{flag}").value = 0
    ctypes.c_long.in_dll(compiled_library, "played_memory").value = -1
    yield compiled_library
    for count in ("queues", "messages"):
        assert ctypes.c_int.in_dll(compiled_library, f"played_{count}").value == 0, count
