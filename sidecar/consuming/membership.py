"""Whether we are a member of the group: what was asked for, and whether the broker took us.

Owned by the consumer thread.
"""

import sys
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from structlog.typing import FilteringBoundLogger

from sidecar.consuming.problems import Problems

KIND = "group"
"""Of the problem that the broker does not take us, or has something against us."""

LOOK_EVERY = 0.2
"""Seconds between looks at what the client knows of its membership."""

UNEXPLAINED = 30.0
"""Seconds after which it is a problem that the broker neither takes nor refuses us."""

QUIET = 12.0
"""Seconds without a further refusal after which a member is well again whose membership has not changed. Kafka's
client repeats a refusal after 2 to 5 seconds."""

_MAGIC = b"CGMDv2:"

_REMEDIES = {
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: "all members need a partition.assignment.strategy and a group.protocol "
    "in common",
    KafkaError.INVALID_SESSION_TIMEOUT: "session.timeout.ms must lie within group.min.session.timeout.ms and "
    "group.max.session.timeout.ms of the broker",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "the user needs the right to read the group",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "the user needs the right to read the topics",
    KafkaError.GROUP_MAX_SIZE_REACHED: "group.max.size of the broker says how many members it takes",
    KafkaError._MAX_POLL_EXCEEDED: "max.poll.interval.ms is shorter than what a rebalance took here",  # noqa: SLF001
}


def generation(metadata: object) -> int | None:
    """The group's generation (with KIP-848 the member's epoch) in librdkafka's group metadata; None: not to be read.

    It is above zero while the broker counts us as a member. The bytes begin with a mark of their version, so what a
    later librdkafka writes differently is recognised as such.
    """
    if not isinstance(metadata, bytes):
        return None
    raw = bytes(metadata)
    if not raw.startswith(_MAGIC) or len(raw) < len(_MAGIC) + 4:
        return None
    number = raw[len(_MAGIC) : len(_MAGIC) + 4]
    return int.from_bytes(number, sys.byteorder, signed=True)  # as it lies in librdkafka's memory


class Membership:
    """Of one client, which ``subscribe`` has join the group."""

    def __init__(self, consumer: Consumer, group: str, problems: Problems, log: FilteringBoundLogger) -> None:
        self._consumer = consumer
        self._group = group
        self._problems = problems
        self._log = log
        self.subscribed = False
        """We have asked for it."""
        self.joined = False
        """The broker took us."""
        self._generation = -1
        self._assigned = False
        self._since = 0.0
        self._look_at = 0.0
        self._refused_at = float("-inf")

    def subscribe(self, topics: Iterable[str], **callbacks: Callable[..., Any]) -> None:
        """Join; or, as a member, tell the group that the topics are others."""
        event = "the topics are others now: telling the group" if self.subscribed else "joining the group"
        if not self.subscribed:
            self.subscribed = True
            self._since = monotonic()
        self._look_at = 0.0
        level = "debug" if "client" in self._problems else "info"  # each new client would say it again
        getattr(self._log, level)(event, group=self._group, topics=[*topics])
        self._consumer.subscribe([*topics], **callbacks)

    def leave(self) -> None:
        """We are not a member any more, because we do not want to."""
        self.subscribed = self.joined = self._assigned = False
        self._generation = -1
        self._problems.end(KIND, "not in the group any more")

    def assigned(self) -> None:
        """The broker gave us partitions, maybe none: it has taken us."""
        self._assigned = True
        self._refused_at = float("-inf")
        self._is_in()

    def lost(self) -> None:
        """The broker counts us as a member no longer."""
        self._assigned = False
        self._look_at = 0.0

    def refused(self, error: KafkaError) -> None:
        """The broker has something against us as a member."""
        self._refused_at = monotonic()
        remedy = _REMEDIES.get(error.code())
        text = f"Kafka refuses us in group {self._group}: {error.str()}{f'; {remedy}' if remedy else ''}"
        self._problems.begin(
            KIND,
            text,
            meaning=error.code(),
            event="Kafka refuses us in the group; trying on",
            group=self._group,
            error=error.str(),
            remedy=remedy,
        )

    def work(self, now: float, *, waits: bool) -> None:
        """Look whether we are a member. Called each turn; ``waits``: there is something to join for."""
        if not self.subscribed or now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY
        try:
            known = generation(self._consumer.consumer_group_metadata())
        except KafkaException as error:
            self._log.debug("the client does not tell of its membership", error=error.args[0].str())
            return
        if known is None:
            known = 1 if self._assigned else -1
        changed, self._generation = known != self._generation, known
        # The embedded broker's first generation is 0, which Kafka's client also says of no generation at all.
        if known > 0 or (known == 0 and self._assigned):
            # A refusal of a member that stays one (a heartbeat, a question for its offsets) is over when none comes
            # any more, or when the broker took it anew.
            if changed or now - self._refused_at >= QUIET:
                self._is_in()
            self.joined = True
            return
        if self.joined:
            self.joined = False
            self._since = now
        if not waits:
            self._since = now
        elif now - self._since >= UNEXPLAINED and KIND not in self._problems:
            text = f"the broker has not taken us into group {self._group} for {UNEXPLAINED:g} s, and does not say why"
            self._problems.begin(KIND, text, group=self._group)

    def _is_in(self) -> None:
        self.joined = True
        self._problems.end(KIND, "in the group", group=self._group)
        self._problems.end("client", "Kafka's client works again", group=self._group)
