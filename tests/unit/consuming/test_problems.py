"""Problems are said once when they begin and once when they end; in between they are only there."""

from sidecar.causes import Cause
from sidecar.status import Problem

from .bench import Bench


def test_a_problem_is_said_when_it_begins_and_when_it_ends() -> None:
    bench = Bench()
    assert bench.problems.ready
    bench.problems.begin("group", "the broker refuses us", cause=Cause.GROUP_REFUSED, error="nope")
    assert not bench.problems.ready
    assert bench.problems.now == [
        Problem("group", "the broker refuses us", 100.0, blocks=True, cause=Cause.GROUP_REFUSED)
    ]
    bench.now += 2.5
    bench.problems.end("group")
    assert bench.problems.ready
    assert bench.problems.now == []
    assert bench.recorder.take() == [
        ("warning", "the broker refuses us"),
        ("info", "over: the broker refuses us"),
    ]
    assert bench.recorder.fields == [{"problem": "group", "error": "nope"}, {"problem": "group", "seconds": 2.5}]


def test_another_text_replaces_the_former_without_a_log_line() -> None:
    bench = Bench()
    bench.problems.begin("group", "refused, 1 s", cause=Cause.GROUP_REFUSED)
    bench.now += 1.0
    bench.problems.begin("group", "refused, 2 s", cause=Cause.GROUP_REFUSED)
    assert bench.recorder.take() == [("warning", "refused, 1 s")]
    assert bench.problems.now == [Problem("group", "refused, 2 s", 100.0, cause=Cause.GROUP_REFUSED)]


def test_another_meaning_is_logged() -> None:
    bench = Bench()
    for meaning, text in ((1, "a"), (1, "b"), (2, "c"), (2, "d")):
        bench.problems.begin("group", text, cause=Cause.GROUP_REFUSED, meaning=meaning)
    assert bench.recorder.take() == [("warning", "a"), ("warning", "c")]


def test_the_end_of_a_problem_that_never_began_is_not_logged() -> None:
    bench = Bench()
    bench.problems.end("group", "in the group")
    assert bench.recorder.take() == []


def test_a_log_line_may_have_words_of_its_own() -> None:
    bench = Bench()
    bench.problems.begin("group", "refused by 10.0.0.1", cause=Cause.GROUP_REFUSED, event="refused", level="error")
    bench.problems.end("group", "in the group")
    assert bench.recorder.take() == [("error", "refused"), ("info", "in the group")]


def test_what_does_not_block_leaves_the_lambda_ready() -> None:
    bench = Bench()
    bench.problems.begin("topics", "missing topics: b", cause=Cause.TOPIC_MISSING, blocks=False)
    assert bench.problems.ready
    assert "topics" in bench.problems
    bench.problems.begin("connection", "away", cause=Cause.KAFKA_AWAY)
    assert not bench.problems.ready
    assert bench.problems.texts == ["missing topics: b", "away"]
    bench.problems.begin("topics", "missing topics: a, b", cause=Cause.TOPIC_MISSING)
    bench.problems.end("connection")
    assert not bench.problems.ready, "it blocks now"
