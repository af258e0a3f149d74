"""The program that `top` runs in the terminal. Its threads ask the sidecars; only the event loop draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import ClassVar, Literal

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.widgets import DataTable, Footer, Input, Static

from sidecar.commands.fleet.asking import Answer
from sidecar.commands.status.rows import COLUMNS, SIDECAR, STATE, Column, Row
from sidecar.commands.status.text import COLOURS
from sidecar.commands.top.model import ORDERS, findings_of, rows_to_show, summary, troubles, visible_answers
from sidecar.commands.top.screens import Confirmation, Explanation

Deed = Literal["pause", "resume"]

Ask = Callable[[], Sequence[Answer]]
"""Asks all sidecars. Raises ``TopError`` when none answers, or what was chosen is not there."""

Act = Callable[[Deed, Row], str]
"""Pauses or resumes a row's partition. Returns what came of it. Raises ``TopError``."""

_QUESTIONS = {
    "pause": "Pause {target}?\n\nIts lambda may finish what it has, and gets nothing new until resume.",
    "resume": "Resume {target}?\n\nIt goes on after its last checkpoint. The record that halted it comes again.",
}


class TopError(Exception):
    """The text says why the sidecars did not answer, or refused."""


class Top(App[None]):
    """The table of all partitions, asked for again every ``seconds``."""

    TITLE = "kafka-sidecar top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #summary { height: 1; padding: 0 1; text-style: bold; }
    #troubles { height: auto; max-height: 6; padding: 0 1; color: $error; }
    #how { height: 1; padding: 0 1; color: $text-muted; }
    DataTable { height: 1fr; }
    #filter { display: none; }
    #filter.open { display: block; }
    Explanation, Confirmation { align: center middle; }
    .window { width: 90%; max-width: 100; height: auto; max-height: 80%; padding: 1 2; border: round $primary;
              background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        ("e", "explain", "Explain"),
        ("s", "sort", "Sort"),
        ("i", "reverse", "Invert"),
        ("slash", "filter", "Filter"),
        ("p", "act('pause')", "Pause"),
        ("r", "act('resume')", "Resume"),
        ("escape", "clear", "All"),
        ("q", "quit", "Quit"),
    ]

    def __init__(self, ask: Ask, act: Act, seconds: float, *, several: bool) -> None:
        super().__init__()
        self._ask_sidecars = ask
        self._act = act
        self._seconds = seconds
        self._columns: tuple[Column, ...] = (SIDECAR, *COLUMNS) if several else COLUMNS
        self._answers: list[Answer] = []
        self._rows: dict[str, Row] = {}
        self._order = 0
        self._reverse = False
        self._filter = ""
        self._is_asking = False

    # --- the parts ------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """The lines above the table, the table, and the keys."""
        yield Static("asking ...", id="summary", markup=False)
        yield Static("", id="troubles", markup=False)
        yield Static("", id="how", markup=False)
        table: DataTable[Text] = DataTable(cursor_type="row", zebra_stripes=True)
        yield table
        yield Input(
            placeholder="a part of a name, a state, a process or a note; Enter keeps it, Esc clears it", id="filter"
        )
        yield Footer()

    def on_mount(self) -> None:
        """Begin to ask."""
        table = self._table
        for column in self._columns:
            table.add_column(column.title, key=column.title)
        table.focus()
        self.set_interval(self._seconds, self.ask)
        self.ask()

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one(DataTable)

    # --- asking ---------------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Ask the sidecars, unless the last question is still open."""
        if not self._is_asking:
            self._is_asking = True
            self._ask()

    @work(thread=True)
    def _ask(self) -> None:
        answers: list[Answer] | None = None
        failure = ""
        try:
            answers = visible_answers(self._ask_sidecars())
        except TopError as error:
            failure = str(error)
        self.call_from_thread(self._answered, answers, failure)

    def _answered(self, answers: list[Answer] | None, failure: str) -> None:
        self._is_asking = False
        if answers is None:
            self._say("troubles", f"{failure}\nwhat is below is old; asking again")
            return
        self._answers = answers
        self._say("summary", summary(answers))
        self._say("troubles", troubles(answers))
        self._draw()

    def _say(self, where: str, text: str) -> None:
        self.query_one(f"#{where}", Static).update(Text(text))

    # --- drawing --------------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        order = ORDERS[self._order]
        rows = rows_to_show(self._answers, order, self._reverse, self._filter)
        shown = {f"{row.sidecar} {row.target} {row.of.group}": row for row in rows}
        same_order = [*shown] == [*self._rows]
        before, self._rows = self._rows, shown
        if same_order:
            self._update(before)
        else:
            self._rebuild()
        kept = f", only rows with {self._filter!r} ({len(rows):,})" if self._filter else ""
        self._say("how", f"sorted by {order.name}{', inverted' if self._reverse else ''}{kept}")

    def _update(self, before: dict[str, Row]) -> None:
        """Write the cells that changed: thousands of rows of which few change cost little."""
        for key, row in self._rows.items():
            for column in self._columns:
                cell, old = column.cell(row), column.cell(before[key])
                if cell != old or (column is STATE and row.urgency != before[key].urgency):
                    self._table.update_cell(key, column.title, _cell(row, column), update_width=True)

    def _rebuild(self) -> None:
        """Write all rows anew; the cursor stays on its row, or near it if that is gone."""
        table, chosen, line = self._table, self._chosen_key, self._table.cursor_row
        table.clear()
        for key, row in self._rows.items():
            table.add_row(*(_cell(row, column) for column in self._columns), key=key)
        if self._rows:
            table.move_cursor(row=table.get_row_index(chosen) if chosen in self._rows else line)

    @property
    def _chosen_key(self) -> str:
        table = self._table
        if not 0 <= table.cursor_row < table.row_count:
            return ""
        return str(table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value)

    @property
    def _chosen(self) -> Row | None:
        """The row under the cursor."""
        return self._rows.get(self._chosen_key)

    # --- keys -----------------------------------------------------------------------------------------------------

    def action_sort(self) -> None:
        """The next order."""
        self._order = (self._order + 1) % len(ORDERS)
        self._draw()

    def action_reverse(self) -> None:
        """The same order from its other end."""
        self._reverse = not self._reverse
        self._draw()

    def action_filter(self) -> None:
        """Open the line for the filter."""
        line = self.query_one("#filter", Input)
        line.add_class("open")
        line.focus()

    def action_clear(self) -> None:
        """Show all rows."""
        line = self.query_one("#filter", Input)
        line.value = ""
        self._close_filter()

    def on_input_changed(self, event: Input.Changed) -> None:
        """The filter holds while it is typed."""
        self._filter = event.value
        self._draw()

    def on_input_submitted(self, _: Input.Submitted) -> None:
        """Keep the filter, and go back to the table."""
        self._close_filter()

    def _close_filter(self) -> None:
        self.query_one("#filter", Input).remove_class("open")
        self._table.focus()

    def on_data_table_row_selected(self, _: DataTable.RowSelected) -> None:
        """Enter, or a click on the row under the cursor."""
        self.action_explain()

    def action_explain(self) -> None:
        """Open what there is to say about the row."""
        row = self._chosen
        if row is not None:
            zone = datetime.now().astimezone().tzinfo
            self.push_screen(Explanation(row.target, findings_of(row, self._answers, zone)))

    def action_act(self, deed: Deed) -> None:
        """Ask whether the row's partition is to be paused or resumed; then do it."""
        row = self._chosen
        if row is None:
            return

        def answered(is_meant: bool | None) -> None:
            if is_meant:
                self._carry_out(deed, row)

        self.push_screen(Confirmation(_QUESTIONS[deed].format(target=row.target)), answered)

    @work(thread=True)
    def _carry_out(self, deed: Deed, row: Row) -> None:
        try:
            told, severity = self._act(deed, row), "information"
        except TopError as error:
            told, severity = str(error), "error"
        self.call_from_thread(self._done, told, severity)

    def _done(self, told: str, severity: Literal["information", "error"]) -> None:
        self.notify(told, severity=severity, timeout=8, markup=False)
        self.ask()


def _cell(row: Row, column: Column) -> Text:
    justify: Literal["right", "left"] = "right" if column.is_number else "left"
    return Text(column.cell(row), style=COLOURS[row.urgency] if column is STATE else "", justify=justify)
