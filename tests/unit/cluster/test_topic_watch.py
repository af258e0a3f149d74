"""One look at the topics of all lambdas: what each is told, and what counts as no answer."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from sidecar.cluster.topic_watch import TopicWatch, Watched, is_missing
from sidecar.mail import letters
from sidecar.mail.boxes import Mailbox
from sidecar.mail.facts import NO_LEADER, TopicFacts

TIMED_OUT = KafkaError(KafkaError._TIMED_OUT, "timed out waiting for controller")
MISSING = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "no such topic")
ID = "AAAAAAAAAAAAAAAAAAAA+/"


class Admin:
    """In the place of the client: topics by name, with the leaders of their partitions."""

    def __init__(self, **topics: tuple[int | None, ...]) -> None:
        self.topics = topics
        self.fails: list[KafkaError] = []
        """Errors with which the next questions for topics are answered."""
        self.lists = 0
        self.is_away = False

    def list_topics(self, *, timeout: float) -> Any:
        assert timeout > 0
        self.lists += 1
        if self.is_away:
            raise KafkaException(TIMED_OUT)
        return SimpleNamespace(topics=dict.fromkeys(self.topics))

    def describe_topics(self, names: TopicCollection, *, request_timeout: float) -> dict[str, Future[Any]]:
        assert request_timeout > 0
        failure = self.fails.pop(0) if self.fails else None
        return {name: self._answer(name, failure) for name in names.topic_names}

    def _answer(self, name: str, failure: KafkaError | None) -> Future[Any]:
        answer: Future[Any] = Future()
        error = failure or (None if name in self.topics else MISSING)
        if error is not None:
            answer.set_exception(KafkaException(error))
        else:
            leaders = enumerate(self.topics[name])
            partitions = [
                SimpleNamespace(id=n, leader=None if b is None else SimpleNamespace(id=b)) for n, b in leaders
            ]
            answer.set_result(SimpleNamespace(topic_id=ID, partitions=partitions))
        return answer


class World:
    """Two lambdas: one with named topics, one with a pattern."""

    def __init__(self, admin: Admin) -> None:
        self.admin = admin
        self.named, self.matching = Mailbox(), Mailbox()
        lambdas = [
            Watched(("a", "b"), None, self.named),
            Watched((), lambda name: name.startswith("a"), self.matching),
        ]
        self.watch = TopicWatch(cast("AdminClient", admin), lambdas)

    def look(self) -> bool:
        return self.watch._look()

    def told(self, mailbox: Mailbox) -> dict[str, TopicFacts] | KafkaError:
        """The one letter since the last look."""
        letter = mailbox.take()
        assert mailbox.empty()
        if isinstance(letter, letters.TopicsUnknown):
            return letter.error
        assert isinstance(letter, letters.Topics)
        return dict(letter.facts)


def test_each_lambda_is_told_of_its_topics() -> None:
    world = World(Admin(a=(1, None), ab=(2,), other=(1,)))
    assert world.look()
    named, matching = world.told(world.named), world.told(world.matching)
    assert isinstance(named, dict)
    assert isinstance(matching, dict)
    shown = TopicFacts(ID.replace("+", "-").replace("/", "_"), (1, NO_LEADER))
    assert named["a"] == shown, "an id is shown as Kafka's own tools show it"
    assert is_missing(named["b"])
    assert matching.keys() == {"a", "ab"}


def test_a_controller_that_is_gone_is_replaced() -> None:
    """The client asks the broker that it takes for the controller; a list of the topics comes from any."""
    world = World(Admin(a=(1,), b=(1,)))
    world.admin.fails = [TIMED_OUT]
    assert world.look()
    assert world.admin.lists == 2, "one for the pattern, one to find the brokers"
    assert isinstance(world.told(world.named), dict)


def test_a_missing_answer_is_reported_as_unknown_topics() -> None:
    world = World(Admin(a=(1,), b=(1,)))
    world.admin.fails = [TIMED_OUT, TIMED_OUT]
    assert not world.look()
    error = world.told(world.named)
    assert isinstance(error, KafkaError)
    assert error.code() == KafkaError._TIMED_OUT


def test_a_refused_topic_is_an_answer() -> None:
    world = World(Admin(a=(1,), b=(1,)))
    world.admin.fails = [KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "not authorized")]
    assert world.look()
    named = world.told(world.named)
    assert isinstance(named, dict)
    assert named["a"].error is not None
