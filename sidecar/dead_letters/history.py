"""The earlier failures of a record that was replayed: a header of the replayed record. Pure.

The sidecar replaces the headers that it adds to a dead letter, and keeps all others. The name of this header is none
of those. So it comes back with the next dead letter of the record, and the next replay adds that failure to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.dead_letters.letter import Headers, Letter, instant

HEADER = "__kafka_sidecar.replay"

MAX_FAILURES = 10
"""The newest failures that are kept."""

# In JSON a control character takes six bytes. So with these limits the header has 25 KiB at most, and one or two as a
# rule. A dead letter may be 64 KiB larger than its record.
_MAX_MESSAGE = 200
_MAX_WORD = 50
"""Characters of a type, a code, a version, or a lambda's name."""


@dataclass(frozen=True, slots=True)
class History:
    """The failures of a record before its last replay, oldest first."""

    failures: tuple[Mapping[str, Any], ...] = ()
    left_out: int = 0
    """How many older failures are no longer kept."""
    edited: bool = False
    """Whether somebody changed the record before it was replayed."""


def history_of(headers: Headers) -> History:
    """The earlier failures that a record carries. A header that cannot be read counts as none."""
    values = [value for name, value in headers if name == HEADER]
    if not values:
        return History()
    try:
        said = json.loads(values[-1] or b"")
        failures = tuple(one for one in said["failures"] if isinstance(one, dict))[-MAX_FAILURES:]
        return History(failures, max(0, int(said.get("left_out", 0))), said.get("edited") is True)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return History()


def without_history(headers: Headers) -> Headers:
    """Headers without the one of an earlier replay."""
    return tuple(header for header in headers if header[0] != HEADER)


def history_header(before: History, letter: Letter, edited: bool, now: str) -> tuple[str, bytes]:
    """The header of the record that is now replayed: its earlier failures, and that of ``letter``.

    ``now``: a time in ISO 8601. ``edited``: somebody changed the record, now or before an earlier replay.
    """
    failures = [*before.failures, _shortened(failure(letter))]
    said = {
        "letter": str(letter.place),
        "at": now,
        "edited": edited or before.edited,
        "left_out": before.left_out + max(0, len(failures) - MAX_FAILURES),
        "failures": failures[-MAX_FAILURES:],
    }
    return HEADER, json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


def failure(letter: Letter) -> dict[str, Any]:
    """A letter's failure, for JSON."""
    return {
        "source": str(letter.source),
        "type": letter.type,
        "code": letter.code,
        "message": letter.message,
        "attempts": letter.attempts,
        "first": instant(letter.first_ms),
        "last": instant(letter.last_ms),
        "lambda": letter.lambda_name,
        "version": letter.version,
    }


def _shortened(said: dict[str, Any]) -> dict[str, Any]:
    limits = {
        "message": _MAX_MESSAGE,
        "type": _MAX_WORD,
        "code": _MAX_WORD,
        "version": _MAX_WORD,
        "lambda": _MAX_WORD,
    }
    return said | {name: said[name][:limit] for name, limit in limits.items()}
