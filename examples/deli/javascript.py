"""JSON as JavaScript reads and writes it.

System messages carry a JSON string in ``data`` that is parsed and written again (DL-28), and the rolling hash covers
the result (DL-62): a number written otherwise is another hash. Python differs in numbers, in the order of keys that
are array indices, in lone surrogates, and in taking ``NaN``.
"""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn

_SURROGATE = re.compile("[\ud800-\udfff]")
_INDEX = re.compile(r"0|[1-9]\d{0,9}")
_SAFE_INTEGER = 2**53
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class Malformed(Exception):  # noqa: N818 (it is what the record is, for the reader of a log)
    """A record that cannot be understood. Nothing of it was done, and the state is the one before it."""


def parse(text: str | bytes) -> Any:
    """Parse JSON, strictly."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"no JSON: {error}") from error


def stringify(value: Any) -> str:
    """Write ``value`` as ``JSON.stringify`` does."""
    if isinstance(value, dict) and all(map(_is_alike, value.values())) and not any(map(_INDEX.match, value)):
        text = _compact(value)  # most are flat objects of texts and small numbers, where Python writes the same
        if _SURROGATE.search(text) is None:
            return text
    try:
        return _write(value)
    except RecursionError as error:
        raise Malformed("nested too deeply") from error


def encode(value: Any) -> bytes:
    """Compact JSON in UTF-8, fast: for whole records, where only the value counts."""
    try:
        text = _compact(value)
    except ValueError:  # a number beyond all doubles, such as 1e999, which JavaScript writes as null
        text = stringify(value)
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate in some client's text
        return json.dumps(json.loads(text), separators=(",", ":")).encode()


def integer(value: Any) -> int | None:
    """``value`` if it is a whole number, else None."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _write(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", _compact(value))
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_write(key)}:{_write(value[key])}" for key in _keys(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_write, value)) + "]"
    raise TypeError(f"{type(value).__name__} is no JSON")


def _is_alike(value: Any) -> bool:
    kind = type(value)
    return kind is str or value is None or (kind is int and -_SAFE_INTEGER <= value <= _SAFE_INTEGER)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _keys(value: Mapping[str, Any]) -> list[str]:
    indices = [key for key in value if _INDEX.fullmatch(key) and int(key) < 2**32 - 1]
    if not indices:
        return list(value)
    return sorted(indices, key=int) + [key for key in value if key not in set(indices)]


def _number(value: float) -> str:
    if isinstance(value, int) and abs(value) <= _SAFE_INTEGER:
        return str(value)
    try:
        double = float(value)
    except OverflowError:
        return "null"
    if double == 0:
        return "0"
    if double in {float("inf"), float("-inf")} or double != double:  # noqa: PLR0124 (what NaN is)
        return "null"
    if 1e-6 <= abs(double) < 1e21:
        return _plain(format(Decimal(repr(double)), "f"))
    mantissa, _, exponent = format(Decimal(repr(double)), "e").partition("e")
    return f"{_plain(mantissa)}e{int(exponent):+d}"


def _plain(digits: str) -> str:
    return digits.rstrip("0").rstrip(".") if "." in digits else digits
