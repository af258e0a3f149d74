"""The windows that `top` opens above its table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from sidecar.commands.status.text import COLOURS
from sidecar.explain import Finding


class Explanation(ModalScreen[None]):
    """What there is to say about one row."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,enter,q", "dismiss", "Close")]

    def __init__(self, title: str, findings: Sequence[Finding]) -> None:
        super().__init__()
        self._title = title
        self._findings = findings

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="window"):
            yield Static(Text(self._title, style="bold"))
            for one in self._findings:
                yield Static(Text.assemble((f"\n{one.urgency.name.lower()}  ", COLOURS[one.urgency]), one.text))
            if not self._findings:
                yield Static("\nThe sidecar has this partition no more.", markup=False)
            yield Static(Text("\nesc closes this", style="dim"))

    def on_mount(self) -> None:
        """The keys scroll at once."""
        self.query_one(VerticalScroll).focus()


class Confirmation(ModalScreen[bool]):
    """A question before something is done; its result is whether it is to be done."""

    BINDINGS: ClassVar[list[BindingType]] = [("y", "answer(True)", "Yes"), ("n,escape,q", "answer(False)", "No")]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        with Vertical(classes="window"):
            yield Static(Text(self._question))
            yield Static(Text("\ny: do it    n, esc: leave it", style="bold"))

    def action_answer(self, answer: bool) -> None:
        """Close with this answer."""
        self.dismiss(answer)
