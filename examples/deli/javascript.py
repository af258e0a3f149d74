"""JSON as JavaScript reads and writes it.

System messages carry a JSON string in ``data`` that is parsed and written again (DL-28), and the rolling hash covers
the result (DL-62): a number that is written differently has another hash. Python differs in numbers, in the order of
keys that are array indices, in lone surrogates, and in taking ``NaN``.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from itertools import repeat
from typing import Any, Final, NamedTuple

import orjson

from sdk_python.document_router.nesting import is_flat, prune

DEEPEST: Final = 500
"""Levels of arrays and objects in a record. Deeper parts are left out.

Python's parser takes some hundred more, but how many depends on the calls above it: the same record would have a
number in one process and none in the next.
"""

_MOST_DIGITS = 400
"""Whole numbers with more digits exceed all doubles. Python refuses to read those with more than 4300."""

_DEEPEST_WRITTEN = 4 * DEEPEST

_SURROGATE = re.compile("[\ud800-\udfff]")
_INDEX = re.compile(r"0|[1-9]\d{0,9}")
_SAFE_INTEGER = 2**53
_BEYOND = 2**1024
_WITH_BASE = re.compile(r"0(?:[xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)")
_BASES = {"x": 16, "o": 8, "b": 2}
_DECIMAL = re.compile(r"[+-]?(?:Infinity|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)")


class Malformed(Exception):  # noqa: N818 (it is what the record is, for the reader of a log)
    """A record that cannot be understood. Nothing of it was done, and the state is unchanged."""


class Undefined(Enum):
    """A missing member. To JavaScript, a member that is null differs from it."""

    UNDEFINED = 0


UNDEFINED: Final = Undefined.UNDEFINED


class Parsed(NamedTuple):
    """A JSON value."""

    value: Any
    is_deep: bool = False
    """Parts of it are nested deeper than `DEEPEST`: `TOO_DEEP` replaces them."""


class _TooDeep(Enum):
    TOO_DEEP = 0


TOO_DEEP: Final = _TooDeep.TOO_DEEP


def read(text: str | bytes) -> Parsed:
    """Parse JSON, strictly. Raises ``Malformed`` when it is not JSON."""
    try:
        # Most is UTF-8 without space around it. All else fails here or ends early, and is read with more care: other
        # encodings have a mark or zero bytes, and JSON in UTF-8 has neither.
        string = text if isinstance(text, str) else text.decode()
        if is_flat(string, DEEPEST):
            value, end = _decode(string)
            if end == len(string):
                return Parsed(value)
    except ValueError:
        pass
    try:
        string = text if isinstance(text, str) else text.decode(json.detect_encoding(text), "surrogatepass")
        pruned = prune(string, DEEPEST, "NaN")
        if pruned == string:
            return Parsed(json.loads(string, parse_constant=_refuse, parse_int=_integer))
        # A NaN of the sender counts as a part that is left out. It is refused differently then, which does no harm.
        return Parsed(json.loads(pruned, parse_constant=_left_out, parse_int=_integer), is_deep=True)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"no JSON: {error}") from error


def parse(text: str | bytes) -> Any:
    """`read`, with null for parts that are nested too deeply."""
    value, is_deep = read(text)
    if not is_deep:
        return value
    wrapped = [value]
    without_deep(wrapped)
    return wrapped[0]


def without_deep(value: Any) -> bool:
    """Replace each `TOO_DEEP` in ``value`` by null. Returns whether there was one."""
    found = False
    waiting = [value]
    while waiting:
        one = waiting.pop()
        entries = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
        for name, entry in [*entries]:
            if entry is TOO_DEEP:
                one[name] = None
                found = True
            elif isinstance(entry, (dict, list)):
                waiting.append(entry)
    return found


def stringify(value: Any) -> str:
    """Write ``value`` as ``JSON.stringify`` does."""
    return _write(value, _rounded, _keys)


def stringify_some(value: Mapping[str, Any], names: Sequence[str]) -> bytes:
    """Write ``value`` as ``JSON.stringify(value, names)`` does, in UTF-8. The names are plain words.

    Only members with these names are written, in this order, for ``value`` and for all objects in it.
    """
    some = {name: value[name] for name in names if name in value}
    if _SAME.issuperset(map(type, some.values())):
        try:
            return orjson.dumps(some, option=orjson.OPT_STRICT_INTEGER)
        except orjson.JSONEncodeError:  # a whole number that no double holds, or half a character
            pass
    return _write(some, _rounded, lambda inner: [name for name in names if name in inner]).encode()


def encode(value: Any) -> bytes:
    """Compact JSON in UTF-8, fast: for whole records, whose exact text does not matter."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # a whole number of more than 64 bits, half a character, nested 255 deep
        pass
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, RecursionError):  # a number beyond all doubles: JavaScript writes 1e999 as null
        return _write(value, _kept, list).encode()


def integer(value: Any) -> int | None:
    """``value`` if it is a whole number, else None. A number beyond all doubles is none, as in JavaScript."""
    if type(value) is int:
        return value if -_BEYOND < value < _BEYOND else None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return None


def whole(stored: Mapping[str, Any], name: str) -> int:
    """The whole number with this name. Raises ``Malformed`` when it is missing or not a whole number."""
    found = integer(stored.get(name))
    if found is None:
        raise Malformed(f"{name} is no whole number")
    return found


def number(value: Any) -> float:
    """``value`` as JavaScript converts it for a comparison with a number: "7" to 7, most values to NaN."""
    inner = value
    while isinstance(inner, list) and len(inner) == 1:
        [inner] = inner
    if inner is None or inner == []:
        return 0
    if isinstance(inner, str):
        return _number_in(inner.strip())
    if not isinstance(inner, (int, float)) or (isinstance(inner, bool) and inner is not value):
        return math.nan
    return _double(inner)


def truthy(value: Any) -> bool:
    """Whether ``value`` counts as true: empty arrays and objects do."""
    return (bool(value) and value is not UNDEFINED) or isinstance(value, (dict, list))


def _number_in(text: str) -> float:
    if _WITH_BASE.fullmatch(text):
        return _double(int(text[2:], _BASES[text[1].lower()]))
    return float(text or 0) if _DECIMAL.fullmatch(text or "0") else math.nan


def _double(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _write(
    root: Any, write_number: Callable[[int | float], str], keys: Callable[[Mapping[str, Any]], Iterable[str]]
) -> str:
    """It makes no call for each level, so it can write every value that could be read, at any depth of calls."""
    pieces: list[str] = []
    levels: list[tuple[Iterator[tuple[str, Any]], str]] = [(iter([("", root)]), "")]
    comma = ""
    while levels:
        entries, end = levels[-1]
        entry = next(entries, None)
        if entry is None:
            levels.pop()
            pieces.append(end)
            comma = ","
            continue
        name, value = entry
        pieces.append(comma)
        pieces.append(name)
        comma = ","
        if isinstance(value, Mapping):
            pieces.append("{")
            levels.append((_members(value, keys(value)), "}"))
            comma = ""
        elif isinstance(value, list | tuple):
            pieces.append("[")
            levels.append((zip(repeat(""), value, strict=False), "]"))
            comma = ""
        else:
            pieces.append(_scalar(value, write_number))
        if len(levels) > _DEEPEST_WRITTEN:
            raise Malformed("nested too deeply")
    return "".join(pieces)


def _members(value: Mapping[str, Any], keys: Iterable[str]) -> Iterator[tuple[str, Any]]:
    return ((f"{_string(key)}:", value[key]) for key in keys)


def _scalar(value: Any, write_number: Callable[[int | float], str]) -> str:
    if isinstance(value, str):
        return _string(value)
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    if isinstance(value, (int, float)):
        return write_number(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def _string(value: str) -> str:
    text = json.encoder.encode_basestring(value)
    return text if text.isascii() else _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _rounded(value: int | float) -> str:
    """A number as JavaScript writes it."""
    if type(value) is int and -_SAFE_INTEGER <= value <= _SAFE_INTEGER:
        return str(value)
    return _number(value)


def _kept(value: int | float) -> str:
    """The same, except that whole numbers keep all their digits."""
    return str(value) if type(value) is int else _number(value)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _left_out(constant: str) -> Any:
    return TOO_DEEP if constant == "NaN" else _refuse(constant)


def _refuse(constant: str) -> Any:
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
