"""A dead letter: what its headers say, and what an operator's command keeps of it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from sidecar.dead_letters.fingerprint import fingerprint
from sidecar.records import dead_letter_headers as names

KEPT_MESSAGE = 300
"""Characters of an error's text that are kept of each letter: millions of letters must fit into memory."""

Headers = tuple[tuple[str, bytes | None], ...]


class Place(NamedTuple):
    """Where a record is: in its source, or in the dead-letter topic."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Stored(NamedTuple):
    """A record of a dead-letter topic, as it was read."""

    place: Place
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter without its key, value and headers."""

    place: Place
    source: Place
    """The record that failed."""
    fingerprint: str
    type: str
    code: str
    message: str
    """The error's text, at most `KEPT_MESSAGE` characters."""
    attempts: int
    """How often the record was tried; 0: not known."""
    first_ms: int
    """The first failure, in milliseconds since the Unix epoch."""
    last_ms: int
    written_ms: int
    lambda_name: str
    """Empty: a letter that another program wrote."""
    version: str
    group: str
    size: int
    """Bytes of key, value and headers."""
    digest: bytes
    """A hash of the key, the value and the record's own headers: equal for two letters of one record."""


def letter_of(stored: Stored) -> Letter | None:
    """The dead letter in a record; None: it is none, since it does not say which record failed."""
    said = {name: (value or b"").decode(errors="replace") for name, value in stored.headers if _is_added(name)}
    source = _source(said)
    if source is None:
        return None
    kind, code, message = (said.get(name, "") for name in (names.TYPE, names.CODE, names.MESSAGE))
    return Letter(
        place=stored.place,
        source=source,
        fingerprint=fingerprint(kind, code, message),
        type=kind,
        code=code,
        message=message[:KEPT_MESSAGE],
        attempts=_number(said.get(names.ATTEMPTS)) or 0,
        first_ms=_milliseconds(said.get(names.FIRST_FAILURE), stored.timestamp_ms),
        last_ms=_milliseconds(said.get(names.LAST_FAILURE), stored.timestamp_ms),
        written_ms=stored.timestamp_ms,
        lambda_name=said.get(names.LAMBDA, ""),
        version=said.get(names.LAMBDA_VERSION, ""),
        group=said.get(names.GROUP, ""),
        size=_size(stored),
        digest=_digest(stored),
    )


def added_text(headers: Headers, name: str) -> str:
    """The text of a header that the sidecar added; empty: there is none."""
    values = [value for one, value in headers if one == name]
    return (values[-1] or b"").decode(errors="replace") if values else ""


def source_time(headers: Headers) -> tuple[int | None, str]:
    """The record's own timestamp, in milliseconds since the Unix epoch, and its type; None and empty: it had none."""
    return _number(added_text(headers, names.TIMESTAMP)), added_text(headers, names.TIMESTAMP_TYPE)


def own_headers(headers: Headers) -> Headers:
    """The headers that the record had before it became a dead letter."""
    return tuple(header for header in headers if not _is_added(header[0]))


def instant(milliseconds: int) -> str:
    """A time in ISO 8601, UTC, with milliseconds."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_added(name: str) -> bool:
    return names.is_added(name.encode())


def _source(said: dict[str, str]) -> Place | None:
    topic = said.get(names.TOPIC)
    partition, offset = _number(said.get(names.PARTITION)), _number(said.get(names.OFFSET))
    return Place(topic, partition, offset) if topic and partition is not None and offset is not None else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 20 else None


def _milliseconds(text: str | None, otherwise: int) -> int:
    try:
        return round(datetime.fromisoformat(text or "").timestamp() * 1000)
    except (ValueError, OverflowError):
        return otherwise


def _size(stored: Stored) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in stored.headers)
    return len(stored.key or b"") + len(stored.value or b"") + headers


def _digest(stored: Stored) -> bytes:
    parts: Iterable[bytes | None] = [stored.key, stored.value]
    for name, value in own_headers(stored.headers):
        parts = [*parts, name.encode(), value]
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        # The length separates the parts; -1 tells null from empty.
        hashed.update(b"%d:" % (-1 if part is None else len(part)))
        hashed.update(part or b"")
    return hashed.digest()
