"""The topics that a lambda consumes, by name or by pattern, and Kafka's description of each.

Owned by the consumer thread. `TopicWatch` asks Kafka about once a second; its answers come here.
"""

import re
from collections.abc import Callable, Iterable, Mapping

from structlog.typing import FilteringBoundLogger

from sidecar.causes import Cause
from sidecar.cluster.errors import FORBIDDEN
from sidecar.cluster.topic_watch import Watched, is_missing
from sidecar.config.lambdas import LambdaConfig, dead_letter_suffix, is_pattern
from sidecar.consuming.problems import Problems
from sidecar.mail.boxes import Mailbox
from sidecar.mail.facts import TopicFacts
from sidecar.partitions.vocabulary import TopicPartition, short

TOPICS, LEADERS = "topics", "leaders"
"""Kinds of problems: topics that are missing or refused; partitions without a leader."""


class Subscription:
    """The topics of one lambda."""

    def __init__(self, config: LambdaConfig, problems: Problems, log: FilteringBoundLogger) -> None:
        self._named, self._patterns = _split(config)
        self._problems = problems
        self._log = log
        self._facts: Mapping[str, TopicFacts] = {}
        self._looked = False
        self._unusable: dict[str, str] = {}
        self._ids: dict[str, str] = {}  # the last id of each topic, also of one that is gone
        self._former: set[tuple[str, str]] = set()  # topics, by name and id, that were deleted and made anew
        self.topics = [*self._named]
        """The topics to subscribe to: all topics that are named, and all existing ones that match a pattern."""
        self.appeared: set[str] = set()
        """Topics that did not exist when this lambda first asked: they start at their first record."""

    @property
    def something_there(self) -> bool:
        """Whether one of the topics exists, as far as we know; without one, Kafka's client joins no group."""
        return any(fact.error is None for fact in self._facts.values())

    def alike(self, topic: str) -> list[str]:
        """If a pattern matches ``topic``, the other topics that a pattern matches."""
        matched = [name for name in self.topics if name not in self._named]
        return [name for name in matched if name != topic] if topic in matched else []

    def facts(self, topic: str) -> TopicFacts | None:
        """Kafka's last description of this topic; None: there is none yet."""
        return self._facts.get(topic)

    def sizes(self) -> tuple[tuple[str, int], ...]:
        """The topics that exist, as far as we know, and how many partitions each has."""
        facts = sorted(self._facts.items())
        return tuple((name, len(fact.leaders)) for name, fact in facts if fact.error is None and fact.leaders)

    def has_leader(self, tp: TopicPartition) -> bool:
        """Whether a broker leads this partition, as far as we know."""
        fact = self._facts.get(tp.topic)
        unknown = fact is None or fact.error is not None or not fact.leaders
        return unknown or (fact is not None and fact.has_leader(tp.partition))

    def is_former(self, topic: str, topic_id: str) -> bool:
        """Whether the topic with this id was deleted and made anew: a broker that still reports it is outdated."""
        return (topic, topic_id) in self._former

    def assigned(self, tps: Iterable[TopicPartition]) -> None:
        """Kafka assigned these partitions, so their topics exist, even if Kafka's last description said otherwise."""
        there = {tp.topic for tp in tps}
        if any(name in there and fact.error is not None for name, fact in self._facts.items()):
            self.appeared.update(name for name in there if name in self._facts and is_missing(self._facts[name]))
            seen = TopicFacts()
            self._facts = {n: seen if n in there and fact.error else fact for n, fact in self._facts.items()}
            self._look_at_topics()

    def learn(self, facts: Mapping[str, TopicFacts], held: Iterable[TopicPartition]) -> None:
        """Take Kafka's new descriptions of the topics; ``held`` are the partitions that are assigned to us."""
        unknown = TopicFacts()
        facts = {n: self._facts.get(n, unknown) if self.is_former(n, f.id) else f for n, f in facts.items()}
        for name, fact in facts.items():
            before = self._facts.get(name)
            if fact.id and fact.id != self._ids.setdefault(name, fact.id):
                self._former.add((name, self._ids[name]))
                self._ids[name] = fact.id
            was_there = before is not None and not is_missing(before)
            if self._looked and not was_there and not is_missing(fact):
                self.appeared.add(name)
        self._facts = facts
        self._looked = True
        self._look_at_topics()
        self._look_at_leaders(held)

    def _look_at_topics(self) -> None:
        matched = {name for name, fact in self._facts.items() if name not in self._named and not is_missing(fact)}
        self.topics = [*self._named, *sorted(matched)]
        unusable = {
            name: "does not exist" if is_missing(fact) else fact.error.str()
            for name, fact in self._facts.items()
            if fact.error is not None
        }
        if self._patterns and not self.topics:
            unusable |= dict.fromkeys(self._patterns, "no topic matches")
        for topic in sorted(unusable.keys() - self._unusable.keys()):
            if unusable[topic] == "does not exist":
                self._log.warning("the topic does not exist; it is picked up when it appears", topic=topic)
            else:
                why = unusable[topic]
                self._log.warning("the topic cannot be read; tried again each second", topic=topic, why=why)
        for topic in sorted(self._unusable.keys() - unusable.keys()):
            self._log.info("the topic is there now", topic=topic)
        self._unusable = unusable
        if unusable:
            missing = sorted(name for name, why in unusable.items() if why == "does not exist")
            texts = [f"missing topics: {', '.join(missing)}"] if missing else []
            texts += [f"topic {name}: {why}" for name, why in sorted(unusable.items()) if name not in missing]
            # A missing topic may be made later, so the lambda is ready. A refused topic is not ready, no matter
            # whether a commit, a fetch or, as here, its metadata was refused.
            refused = len(missing) < len(unusable.keys() - set(self._patterns))
            self._problems.begin(TOPICS, "; ".join(texts), cause=self._cause(refused), blocks=refused, level="debug")
        else:
            self._problems.end(TOPICS, level="debug")

    def _cause(self, refused: bool) -> Cause:
        """The cause of the problem with topics. A refused one comes first: it keeps the sidecar from working."""
        if not refused:
            return Cause.TOPIC_MISSING
        codes = {fact.error.code() for fact in self._facts.values() if fact.error is not None}
        return Cause.NOT_AUTHORISED if codes & FORBIDDEN else Cause.TOPIC_REFUSED

    def _look_at_leaders(self, held: Iterable[TopicPartition]) -> None:
        without = [tp for tp in held if not self.has_leader(tp)]
        if without:
            text = f"no broker leads {short(without)}: nothing can be read of it until one does"
            event = "partitions without a leader: nothing can be read of them until a broker leads them"
            self._problems.begin(
                LEADERS, text, cause=Cause.NO_LEADER, blocks=False, event=event, partitions=short(without)
            )
        else:
            self._problems.end(LEADERS, "every partition has a leader again")


def watched(lambda_name: str, config: LambdaConfig, mailbox: Mailbox) -> Watched:
    """The topics that the topic watch asks for, for this lambda."""
    return Watched(tuple(_split(config)[0]), matcher(lambda_name, config), mailbox)


def matcher(lambda_name: str, config: LambdaConfig) -> Callable[[str], bool] | None:
    """A function that says whether a topic matches one of the lambda's patterns; None: it has none.

    As in librdkafka, a pattern matches from the beginning of a name, and need not reach its end. The lambda's own
    dead-letter topics never match, since a failing record would come back to it without end; nor do Kafka's internal
    topics.
    """
    patterns = [re.compile(pattern) for pattern in _split(config)[1]]
    if not patterns:
        return None
    suffix = dead_letter_suffix(lambda_name)

    def matches(name: str) -> bool:
        ours = name.endswith(suffix) or name == config.dead_letter_topic
        return not ours and not name.startswith("__") and any(pattern.match(name) for pattern in patterns)

    return matches


def _split(config: LambdaConfig) -> tuple[list[str], list[str]]:
    """The topics that are named, and the patterns."""
    named = [topic for topic in config.topics if not is_pattern(topic)]
    return named, [topic for topic in config.topics if is_pattern(topic)]
