"""Whether Kafka is there: what is said about it, once, and in which words.

Owned by the consumer thread. librdkafka tells of each try to connect, some twenty a second, in no order that says
which is the cause; and a question fails with no reason at all. So the reasons are collected and the best is said.
"""

from collections.abc import Callable, Mapping
from time import monotonic

from confluent_kafka import KafkaError
from structlog.typing import FilteringBoundLogger

from sidecar.cluster.client_log import ClientLog
from sidecar.cluster.errors import NO_ANSWER, NO_TOPIC, REASONS
from sidecar.consuming.problems import Problems
from sidecar.mail.facts import NO_LEADER, TopicFacts
from sidecar.partitions.vocabulary import TopicPartition

KIND = "connection"
"""Of the problem that Kafka cannot be reached."""

ONE_BROKER = "broker"
"""Of the problem that one of several brokers cannot be reached."""

REASON_WITHIN = 3.0
"""Seconds that a reason is waited for before it is said that Kafka cannot be reached."""

REASON_LASTS = 40.0
"""Seconds after which a reason gives way to a weaker one; librdkafka keeps the same one to itself for up to 30."""

SETTLED = 1.0
"""Seconds after which a broker's error is about that one alone, since no other followed."""

QUIET = 5.0
"""Seconds without an error after which Kafka counts as reached where no topic is there to ask a leader about."""

_EVENT = "Kafka cannot be reached; trying on"

Answers = Mapping[TopicPartition, int | KafkaError]


class Connection:
    """Is Kafka there?"""

    def __init__(
        self,
        problems: Problems,
        log: FilteringBoundLogger,
        look: Callable[[], None],
        ask: Callable[[list[TopicPartition], Callable[[Answers], None]], None],
        client_log: ClientLog,
    ) -> None:
        """Nothing is known yet.

        Args:
            problems: where it is said.
            log: for what is no problem.
            look: asks for a look at the topics, whose answer is heard by ``reached`` or ``away``.
            ask: asks the leaders of partitions (`Inquiries.ends`).
            client_log: where librdkafka writes, which sometimes has a reason that no error has.
        """
        self._problems = problems
        self._log = log
        self._look = look
        self._ask = ask
        self._client_log = client_log
        self._asking = False
        self._reason: tuple[int, KafkaError, float] | None = None
        """The best that is known, with its rank and time."""
        self._down = False
        """That Kafka cannot be reached is to be said, once all callbacks have run that may have the reason."""
        self._down_since: float | None = None
        self._down_at = float("-inf")
        self._one: tuple[KafkaError, float, float] | None = None
        """An error that one broker alone may have, with when it came first and last."""
        problems.begin(KIND, "not connected to Kafka yet", level="debug")

    @property
    def connected(self) -> bool:
        """Whether Kafka can be reached, as far as is known."""
        return KIND not in self._problems

    def work(self, now: float) -> None:
        """Say what is to be said. Called each turn; costs nothing when all is well."""
        if self._down:
            self._say_down(now)
        if self._one is not None:
            self._say_one(self._one, now)

    def reached(self, topics: Mapping[str, TopicFacts]) -> None:
        """A broker has said which topics there are.

        That says little: it may come from the address in the config, and records do not. So the leaders are asked, at
        the addresses that Kafka gives out for them, before Kafka counts as reached.
        """
        if self.connected:
            if self._reason is not None and self._reason[0] == 0:
                self._down, self._down_since, self._reason = False, None, None  # a hiccup
            return
        leaders: dict[int, TopicPartition] = {}
        for name, facts in topics.items():
            for number, leader in enumerate(facts.leaders):
                if leader != NO_LEADER:
                    leaders.setdefault(leader, TopicPartition(name, number))
        if leaders and not self._asking:
            self._asking = True
            self._ask([*leaders.values()], self._told)
        elif not leaders and monotonic() - self._down_at >= QUIET:
            self._up()

    def away(self, error: KafkaError) -> None:
        """A question had no answer."""
        self._note(error, rank=0)

    def complain(self, error: KafkaError, topic: str | None) -> None:
        """librdkafka reports an error that is not about one record."""
        if error.code() in REASONS:
            self._note(error, rank=2)
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - the binding's name
            self._note(error, rank=0)
        elif error.code() in NO_ANSWER:
            self._note(error, rank=1)  # one broker of many, as long as no other error follows
        elif error.code() in NO_TOPIC or error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            # Looked at before anything is said: librdkafka also complains of what is just being made.
            self._look()
        else:
            self._log.warning("Kafka client", error=error.str(), code=error.name(), topic=topic)

    def _told(self, answers: Answers) -> None:
        """What the leaders said. Above zero are the codes of brokers, which are answers; below it our client's."""
        self._asking = False
        errors = [answer for answer in answers.values() if isinstance(answer, KafkaError) and answer.code() < 0]
        if len(errors) < len(answers):
            self._up()
        elif errors:
            self._note(errors[0], rank=0)

    def _note(self, error: KafkaError, rank: int) -> None:
        """``rank``: 0: nothing can be reached; 1: a broker cannot; 2: it cannot, and this is why."""
        now = monotonic()
        known = self._reason
        if known is None or rank >= known[0] or now - known[2] > REASON_LASTS:
            self._reason = rank, error, now
        if rank == 0:
            self._down, self._down_at = True, now
            if self._down_since is None:
                self._down_since = now
        elif rank == 2:
            self._one = error, now if self._one is None else self._one[1], now

    def _say_down(self, now: float) -> None:
        if self._down_since is None or self._reason is None:
            return
        rank, error, _ = self._reason
        if rank == 0 and now - self._down_since < REASON_WITHIN:
            return  # the reason may follow
        self._down, self._one = False, None
        unknown = "look at bootstrap.servers and security.protocol" if rank == 1 else ""
        text, remedy = error.str(), REASONS.get(error.code(), unknown)
        if rank == 0 and self._client_log.failure:
            # Connections come about and end at once: a listener of TLS or of passwords does so with who has neither.
            text = self._client_log.failure
            remedy = "if that listener wants TLS or a password, security.protocol and what belongs to it must say so"
        said = f"Kafka cannot be reached: {text}{f'; {remedy}' if remedy else ''}"
        meaning = error.code() if rank == 2 else None
        self._problems.begin(KIND, said, meaning=(meaning,), event=_EVENT, error=text, remedy=remedy or None)
        self._problems.end(ONE_BROKER, level="debug")

    def _say_one(self, one: tuple[KafkaError, float, float], now: float) -> None:
        """A broker that cannot be reached for a reason that does not go away, while others can."""
        error, first, last = one
        if now - last > REASON_LASTS:
            self._one = None
            self._problems.end(ONE_BROKER)
        elif self.connected and not self._down and (ONE_BROKER in self._problems or now - first >= SETTLED):
            text = f"a broker cannot be reached: {error.str()}; {REASONS[error.code()]}"
            event = "a broker cannot be reached; trying on"
            self._problems.begin(ONE_BROKER, text, blocks=False, event=event, error=error.str())

    def _up(self) -> None:
        self._down, self._down_since, self._reason, self._one = False, None, None, None
        self._client_log.failure = ""
        self._problems.end(KIND, "connected to Kafka")
