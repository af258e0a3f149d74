"""Topics by name and by pattern, and what is said of those that cannot be consumed."""

import pytest
from confluent_kafka import KafkaError

from sidecar.config.lambdas import LambdaConfig
from sidecar.consuming.subscription import matcher
from sidecar.mail.facts import TopicFacts
from sidecar.partitions.vocabulary import TopicPartition

from .bench import Bench
from .played_inquiries import MISSING, topic

REFUSED = TopicFacts(error=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "not authorized"))


def watching(*topics: str) -> Bench:
    """A lambda of these topics, of which nothing is known yet."""
    return Bench(topics=[*topics])


def learn(bench: Bench, **facts: TopicFacts) -> list[tuple[str, str]]:
    """Kafka says so; what is logged."""
    bench.subscription.learn(facts, bench.table.partitions)
    return bench.recorder.told()


def test_a_missing_topic_is_said_once_and_when_it_is_there() -> None:
    bench = watching("a", "b")
    said = [("warning", "the topic does not exist; it is picked up when it appears")]
    assert learn(bench, a=topic("A", 1), b=MISSING) == said
    assert learn(bench, a=topic("A", 1), b=MISSING) == []
    assert bench.problems.texts == ["missing topics: b"]
    assert bench.problems.ready, "the other is consumed"
    assert learn(bench, a=topic("A", 1), b=topic("B", 1)) == [("info", "the topic is there now")]
    assert bench.problems.texts == []
    assert bench.subscription.appeared == {"b"}


def test_a_topic_that_is_there_at_first_did_not_appear_later() -> None:
    bench = watching("a")
    learn(bench, a=topic("A", 1))
    learn(bench, a=topic("A", 1, 1))
    assert bench.subscription.appeared == set()


def test_how_many_partitions_each_topic_has() -> None:
    bench = watching("a", "b", "c", "d")
    assert bench.subscription.sizes() == ()
    learn(bench, b=topic("B", 1, 1), a=topic("A", 1), c=MISSING, d=REFUSED)
    assert bench.subscription.sizes() == (("a", 1), ("b", 2))


def test_a_topic_that_goes_is_said_too() -> None:
    bench = watching("a", "b")
    learn(bench, a=topic("A", 1), b=topic("B", 1))
    assert learn(bench, a=topic("A", 1), b=MISSING) == [
        ("warning", "the topic does not exist; it is picked up when it appears")
    ]
    assert bench.problems.texts == ["missing topics: b"]


def test_a_topic_that_is_refused_is_said_with_the_reason() -> None:
    bench = watching("a")
    assert learn(bench, a=REFUSED) == [("warning", "the topic cannot be read; tried again each second")]
    assert bench.problems.texts == ["topic a: not authorized"]
    assert not bench.problems.ready
    learn(bench, a=MISSING)
    assert bench.problems.ready, "it may come tomorrow"


def test_a_topic_that_is_refused_beside_a_pattern_that_nothing_matches_blocks_too() -> None:
    bench = watching("a", "^orders-")
    learn(bench, a=REFUSED)
    assert not bench.problems.ready
    learn(bench, a=topic("A", 1))
    assert bench.problems.ready


def test_a_topic_of_which_partitions_were_assigned_is_there_whatever_the_last_look_saw() -> None:
    bench = watching("a")
    learn(bench, a=MISSING)
    bench.subscription.assigned([TopicPartition("a", 0)])
    assert bench.problems.texts == []
    assert bench.subscription.appeared == {"a"}
    assert bench.subscription.has_leader(TopicPartition("a", 0)), "nothing is known of it"


def test_a_partition_without_a_leader_is_named_while_it_is_ours() -> None:
    bench = watching("a")
    assert learn(bench, a=topic("A", 1, -1)) == []
    bench.assign(TopicPartition("a", 0), TopicPartition("a", 1))
    learn(bench, a=topic("A", 1, -1))
    assert "no broker leads a/1" in bench.problems.texts[0]
    assert bench.problems.ready
    learn(bench, a=topic("A", 1, 2))
    assert bench.problems.texts == []


def test_a_broker_that_still_shows_the_topic_before_is_not_believed() -> None:
    bench = watching("a")
    learn(bench, a=topic("old", 1))
    learn(bench, a=topic("new", 1))
    learn(bench, a=topic("old", 1))
    facts = bench.subscription.facts("a")
    assert facts is not None
    assert facts.id == "new"


def test_a_broker_that_shows_the_former_topic_after_its_end_is_not_believed() -> None:
    bench = watching("a")
    learn(bench, a=topic("old", 1))
    learn(bench, a=MISSING)
    learn(bench, a=topic("new", 1))
    learn(bench, a=topic("old", 1))
    learn(bench, a=topic("new", 1))
    facts = bench.subscription.facts("a")
    assert facts is not None
    assert facts.id == "new"


def test_a_former_topic_that_a_pattern_matches_again_counts_as_unknown() -> None:
    bench = watching("^a")
    learn(bench, a=topic("old", 1))
    learn(bench, a=topic("new", 1))
    learn(bench)
    learn(bench, a=topic("old", 1))
    assert bench.subscription.facts("a") == TopicFacts()


def test_what_matches_a_pattern_is_subscribed_to_while_it_is_there() -> None:
    bench = watching("named", "^orders-")
    learn(bench, named=MISSING)
    assert bench.subscription.topics == ["named"]
    learn(bench, **{"named": topic("N", 1), "orders-b": topic("B", 1), "orders-a": topic("A", 1)})
    assert bench.subscription.topics == ["named", "orders-a", "orders-b"]
    learn(bench, **{"named": topic("N", 1), "orders-a": topic("A", 1)})
    assert bench.subscription.topics == ["named", "orders-a"]


def test_a_pattern_that_nothing_matches_is_a_problem_that_blocks_nothing() -> None:
    bench = watching("^orders-")
    learn(bench)
    assert bench.problems.texts == ["topic ^orders-: no topic matches"]
    assert bench.problems.ready
    assert bench.subscription.topics == []


@pytest.mark.parametrize(
    ("name", "is_wanted"),
    [
        ("orders-1", True),
        ("orders-1-more", True),
        ("my-orders-1", False),
        ("orders-1.l.dead-letter", False),
        ("orders-1.other.dead-letter", True),
        ("orders-dead", False),
        ("__orders-1", False),
    ],
)
def test_a_pattern_matches_from_the_beginning_and_never_what_the_lambda_writes_itself(
    name: str, is_wanted: bool
) -> None:
    data = {"topic": r"^(__)?orders-\w+", "group": "g", "on_critical": "dead-letter"}
    config = LambdaConfig.model_validate({**data, "dead_letter_topic": "orders-dead"})
    matches = matcher("l", config)
    assert matches is not None
    assert matches(name) is is_wanted


def test_without_a_pattern_nothing_is_matched() -> None:
    assert matcher("l", LambdaConfig.model_validate({"topic": "a", "group": "g"})) is None
