"""Documents and their stream as text, taken from `Documents` at one moment."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from examples.demo.documents import Change, Document, Documents
from examples.demo.text import name_of


@dataclass(frozen=True)
class Row:
    """A document at one moment."""

    name: str
    number: int = 0
    minimum: int = 0
    writers: int = 0
    words: Sequence[str] = ()
    at: int = -1
    """The index of the newest changed word; -1: none is visible."""


@dataclass(frozen=True)
class Rows:
    """All documents at one moment."""

    documents: Sequence[Row] = ()
    latest: Sequence[Change] = ()
    numbers: int = 0
    again: int = 0
    refused: int = 0
    wrong: Sequence[str] = ()

    @property
    def age(self) -> float:
        """Milliseconds from a writer to everybody: the median of the latest messages."""
        ages = sorted(change.age for change in self.latest)
        return ages[len(ages) // 2] if ages else 0.0


def rows(documents: Documents) -> Rows:
    """The documents now."""
    with documents.lock:
        return Rows(
            documents=[_row(one) for one in documents.all.values()],
            latest=[*documents.latest],
            numbers=documents.numbers,
            again=documents.again,
            refused=documents.refused,
            wrong=[*documents.wrong],
        )


def _row(one: Document) -> Row:
    words = one.text.words()
    newest = "" if one.last is None else name_of(one.last.client, one.last.client_number)
    at = next((index for index, word in enumerate(words) if word.name == newest), -1)
    return Row(one.name, one.number, one.minimum, len(one.clients), [word.text for word in words], at)


def document_table(documents: Sequence[Row], width: int) -> Table:
    """A line for each document."""
    lines = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    lines.add_column(" DOCUMENT", min_width=9, no_wrap=True)
    for name in ("NUMBER", "MINIMUM", "WRITERS"):
        lines.add_column(name, justify="right", min_width=7)
    lines.add_column("TEXT", no_wrap=True, overflow="ellipsis")
    longest = max([9, *(len(one.name) + 1 for one in documents)])
    room = width - longest - 2 - 3 * 9 - 1
    for one in documents:
        text = window(one.words, one.at, room)
        lines.add_row(f" {one.name}", f"{one.number:,}", f"{one.minimum:,}", f"{one.writers}", text)
    return lines


def window(words: Sequence[str], at: int, room: int) -> Text:
    """As much of a text as fits, with the word at ``at`` in it and marked; without such a word, its end."""
    last = len(words) - 1
    first, behind = (at, at + 1) if 0 <= at <= last else (last, last + 1)
    if not words:
        return Text()

    def length(start: int, end: int) -> int:
        dots = 2 * ((start > 0) + (end < len(words)))
        return sum(len(word) + 1 for word in words[start:end]) - 1 + dots

    while first > 0 and length(first - 1, behind) <= room:
        first -= 1
    while behind < len(words) and length(first, behind + 1) <= room:
        behind += 1
    shown = Text("… " if first > 0 else "", no_wrap=True)
    for index in range(first, behind):
        shown.append(words[index], "bold green" if index == at else "")
        shown.append(" " if index + 1 < behind else "")
    return shown.append(" …" if behind < len(words) else "")


def stream_lines(latest: Sequence[Change], room: int) -> list[Text]:
    """The latest messages of the sequenced stream, always in this many lines."""
    lines = [Text(f" {stream_line(one)}", no_wrap=True, overflow="ellipsis") for one in [*latest][-room:]]
    return lines + [Text()] * (room - len(lines))


def stream_line(one: Change) -> str:
    """A message: document, number, minimum, client, contents, and how long it took."""
    numbers = f"#{one.number:<6,} min {one.minimum:<6,}" if one.number else "no number".ljust(18)
    who = one.client.rpartition("-")[0] or one.client or "deli"
    return f"{one.document[:12]:<12} {numbers} {who[:12]:<8} {one.what[:24]:<24} {one.age:>5,} ms"
