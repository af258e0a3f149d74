"""The offset to which an operator moves a partition: a number, a time, or one of the log's two ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

_MAX_OFFSET = 2**63 - 1
_EPOCH = datetime.fromtimestamp(0, UTC)
_FORMS = (
    "expected an offset (1234), a time (2026-11-24T14:05:00Z; without a zone it is local time), "
    "milliseconds since the epoch (@1790000000000), or one of the words earliest and latest"
)


class OffsetSpec(NamedTuple):
    """An offset as the operator named it (`OffsetSpec` in Kafka's Admin API)."""

    kind: Literal["offset", "timestamp", "earliest", "latest"]
    value: int = 0
    """The offset, or a timestamp in milliseconds since the Unix epoch; 0 for the two ends."""

    @property
    def instant(self) -> str | None:
        """The timestamp in UTC, as ISO 8601; None when this is no timestamp."""
        if self.kind != "timestamp":
            return None
        moment = _EPOCH + timedelta(milliseconds=self.value)
        shown = moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
        return shown.replace("+00:00", "Z")


def parse_offset_spec(text: str) -> OffsetSpec:
    """Parse the value of `--to`. Raises ``ValueError``, whose text shows all forms."""
    if text == "earliest":
        return OffsetSpec("earliest")
    if text == "latest":
        return OffsetSpec("latest")
    if _is_number(text):
        if int(text) > _MAX_OFFSET:
            raise ValueError(f"{_FORMS}; {text} is larger than any offset")
        return OffsetSpec("offset", int(text))
    if text.startswith("@") and _is_number(text[1:]):
        return _at(int(text[1:]), text)
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.astimezone()  # without a zone it is the operator's local time
        milliseconds = (moment - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{_FORMS}; not {text!r}") from None
    return _at(milliseconds, text)


def _at(milliseconds: int, text: str) -> OffsetSpec:
    # Kafka takes negative timestamps as names of the log's ends.
    if milliseconds < 0:
        raise ValueError(f"{_FORMS}; {text} is before 1970")
    try:
        _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        raise ValueError(f"{_FORMS}; {text} is after the year 9999") from None
    return OffsetSpec("timestamp", milliseconds)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
