"""JSON as JavaScript reads and writes it.

System messages carry a JSON string in ``data`` that is parsed and written again (DL-28), and the rolling hash covers
the result (DL-62): a number written otherwise is another hash. Python differs in numbers, in the order of keys that
are array indices, in lone surrogates, and in taking ``NaN``.
"""

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NoReturn

import orjson

_SURROGATE = re.compile("[\ud800-\udfff]")
_INDEX = re.compile(r"0|[1-9]\d{0,9}")
_SAFE_INTEGER = 2**53


class Malformed(Exception):  # noqa: N818 (it is what the record is, for the reader of a log)
    """A record that cannot be understood. Nothing of it was done, and the state is the one before it."""


def parse(text: str | bytes) -> Any:
    """Parse JSON, strictly."""
    try:
        # Most is UTF-8 without space around it. All else fails here or ends early, and is left to `json.loads`: other
        # encodings have a mark or zero bytes, and JSON in UTF-8 has neither.
        string = text if isinstance(text, str) else text.decode()
        value, end = _decode(string)
        if end == len(string):
            return value
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"no JSON: {error}") from error


def stringify(value: Any) -> str:
    """Write ``value`` as ``JSON.stringify`` does."""
    try:
        return _write(value)
    except RecursionError as error:
        raise Malformed("nested too deeply") from error


def stringify_some(value: Mapping[str, Any], names: Iterable[str]) -> bytes:
    """Write an object of these members of ``value``, in this order, in UTF-8. The names are plain words."""
    some = {name: value[name] for name in names if name in value}
    if _SAME.issuperset(map(type, some.values())):
        try:
            return orjson.dumps(some, option=orjson.OPT_STRICT_INTEGER)
        except orjson.JSONEncodeError:  # a whole number that no double holds, or half a character
            pass
    return stringify(some).encode()


def encode(value: Any) -> bytes:
    """Compact JSON in UTF-8, fast: for whole records, where only the value counts."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # a whole number of more than 64 bits, half a character, nested 255 deep
        pass
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:  # a number beyond all doubles, such as 1e999, which JavaScript writes as null
        text = stringify(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(json.loads(text), separators=(",", ":")).encode()


def integer(value: Any) -> int | None:
    """``value`` if it is a whole number, else None."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return None


def _write(value: Any) -> str:
    if isinstance(value, str):
        text = json.encoder.encode_basestring(value)
        return text if text.isascii() else _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    if type(value) is int and -_SAFE_INTEGER <= value <= _SAFE_INTEGER:
        return str(value)
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_write(key)}:{_write(value[key])}" for key in _keys(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_write, value)) + "]"
    raise TypeError(f"{type(value).__name__} is no JSON")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


_decode = json.JSONDecoder(parse_constant=_refuse).raw_decode
_WORDS = {None: "null", True: "true", False: "false"}
_SAME = frozenset({str, int, bool, type(None)})
"""Types of values that JavaScript and a JSON library write alike."""


def _keys(value: Mapping[str, Any]) -> list[str]:
    indices = [key for key in value if _INDEX.fullmatch(key) and int(key) < 2**32 - 1]
    if not indices:
        return list(value)
    return sorted(indices, key=int) + [key for key in value if key not in set(indices)]


def _number(value: float) -> str:
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
