"""Looks at the topics of all lambdas, about once a second: which there are, with which id, and who leads what.

A thread of its own, since its calls wait for the broker. What it sees goes to each lambda's consumer thread as a
letter: a topic that appears, is deleted, made anew or matches a pattern is known within that second.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from sidecar.cluster.inquiries import REQUEST_TIMEOUT, describe, result_of, topic_facts
from sidecar.logs import get_logger
from sidecar.mail import letters
from sidecar.mail.boxes import Mailbox
from sidecar.mail.facts import TopicFacts

INTERVAL = 1.0
"""Seconds between two looks."""

SHARE = 10
MAX_INTERVAL = 5.0
"""A look at thousands of topics takes time: the next comes after `SHARE` times as long, and after `MAX_INTERVAL`
seconds at the latest."""


@dataclass(frozen=True, slots=True)
class Watched:
    """The topics of one lambda."""

    names: tuple[str, ...]
    matches: Callable[[str], bool] | None
    """Whether a topic is wanted as well, because of a pattern; None: there is no pattern."""
    mailbox: Mailbox


class TopicWatch(threading.Thread):
    """Everything but ``look`` and ``stop`` belongs to the thread itself."""

    def __init__(self, admin: AdminClient, watched: Iterable[Watched]) -> None:
        super().__init__(name="topic-watch", daemon=True)
        self._admin = admin
        self._watched = [*watched]
        self._wake = threading.Event()
        self._stopped = False
        self._log = get_logger(__name__)

    def look(self) -> None:
        """Look now: somebody met something that the last look did not show."""
        self._wake.set()

    def stop(self) -> None:
        """End after the look that is under way."""
        self._stopped = True
        self._wake.set()

    def run(self) -> None:
        """Look, until ``stop``."""
        while not self._stopped:
            self._wake.clear()
            began = monotonic()
            answered = False
            try:
                answered = self._look()
            except KafkaException as refusal:
                self._tell_all(refusal.args[0])
            except Exception as error:  # whatever it is, the next look may do better
                self._log.exception("the look at the topics failed; looking again")
                self._tell_all(KafkaError(KafkaError._FAIL, f"{type(error).__name__}: {error}"))  # noqa: SLF001
            # One that was not answered took long because nobody is there: whoever comes back is to be seen at once.
            took = monotonic() - began if answered else 0.0
            self._wake.wait(min(MAX_INTERVAL, max(INTERVAL, SHARE * took)))

    def _look(self) -> bool:
        """Returns whether Kafka answered."""
        listed: list[str] = []
        if any(one.matches is not None for one in self._watched):
            listed = [*self._admin.list_topics(timeout=REQUEST_TIMEOUT).topics]
        wanted = [
            {*one.names, *(filter(one.matches, listed) if one.matches is not None else ())} for one in self._watched
        ]
        names_of_all = sorted(set().union(*wanted))
        facts = self._describe(names_of_all)
        if any(fact.error is not None and _is_away(fact.error) for fact in facts.values()):
            # The client asks the broker that it takes for the controller, which may be the one that is gone. A list
            # of the topics comes from any broker, and with it who is there now.
            self._admin.list_topics(timeout=REQUEST_TIMEOUT)
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
    """The question had no answer: librdkafka's own codes are negative, a broker's are not."""
    return error.code() < 0


def is_missing(fact: TopicFacts) -> bool:
    """The broker says that there is no such topic."""
    return fact.error is not None and fact.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
