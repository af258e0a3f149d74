"""The orders of operators for one lambda's partitions, with the parts that need Kafka's client.

Owned by the consumer thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from confluent_kafka import Consumer

from sidecar.consuming.commits import Commits
from sidecar.consuming.target import Found, Target
from sidecar.mail import letters
from sidecar.mail.boxes import Outbox
from sidecar.partitions.assignment import Assignment
from sidecar.partitions.partition import Partition
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import OrderRefused, State

RETRY_AFTER_S = 0.2
"""Seconds between attempts to commit the new offset of a seek."""

COMMIT_TIMEOUT_S = 8.0
"""Seconds in which one attempt must succeed; an operator's command waits longer."""


@dataclass(slots=True)
class _PendingSeek:
    """Lanes of a partition that were moved, and whose new resume offset is not committed yet."""

    partition: Assignment
    lanes: Sequence[Partition]
    reply: letters.Reply[tuple[int, int, State]]
    answer: tuple[int, int, State]
    until: float
    next_try: float = 0.0


@dataclass(slots=True)
class _PendingPause:
    """Lanes of a partition that an operator pauses, and whose lambdas may still have them."""

    order: letters.Pause
    lanes: Sequence[Partition]


class Operator:
    """Resume, pause and seek."""

    def __init__(
        self,
        consumer: Consumer,
        table: PartitionTable,
        target: Target,
        commits: Commits,
        outbox: Outbox,
        drain: float,
    ) -> None:
        """``drain``: seconds that a lambda may take to finish before its partition is paused."""
        self._consumer = consumer
        self._table = table
        self._target = target
        self._commits = commits
        self._outbox = outbox
        self._drain = drain
        self._pending_pauses: list[_PendingPause] = []
        self._pending_seeks: list[_PendingSeek] = []

    def resume(self, order: letters.Resume) -> None:
        """Let a partition go on."""
        try:
            answer = self._table.operator.resume(order.partition, monotonic(), skip=order.skip, number=order.lane)
        except OrderRefused as refusal:
            self._outbox.post(letters.Answer(order.reply, error=refusal))
        else:
            self._outbox.post(letters.Answer(order.reply, answer))

    def pause(self, order: letters.Pause) -> None:
        """Begin to pause a partition; ``work`` answers when it is paused."""
        try:
            lanes = self._table.operator.pause(
                order.partition, order.reason, self._drain, monotonic(), number=order.lane
            )
        except OrderRefused as refusal:
            self._outbox.post(letters.Answer(order.reply, error=refusal))
        else:
            self._pending_pauses.append(_PendingPause(order, lanes))

    def seek(self, order: letters.Seek) -> None:
        """Move a partition: ask Kafka for the offset, move, and answer after the new offset is committed."""
        tp = order.partition
        try:
            self._table.operator.check_seek(tp, order.lane)
        except OrderRefused as refusal:
            self._outbox.post(letters.Answer(order.reply, error=refusal))
        else:
            partition = self._table.partitions[tp]
            self._target.find(tp, order.to, lambda found: self._move(order, partition, found))

    def _move(self, order: letters.Seek, partition: Assignment, found: Found) -> None:
        """Move to the offset that was found; without one, answer with the refusal."""
        tp = order.partition
        if not isinstance(found, OrderRefused) and self._table.partitions.get(tp) is not partition:
            text = f"{tp} is not assigned to this sidecar any more; nothing was moved"
            found = OrderRefused(text, "unknown")
        if isinstance(found, OrderRefused):
            self._outbox.post(letters.Answer(order.reply, error=found))
            return
        try:
            before, state = self._table.operator.seek(tp, found, monotonic(), number=order.lane)
        except OrderRefused as refusal:
            self._outbox.post(letters.Answer(order.reply, error=refusal))
            return
        now = monotonic()
        lanes = self._table.operator.meant(tp, order.lane)
        pending = _PendingSeek(partition, lanes, order.reply, (found, before, state), now + COMMIT_TIMEOUT_S)
        if not self._answered(pending, now):
            self._pending_seeks.append(pending)

    def _answered(self, pending: "_PendingSeek", now: float) -> bool:
        """Try to commit the new offset. Returns whether the seek is answered; during a rebalance no commit works."""
        pending.next_try = now + RETRY_AFTER_S
        partition, (offset, _, _) = pending.partition, pending.answer
        ours = self._table.partitions.get(partition.tp) is partition
        if ours:
            self._commits.now(self._consumer, [partition.tp])
        if all(lane.offsets.to_commit() is None for lane in pending.lanes):
            self._outbox.post(letters.Answer(pending.reply, pending.answer))
            return True
        if ours and now < pending.until:
            return False
        why = "that is not committed yet, and tried again at each interval"
        if not ours:
            why = "it is not this sidecar's any more, and its next owner does not know of it"
        text = f"{partition.tp} was moved to {offset}, but {why}"
        self._outbox.post(letters.Answer(pending.reply, error=OrderRefused(text, "kafka")))
        return True

    def give_up(self) -> None:
        """The client is gone, and its partitions with it: answer the orders that are pending."""
        for pending in self._pending_seeks:
            pending.next_try = 0.0
        self.work()

    def work(self) -> None:
        """Answer pauses whose partitions are paused or gone, and seeks that are committed."""
        now = monotonic()
        self._pending_seeks = [
            pending for pending in self._pending_seeks if now < pending.next_try or not self._answered(pending, now)
        ]
        self._pending_pauses = [pending for pending in self._pending_pauses if not self._paused(pending)]

    def _paused(self, pending: "_PendingPause") -> bool:
        """Answer if the lanes are paused, or not to be paused any more. Returns whether it is answered."""
        reply = pending.order.reply
        for lane in pending.lanes:
            ours = self._table.lanes.get(lane.lane) is lane
            if ours and lane.is_paused_by_operator:
                if lane.state is State.DRAINING:
                    return False
                continue
            state = lane.state.name.lower() if ours else "not this sidecar's any more"
            refusal = OrderRefused(f"{lane.lane} was not paused: it is {state}")
            self._outbox.post(letters.Answer(reply, error=refusal))
            return True
        self._outbox.post(letters.Answer(reply, min(lane.offsets.resume_at for lane in pending.lanes)))
        return True
