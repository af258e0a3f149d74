"""Letters as JSON: what `export` and `show --json` write, and what `replay --from` reads. Pure."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sidecar.dead_letters.choice import parse_which
from sidecar.dead_letters.history import HEADER, failure, history_of, without_history
from sidecar.dead_letters.letter import Headers, Letter, Place, Stored, added_text, own_headers, source_time
from sidecar.dead_letters.plain import as_text
from sidecar.records import dead_letter_headers as names

Encoded = str | dict[str, str] | None
"""Bytes in JSON: a string is their text in UTF-8, `{"base64": ...}` is for anything else, null is null."""


class Malformed(ValueError):  # noqa: N818 - the name tells the cause
    """An exported letter that somebody changed into something else; the text says what is wrong."""


class Content(NamedTuple):
    """What a replay writes: a record without the headers that came with its failures."""

    key: bytes | None
    value: bytes | None
    headers: Headers


def content_of(stored: Stored) -> Content:
    """The record as it was before it became a dead letter."""
    return Content(stored.key, stored.value, without_history(own_headers(stored.headers)))


def document(letter: Letter, stored: Stored, replayed: bool) -> dict[str, Any]:
    """A letter with everything in it, for JSON."""
    content = content_of(stored)
    timestamp, timestamp_type = source_time(stored.headers)
    history = history_of(stored.headers)
    return {
        "letter": str(letter.place),
        "fingerprint": letter.fingerprint,
        "replayed": replayed,
        "key": encoded(content.key),
        "value": encoded(content.value),
        "headers": [[name, encoded(value)] for name, value in content.headers],
        "timestamp": timestamp,
        "timestamp_type": timestamp_type,
        "group": letter.group,
        # The whole text: the letter has only its beginning.
        "failure": failure(letter) | {"message": added_text(stored.headers, names.MESSAGE)},
        "stack": added_text(stored.headers, names.STACK),
        "earlier_failures": [*history.failures],
    }


def encoded(value: bytes | None) -> Encoded:
    """Bytes for JSON."""
    if value is None:
        return None
    text = as_text(value)
    return {"base64": base64.b64encode(value).decode()} if text is None else text


def imported(line: str) -> tuple[Place, Content]:
    """The letter that an exported line names, and the record that it now has, which somebody may have changed.

    Only `letter`, `key`, `value` and `headers` are read. Raises ``Malformed``, whose text says what is wrong.
    """
    try:
        said = json.loads(line)
    except RecursionError:
        raise Malformed("it is nested too deeply") from None
    except ValueError as error:
        raise Malformed(f"it is no JSON: {error}") from None
    if not isinstance(said, Mapping):
        raise Malformed("expected an object, as `dead-letters export` writes it")
    missing = [name for name in ("letter", "key", "value", "headers") if name not in said]
    if missing:
        raise Malformed(f"{missing[0]!r} is missing: expected an object as `dead-letters export` writes it")
    content = Content(_decoded(said["key"], "'key'"), _decoded(said["value"], "'value'"), _headers(said["headers"]))
    return _place(said["letter"]), content


def _place(said: Any) -> Place:
    try:
        place = parse_which(str(said))
    except ValueError:
        place = ""
    if not isinstance(place, Place):
        raise Malformed(f"'letter' must be TOPIC/PARTITION/OFFSET, not {said!r}")
    return place


def _decoded(value: Any, name: str) -> bytes | None:
    """The bytes that JSON has. Raises ``Malformed``, which speaks of ``name``."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise Malformed(f"{name} has half of a surrogate pair, which no text has") from None
    if isinstance(value, Mapping) and [*value] == ["base64"] and isinstance(value["base64"], str):
        try:
            return base64.b64decode(value["base64"], validate=True)
        except (binascii.Error, ValueError):
            raise Malformed(f"{name} has a 'base64' that is none") from None
    raise Malformed(f'{name} must be a text, null, or {{"base64": "..."}}; write JSON as a text')


def _headers(said: Any) -> Headers:
    if not isinstance(said, list):
        raise Malformed('\'headers\' must be a list of pairs: [["name", "value"], ...]')
    return tuple(_header(one) for one in said)


def _header(pair: Any) -> tuple[str, bytes | None]:
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
        raise Malformed('each of \'headers\' must be a pair: ["name", "value"]')
    name = pair[0]
    _decoded(name, "the name of a header")
    if "\0" in name:
        raise Malformed("the name of a header has a NUL, which Kafka's client cannot write")
    if names.is_added(name.encode()) or name == HEADER:
        raise Malformed(f"the header {name!r} is the sidecar's own: leave it out")
    return name, _decoded(pair[1], f"the header {name!r}")
