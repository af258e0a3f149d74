"""The output of the commands about dead letters, for people. All text from elsewhere is made visible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sidecar.commands.show import aligned, many
from sidecar.dead_letters.contents import Contents
from sidecar.dead_letters.exported import content_of, document
from sidecar.dead_letters.groups import Group
from sidecar.dead_letters.letter import Letter, Stored, instant
from sidecar.dead_letters.plain import as_text, hexadecimal, laid_out
from sidecar.visible import visible, visible_lines

_ERROR_WIDTH = 100
"""Characters of an error in a row of a table."""

SHOWN_BYTES = 4_096
"""Bytes of a key, value or header that `show` prints without --full."""

_GROUP_COLUMNS = ("FINGERPRINT", "LETTERS", "OPEN", "FIRST FAILURE", "LAST FAILURE", "ERROR")
_LETTER_COLUMNS = ("LETTER", "STATE", "SOURCE", "LAST FAILURE", "TRIED", "ERROR")


def groups_text(groups: Sequence[Group], contents: Contents) -> str:
    """A table of groups for each dead-letter topic."""
    sections = []
    for topic in dict.fromkeys(group.topic for group in groups):
        mine = [group for group in groups if group.topic == topic]
        sections.append("\n".join(_groups_of(topic, mine, contents)))
    return "\n\n".join(sections) or "no dead letters"


def letters_text(letters: Iterable[Letter], contents: Contents) -> str:
    """A table with a row for each letter."""
    rows = [
        (
            str(one.place),
            "open" if contents.is_open(one) else "replayed",
            str(one.source),
            instant(one.last_ms),
            f"{one.attempts}x" if one.attempts else "-",
            error_line(one),
        )
        for one in letters
    ]
    return "\n".join(aligned([_LETTER_COLUMNS, *rows])) if rows else "no dead letters"


def error_line(letter: Letter) -> str:
    """A letter's error in a part of a line."""
    first = letter.message.strip().split("\n", 1)[0]
    text = visible(f"{letter.type or 'error'}: {first}" if first else letter.type or letter.code or "-")
    return text if len(text) <= _ERROR_WIDTH else text[: _ERROR_WIDTH - 3] + "..."


def letter_text(letter: Letter, stored: Stored, replayed: bool, full: bool) -> str:
    """Everything about one letter. ``full``: also what is longer than `SHOWN_BYTES`."""
    said = document(letter, stored, replayed)
    content = content_of(stored)
    lines = [
        f"letter    {letter.place}, fingerprint {letter.fingerprint}, {'replayed' if replayed else 'open'}",
        f"written   {instant(letter.written_ms)}",
        f"source    {letter.source}, {_time(said)}",
        f"lambda    {letter.lambda_name or '-'}, version {letter.version or '-'}, group {letter.group or '-'}",
        f"error     {letter.type or '-'}, code {letter.code or '-'}",
        f"failed    {_failed(said['failure'])}",
    ]
    lines = [visible(line) for line in lines]
    lines += ["message", visible_lines(said["failure"]["message"], "  ")]
    lines += [f"key       {_size(content.key)}", *_bytes(content.key, full)]
    lines += [f"value     {_size(content.value)}", *_bytes(content.value, full)]
    lines += [f"headers   {len(content.headers) or 'none'}"]
    for name, value in content.headers:
        lines += [f"  {visible(name)}: {_size(value)}", *_bytes(value, full, "    ")]
    if said["stack"]:
        lines += ["stack", visible_lines(said["stack"].rstrip("\n"), "  ")]
    if said["earlier_failures"]:
        lines += ["earlier failures", *map(_earlier, said["earlier_failures"])]
    return "\n".join(lines)


def _groups_of(topic: str, groups: Sequence[Group], contents: Contents) -> Iterator[str]:
    lambdas = ", ".join(sorted({visible(name) or "?" for group in groups for name in group.lambdas}))
    sources = ", ".join(sorted({visible(name) for group in groups for name in group.sources}))
    total, opened = sum(group.letters for group in groups), sum(group.open for group in groups)
    yield f"{topic}: {many(total, 'dead letter', 'dead letters')} of {lambdas} from {sources}, {opened} open"
    rows = [
        (
            group.fingerprint,
            str(group.letters),
            str(group.open),
            instant(group.first_ms),
            instant(group.last_ms),
            error_line(group.newest),
        )
        for group in groups
    ]
    yield from (f"  {line}" for line in aligned([_GROUP_COLUMNS, *rows]))
    others = sum(place.topic == topic for place in contents.others)
    if others:
        yield f"  and {many(others, 'record that is', 'records that are')} no dead letter of a sidecar"


def _time(said: dict[str, Any]) -> str:
    if said["timestamp"] is None:
        return "without a timestamp"
    try:
        return f"{instant(said['timestamp'])} ({said['timestamp_type']})"
    except (ValueError, OverflowError, OSError):
        return f"{said['timestamp']} ms ({said['timestamp_type']})"


def _failed(said: dict[str, Any]) -> str:
    tried = "once" if said["attempts"] == 1 else f"{said['attempts']} times, first {said['first']}"
    return f"{tried}, last {said['last']}"


def _earlier(said: dict[str, Any]) -> str:
    text = f"{said.get('last')} {said.get('source')} {said.get('type')}: {said.get('message')}"
    version = f" (version {said['version']})" if said.get("version") else ""
    return f"  {visible(text + version)}"


def _size(value: bytes | None) -> str:
    return "null" if value is None else many(len(value), "byte", "bytes")


def _bytes(value: bytes | None, full: bool, indent: str = "  ") -> Iterator[str]:
    """The lines of a key, value or header: JSON laid out, other text, or hexadecimal."""
    if not value:
        return
    text = as_text(value)
    laid = None if text is None else laid_out(text)
    # What is cut in the middle is no longer JSON, and may be cut within a character. So the layout comes first.
    shown = laid or text or ""
    if text is None:
        yield visible_lines(hexadecimal(value if full else value[:SHOWN_BYTES]), indent)
        left = 0 if full else len(value) - SHOWN_BYTES
    else:
        yield visible_lines(shown if full else shown[:SHOWN_BYTES], indent)
        left = 0 if full else len(shown) - SHOWN_BYTES
    if left > 0:
        yield f"{indent}... and {left} more; --full shows them"
