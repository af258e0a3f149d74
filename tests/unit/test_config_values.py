"""Formats of values in the config file: variables, durations, sizes and addresses."""

from pathlib import Path

import pytest

from sidecar.config import (
    dial,
    parse_duration,
    parse_endpoint,
    parse_size,
)
from tests.unit.config_files import KAFKA, mistakes, read


@pytest.mark.parametrize(
    ("value", "environ", "expected"),
    [
        ("${A}", {"A": "x"}, "x"),
        ("${A}${B}-${A}", {"A": "x", "B": "y"}, "xy-x"),
        ("${A:-d}", {}, "d"),
        ("${A:-d}", {"A": ""}, "d"),
        ("${A:-}", {}, ""),
        ("${A:-http://h:1/p?q}", {}, "http://h:1/p?q"),
        ("${A}", {"A": ""}, ""),
        ("$${A} $A $(A)", {}, "${A} $A $(A)"),
        ("${A}", {"A": "${B}"}, "${B}"),
        ("'${A}'", {"A": "b: [c"}, "b: [c"),
        ("${A}", {"A": "0123"}, "0123"),
    ],
)
def test_variables(tmp_path: Path, value: str, environ: dict[str, str], expected: str) -> None:
    text = f"{KAFKA}lambdas:\n  x:\n    topic: t\n    group: g\n    settings:\n      v: {value}\n"
    assert read(tmp_path, text, **environ).lambdas["x"].settings == {"v": expected}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${A}", "the environment variable A is not set; set it, or give a default: ${A:-...}"),
        ("${A", "'${A' is no variable; ${NAME} or ${NAME:-default}"),
        ("${}", "'${}' is no variable"),
        ("${A-b}", "'${A-b}' is no variable"),
    ],
)
def test_a_bad_variable_is_reported_once(tmp_path: Path, value: str, expected: str) -> None:
    for key in ("group", "plugin", "start"):
        text = f"{KAFKA}lambdas:\n  x:\n    topic: t\n    {key}: {value}\n" + (
            "" if key == "group" else "    group: g\n"
        )
        (found,) = mistakes(tmp_path, text)
        assert found.startswith(f"5 lambdas.x.{key}: {expected}")


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("1s", 1), ("1.5s", 1.5), ("2m", 120), ("1h", 3600), ("0", 0), (" 1 s ", 1)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "1d", "1S", "1s2", "1e3s", ".5s", "nan", "\u0661s"])
def test_invalid_durations(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("16MiB", 2**24), ("64kB", 64_000), ("1KiB", 1024), ("1GiB", 2**30), ("1.5kb", 1500), ("7B", 7), ("42", 42)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "kB", "-1", "1K", "1TB", "1.5", "0.1B", "1 000", "1_000"])
def test_invalid_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(text)


@pytest.mark.parametrize(
    "text",
    ["", "host", ":1", "host:", "host:x", "host:70000", "::1:50051", "[::x]:1", "a b:1", "unix:x", "unix://x", "unix:///",
     f"unix:///{'x' * 107}", "http://host:1", "host:-1"],
)  # fmt: skip
def test_invalid_endpoints(text: str) -> None:
    with pytest.raises(ValueError, match="expected host:port or unix:///path"):
        parse_endpoint(text)


@pytest.mark.parametrize(
    ("listen", "dialled"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051"),
        ("0.0.0.0:50051", "127.0.0.1:50051"),
        ("[::]:50051", "[::1]:50051"),
        ("sidecar.example:1", "sidecar.example:1"),
        ("unix:///run/x", "unix:///run/x"),
    ],
)
def test_dial(listen: str, dialled: str) -> None:
    assert dial(listen) == dialled
