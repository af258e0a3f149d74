"""`status` and `explain` with a real gRPC server: what is asked, printed, and returned."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from sidecar.causes import Cause
from sidecar.commands.status import terminal
from tests.unit.explain.scenes import NOW, SCENES, lambda_, partition, status
from tests.unit.operate.operator_lab import Admin, Invoke, Serve

from .scenes import busy


def test_status_of_a_part(invoke: Invoke, admin: Admin) -> None:
    admin.answer = busy()
    shown = invoke("status", "billing/orders/1", "--address", admin.address)
    assert shown.exit_code == 0
    assert "orders/1" in shown.stdout
    assert "orders/0" not in shown.stdout
    assert "scribe" not in shown.stdout
    shown = invoke("status", "--state", "paused", "--json", "--address", admin.address)
    lambdas = json.loads(shown.stdout)["lambdas"]
    assert [[one["partition"] for one in of["partitions"]] for of in lambdas] == [[2], []]
    wrong = invoke("status", "nobody", "--address", admin.address)
    assert (wrong.exit_code, wrong.stderr) == (1, "Error: there is no lambda 'nobody'; there are: billing, scribe\n")
    wrong = invoke("status", "a/b/c", "--address", admin.address)
    assert wrong.exit_code == 2
    assert "'c' is no partition" in wrong.stderr


def test_status_is_watched_until_ctrl_c(invoke: Invoke, admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    admin.answer = busy()
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            admin.answer = status(lambda_(partition(5)))
        elif len(waits) == 2:
            admin.answer = None  # the server fails
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr(terminal.watch, "__defaults__", (sleep,))
    shown = invoke("status", "--watch", "0.5", "--address", admin.address)
    assert shown.exit_code == 0
    assert waits == [0.5] * 3
    first, second, third = shown.stdout.split("\n\nkafka-sidecar 0.1.0")[0], "orders/5", "refuses"
    assert "orders/1" in first
    assert shown.stdout.index(second) < shown.stdout.index(third)
    assert invoke("status", "--watch", "--json", "--address", admin.address).exit_code == 2


def test_on_a_terminal_each_text_replaces_the_one_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts: Iterator[str] = iter(["one", "two"])
    monkeypatch.setattr(terminal, "is_terminal", lambda: True)

    def sleep(_: float) -> None:
        if capsys.readouterr().out == "\x1b[H\x1b[2Jtwo\n":
            raise KeyboardInterrupt

    terminal.watch(lambda: next(texts), 1.0, sleep)
    assert [*texts] == []


def test_colour_is_for_terminals_whose_user_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "is_terminal", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert terminal.has_colour()
    monkeypatch.setenv("TERM", "dumb")
    assert not terminal.has_colour()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not terminal.has_colour()
    monkeypatch.setattr(terminal, "is_terminal", lambda: False)
    monkeypatch.delenv("NO_COLOR")
    assert not terminal.has_colour()


@pytest.mark.parametrize(
    ("cause", "code"), [(Cause.HALTED, 4), (Cause.PAUSED_BY_OPERATOR, 4), (Cause.DRAINING, 0), (Cause.BEHIND, 0)]
)
def test_explain_says_by_its_exit_code_whether_somebody_is_needed(
    invoke: Invoke,
    admin: Admin,
    cause: Cause,
    code: int,
) -> None:
    admin.answer = SCENES[cause]()
    shown = invoke("explain", "--address", admin.address)
    assert shown.exit_code == code, shown.output
    assert "orders/7" in shown.stdout.splitlines()[0]
    as_json = json.loads(invoke("explain", "--json", "--address", admin.address).stdout)
    assert as_json["findings"][0]["cause"] == cause
    assert as_json["sidecars"] == [{"address": admin.address}]


def test_explain_in_a_pipe_is_a_line_for_each_cause(invoke: Invoke, admin: Admin) -> None:
    admin.answer = busy()
    lines = invoke("explain", "--address", admin.address).stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["act", "A"],
        ["act", "scribe"],
        ["act", "orders/1"],
        ["look", "orders/2"],
        ["well", "orders/0"],
    ]


def test_explain_on_a_terminal_is_wrapped(
    invoke: Invoke,
    admin: Admin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(terminal, "width", lambda: 80)
    admin.answer = SCENES[Cause.WINDOW_FULL]()
    lines = invoke("explain", "billing/orders/7", "--address", admin.address).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("act     orders/7 is not moving: its window is full (10,000 messages since")
    assert all(line.startswith(" " * 8) for line in lines[1:] if line)


def test_explain_of_several_says_where_and_who_is_silent(invoke: Invoke, serve: Serve, admin: Admin) -> None:
    other = serve()
    admin.answer, other.answer = SCENES[Cause.BEHIND](), SCENES[Cause.HALTED]()
    shown = invoke("explain", "--address", f"{admin.address},{other.address}")
    assert shown.stdout.splitlines()[0].startswith(f"act     At {other.address}: orders/7 has been halted")
    assert shown.exit_code == 4
    shown = invoke("explain", "--address", f"{admin.address},unix:///nowhere.sock")
    assert shown.exit_code == 3
    assert shown.stdout.startswith("look    No sidecar answers at unix:///nowhere.sock")


def test_the_clock_of_an_old_sidecar_is_the_clients(invoke: Invoke, admin: Admin) -> None:
    admin.answer = status(lambda_(partition()), now_ms=0, started_at_ms=NOW)
    assert invoke("status", "--address", admin.address).stdout.startswith("kafka-sidecar 0.1.0, up ")
