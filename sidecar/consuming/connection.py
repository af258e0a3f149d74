"""Whether Kafka can be reached, and the reason that is reported once if it cannot.

Owned by the consumer thread. librdkafka reports every failed attempt to connect, some twenty a second, and their
order does not tell the cause; a question to Kafka fails without any reason. So errors are collected, and the most
specific one is reported.
"""

from collections.abc import Callable, Mapping
from time import monotonic

from confluent_kafka import KafkaError
from structlog.typing import FilteringBoundLogger

from sidecar.causes import Cause
from sidecar.cluster.client_log import ClientLog
from sidecar.cluster.errors import NO_ANSWER, NO_TOPIC, REASONS
from sidecar.consuming.problems import Problems
from sidecar.mail.facts import NO_LEADER, TopicFacts
from sidecar.partitions.vocabulary import TopicPartition

KIND = "connection"
"""The kind of the problem that Kafka cannot be reached."""

ONE_BROKER = "broker"
"""The kind of the problem that one of several brokers cannot be reached."""

REASON_WITHIN_S = 3.0
"""Seconds to wait for a reason before the problem is reported without one."""

REASON_LASTS_S = 40.0
"""Seconds after which a less specific reason replaces a reason. librdkafka may be silent about a repeated error for
up to 30 s."""

SETTLED_AFTER_S = 1.0
"""Seconds after which an error concerns one broker only, if no error of all brokers followed."""

QUIET_S = 5.0
"""Seconds without an error after which Kafka counts as reached, if there is no topic whose leader could be asked."""

_CAUSES = {
    KafkaError._AUTHENTICATION: Cause.WRONG_CREDENTIALS,  # noqa: SLF001 - the binding's names
    KafkaError._SSL: Cause.TLS_FAILED,  # noqa: SLF001
    KafkaError._RESOLVE: Cause.HOST_UNKNOWN,  # noqa: SLF001
}
"""The causes of `REASONS`; any other error means that Kafka is away."""

_EVENT = "Kafka cannot be reached; trying on"

Answers = Mapping[TopicPartition, int | KafkaError]


class Connection:
    """Whether Kafka can be reached."""

    def __init__(
        self,
        problems: Problems,
        log: FilteringBoundLogger,
        look: Callable[[], None],
        ask: Callable[[list[TopicPartition], Callable[[Answers], None]], None],
        client_log: ClientLog,
    ) -> None:
        """At first Kafka counts as not reached.

        Args:
            problems: where the problem is reported.
            log: for errors that are no problem.
            look: asks for the topics now; the answer comes to ``reached`` or ``away``.
            ask: asks the leaders of partitions (`Inquiries.ends`).
            client_log: librdkafka's log, which sometimes has a reason that no error has.
        """
        self._problems = problems
        self._log = log
        self._look = look
        self._ask = ask
        self._client_log = client_log
        self._asking = False
        self._reason: tuple[int, KafkaError, float] | None = None
        """The most specific reason: its rank, the error, and its time."""
        self._down = False
        """The problem must be reported, after the callbacks that may know the reason have run."""
        self._down_since: float | None = None
        self._down_at = float("-inf")
        self._one: tuple[KafkaError, float, float] | None = None
        """An error that may concern one broker only, and the times of its first and last report."""
        problems.begin(KIND, "not connected to Kafka yet", cause=Cause.CONNECTING, level="debug")

    @property
    def connected(self) -> bool:
        """Whether Kafka can be reached, as far as we know."""
        return KIND not in self._problems

    def work(self, now: float) -> None:
        """Report problems that are due. Called in each turn; costs next to nothing when there are none."""
        if self._down:
            self._say_down(now)
        if self._one is not None:
            self._say_one(self._one, now)

    def reached(self, topics: Mapping[str, TopicFacts]) -> None:
        """A broker answered a question about the topics.

        The answer may come from the address in the config, but records come from the partitions' leaders, at their
        advertised addresses. So the leaders are asked too before Kafka counts as reached.
        """
        if self.connected:
            if self._reason is not None and self._reason[0] == 0:
                self._down, self._down_since, self._reason = False, None, None  # it was a short interruption
            return
        leaders: dict[int, TopicPartition] = {}
        for name, facts in topics.items():
            for number, leader in enumerate(facts.leaders):
                if leader != NO_LEADER:
                    leaders.setdefault(leader, TopicPartition(name, number))
        if leaders and not self._asking:
            self._asking = True
            self._ask([*leaders.values()], self._answered)
        elif not leaders and monotonic() - self._down_at >= QUIET_S:
            self._up()

    def away(self, error: KafkaError) -> None:
        """A question to Kafka was not answered."""
        self._note(error, rank=0)

    def complain(self, error: KafkaError, topic: str | None) -> None:
        """librdkafka reported an error that does not concern one record."""
        if error.code() in REASONS:
            self._note(error, rank=2)
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - the binding's name
            self._note(error, rank=0)
        elif error.code() in NO_ANSWER:
            self._note(error, rank=1)  # it concerns one of several brokers, unless another error follows
        elif error.code() in NO_TOPIC or error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            # Look at the topics before anything is reported: librdkafka also reports topics that are just being made.
            self._look()
        else:
            self._log.warning("Kafka client", error=error.str(), code=error.name(), topic=topic)

    def _answered(self, answers: Answers) -> None:
        """The leaders' answers. Codes above zero are answers of brokers; codes below zero are the client's own."""
        self._asking = False
        errors = [answer for answer in answers.values() if isinstance(answer, KafkaError) and answer.code() < 0]
        if len(errors) < len(answers):
            self._up()
        elif errors:
            self._note(errors[0], rank=0)

    def _note(self, error: KafkaError, rank: int) -> None:
        """``rank``: 0: no broker can be reached; 1: one broker cannot; 2: one cannot, and the error is the reason."""
        now = monotonic()
        known = self._reason
        if known is None or rank >= known[0] or now - known[2] > REASON_LASTS_S:
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
        if rank == 0 and now - self._down_since < REASON_WITHIN_S:
            return  # a reason may follow
        self._down, self._one = False, None
        unknown = "look at bootstrap.servers and security.protocol" if rank == 1 else ""
        text, remedy = error.str(), REASONS.get(error.code(), unknown)
        if rank == 0 and self._client_log.failure:
            # The broker accepts connections and closes them at once, as a listener for TLS or SASL does with a client
            # that uses neither.
            text = self._client_log.failure
            remedy = "if that listener wants TLS or a password, security.protocol and what belongs to it must say so"
        said = f"Kafka cannot be reached: {text}{f'; {remedy}' if remedy else ''}"
        meaning = error.code() if rank == 2 else None
        cause = _CAUSES.get(error.code(), Cause.KAFKA_AWAY)
        self._problems.begin(
            KIND, said, cause=cause, meaning=(meaning,), event=_EVENT, error=text, remedy=remedy or None
        )
        self._problems.end(ONE_BROKER, level="debug")

    def _say_one(self, one: tuple[KafkaError, float, float], now: float) -> None:
        """Report one broker that cannot be reached for a lasting reason, while others can."""
        error, first, last = one
        if now - last > REASON_LASTS_S:
            self._one = None
            self._problems.end(ONE_BROKER)
        elif self.connected and not self._down and (ONE_BROKER in self._problems or now - first >= SETTLED_AFTER_S):
            text = f"a broker cannot be reached: {error.str()}; {REASONS[error.code()]}"
            event = "a broker cannot be reached; trying on"
            self._problems.begin(
                ONE_BROKER, text, cause=Cause.BROKER_AWAY, blocks=False, event=event, error=error.str()
            )

    def _up(self) -> None:
        self._down, self._down_since, self._reason, self._one = False, None, None, None
        self._client_log.failure = ""
        self._problems.end(KIND, "connected to Kafka")
