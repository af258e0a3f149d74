"""What the terminal can do, and writing to it again and again."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable

import click

_HOME_AND_CLEAR = "\x1b[H\x1b[2J"


def has_colour() -> bool:
    """Whether standard output is a terminal whose user wants colours: see no-color.org."""
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def width() -> int | None:
    """The terminal's width; None: standard output is none."""
    return shutil.get_terminal_size().columns if is_terminal() else None


def write(text: str) -> None:
    """Print a text that is ours, in which all texts from elsewhere are made visible already; it may have colours."""
    click.echo(text, color=True)


def watch(make: Callable[[], str], seconds: float, sleep: Callable[[float], None] = time.sleep) -> None:
    """Print ``make()`` every ``seconds`` until Ctrl-C. On a terminal each text replaces the one before; elsewhere an
    empty line separates them."""
    is_first = True
    try:
        while True:
            text = make()
            if is_terminal():
                write(f"{_HOME_AND_CLEAR}{text}")
            else:
                write(text if is_first else f"\n{text}")
            is_first = False
            sleep(seconds)
    except KeyboardInterrupt:
        return
