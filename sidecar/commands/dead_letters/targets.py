"""Where a replay writes, checked before anything is written, and told to the operator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import click

from sidecar.commands.dead_letters.render import error_line
from sidecar.commands.show import aligned, many
from sidecar.config import Config
from sidecar.dead_letters.letter import Letter
from sidecar.dead_letters.plan import Step, Target, target
from sidecar.dead_letters.topics import consumers
from sidecar.visible import visible


def checked(steps: Sequence[Step], to: str | None, known: Mapping[str, int]) -> None:
    """Raise ``click.ClickException`` if a record has nowhere to go, or would only become another dead letter."""
    topics = {step.letter.place.topic for step in steps}
    if to in topics:
        raise click.ClickException(f"--to {to} is a dead-letter topic itself: name a topic that a lambda consumes")
    for step in steps:
        try:
            target(step.letter, to, known)
        except ValueError as error:
            raise click.ClickException(visible(str(error))) from None


def plan_text(config: Config, steps: Sequence[Step], to: str | None) -> str:
    """What a replay writes: by cause, and by partition."""
    duplicates = sum(len(step.duplicates) for step in steps)
    lines = [f"to replay: {many(len(steps), 'record', 'records')}"]
    if duplicates:
        lines[0] += f", which {many(duplicates, 'more letter is', 'more letters are')} about too"
    causes: dict[str, list[Letter]] = {}
    targets: dict[Target, list[Letter]] = {}
    for step in steps:
        letter = step.letter
        causes.setdefault(letter.fingerprint, []).append(letter)
        where = Target(to or letter.source.topic, letter.source.partition)
        targets.setdefault(where, []).append(letter)
    lines += [
        f"  {line}"
        for line in aligned([(one, str(len(some)), error_line(some[-1])) for one, some in sorted(causes.items())])
    ]
    lines += [f"  {line}" for line in aligned([*map(_row, targets.items())])]
    lines += _warnings(config, {where.topic for where in targets}, {step.letter.lambda_name for step in steps}, to)
    return "\n".join(lines)


def _row(of: tuple[Target, Sequence[Letter]]) -> tuple[str, ...]:
    where, letters = of
    first, last = letters[0].source, letters[-1].source
    came = f"from offset {first.offset}" if first == last else f"from offsets {first.offset} to {last.offset}"
    return f"to {visible(where.topic)}/{where.partition}", many(len(letters), "record", "records"), came


def _warnings(config: Config, topics: set[str], failed: set[str], to: str | None) -> Iterator[str]:
    for topic in sorted(topics):
        reading = consumers(config, topic)
        deaf = sorted(name for name in failed if name in config.lambdas and name not in reading)
        if deaf:
            yield f"note: {', '.join(deaf)} does not consume {visible(topic)}"
        if to is None:
            others = [name for name in reading if name not in failed]
            also = f", among them {', '.join(others)}" if others else ""
            yield f"note: all groups that consume {visible(topic)} get these records{also}"
