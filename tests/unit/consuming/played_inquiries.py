"""A broker that answers the consumer thread's questions as the test says, at once or when told to."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import cast

from confluent_kafka import KafkaError

from sidecar.cluster.inquiries import Inquiries
from sidecar.mail.facts import Commit, Edges, GroupFacts, TopicFacts
from sidecar.partitions.vocabulary import TopicPartition

TIMED_OUT = KafkaError(KafkaError._TIMED_OUT, "timed out")


class PlayedInquiries:
    """See `Inquiries`. Topics, committed offsets and logs are the test's to set."""

    def __init__(self, facts: Mapping[str, TopicFacts] | None = None) -> None:
        self.facts: dict[str, TopicFacts] = dict(facts or {})
        self.commits_are: dict[TopicPartition, Commit] | KafkaError = {}
        self.edges_are: dict[TopicPartition, Edges | KafkaError] = {}
        self.group_is: GroupFacts | KafkaError = GroupFacts(stable=False, members={})
        self.times: Callable[[int], int | KafkaError] = lambda _: -1
        self.asked: list[str] = []
        self.ends_of: list[TopicPartition] = []
        """The partitions whose log's end was asked for."""
        self.holds = False
        """Answers wait for ``answer``."""
        self._waiting: list[Callable[[], None]] = []

    @property
    def as_inquiries(self) -> Inquiries:
        """For who expects the real thing."""
        return cast("Inquiries", self)

    def topics(self, names: Collection[str], then: Callable[[Mapping[str, TopicFacts]], None]) -> None:
        self._asks("topics", partial(then, {name: self.facts[name] for name in names}))

    def commits(
        self,
        tps: Collection[TopicPartition],
        then: Callable[[Mapping[TopicPartition, Commit] | KafkaError], None],
    ) -> None:
        now = self.commits_are
        answer = now if isinstance(now, KafkaError) else {tp: now[tp] for tp in tps if tp in now}
        self._asks("commits", partial(then, answer))

    def edges(
        self,
        tps: Collection[TopicPartition],
        then: Callable[[Mapping[TopicPartition, Edges | KafkaError]], None],
    ) -> None:
        self._asks("edges", partial(then, {tp: self.edges_are[tp] for tp in tps}))

    def ends(
        self, tps: Collection[TopicPartition], then: Callable[[Mapping[TopicPartition, int | KafkaError]], None]
    ) -> None:
        self.ends_of += tps
        found = {tp: self.edges_are[tp] for tp in tps}
        ends = {tp: edges if isinstance(edges, KafkaError) else edges.latest for tp, edges in found.items()}
        self._asks("ends", partial(then, ends))

    def group(self, _: str, then: Callable[[GroupFacts | KafkaError], None]) -> None:
        self._asks("group", partial(then, self.group_is))

    def at_time(self, _: TopicPartition, timestamp: int, then: Callable[[int | KafkaError], None]) -> None:
        self._asks("at_time", partial(then, self.times(timestamp)))

    def answer(self) -> None:
        """Give the answers that wait, and those to what is asked meanwhile."""
        while self._waiting:
            self._waiting.pop(0)()

    def _asks(self, what: str, then: Callable[[], None]) -> None:
        self.asked.append(what)
        self._waiting.append(then)
        if not self.holds:
            self.answer()


def topic(topic_id: str, *leaders: int) -> TopicFacts:
    """A topic that is there."""
    return TopicFacts(topic_id, leaders)


MISSING = TopicFacts(error=KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, "no such topic"))
