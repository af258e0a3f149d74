"""Whether we are a member of the group: whether we have subscribed, and whether the broker has taken us.

Owned by the consumer thread.
"""

import secrets
import sys
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from structlog.typing import FilteringBoundLogger

from sidecar.causes import Cause
from sidecar.cluster.errors import FORBIDDEN
from sidecar.consuming.problems import Problems

KIND = "group"
"""The kind of the problem that the broker does not take us as a member, or refuses our requests as one."""

CHECK_INTERVAL_S = 0.2
"""Seconds between checks of the client's group metadata."""

UNEXPLAINED_AFTER_S = 30.0
"""Seconds after which it is a problem that the broker has neither taken nor refused us."""

QUIET_S = 12.0
"""Seconds without another refusal after which the problem of a member is over. Kafka's client repeats a refusal after
2 to 5 seconds."""

NO_TOPIC = "kafka-sidecar.no-topic."
"""What the name of a topic begins with that nobody has made, see `Membership.ask_for_rebalance`."""

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
    """The group's generation (KIP-848: the member's epoch) in librdkafka's group metadata; None: it cannot be read.

    It is above zero while the broker counts us as a member. The bytes begin with a mark of their version, so that a
    different format of a later librdkafka is recognised.
    """
    if not isinstance(metadata, bytes):
        return None
    raw = bytes(metadata)
    if not raw.startswith(_MAGIC) or len(raw) < len(_MAGIC) + 4:
        return None
    number = raw[len(_MAGIC) : len(_MAGIC) + 4]
    return int.from_bytes(number, sys.byteorder, signed=True)  # librdkafka copies it from its memory


class Membership:
    """The membership of one client, which joins the group with ``subscribe``."""

    def __init__(self, consumer: Consumer, group: str, problems: Problems, log: FilteringBoundLogger) -> None:
        self._consumer = consumer
        self._group = group
        self._problems = problems
        self._log = log
        self.subscribed = False
        """We have asked to join."""
        self.joined = False
        """The broker has taken us."""
        self.asks = False
        """We have asked for a rebalance, and still subscribe to ``no_topic``."""
        self.no_topic = ""
        """The topic to which we subscribed for that, the last time. The client complains that there is none."""
        self._generation = -1
        self._assigned = False
        self._since = 0.0
        self._look_at = 0.0
        self._refused_at = float("-inf")

    def subscribe(self, topics: Iterable[str], **callbacks: Callable[..., Any]) -> None:
        """Join the group; as a member, change the topics."""
        event = "the topics are others now: telling the group" if self.subscribed else "joining the group"
        if not self.subscribed:
            self.subscribed = True
            self._since = monotonic()
        self._look_at = 0.0
        level = "debug" if "client" in self._problems else "info"  # otherwise each new client would log it again
        getattr(self._log, level)(event, group=self._group, topics=[*topics])
        self.asks = False
        self._consumer.subscribe([*topics], **callbacks)

    def ask_for_rebalance(self, topics: Iterable[str], *, cooperative: bool, **callbacks: Callable[..., Any]) -> None:
        """As a member, join again, so that the group rebalances. librdkafka has no call for that.

        Cooperative: it joins again when it is to subscribe to a topic that it does not know, once it has asked the
        broker for it. Kafka rebalances, since a member tells the generation of what it owns, and that is another one
        than when it joined last. No partition stops. ``ask_no_more`` has to follow, after the rebalance.

        Eager: it would join again too, but tell nothing new, and Kafka would do nothing unless this member leads the
        group. So it leaves and joins; an eager rebalance stops all partitions anyway.
        """
        if not cooperative:
            self._consumer.unsubscribe()
            self._consumer.subscribe([*topics], **callbacks)
            return
        self.asks = True
        self.no_topic = f"{NO_TOPIC}{secrets.token_hex(8)}"
        self._consumer.subscribe([*topics, self.no_topic], **callbacks)

    def ask_no_more(self, topics: Iterable[str], **callbacks: Callable[..., Any]) -> None:
        """The rebalance is over: subscribe to our topics alone. The client joins again for that only if another
        rebalance is under way, which does no harm."""
        self.asks = False
        self._consumer.subscribe([*topics], **callbacks)

    def leave(self) -> None:
        """We leave the group."""
        self.subscribed = self.joined = self.asks = self._assigned = False
        self._generation = -1
        self._problems.end(KIND, "not in the group any more")

    def assigned(self) -> None:
        """The broker assigned partitions to us, maybe none: it has taken us."""
        self._assigned = True
        self._refused_at = float("-inf")
        self._is_in()

    def lost(self) -> None:
        """The broker no longer counts us as a member."""
        self._assigned = False
        self._look_at = 0.0

    def refused(self, error: KafkaError) -> None:
        """The broker refused one of our requests as a member."""
        self._refused_at = monotonic()
        remedy = _REMEDIES.get(error.code())
        text = f"Kafka refuses us in group {self._group}: {error.str()}{f'; {remedy}' if remedy else ''}"
        self._problems.begin(
            KIND,
            text,
            cause=Cause.NOT_AUTHORISED if error.code() in FORBIDDEN else Cause.GROUP_REFUSED,
            meaning=error.code(),
            event="Kafka refuses us in the group; trying on",
            group=self._group,
            error=error.str(),
            remedy=remedy,
        )

    def work(self, now: float, *, waits: bool) -> None:
        """Check whether we are a member. Called in each turn; ``waits``: a topic exists, so we should be one."""
        if not self.subscribed or now < self._look_at:
            return
        self._look_at = now + CHECK_INTERVAL_S
        try:
            known = generation(self._consumer.consumer_group_metadata())
        except KafkaException as error:
            self._log.debug("the client does not tell of its membership", error=error.args[0].str())
            return
        if known is None:
            known = 1 if self._assigned else -1
        changed, self._generation = known != self._generation, known
        # The embedded broker's first generation is 0; Kafka's client also reports 0 when there is no generation.
        if known > 0 or (known == 0 and self._assigned):
            # The problem of a refused request of a member (a heartbeat, an offset fetch) is over when no refusal has
            # come for a while, or when the broker has taken us again.
            if changed or now - self._refused_at >= QUIET_S:
                self._is_in()
            self.joined = True
            return
        if self.joined:
            self.joined = False
            self._since = now
        if not waits:
            self._since = now
        elif now - self._since >= UNEXPLAINED_AFTER_S and KIND not in self._problems:
            text = (
                f"the broker has not taken us into group {self._group} for {UNEXPLAINED_AFTER_S:g} s, "
                "and does not say why"
            )
            self._problems.begin(KIND, text, cause=Cause.GROUP_REFUSED, group=self._group)

    def _is_in(self) -> None:
        self.joined = True
        self._problems.end(KIND, "in the group", group=self._group)
        self._problems.end("client", "Kafka's client works again", group=self._group)
