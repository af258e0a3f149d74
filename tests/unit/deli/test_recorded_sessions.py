"""Random sessions with the published deli's answers, recorded: restarts, saves that hang, exact deadlines."""

import json
from collections import Counter
from typing import Any

import pytest

from tests.comparison.differences import compare
from tests.comparison.played import Player, comparable
from tests.recorded import sessions

SESSIONS = sessions("deli")


def played(session: dict[str, Any]) -> list[Any]:
    """What ours answers, to its end or to a record that it does not understand."""
    player = Player(session["config"], session["signals"], session["state"], session["now"])
    answers = [player.opening]
    answers += [player.play(step) for step in session["steps"] if player.malformed is None]
    return answers


@pytest.mark.parametrize("number", range(len(SESSIONS)))
def test_as_the_published_one(number: int) -> None:
    session = SESSIONS[number]
    ours, theirs = played(session), comparable(session["answers"])
    differs = compare(session, ours, theirs)
    if differs is not None:
        step, why = differs
        assert why, (step, session["steps"][step - 1], ours[step : step + 1], theirs[step : step + 1])


def test_what_the_sessions_have() -> None:
    steps = Counter(step[0] for session in SESSIONS for step in session["steps"])
    assert (
        min(steps[kind] for kind in ("put", "loop", "again", "advance", "hang", "saved", "unsaved", "restart")) > 20
    )
    kinds = Counter(one["kind"] for session in SESSIONS for answer in session["answers"] for one in answer)
    assert min(kinds[kind] for kind in ("deltas", "rawdeltas", "signals", "stateCheckpoint", "kafkaCheckpoint")) > 100
    refused = json.dumps(SESSIONS)
    for reason in ("Gap detected", "Op not allowed", "Nonexistent client", "Refseq", "summary permission", "later"):
        assert reason in refused
