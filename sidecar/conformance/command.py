"""`kafka-sidecar conformance`."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sidecar.conformance.sections import SECTIONS
from sidecar.visible import visible_lines

_FILE = click.Path(dir_okay=False, path_type=Path)
_MAX_JOBS = 64


@click.command()
@click.option("--list", "lists", is_flag=True, help="Print the cases, with the rule of each, and stop.")
@click.option(
    "--case", "names", metavar="NAME", multiple=True, help="Run this case only; may be given several times."
)
@click.option(
    "--skip",
    "sections",
    multiple=True,
    type=click.Choice([*SECTIONS]),
    help="Leave out the cases of a feature that the client has not got; may be given several times.",
)
@click.option(
    "--jobs", type=click.IntRange(1, _MAX_JOBS), default=4, show_default=True, help="How many cases run at a time."
)
@click.option("--junit", type=_FILE, metavar="FILE", help="Write the results as JUnit's XML.")
@click.option("--json", "json_", type=_FILE, metavar="FILE", help="Write the results as JSON.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def conformance(
    context: click.Context,
    lists: bool,
    names: tuple[str, ...],
    sections: tuple[str, ...],
    jobs: int,
    junit: Path | None,
    json_: Path | None,
    command: tuple[str, ...],
) -> None:
    """Grade a client: an SDK, or a program that speaks the protocol itself.

    Plays the sidecar, without Kafka, for COMMAND, which is started once for each case. docs/conformance.md says what
    COMMAND has to do.

    \b
    Exit codes: 0 all cases hold; 1 one does not; 2 COMMAND cannot be started.
    """
    from sidecar.conformance import report, runner  # noqa: PLC0415 - gRPC loads only when cases run
    from sidecar.conformance.cases import CASES  # noqa: PLC0415

    unknown = [name for name in names if name not in CASES]
    if unknown:
        raise click.BadParameter(f"there is no case {', '.join(unknown)}; --list shows all", param_hint="--case")
    chosen = [CASES[name] for name in names] or [one for one in CASES.values() if one.section not in sections]
    if lists:
        for case in chosen:
            _say(report.listed(case))
        return
    if not command:
        raise click.UsageError("COMMAND is missing: the conformance lambda, as in `conformance -- ./my-lambda`")
    if shutil.which(command[0]) is None:
        raise click.UsageError(f"{command[0]}: there is no such program, or it is not executable; give its path")
    # gRPC itself would write to stderr about connections that the cases break.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        results = asyncio.run(runner.run_all(chosen, command, jobs, _Progress(len(chosen), report.line).done))
    except runner.CannotStartError as error:
        raise click.UsageError(str(error)) from None
    for result in results:
        if not result.holds:
            _say(f"\n{report.details(result)}")
    _say(f"\n{report.summary(results)}")
    for path, text in ((junit, report.as_junit), (json_, report.as_json)):
        if path is not None:
            path.write_text(text(results) + "\n")
    context.exit(1 if report.fails(results) else 0)


class _Progress:
    """Prints each result as it comes and, on a terminal, how many are still to come."""

    def __init__(self, count: int, line: Callable[[Any], str]) -> None:
        self._line = line
        self._count = count
        self._done = 0
        self._shows = sys.stderr.isatty() and sys.stdout.isatty()

    def done(self, result: object) -> None:
        """Take a result."""
        self._done += 1
        if self._shows:
            click.echo("\r\x1b[K", err=True, nl=False)
        _say(self._line(result))
        if self._shows and self._done < self._count:
            click.echo(f"{self._done} of {self._count} cases ...", err=True, nl=False)


def _say(text: str) -> None:
    """Print lines, in which no text from elsewhere reaches the terminal unescaped."""
    click.echo(visible_lines(text))
