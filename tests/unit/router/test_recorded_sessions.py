"""Random sessions with the published document router's answers, recorded: with restarts and exact deadlines."""

import pytest

from tests.comparison.routing import difference, play
from tests.recorded import sessions

SESSIONS = sessions("router")


@pytest.mark.parametrize("number", range(len(SESSIONS)))
async def test_recorded_sessions_end_as_in_the_published_router(number: int) -> None:
    steps = SESSIONS[number]["steps"]
    assert difference(steps, await play(steps), SESSIONS[number]["answers"]) is None


def test_the_recorded_sessions_have_enough_of_each_kind_of_step() -> None:
    steps = [step[0] for session in SESSIONS for step in session["steps"]]
    assert min(steps.count(kind) for kind in ("msg", "cp", "tick", "restart", "close")) > 10
    lines = [line for session in SESSIONS for answer in session["answers"] for line in answer]
    assert sum("ActivityTimeout" in line for line in lines) > 10
