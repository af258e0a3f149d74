"""The orders of operators for one lambda's partitions, with the parts that need Kafka's client.

Owned by the consumer thread.
"""

from dataclasses import dataclass
from time import monotonic

from confluent_kafka import Consumer

from sidecar.consuming.commits import Commits
from sidecar.consuming.target import Found, Target
from sidecar.mail import letters
from sidecar.mail.boxes import Outbox
from sidecar.partitions.partition import Partition
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import OrderRefused, State, TopicPartition

RETRY_AFTER_S = 0.2
"""Seconds between attempts to commit the new offset of a seek."""

COMMIT_TIMEOUT_S = 8.0
"""Seconds in which one attempt must succeed; an operator's command waits longer."""


@dataclass(slots=True)
class _PendingSeek:
    """A partition that was moved, and whose new resume offset is not committed yet."""

    partition: Partition
    reply: letters.Reply[tuple[int, int, State]]
    answer: tuple[int, int, State]
    until: float
    next_try: float = 0.0


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
        self._pausing: dict[TopicPartition, list[letters.Reply[int]]] = {}
        self._pending_seeks: list[_PendingSeek] = []

    def resume(self, order: letters.Resume) -> None:
        """Let a partition go on."""
        try:
            answer = self._table.operator.resume(order.partition, monotonic(), skip=order.skip)
        except OrderRefused as refusal:
            self._outbox.post(letters.Answer(order.reply, error=refusal))
        else:
            self._outbox.post(letters.Answer(order.reply, answer))

    def pause(self, order: letters.Pause) -> None:
        """Begin to pause a partition; ``work`` answers when it is paused."""
        try:
            self._table.operator.pause(order.partition, order.reason, self._drain, monotonic())
        except OrderRefused as refusal:
            self._outbox.post(letters.Answer(order.reply, error=refusal))
        else:
            self._pausing.setdefault(order.partition, []).append(order.reply)

    def seek(self, order: letters.Seek) -> None:
        """Move a partition: ask Kafka for the offset, move, and answer after the new offset is committed."""
        tp = order.partition
        try:
            partition = self._table.operator.check_seek(tp)
        except OrderRefused as refusal:
            self._outbox.post(letters.Answer(order.reply, error=refusal))
        else:
            self._target.find(tp, order.to, lambda found: self._move(order, partition, found))

    def _move(self, order: letters.Seek, partition: Partition, found: Found) -> None:
        """Move to the offset that was found; without one, answer with the refusal."""
        tp = order.partition
        if not isinstance(found, OrderRefused) and self._table.partitions.get(tp) is not partition:
            text = f"{tp} is not assigned to this sidecar any more; nothing was moved"
            found = OrderRefused(text, "unknown")
        if isinstance(found, OrderRefused):
            self._outbox.post(letters.Answer(order.reply, error=found))
            return
        try:
            before, state = self._table.operator.seek(tp, found, monotonic())
        except OrderRefused as refusal:
            self._outbox.post(letters.Answer(order.reply, error=refusal))
            return
        now = monotonic()
        pending = _PendingSeek(partition, order.reply, (found, before, state), now + COMMIT_TIMEOUT_S)
        if not self._answered(pending, now):
            self._pending_seeks.append(pending)

    def _answered(self, pending: "_PendingSeek", now: float) -> bool:
        """Try to commit the new offset. Returns whether the seek is answered; during a rebalance no commit works."""
        pending.next_try = now + RETRY_AFTER_S
        partition, (offset, _, _) = pending.partition, pending.answer
        ours = self._table.partitions.get(partition.tp) is partition
        if ours:
            self._commits.now(self._consumer, [partition.tp])
        if partition.offsets.to_commit() is None:
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
        for tp in [*self._pausing]:
            partition = self._table.partitions.get(tp)
            if partition is not None and partition.state is State.DRAINING and partition.is_paused_by_operator:
                continue
            answer: int | None = None
            if partition is not None and partition.is_paused_by_operator:
                answer = partition.offsets.resume_at
            for reply in self._pausing.pop(tp):
                if answer is not None:
                    self._outbox.post(letters.Answer(reply, answer))
                else:
                    state = "not this sidecar's any more" if partition is None else partition.state.name.lower()
                    self._outbox.post(
                        letters.Answer(reply, error=OrderRefused(f"{tp} was not paused: it is {state}"))
                    )
