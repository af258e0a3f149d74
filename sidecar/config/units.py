"""Durations (`500ms`, `1s`, `2m`) and sizes (`16MiB`, `64kB`) as people write them."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo

from sidecar.config.base import mistake

_NUMBER_AND_UNIT = re.compile(r"\s*([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([A-Za-z]*)\s*", re.ASCII)

_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}
_BYTES = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}
_SHOWN_UNITS = ("B", "kB", "KiB", "MB", "MiB", "GB", "GiB")


def quoted(value: Any) -> str:
    """A value for a message, shortened to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def parse_duration(text: str) -> float:
    """A duration such as `500ms`, `1s`, `1.5m` or `2h`, in seconds. `0` needs no unit.

    Raises ``ValueError``, whose text says what a duration looks like.
    """
    match = _NUMBER_AND_UNIT.fullmatch(text)
    expected = "expected a duration such as 500ms, 1s, 2m or 1h"
    if match is None:
        raise ValueError(f"{expected}, not {quoted(text)}")
    number, unit = Decimal(match[1]), match[2]
    if unit in _SECONDS:
        return float(number * _SECONDS[unit])
    if not unit and number == 0:
        return 0.0
    raise ValueError(f"{expected}, not {quoted(text)}: {_about_unit(unit, _SECONDS)}")


def parse_size(text: str) -> int:
    """A size such as `16MiB` (1024 * 1024), `64kB` (1000) or `4096`, in bytes. Case does not matter.

    Raises ``ValueError``, whose text says what a size looks like, also when it is no whole number of bytes.
    """
    match = _NUMBER_AND_UNIT.fullmatch(text)
    expected = "expected a size such as 16MiB, 64kB or 4096"
    if match is None:
        raise ValueError(f"{expected}, not {quoted(text)}")
    factor = _BYTES.get(match[2].lower())
    if factor is None:
        raise ValueError(f"{expected}, not {quoted(text)}: {_about_unit(match[2], _SHOWN_UNITS)}")
    size = Decimal(match[1]) * factor
    if size != int(size):
        raise ValueError(f"{expected}, not {quoted(text)}: that is no whole number of bytes")
    return int(size)


def shown_duration(seconds: float) -> str:
    """A duration as people write it, in the largest unit that needs no fraction."""
    for unit, factor in reversed(_SECONDS.items()):
        number = Decimal(str(seconds)) / factor
        if number == number.to_integral_value() and number:
            return f"{number.to_integral_value():f}{unit}"
    return f"{seconds:g}s"


def shown_size(size: float) -> str:
    """A size as people write it, in the largest binary unit that needs no fraction."""
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size >= factor and size % factor == 0:
            return f"{size // factor:.0f}{unit}"
    return f"{size:.0f}B"


def _about_unit(unit: str, known: Any) -> str:
    return f"the unit {unit!r} is none of {', '.join(known)}" if unit else "the unit is missing"


def _seconds(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise mistake(f"expected a duration such as 500ms, 1s or 2m, not {quoted(value)}")
    # In a file a bare number is ambiguous: 500 might mean milliseconds. In Python it is seconds.
    if isinstance(value, str) or (info.context and "file" in info.context):
        try:
            return parse_duration(str(value))
        except ValueError as error:
            raise mistake(str(error)) from None
    return value


def _bytes(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise mistake(f"expected a size such as 16MiB, 64kB or 4096, not {quoted(value)}")
    try:
        return parse_size(value) if isinstance(value, str) else value
    except ValueError as error:
        raise mistake(str(error)) from None


def _bytes_or_off(value: Any) -> Any:
    # YAML reads a plain `off` as false.
    return 0 if value is False or value == "off" else _bytes(value)


MAX_DURATION_S = 365 * 24 * 3600.0
"""Some timers of the system end at months or years; no setting needs as much."""

MAX_SIZE_BYTES = 2**40
"""1 TiB, more than any machine should hold of one partition."""

Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, le=MAX_DURATION_S, allow_inf_nan=False)]
"""A duration: in the file a text with a unit, in Python a float of seconds."""

Bytes = Annotated[int, BeforeValidator(_bytes), Field(ge=1, le=MAX_SIZE_BYTES)]
"""A size: in the file a text with a unit or a number of bytes, in Python an int of bytes."""

BytesOrOff = Annotated[int, BeforeValidator(_bytes_or_off), Field(ge=0, le=MAX_SIZE_BYTES)]
"""A size, or `off`, which is 0."""
