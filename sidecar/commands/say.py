"""Printing, in which no text from elsewhere reaches the terminal unescaped."""

from __future__ import annotations

import click

from sidecar.visible import visible_lines


def say(text: str, *, err: bool = False) -> None:
    """Print lines. A text from elsewhere that must stay in one line has to go through `visible` first."""
    click.echo(visible_lines(text), err=err)
