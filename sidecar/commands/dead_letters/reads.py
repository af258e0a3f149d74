"""`dead-letters list`, `show` and `export`, which change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import click

from sidecar.commands.dead_letters import render
from sidecar.commands.dead_letters.options import about_letters
from sidecar.commands.dead_letters.session import Session, Wanted, progress, session
from sidecar.commands.say import say
from sidecar.dead_letters.contents import Contents
from sidecar.dead_letters.exported import document
from sidecar.dead_letters.groups import group_document, grouped
from sidecar.dead_letters.history import failure
from sidecar.dead_letters.letter import Letter, Stored
from sidecar.dead_letters.plain import json_text

_AT_ONCE = 200
"""Letters that are in memory at once."""


@click.command("list")
@about_letters
@click.option("--letters", "each", is_flag=True, help="A line for each letter, as with WHICH.")
@click.option("--open", "only_open", is_flag=True, help="Only those that were not replayed.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def list_(path: Path, wanted: Wanted, each: bool, only_open: bool, as_json: bool) -> None:
    """Show what failed: a line for each cause, or for each letter.

    Letters with one fingerprint have one cause: the type, the code and the text of their error are equal, but for
    numbers, ids and quoted text. OPEN counts those that were not replayed.

    \b
    Examples:
      kafka-sidecar dead-letters list
      kafka-sidecar dead-letters list --lambda billing --open
      kafka-sidecar dead-letters list 7f3a9c21
      kafka-sidecar dead-letters list --json | jq '.groups[] | select(.open > 100)'
    """
    with session(path) as one:
        contents = one.read(wanted)
    letters = [letter for letter in contents.letters.values() if wanted.choice.has(letter)]
    if only_open:
        letters = [letter for letter in letters if contents.is_open(letter)]
    letters.sort(key=_by_source)
    if each or wanted.choice.names:
        rows = [_row(letter, contents) for letter in letters]
        say(json_text({"letters": rows}, indent=2) if as_json else render.letters_text(letters, contents))
        return
    groups = grouped(contents, letters)
    shown = {"groups": [*map(group_document, groups)]}
    say(json_text(shown, indent=2) if as_json else render.groups_text(groups, contents))


@click.command()
@about_letters
@click.option(
    "--limit", type=click.IntRange(1), default=1, show_default=True, help="How many, the latest ones first."
)
@click.option("--full", is_flag=True, help=f"Also what is longer than {render.SHOWN_BYTES} bytes.")
@click.option("--json", "as_json", is_flag=True, help="As JSON: each letter as `export` writes it, in a list.")
@click.pass_obj
def show(path: Path, wanted: Wanted, limit: int, full: bool, as_json: bool) -> None:
    """Show a letter: its record, headers, error, stack, and what failed before an earlier replay.

    JSON is laid out, other text is shown as it is, and binary data as hexadecimal. Of a group, the letter that failed
    last is shown.

    \b
    Examples:
      kafka-sidecar dead-letters show orders.billing.dead-letter/3/17
      kafka-sidecar dead-letters show 7f3a9c21 --limit 3
    """
    with session(path) as one:
        contents = one.read(wanted)
        letters = [letter for letter in contents.letters.values() if wanted.choice.has(letter)]
        named = len(wanted.choice.places) if not wanted.choice.fingerprints else 0
        latest = sorted(letters, key=lambda letter: -letter.last_ms)[: max(limit, named)]
        stored = one.reader.fetch(latest)
    if as_json:
        said = [document(one, stored[one.place], not contents.is_open(one)) for one in latest]
        say(json_text(said, indent=2))
        return
    texts = [render.letter_text(one, stored[one.place], not contents.is_open(one), full) for one in latest]
    say("\n\n".join(texts) or "no dead letters")


@click.command()
@about_letters
@click.option("--open", "only_open", is_flag=True, help="Only those that were not replayed.")
@click.option(
    "--output", "-o", type=click.File("w", encoding="utf-8"), default="-", help="The file. Default: standard output."
)
@click.pass_obj
def export(path: Path, wanted: Wanted, only_open: bool, output: TextIO) -> None:
    """Write letters as JSON, one a line, in the order of their sources.

    Key, value and headers are texts, or {"base64": "..."} where they are no UTF-8. Change them, with an editor or jq,
    and `replay --from FILE` writes what you made of them.

    \b
    Examples:
      kafka-sidecar dead-letters export 7f3a9c21 --open -o letters.jsonl
      jq -c '.value |= (fromjson | .amount = 0 | tojson)' letters.jsonl > mended.jsonl
      kafka-sidecar dead-letters replay --from mended.jsonl
    """
    with session(path) as one:
        contents = one.read(wanted)
        letters = [letter for letter in contents.letters.values() if wanted.choice.has(letter)]
        if only_open:
            letters = [letter for letter in letters if contents.is_open(letter)]
        letters.sort(key=_by_source)
        click.echo("", nl=False, file=output)  # makes the file, also for no letters
        with progress("exporting", len(letters)) as advance:
            for letter, stored in _fetched(one, letters):
                click.echo(json_text(document(letter, stored, not contents.is_open(letter))), file=output)
                advance(1)
    if output.name != "<stdout>":
        say(f"exported {len(letters)} letters to {output.name}", err=True)


def _fetched(one: Session, letters: list[Letter]) -> Iterator[tuple[Letter, Stored]]:
    for start in range(0, len(letters), _AT_ONCE):
        some = letters[start : start + _AT_ONCE]
        stored = one.reader.fetch(some)
        yield from ((letter, stored[letter.place]) for letter in some)


def _by_source(letter: Letter) -> Any:
    return letter.source, letter.place


def _row(letter: Letter, contents: Contents) -> dict[str, Any]:
    return {
        "letter": str(letter.place),
        "fingerprint": letter.fingerprint,
        "replayed": not contents.is_open(letter),
        **failure(letter),
    }
