"""``python -m tests.comparison``: plays random sessions on both packages. Exits with 1 if they differ."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterator

import click

from benchmarks.peers.environments import NotToBeHadError
from tests import recorded
from tests.comparison import documents, published, routing
from tests.comparison.differences import compare
from tests.comparison.played import Answer, Json
from tests.comparison.sessions import session

KINDS = {"well-formed": 0.0, "mutated": 0.1}
"""Kinds of deli's sessions: the share of messages with a field that they should not have."""

AT_ONCE = 50
"""Sessions that one run of Node plays."""


def main(count: int, seed: str) -> bool:
    """Compare ``count`` sessions of each kind. Returns whether none differs without a known reason."""
    well = True
    for kind, mutating in KINDS.items():
        found = Counter[str]()
        for name, made, ours, theirs in _deli(kind, mutating, count, seed):
            differs = compare(made, ours, theirs)
            found["alike" if differs is None else differs[1]] += 1
            if differs is not None and not differs[1]:
                well = False
                _show(name, made, ours, theirs, differs[0])
        _say(f"deli, {count} {kind} sessions", found)
    found = Counter[str]()
    for name, routed, lines in _router(count, seed):
        wrong = routing.difference(routed["steps"], asyncio.run(routing.play(routed["steps"])), lines)
        found["alike" if wrong is None else ""] += 1
        if wrong is not None:
            well = False
            click.echo(f"{name}: {wrong}")
    _say(f"router, {count} sessions", found)
    return well


def record(seed: str) -> None:
    """Write some sessions and documents with the published packages' answers."""
    sessions: list[Json] = []
    for (kind, mutating), count in zip(KINDS.items(), (70, 30), strict=True):
        sessions += [
            {**made, "kind": kind, "answers": theirs} for _, made, _, theirs in _deli(kind, mutating, count, seed)
        ]
    sizes = {"deli": recorded.write("deli", sessions)}
    sizes["router"] = recorded.write("router", [{**made, "answers": out} for _, made, out in _router(40, seed)])
    contents = {name: documents.made(name, count, seed) for name, count in documents.LENGTHS.items()}
    answers = published.answers("deli", map(documents.session, contents.values()))
    made = [documents.recorded(name, of, out) for (name, of), out in zip(contents.items(), answers, strict=True)]
    sizes["documents"] = recorded.write("documents", made)
    for name, size in sizes.items():
        click.echo(f"tests/recorded/{name}.jsonl.xz: {size:,} bytes")


Compared = tuple[str, Json, list[Answer], list[Answer]]


def _deli(kind: str, mutating: float, count: int, seed: str) -> Iterator[Compared]:
    for start in range(0, count, AT_ONCE):
        names = [f"{seed}-{kind}-{number}" for number in range(start, min(start + AT_ONCE, count))]
        made = [session(name, mutating=mutating) for name in names]
        theirs = published.answers("deli", [one for one, _ in made])
        for name, (one, ours), answer in zip(names, made, theirs, strict=True):
            yield name, one, ours, answer


def _router(count: int, seed: str) -> Iterator[tuple[str, Json, list[list[str]]]]:
    names = [f"{seed}-{number}" for number in range(count)]
    made = [routing.session(name) for name in names]
    yield from zip(names, made, published.answers("router", made), strict=True)


def _show(name: str, made: Json, ours: list[Answer], theirs: list[Answer], step: int) -> None:
    click.echo(f"session {name}, step {step}: {json.dumps(made['steps'][step - 1]) if step else 'the start'}")
    for who, answers in (("ours", ours), ("published", theirs)):
        click.echo(f"  {who}: {json.dumps(answers[step]) if step < len(answers) else 'none'}")


def _say(what: str, found: Counter[str]) -> None:
    click.echo(f"{what}: {found.pop('alike', 0)} alike")
    for why, count in sorted(found.items()):
        click.echo(f"{count:6} {f'differ as documented: {why}' if why else 'DIFFER'}")


@click.command()
@click.option("--sessions", "count", default=500, show_default=True, help="So many of each kind.")
@click.option("--seed", default="1", show_default=True, help="The same seed makes the same sessions.")
@click.option("--record", "recording", is_flag=True, help="Write tests/recorded instead.")
def command(count: int, seed: str, recording: bool) -> None:
    """Compare our deli and our document router with the published ones, on random sessions."""
    try:
        if recording:
            record(seed)
        elif not main(count, seed):
            sys.exit(1)
    except NotToBeHadError as error:
        raise click.ClickException(f"the published packages cannot be run: {error}") from error


if __name__ == "__main__":
    command()
