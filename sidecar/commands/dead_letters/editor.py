"""The value of one letter's record in the operator's editor."""

from __future__ import annotations

import click

from sidecar.dead_letters.choice import parse_which
from sidecar.dead_letters.exported import Content, content_of
from sidecar.dead_letters.letter import Place, Stored
from sidecar.dead_letters.plain import as_text, laid_out, without_space


def one_place(text: str) -> Place:
    """Parse the place of a letter. Raises ``click.UsageError``."""
    try:
        place = parse_which(text)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if not isinstance(place, Place):
        raise click.UsageError(f"edit changes one letter, by its TOPIC/PARTITION/OFFSET; {text!r} is a group")
    return place


def edited(stored: Stored) -> Content | None:
    """The letter's record as the operator has changed it; None: nothing was changed."""
    content = content_of(stored)
    text = None if content.value is None else as_text(content.value)
    if content.value is None or text is None:
        kind = "null" if content.value is None else "binary"
        raise click.ClickException(
            f"the value of {stored.place} is {kind}: `dead-letters export`, edit the file, and `replay --from` it"
        )
    laid = laid_out(text)
    shown = text if laid is None else laid
    # As bytes: click would add a line end to a text.
    saved = click.edit(shown.encode(), extension=".txt" if laid is None else ".json")
    if saved is None:
        return None
    if saved.endswith(b"\n") and not shown.endswith("\n"):
        saved = saved[:-1]  # editors end the last line
    if saved == shown.encode():
        return None
    return content._replace(value=_as_before(saved, text, was_json=laid is not None))


def _as_before(saved: bytes, before: str, *, was_json: bool) -> bytes:
    """What the operator saved, without white space if it is JSON that had none before."""
    if not was_json:
        return saved
    text = as_text(saved)
    if text is None or laid_out(text) is None:
        raise click.ClickException("the value was JSON and is none now; nothing was replayed")
    return without_space(text).encode() if without_space(before) == before else saved
