"""Which partitions have no owner, and for how long. Pure: no I/O, thread or clock.

For a while that is normal. After a cooperative rebalance the group is stable, and what moves has no owner until its
former one has given it up and joined again. Only what lasts, with the same members, needs somebody.
"""

from collections.abc import Iterable, Mapping

from sidecar.mail.facts import GroupFacts
from sidecar.partitions.vocabulary import TopicPartition

MAX_DOUBLED = 8
"""How often the patience is doubled at most."""


def unowned(
    members: Mapping[str, frozenset[TopicPartition]], sizes: Iterable[tuple[str, int]]
) -> frozenset[TopicPartition]:
    """The partitions that are assigned to no member. ``sizes``: topics, and how many partitions each has."""
    every = frozenset(TopicPartition(topic, number) for topic, size in sizes for number in range(size))
    return every.difference(*members.values())


class Unowned:
    """What was heard of one group since its last rebalance."""

    def __init__(self, patience: float) -> None:
        """``patience``: seconds for which a partition may be without an owner."""
        self._patience = patience
        self._doubled = 0
        self._members: Mapping[str, frozenset[TopicPartition]] = {}
        self._since: dict[TopicPartition, float] = {}

    @property
    def patience(self) -> float:
        """Seconds for which a partition may be without an owner now."""
        return self._patience * 2.0**self._doubled

    @property
    def any(self) -> bool:
        """Whether a partition had no owner in the last answer."""
        return bool(self._since)

    def forget(self) -> None:
        """There was a rebalance: what had no owner may have one now."""
        self._since = {}

    def hear(self, group: GroupFacts, sizes: Iterable[tuple[str, int]], at: float) -> frozenset[TopicPartition]:
        """Take an answer to what was asked at ``at``, in seconds.

        Returns all partitions without an owner once one of them has had none for too long: in each answer since, with
        the same members and assignments. Empty: nothing needs to be done.
        """
        if not group.stable:
            self.forget()
            return frozenset()
        if group.members != self._members:  # a member came or went, or there was a rebalance
            self._members = group.members
            self.forget()
        found = unowned(group.members, sizes)
        self._since = {tp: self._since.get(tp, at) for tp in found}
        if not found:
            self._doubled = 0
        elif at - min(self._since.values()) >= self.patience:
            return found
        return frozenset()

    def asked(self) -> None:
        """A rebalance was asked for. If it does not help, the next one is asked for after twice the time: it may be
        that none helps, for instance if the member that assigns has no right to see a topic."""
        self._doubled = min(self._doubled + 1, MAX_DOUBLED)
        self.forget()
