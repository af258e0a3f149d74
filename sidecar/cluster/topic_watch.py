"""Asks Kafka for the topics of all lambdas, about once a second: which exist, their ids, and their partitions'
leaders.

It is a thread of its own, since its calls wait for the broker. The answer goes to each lambda's consumer thread as a
letter, so the thread learns within about a second that a topic appeared, was deleted or was made anew.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from sidecar.cluster.inquiries import REQUEST_TIMEOUT_S, describe, result_of, topic_facts
from sidecar.logs import get_logger
from sidecar.mail import letters
from sidecar.mail.boxes import Mailbox
from sidecar.mail.facts import TopicFacts

INTERVAL_S = 1.0
"""Seconds between two looks at the topics."""

PAUSE_FACTOR = 10
MAX_INTERVAL_S = 5.0
"""A look at thousands of topics takes time: the pause after it is `PAUSE_FACTOR` times as long as the look, at most
`MAX_INTERVAL_S` seconds."""


@dataclass(frozen=True, slots=True)
class Watched:
    """The topics of one lambda."""

    names: tuple[str, ...]
    matches: Callable[[str], bool] | None
    """Whether a topic matches a pattern of the lambda; None: it has no pattern."""
    mailbox: Mailbox


class TopicWatch(threading.Thread):
    """Looks at the topics of all lambdas. Other threads may call only ``look`` and ``stop``."""

    def __init__(self, admin: AdminClient, watched: Iterable[Watched]) -> None:
        super().__init__(name="topic-watch", daemon=True)
        self._admin = admin
        self._watched = [*watched]
        self._wake = threading.Event()
        self._stopped = False
        self._log = get_logger(__name__)

    def look(self) -> None:
        """Look now, because an error suggests that the last look is outdated."""
        self._wake.set()

    def stop(self) -> None:
        """End after the look that is under way."""
        self._stopped = True
        self._wake.set()

    def run(self) -> None:
        """Look at the topics until ``stop``."""
        while not self._stopped:
            self._wake.clear()
            began = monotonic()
            answered = False
            try:
                answered = self._look()
            except KafkaException as refusal:
                self._tell_all(refusal.args[0])
            except Exception as error:  # whatever it is, the next look may succeed
                self._log.exception("the look at the topics failed; looking again")
                self._tell_all(KafkaError(KafkaError._FAIL, f"{type(error).__name__}: {error}"))  # noqa: SLF001
            # If Kafka did not answer, the look took long for that reason: look again soon, to see when it is back.
            took = monotonic() - began if answered else 0.0
            self._wake.wait(min(MAX_INTERVAL_S, max(INTERVAL_S, PAUSE_FACTOR * took)))

    def _look(self) -> bool:
        """Look once. Returns whether Kafka answered."""
        listed: list[str] = []
        if any(one.matches is not None for one in self._watched):
            listed = [*self._admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics]
        wanted = [
            {*one.names, *(filter(one.matches, listed) if one.matches is not None else ())} for one in self._watched
        ]
        names_of_all = sorted(set().union(*wanted))
        facts = self._describe(names_of_all)
        if any(fact.error is not None and _is_away(fact.error) for fact in facts.values()):
            # The client asks the broker that it takes for the controller, and that may be gone. Any broker answers
            # the list of topics, and with it the client learns the present controller.
            self._admin.list_topics(timeout=REQUEST_TIMEOUT_S)
            facts = self._describe(names_of_all)
        for one, names in zip(self._watched, wanted, strict=True):
            mine = {name: facts[name] for name in names}
            errors = [fact.error for fact in mine.values()]
            away = next((error for error in errors if error is not None and _is_away(error)), None)
            one.mailbox.put(letters.Topics(mine) if away is None else letters.TopicsUnknown(away))
        return not any(fact.error is not None and _is_away(fact.error) for fact in facts.values())

    def _describe(self, names: list[str]) -> dict[str, TopicFacts]:
        return {name: topic_facts(result_of(future)) for name, future in describe(self._admin, names).items()}

    def _tell_all(self, error: KafkaError) -> None:
        for one in self._watched:
            one.mailbox.put(letters.TopicsUnknown(error))


def _is_away(error: KafkaError) -> bool:
    """Whether no broker answered: librdkafka's own codes are negative, those of brokers are not."""
    return error.code() < 0


def is_missing(fact: TopicFacts) -> bool:
    """Whether the broker says that there is no such topic."""
    return fact.error is not None and fact.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
