"""The program in a terminal, driven by keys."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from sdk_python.protocol import admin_pb2 as pb
from sidecar.commands.fleet.asking import Answer, Answered
from sidecar.commands.status.rows import Row
from sidecar.commands.top import command
from sidecar.commands.top.app import Deed, Top, TopError
from sidecar.commands.top.screens import Confirmation, Explanation
from tests.unit.commands.status.scenes import HERE, busy
from tests.unit.explain.scenes import RUNNING, lambda_, partition, status
from tests.unit.operate.operator_lab import Invoke

SIZE = (120, 30)


class Sidecars:
    """Answers as the test says, and keeps what it was told to do."""

    def __init__(self) -> None:
        self.answer: pb.StatusResponse | None = busy()
        self.told: list[tuple[Deed, str]] = []
        self.refusal = ""
        self.acted = threading.Event()

    def ask(self) -> Sequence[Answer]:
        if self.answer is None:
            raise TopError("no sidecar answers at h:1 (connection refused)")
        return [Answered(HERE, self.answer)]

    def act(self, deed: Deed, row: Row) -> str:
        self.told.append((deed, row.target))
        self.acted.set()
        if self.refusal:
            raise TopError(self.refusal)
        return f"{row.target}: {deed} done"


@pytest.fixture
def sidecars() -> Sidecars:
    return Sidecars()


def app_of(sidecars: Sidecars) -> Top:
    """The program; it asks when the test says so."""
    return Top(sidecars.ask, sidecars.act, 3600.0, several=False)


async def asked(pilot: Pilot[None]) -> None:
    """Ask, and wait for the answer."""
    assert isinstance(pilot.app, Top)
    pilot.app.ask()
    await settled(pilot)


async def settled(pilot: Pilot[None]) -> None:
    """Wait until all threads are done and everything is drawn."""
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


def rows(app: Top) -> list[str]:
    """The partitions of the table, from the top."""
    table = app.query_one(DataTable)
    return [str(table.get_cell_at((number, 1))) for number in range(table.row_count)]  # type: ignore[arg-type]


def said(app: Top, where: str) -> str:
    """A line above the table."""
    return str(app.screen_stack[0].query_one(f"#{where}", Static).render())


async def test_what_needs_a_person_comes_first(sidecars: Sidecars) -> None:
    app = app_of(sidecars)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        assert rows(app) == ["orders/1", "orders/2", "orders/0"]
        assert said(app, "summary").endswith("3 partitions · lag 187 · 402/s · 4 causes need a person")
        assert said(app, "troubles").startswith("scribe: missing topics: a")
        assert said(app, "how") == "sorted by urgency"


async def test_it_is_live_and_the_cursor_stays_on_its_row(sidecars: Sidecars) -> None:
    app = app_of(sidecars)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("down", "down")
        sidecars.answer = busy()
        halted = sidecars.answer.lambdas[0].partitions[1]
        halted.state, halted.reason, halted.process_id = RUNNING, "", "p2"
        halted.ClearField("failing_offset")
        await asked(pilot)
        assert rows(app) == ["orders/2", "orders/0", "orders/1"]
        table = app.query_one(DataTable)
        assert table.cursor_row == 1, "still orders/0"
        sidecars.answer.lambdas[0].partitions[0].outstanding = 77
        await asked(pilot)
        assert str(table.get_cell_at((1, 8))) == "77"  # type: ignore[arg-type]
        sidecars.answer = status(lambda_(partition(9)))
        await asked(pilot)
        assert rows(app) == ["orders/9"]


async def test_a_sidecar_that_is_away_keeps_the_old_rows_and_says_so(sidecars: Sidecars) -> None:
    app = app_of(sidecars)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        sidecars.answer = None
        await asked(pilot)
        assert said(app, "troubles").splitlines() == [
            "no sidecar answers at h:1 (connection refused)",
            "what is below is old; asking again",
        ]
        assert len(rows(app)) == 3
        sidecars.answer = busy()
        await asked(pilot)
        assert "no sidecar" not in said(app, "troubles")


async def test_sorting_and_inverting(sidecars: Sidecars) -> None:
    app = app_of(sidecars)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("s")
        assert rows(app) == ["orders/0", "orders/1", "orders/2"]
        assert said(app, "how") == "sorted by name"
        await pilot.press("i")
        assert rows(app) == ["orders/2", "orders/1", "orders/0"]
        assert said(app, "how") == "sorted by name, inverted"


async def test_the_filter(sidecars: Sidecars) -> None:
    app = app_of(sidecars)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("slash", *"paused")
        await pilot.pause()
        assert rows(app) == ["orders/2"]
        await pilot.press("enter")
        assert said(app, "how") == "sorted by urgency, only rows with 'paused' (1)"
        assert app.focused is app.query_one(DataTable)
        await pilot.press("escape")
        await pilot.pause()
        assert len(rows(app)) == 3


async def test_enter_explains_the_row(sidecars: Sidecars) -> None:
    app = app_of(sidecars)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, Explanation)
        text = "\n".join(str(one.render()) for one in app.screen.query(Static))
        assert text.startswith("billing/orders/1\n")
        assert "act  orders/1 has been halted at offset 8,813" in text
        await pilot.press("escape")
        await pilot.pause()
        assert not isinstance(app.screen, Explanation)


@pytest.mark.parametrize(("key", "deed"), [("p", "pause"), ("r", "resume")])
async def test_a_deed_needs_a_yes(sidecars: Sidecars, key: str, deed: Deed) -> None:
    app = app_of(sidecars)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        for no in ("n", "escape"):
            await pilot.press(key)
            await pilot.pause()
            assert isinstance(app.screen, Confirmation)
            await pilot.press(no)
            await settled(pilot)
        assert sidecars.told == []
        await pilot.press(key)
        await pilot.pause()
        await pilot.press("y")
        await settled(pilot)
        assert sidecars.told == [(deed, "billing/orders/1")]
        assert [one.message for one in app._notifications] == [f"billing/orders/1: {deed} done"]


async def test_a_refusal_is_shown(sidecars: Sidecars) -> None:
    sidecars.refusal = "orders/1 is neither halted nor paused [it is running]"
    app = app_of(sidecars)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("r", "y")
        await settled(pilot)
        [note] = app._notifications
        assert (note.message, note.severity) == (sidecars.refusal, "error")


async def test_texts_of_lambdas_are_no_markup_and_move_nothing(sidecars: Sidecars) -> None:
    assert sidecars.answer is not None
    sidecars.answer.lambdas[0].partitions[1].reason = "[bold]no[/] \x1b[2J [/nonsense]"
    app = app_of(sidecars)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        note = app.query_one(DataTable).get_cell_at((0, 11))  # type: ignore[arg-type]
        assert str(note).startswith("[bold]no[/] \\x1b[2J [/nonsense]")
        await pilot.press("enter")
        await pilot.pause()
        assert any("[/nonsense]" in str(one.render()) for one in app.screen.query(Static))


async def test_nothing_to_show_and_q(sidecars: Sidecars) -> None:
    sidecars.answer = status()
    app = app_of(sidecars)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        assert rows(app) == []
        await pilot.press("enter", "p", "q")
        await pilot.pause()
        assert sidecars.told == []
    assert app.return_code == 0


async def test_thousands_of_partitions(sidecars: Sidecars) -> None:
    sidecars.answer = status(lambda_(*(partition(number) for number in range(3000))))
    app = app_of(sidecars)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        assert app.query_one(DataTable).row_count == 3000


def test_without_textual_it_says_how_to_get_it(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda _: None)
    result = invoke("top")
    assert "pip install 'kafka-sidecar[top]'" in result.stderr
    assert result.exit_code == 1
