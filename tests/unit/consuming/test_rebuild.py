"""When another client is made: soon, then later and later, and without a word in between."""

import pytest

from sidecar.consuming import rebuild
from sidecar.consuming.rebuild import MAX_BACKOFF_S, MIN_BACKOFF_S, STEADY_AFTER_S

from .bench import Bench


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench()
    made.clock(monkeypatch, rebuild)
    return made


def fails(bench: Bench, lived: float = 0.1, reason: str = "fenced") -> float:
    """A client fails after so many seconds. Returns how long the pause is; then another is made."""
    began_at = bench.now
    bench.now += lived
    bench.turns.clients.rebuild.failed(reason, began_at)
    assert bench.turns.clients.rebuild.waits
    pause = bench.turns.clients.rebuild.due - bench.now
    bench.now = bench.turns.clients.rebuild.due
    bench.turns.clients.make_another(bench.now)
    return pause


def test_the_pauses_grow_up_to_a_bound_and_it_is_said_once(bench: Bench) -> None:
    assert [fails(bench) for _ in range(7)] == [
        MIN_BACKOFF_S,
        2 * MIN_BACKOFF_S,
        4 * MIN_BACKOFF_S,
        8 * MIN_BACKOFF_S,
        MAX_BACKOFF_S,
        MAX_BACKOFF_S,
        MAX_BACKOFF_S,
    ]
    assert [level for level, _ in bench.recorder.take()] == ["error"]
    (problem,) = bench.problems.now
    assert (problem.kind, problem.blocks, problem.since) == ("client", True, 100.1)


def test_clients_that_take_an_instance_id_from_each_other_slow_down(bench: Bench) -> None:
    assert [fails(bench, lived=5.0) for _ in range(3)] == [MIN_BACKOFF_S, 2 * MIN_BACKOFF_S, 4 * MIN_BACKOFF_S]


def test_after_a_long_life_it_is_a_first_failure_again(bench: Bench) -> None:
    for _ in range(5):
        fails(bench)
    assert fails(bench, lived=STEADY_AFTER_S) == MIN_BACKOFF_S


def test_another_reason_is_said(bench: Bench) -> None:
    fails(bench)
    fails(bench, reason="no right")
    assert [level for level, _ in bench.recorder.take()] == ["error", "error"]
