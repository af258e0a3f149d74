"""When another client is made: soon, then later and later, and without a word in between."""

import pytest

from sidecar.consuming import rebuild
from sidecar.consuming.problems import Problems
from sidecar.consuming.rebuild import MAX_BACKOFF_S, MIN_BACKOFF_S, STEADY_AFTER_S, Rebuild

from .recorder import Recorder


class World:
    """A rebuild and its clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.recorder = Recorder()
        self.problems = Problems(self.recorder.log, lambda: self.now)
        self.rebuild = Rebuild(self.problems, lambda: 1.0)

    def fails(self, lived: float = 0.1, reason: str = "fenced") -> float:
        """A client fails after so many seconds. Returns how long the pause is; then another is made."""
        began_at = self.now
        self.now += lived
        self.rebuild.failed(reason, began_at)
        assert self.rebuild.waits
        pause = self.rebuild.due - self.now
        self.now = self.rebuild.due
        self.rebuild.done()
        return pause


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(rebuild, "monotonic", lambda: made.now)
    return made


def test_the_pauses_grow_up_to_a_bound_and_it_is_said_once(world: World) -> None:
    assert [world.fails() for _ in range(7)] == [
        MIN_BACKOFF_S,
        2 * MIN_BACKOFF_S,
        4 * MIN_BACKOFF_S,
        8 * MIN_BACKOFF_S,
        MAX_BACKOFF_S,
        MAX_BACKOFF_S,
        MAX_BACKOFF_S,
    ]
    assert [level for level, _ in world.recorder.take()] == ["error"]
    (problem,) = world.problems.now
    assert (problem.kind, problem.blocks, problem.since) == ("client", True, 100.1)


def test_clients_that_take_an_instance_id_from_each_other_slow_down(world: World) -> None:
    assert [world.fails(lived=5.0) for _ in range(3)] == [MIN_BACKOFF_S, 2 * MIN_BACKOFF_S, 4 * MIN_BACKOFF_S]


def test_after_a_long_life_it_is_a_first_failure_again(world: World) -> None:
    for _ in range(5):
        world.fails()
    assert world.fails(lived=STEADY_AFTER_S) == MIN_BACKOFF_S


def test_another_reason_is_said(world: World) -> None:
    world.fails()
    world.fails(reason="no right")
    assert [level for level, _ in world.recorder.take()] == ["error", "error"]
