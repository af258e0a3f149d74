"""Notices partitions that no member of the group owns, and that no member will take by itself.

A member with a `group.instance.id` that is replaced within its session is given its former assignment, without a
rebalance (KIP-345). Whatever changed while it was away stays as it is until the next rebalance:

- It died after it had given partitions up, and before it joined again. Nobody else has them yet (KIP-429).
- A topic got more partitions while all members were away. Their clients take them for old when they are back
  (KAFKA-13435).

So this module asks for the group's members: soon after a rebalance, again and again while a partition has no owner,
and seldom otherwise. `Rebalances` then asks the group for a rebalance.

Owned by the consumer thread.
"""

from collections.abc import Callable, Mapping
from math import inf

from confluent_kafka import KafkaError

from sidecar.cluster.inquiries import Inquiries
from sidecar.config.kafka_properties import PROTOCOL, Property, rebalance_protocol
from sidecar.consuming.subscription import Subscription
from sidecar.consuming.unowned import Unowned
from sidecar.mail.facts import GroupFacts
from sidecar.partitions.vocabulary import TopicPartition

FIRST_LOOK_S = 2.0
"""Seconds from a rebalance to the first question."""

INTERVAL_S = 5.0
"""Seconds between two questions until all partitions have owners."""

SETTLED_INTERVAL_S = 60.0
"""Seconds between two questions afterwards."""

PATIENCE_S = 5.0
"""Seconds for which a partition may be without an owner, beside the drains of a member that gives it up."""

SESSION_MS = 45_000
"""librdkafka's default of `session.timeout.ms`."""

JITTER = 0.5
"""By which part of them these times are longer at random: so one of several sidecars asks first, and the others learn
of its rebalance before it is their turn."""


class UnownedWatch:
    """Watches the group of one lambda."""

    def __init__(
        self,
        group: str,
        subscription: Subscription,
        inquiries: Inquiries,
        patience: float,
        jitter: Callable[[], float],
    ) -> None:
        """``patience``: see `patience_for`; ``jitter`` gives numbers from 0 to 1."""
        self._group = group
        self._subscription = subscription
        self._inquiries = inquiries
        self._jitter = jitter
        self._unowned = Unowned(self._longer(patience))
        self._next = inf
        self._round = 0
        """Answers to what was asked before the last rebalance are outdated."""
        self._under_way = False
        self._heard: tuple[GroupFacts, float] | None = None
        self.settled = False
        """The group was stable at the last answer, and no rebalance was asked for since."""

    def rebalanced(self, now: float) -> None:
        """Kafka gave partitions to us or took them, maybe none."""
        self._start_anew(now + self._longer(FIRST_LOOK_S))

    def left(self) -> None:
        """We are no member any more."""
        self._start_anew(inf)

    def work(self, now: float) -> frozenset[TopicPartition]:
        """Ask if it is time, and look at the answer.

        Called in each turn in which we are a member that subscribes to all its topics. Returns the partitions that
        have no owner, if a rebalance has to be asked for; mostly none.
        """
        if self._heard is not None:
            (group, at), self._heard = self._heard, None
            return self._look_at(group, at)
        if now >= self._next and not self._under_way:
            self._under_way = True
            self._next = now + self._longer(INTERVAL_S)
            asked_in = self._round
            self._inquiries.group(self._group, lambda answer: self._answered(asked_in, now, answer))
        return frozenset()

    def _start_anew(self, first_look: float) -> None:
        self._round += 1
        self._heard = None
        self._unowned.forget()
        self._next = first_look
        self.settled = False

    def _answered(self, asked_in: int, at: float, answer: GroupFacts | KafkaError) -> None:
        self._under_way = False
        if asked_in == self._round and not isinstance(answer, KafkaError):
            self._heard = answer, at

    def _look_at(self, group: GroupFacts, at: float) -> frozenset[TopicPartition]:
        found = self._unowned.hear(group, self._subscription.sizes(), at)
        self.settled = group.stable
        if found:
            self._unowned.asked()
            self.settled = False
        elif group.stable and not self._unowned.any:
            self._next = at + self._longer(SETTLED_INTERVAL_S)
        return found

    def _longer(self, seconds: float) -> float:
        return seconds * (1.0 + JITTER * self._jitter())


def patience_for(properties: Mapping[str, Property], drain: float) -> float:
    """For how many seconds a partition may be without an owner. ``drain``: for how long a revoke may drain.

    A rebalance waits for a member that has died until its session is over. In an eager group all partitions stand
    still meanwhile. So there it has to be known first that all members live: they were the same for a whole session.
    """
    drains = PATIENCE_S + 2 * drain  # what is drained is committed then, which may take as long again
    if rebalance_protocol(properties) == "cooperative":
        return drains
    return max(drains, int(properties.get("session.timeout.ms", SESSION_MS)) / 1_000)


def may_stay_unowned(properties: Mapping[str, Property]) -> bool:
    """Whether partitions of a group with such members may stay without an owner.

    With `group.protocol=consumer` the broker assigns, and looks at all partitions each time.
    """
    classic = str(properties.get(PROTOCOL, "")).lower() != "consumer"
    return classic and bool(properties.get("group.instance.id"))
