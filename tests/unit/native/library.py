"""The C files of the sidecar and of the SDK as a library that Python calls, with a librdkafka that a test plays.

They are compiled for the test, with a sanitizer where `SANITIZERS` says so (`make sanitize`), and without Python's
parts: `tests/unit/records/test_rows.py` has the sidecar's with the real librdkafka, `test_batch_fuzz.py` the SDK's.
"""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

SANITIZERS = "KAFKA_SIDECAR_SANITIZERS"
"""An environment variable: what the C is compiled with, as `-fsanitize` takes it."""

ROUNDS = "KAFKA_SIDECAR_FUZZ_ROUNDS"
"""Another: how many random lives the rows are led through."""

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[2]
_NATIVE = _ROOT / "sidecar" / "records" / "native"
_SDK = _ROOT / "sdk_python" / "native"

_WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow")


def compiler() -> str | None:
    """The C compiler, if there is one."""
    return shutil.which(os.environ.get("CC", "cc"))


def command() -> list[str]:
    """The compiler and its options."""
    made = [compiler() or "cc", "-fPIC", "-std=c11", "-g", "-O1", "-D_GNU_SOURCE", f"-I{_NATIVE}", f"-I{_SDK}"]
    made += _WARNINGS
    sanitizers = os.environ.get(SANITIZERS)
    if sanitizers:
        made += [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-Werror"]
    return made


def sources(*names: str) -> list[str]:
    """Files of the sidecar's extension: these, or all that know nothing of Python."""
    return [str(_NATIVE / f"{name}.c") for name in names or ("outlet", "rdkafka", "request", "rows", "source")]


def sdk_sources(*names: str) -> list[str]:
    """Files of the SDK's extension: these, or all that know nothing of Python."""
    return [str(_SDK / f"{name}.c") for name in names or ("batch",)]


def compiled(folder: Path) -> ctypes.CDLL:
    """The library, made in this folder."""
    made, objects = str(folder / "played.so"), []
    for source in (*sources(), *sdk_sources()):
        objects.append(str(folder / Path(source).with_suffix(".o").name))
        failing = ["-include", str(_HERE / "failing.h")]
        subprocess.run([*command(), *failing, "-c", source, "-o", objects[-1]], check=True)
    libraries = ["-lm", "-ldl", "-lpthread"]
    played = [str(_HERE / f"{name}.c") for name in ("played", "played_producer", "played_batch")]
    subprocess.run([*command(), "-shared", *played, *objects, "-o", made, *libraries], check=True)
    return _typed(ctypes.CDLL(made))


def _typed(library: ctypes.CDLL) -> ctypes.CDLL:
    size, pointer, text, number = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64
    signatures: dict[str, tuple[object, tuple[object, ...]]] = {
        "rows_bytes": (size, (pointer,)),
        "rows_reserve": (ctypes.c_int, (pointer, size, size, size)),
        "rows_append": (pointer, (pointer, number, ctypes.c_int, number, text, size, text, size)),
        "rows_header": (ctypes.c_int, (pointer, text, size, text, size)),
        "rows_retract": (None, (pointer,)),
        "rows_drop": (None, (pointer, size)),
        "rows_truncate": (None, (pointer, size)),
        "rows_remove": (None, (pointer, size, size)),
        "rows_free": (None, (pointer,)),
        "rows_before": (size, (pointer, number)),
        "source_open": (ctypes.c_int, (pointer, size, ctypes.c_uint32)),
        "source_close": (None, (pointer,)),
        "source_slot": (pointer, (pointer, text, ctypes.c_int32)),
        "source_lead": (ctypes.c_int, (pointer, pointer)),
        "source_read": (ctypes.c_int, (pointer,)),
        "played_make": (ctypes.c_int, (pointer,)),
        "played_destroy": (None, (pointer,)),
        "played_message": (
            None,
            (text, ctypes.c_int32, number, ctypes.c_int, text, size, text, size, ctypes.c_int),
        ),
        "played_header": (None, (text, size, text, size)),
        "played_sizeof_source": (size, ()),
        "played_sizeof_rows": (size, ()),
        "played_count": (size, (pointer,)),
        "played_offset": (number, (pointer, size)),
        "played_rows": (pointer, (pointer,)),
        "played_lane": (pointer, (pointer, ctypes.c_uint32)),
        "played_lane_of": (ctypes.c_uint8, (text, size, number, ctypes.c_uint32)),
        "played_added": (size, (pointer,)),
        "played_own": (None, (pointer, pointer)),
        "played_touched": (size, (pointer,)),
        "played_failures": (size, (pointer,)),
        "played_failure": (ctypes.POINTER(Failure), (pointer, size)),
        "played_refused": (ctypes.c_int, (pointer,)),
        "played_frame": (pointer, (pointer, size, size, *[ctypes.POINTER(size)] * 2, ctypes.POINTER(ctypes.c_int))),
        "played_free": (None, (pointer,)),
        "played_batch": (ctypes.c_int, (text, size)),
        "request_read": (ctypes.c_int, (text, size, size, size, ctypes.POINTER(ctypes.POINTER(Request)))),
        "request_answer_size": (size, (ctypes.POINTER(Request),)),
        "request_answer_write": (None, (ctypes.POINTER(Request), pointer)),
        "played_record": (ctypes.POINTER(Record), (ctypes.POINTER(Request), size)),
        "played_sizeof_outlet": (size, ()),
        "played_finished": (pointer, (pointer,)),
        "played_lines": (size, (pointer,)),
        "played_given": (ctypes.c_char_p, (size,)),
        "played_report": (None, (size, ctypes.c_int, ctypes.c_int32, number)),
        "played_log": (None, (text, text)),
        "played_error": (None, (ctypes.c_int,)),
        "outlet_open": (ctypes.c_int, (pointer, pointer, pointer, size, ctypes.c_int, text, size)),
        "outlet_produce": (ctypes.c_int, (pointer, ctypes.POINTER(Request), size)),
        "outlet_transact": (ctypes.c_int, (pointer, ctypes.POINTER(Request))),
        "outlet_serve": (ctypes.c_int, (pointer, ctypes.c_int)),
        "outlet_flush": (ctypes.c_int, (pointer, ctypes.c_int)),
        "outlet_failed": (ctypes.c_int, (pointer,)),
        "outlet_clear": (None, (pointer,)),
        "outlet_close": (ctypes.c_int, (pointer,)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Failure(ctypes.Structure):
    """`failure_t`."""

    _fields_ = (
        ("topic", ctypes.c_char_p),
        ("partition", ctypes.c_int32),
        ("offset", ctypes.c_int64),
        ("lane", ctypes.c_uint8),
        ("code", ctypes.c_int),
        ("text", ctypes.c_char_p),
    )


class View(ctypes.Structure):
    """`bytes_view_t`."""

    _fields_ = (("data", ctypes.c_void_p), ("len", ctypes.c_size_t))

    @property
    def content(self) -> bytes | None:
        """The bytes; None: Kafka's null."""
        return None if self.data is None else ctypes.string_at(self.data, self.len)


class Header(ctypes.Structure):
    """`request_header_t`."""

    _fields_ = (("name", View), ("value", View))


class Record(ctypes.Structure):
    """`record_t`."""

    _fields_ = (
        ("key", View),
        ("value", View),
        ("offset", ctypes.c_int64),
        ("index", ctypes.c_uint32),
        ("topic", ctypes.c_uint32),
        ("header", ctypes.c_uint32),
        ("header_count", ctypes.c_uint32),
        ("partition", ctypes.c_int32),
        ("code", ctypes.c_int32),
        ("state", ctypes.c_uint8),
    )


class Request(ctypes.Structure):
    """`request_t`, without its records."""

    _fields_ = (
        ("next", ctypes.c_void_p),
        ("owner", ctypes.c_void_p),
        ("lease", View),
        ("topics", ctypes.POINTER(View)),
        ("headers", ctypes.POINTER(Header)),
        ("topic_count", ctypes.c_size_t),
        ("header_count", ctypes.c_size_t),
        ("count", ctypes.c_size_t),
        ("given", ctypes.c_size_t),
        ("taken", ctypes.c_size_t),
        ("pending", ctypes.c_size_t),
        ("written", ctypes.c_size_t),
    )
