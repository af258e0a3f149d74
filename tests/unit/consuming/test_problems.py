"""Problems are said once when they begin and once when they end; in between they are only there."""

from sidecar.consuming.problems import Problems
from sidecar.status import Problem

from .recorder import Recorder


class World:
    """Problems, their log and their clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.recorder = Recorder()
        self.problems = Problems(self.recorder.log, lambda: self.now)


def test_a_problem_is_said_when_it_begins_and_when_it_ends() -> None:
    world = World()
    assert world.problems.ready
    world.problems.begin("group", "the broker refuses us", error="nope")
    assert not world.problems.ready
    assert world.problems.now == [Problem("group", "the broker refuses us", 100.0, blocks=True)]
    world.now += 2.5
    world.problems.end("group")
    assert world.problems.ready
    assert world.problems.now == []
    assert world.recorder.take() == [
        ("warning", "the broker refuses us"),
        ("info", "over: the broker refuses us"),
    ]
    assert world.recorder.fields == [{"problem": "group", "error": "nope"}, {"problem": "group", "seconds": 2.5}]


def test_another_text_replaces_the_former_without_a_log_line() -> None:
    world = World()
    world.problems.begin("group", "refused, 1 s")
    world.now += 1.0
    world.problems.begin("group", "refused, 2 s")
    assert world.recorder.take() == [("warning", "refused, 1 s")]
    assert world.problems.now == [Problem("group", "refused, 2 s", 100.0)]


def test_another_meaning_is_logged() -> None:
    world = World()
    for meaning, text in ((1, "a"), (1, "b"), (2, "c"), (2, "d")):
        world.problems.begin("group", text, meaning=meaning)
    assert world.recorder.take() == [("warning", "a"), ("warning", "c")]


def test_the_end_of_a_problem_that_never_began_is_not_logged() -> None:
    world = World()
    world.problems.end("group", "in the group")
    assert world.recorder.take() == []


def test_a_log_line_may_have_words_of_its_own() -> None:
    world = World()
    world.problems.begin("group", "refused by 10.0.0.1", event="refused", level="error")
    world.problems.end("group", "in the group")
    assert world.recorder.take() == [("error", "refused"), ("info", "in the group")]


def test_what_does_not_block_leaves_the_lambda_ready() -> None:
    world = World()
    world.problems.begin("topics", "missing topics: b", blocks=False)
    assert world.problems.ready
    assert "topics" in world.problems
    world.problems.begin("connection", "away")
    assert not world.problems.ready
    assert world.problems.texts == ["missing topics: b", "away"]
    world.problems.begin("topics", "missing topics: a, b")
    world.problems.end("connection")
    assert not world.problems.ready, "it blocks now"
