"""The edge of what commands print: nothing of others' text reaches the terminal raw."""

from __future__ import annotations

import click

from sidecar.visible import visible_lines


def say(text: str, *, err: bool = False) -> None:
    """Print lines. A text from elsewhere that must stay in its line has gone through `visible` before."""
    click.echo(visible_lines(text), err=err)
