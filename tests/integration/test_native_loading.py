"""The extension together with other copies of librdkafka in one process, and the symbols that it exports."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import confluent_kafka.cimpl
import pytest

from sidecar.records import _native

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the names of libraries are found as Linux has them")

EXTENSION = "from sidecar.records.extension import extension; assert extension() is not None, 'the fallback is used'"
BINDING = "import confluent_kafka"
_INTERPOSED = "LD_PRELOAD"


def into_the_global_scope(library: Path) -> str:
    return f"import ctypes; ctypes.CDLL({str(library)!r}, ctypes.RTLD_GLOBAL)"


def bundled() -> Path:
    """The library that the binding's wheel carries."""
    found = re.findall(r"\S*/librdkafka[^/\s]*", Path("/proc/self/maps").read_text(encoding="utf-8"))
    if not found:
        pytest.skip("the binding's librdkafka is not a file of its own")
    return Path(found[0])


@pytest.fixture(params=["the same", "another"])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The binding's library, and an equivalent copy of it."""
    if request.param == "the same":
        return bundled()
    return Path(shutil.copy(bundled(), tmp_path))


def check(*statements: str, **environment: str) -> None:
    """Check that the extension works after these statements, without any other output."""
    # A copy's dependencies are in the original's folder.
    variables = {**os.environ, "LD_LIBRARY_PATH": str(bundled().parent), **environment}
    code = "\n".join([*statements, EXTENSION])
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=variables)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


def test_before_the_binding(library: Path) -> None:
    check(into_the_global_scope(library), BINDING)


def test_after_the_binding(library: Path) -> None:
    check(BINDING, into_the_global_scope(library))


def test_before_the_process_itself(library: Path) -> None:
    """Its symbols win over the library with which the binding was linked, so the clients are this library's."""
    check(**{_INTERPOSED: str(library)})


def test_the_binding_in_the_global_scope() -> None:
    check("import os, sys", "sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)", BINDING)


def test_a_client_of_a_second_library_is_refused(tmp_path: Path) -> None:
    """It looks like a client of the first library and would be passed to functions of the wrong one."""
    ours = ctypes.CDLL(confluent_kafka.cimpl.__file__)
    other = ctypes.CDLL(str(shutil.copy(bundled(), tmp_path)))
    assert _refusal(ours) == "", "the first one decides"
    assert "two copies of librdkafka" in _refusal(other)
    assert _refusal(ours) == ""


def _refusal(library: ctypes.CDLL) -> str:
    """The error when this library loads the extension as a plugin; empty when it accepts it."""
    text = ctypes.create_string_buffer(512)
    library.rd_kafka_conf_new.restype = ctypes.c_void_p
    conf = ctypes.c_void_p(library.rd_kafka_conf_new())
    path = (_native.__file__ or "").encode()
    refused = library.rd_kafka_conf_set(conf, b"plugin.library.paths", path, text, ctypes.c_size_t(len(text)))
    library.rd_kafka_conf_destroy(conf)
    return text.value.decode() if refused else ""


def test_it_exports_what_is_asked_for_by_name_and_nothing_else() -> None:
    if shutil.which("nm") is None:
        pytest.skip("no nm")
    command = ["nm", "--dynamic", "--defined-only", "--format=posix", str(_native.__file__)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {line.split()[0] for line in lines} == {"PyInit__native", "conf_init"}
