"""What was typed and said, as a page of Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

_WIDTH = 116


class Transcript:
    """Collects headings, sentences, commands and their outputs."""

    def __init__(self, names: Mapping[str, str]) -> None:
        """``names``: texts of this run, such as addresses, and what stands for them on the page."""
        self._names = names
        self.parts: list[str] = []
        self.commands: list[str] = []

    def heading(self, text: str) -> None:
        """A new step."""
        self.parts.append(f"## {text}")

    def say(self, text: str) -> None:
        """A paragraph."""
        self.parts.append(textwrap.fill(" ".join(text.split()), 120, break_on_hyphens=False, break_long_words=False))

    def typed(self, command: str, output: str, code: int = 0) -> None:
        """A command, what it printed, and its exit code if that is not 0."""
        command = self._named(command)
        self.commands.append(command)
        lines = [f"$ {command}"]
        for line in self._named(output).rstrip().splitlines():
            indent = " " * (len(line) - len(line.lstrip()) + 8)
            lines += textwrap.wrap(line, _WIDTH, subsequent_indent=indent, break_on_hyphens=False) or [""]
        if code:
            lines.append(f"(exit code {code})")
        self.parts.append("```console\n" + "\n".join(lines) + "\n```")

    @property
    def headings(self) -> list[str]:
        """The steps."""
        return [part for part in self.parts if part.startswith("## ")]

    def page(self) -> str:
        """All of it."""
        return "\n\n".join(self.parts) + "\n"

    def _named(self, text: str) -> str:
        for ours, theirs in self._names.items():
            text = text.replace(ours, theirs)
        return text
