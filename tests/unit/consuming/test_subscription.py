"""Topics by name and by pattern, and what is said of those that cannot be consumed."""

import pytest
from confluent_kafka import KafkaError

from sidecar.config.lambdas import LambdaConfig
from sidecar.consuming.problems import Problems
from sidecar.consuming.subscription import Subscription, matcher
from sidecar.mail.facts import TopicFacts
from sidecar.partitions.vocabulary import TopicPartition

from .played_inquiries import MISSING, topic
from .recorder import Recorder

REFUSED = TopicFacts(error=KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "not authorized"))


class World:
    def __init__(self, *topics: str) -> None:
        self.recorder = Recorder()
        self.problems = Problems(self.recorder.log, lambda: 0.0)
        config = LambdaConfig.model_validate({"topics": [*topics], "group": "g"})
        self.subscription = Subscription(config, self.problems, self.recorder.log)
        self.held: list[TopicPartition] = []

    def learn(self, **facts: TopicFacts) -> list[tuple[str, str]]:
        """Kafka says so; what is logged."""
        self.subscription.learn(facts, self.held)
        return self.recorder.told()


def test_a_missing_topic_is_said_once_and_when_it_is_there() -> None:
    world = World("a", "b")
    said = [("warning", "the topic does not exist; it is picked up when it appears")]
    assert world.learn(a=topic("A", 1), b=MISSING) == said
    assert world.learn(a=topic("A", 1), b=MISSING) == []
    assert world.problems.texts == ["missing topics: b"]
    assert world.problems.ready, "the other is consumed"
    assert world.learn(a=topic("A", 1), b=topic("B", 1)) == [("info", "the topic is there now")]
    assert world.problems.texts == []
    assert world.subscription.appeared == {"b"}


def test_a_topic_that_is_there_at_first_did_not_appear_later() -> None:
    world = World("a")
    world.learn(a=topic("A", 1))
    world.learn(a=topic("A", 1, 1))
    assert world.subscription.appeared == set()


def test_a_topic_that_goes_is_said_too() -> None:
    world = World("a", "b")
    world.learn(a=topic("A", 1), b=topic("B", 1))
    assert world.learn(a=topic("A", 1), b=MISSING) == [
        ("warning", "the topic does not exist; it is picked up when it appears")
    ]
    assert world.problems.texts == ["missing topics: b"]


def test_a_topic_that_is_refused_is_said_with_the_reason() -> None:
    world = World("a")
    assert world.learn(a=REFUSED) == [("warning", "the topic cannot be read; tried again each second")]
    assert world.problems.texts == ["topic a: not authorized"]
    assert not world.problems.ready
    world.learn(a=MISSING)
    assert world.problems.ready, "it may come tomorrow"


def test_a_topic_that_is_refused_beside_a_pattern_that_nothing_matches_blocks_too() -> None:
    world = World("a", "^orders-")
    world.learn(a=REFUSED)
    assert not world.problems.ready
    world.learn(a=topic("A", 1))
    assert world.problems.ready


def test_a_topic_of_which_partitions_were_assigned_is_there_whatever_the_last_look_saw() -> None:
    world = World("a")
    world.learn(a=MISSING)
    world.subscription.assigned([TopicPartition("a", 0)])
    assert world.problems.texts == []
    assert world.subscription.appeared == {"a"}
    assert world.subscription.has_leader(TopicPartition("a", 0)), "nothing is known of it"


def test_a_partition_without_a_leader_is_named_while_it_is_ours() -> None:
    world = World("a")
    assert world.learn(a=topic("A", 1, -1)) == []
    world.held = [TopicPartition("a", 0), TopicPartition("a", 1)]
    world.learn(a=topic("A", 1, -1))
    assert "no broker leads a/1" in world.problems.texts[0]
    assert world.problems.ready
    world.learn(a=topic("A", 1, 2))
    assert world.problems.texts == []


def test_a_broker_that_still_shows_the_topic_before_is_not_believed() -> None:
    world = World("a")
    world.learn(a=topic("old", 1))
    world.learn(a=topic("new", 1))
    world.learn(a=topic("old", 1))
    facts = world.subscription.facts("a")
    assert facts is not None
    assert facts.id == "new"


def test_a_broker_that_shows_the_former_topic_after_its_end_is_not_believed() -> None:
    world = World("a")
    world.learn(a=topic("old", 1))
    world.learn(a=MISSING)
    world.learn(a=topic("new", 1))
    world.learn(a=topic("old", 1))
    world.learn(a=topic("new", 1))
    facts = world.subscription.facts("a")
    assert facts is not None
    assert facts.id == "new"


def test_a_former_topic_that_a_pattern_matches_again_counts_as_unknown() -> None:
    world = World("^a")
    world.learn(a=topic("old", 1))
    world.learn(a=topic("new", 1))
    world.learn()
    world.learn(a=topic("old", 1))
    assert world.subscription.facts("a") == TopicFacts()


def test_what_matches_a_pattern_is_subscribed_to_while_it_is_there() -> None:
    world = World("named", "^orders-")
    world.learn(named=MISSING)
    assert world.subscription.topics == ["named"]
    world.learn(**{"named": topic("N", 1), "orders-b": topic("B", 1), "orders-a": topic("A", 1)})
    assert world.subscription.topics == ["named", "orders-a", "orders-b"]
    world.learn(**{"named": topic("N", 1), "orders-a": topic("A", 1)})
    assert world.subscription.topics == ["named", "orders-a"]


def test_a_pattern_that_nothing_matches_is_a_problem_that_blocks_nothing() -> None:
    world = World("^orders-")
    world.learn()
    assert world.problems.texts == ["topic ^orders-: no topic matches"]
    assert world.problems.ready
    assert world.subscription.topics == []


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
