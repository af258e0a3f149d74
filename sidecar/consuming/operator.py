"""What operators order of one lambda's partitions, as far as Kafka's client has to do with it.

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

RETRY_AFTER = 0.2
COMMIT_TIMEOUT = 8.0
"""Seconds between tries to commit a new place, and in which one must succeed: an operator's command waits longer."""


@dataclass(slots=True)
class _Sought:
    """A partition that was moved, and whose place Kafka does not know yet."""

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
        self._sought: list[_Sought] = []

    def resume(self, order: letters.Resume) -> None:
        """Let a partition go on."""
        try:
            answer = self._table.operator.resume(order.partition, monotonic(), skip=order.skip)
        except OrderRefused as refusal:
            self._outbox.post(letters.Answer(order.reply, error=refusal))
        else:
            self._outbox.post(letters.Answer(order.reply, answer))

    def pause(self, order: letters.Pause) -> None:
        """Begin to pause a partition; ``work`` answers when it stands still."""
        try:
            self._table.operator.pause(order.partition, order.reason, self._drain, monotonic())
        except OrderRefused as refusal:
            self._outbox.post(letters.Answer(order.reply, error=refusal))
        else:
            self._pausing.setdefault(order.partition, []).append(order.reply)

    def seek(self, order: letters.Seek) -> None:
        """Move a partition. Kafka is asked where that is; then the new place is committed before the answer."""
        tp = order.partition
        try:
            partition = self._table.operator.check_seek(tp)
        except OrderRefused as refusal:
            self._outbox.post(letters.Answer(order.reply, error=refusal))
        else:
            self._target.find(tp, order.to, lambda found: self._move(order, partition, found))

    def _move(self, order: letters.Seek, partition: Partition, found: Found) -> None:
        """Kafka has said where an operator's place is, or it is said why there is none."""
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
        sought = _Sought(partition, order.reply, (found, before, state), now + COMMIT_TIMEOUT)
        if not self._answered(sought, now):
            self._sought.append(sought)

    def _answered(self, sought: "_Sought", now: float) -> bool:
        """Commit a new place. A rebalance refuses that for a moment, as it refuses any commit."""
        sought.next_try = now + RETRY_AFTER
        partition, (offset, _, _) = sought.partition, sought.answer
        ours = self._table.partitions.get(partition.tp) is partition
        if ours:
            self._commits.now(self._consumer, [partition.tp])
        if partition.position.to_commit() is None:
            self._outbox.post(letters.Answer(sought.reply, sought.answer))
            return True
        if ours and now < sought.until:
            return False
        why = "that is not committed yet, and tried again at each interval"
        if not ours:
            why = "it is not this sidecar's any more, and its next owner does not know of it"
        text = f"{partition.tp} was moved to {offset}, but {why}"
        self._outbox.post(letters.Answer(sought.reply, error=OrderRefused(text, "kafka")))
        return True

    def give_up(self) -> None:
        """The client is gone, and with it all that it held: whoever still waits is told."""
        for sought in self._sought:
            sought.next_try = 0.0
        self.work()

    def work(self) -> None:
        """Answer the pauses whose partitions stand still or are gone, and the seeks that are committed."""
        now = monotonic()
        self._sought = [sought for sought in self._sought if now < sought.next_try or not self._answered(sought, now)]
        for tp in [*self._pausing]:
            partition = self._table.partitions.get(tp)
            if partition is not None and partition.state is State.DRAINING and partition.is_paused_by_operator:
                continue
            answer: int | None = None
            if partition is not None and partition.is_paused_by_operator:
                answer = partition.position.resume_at
            for reply in self._pausing.pop(tp):
                if answer is not None:
                    self._outbox.post(letters.Answer(reply, answer))
                else:
                    state = "not this sidecar's any more" if partition is None else partition.state.name.lower()
                    self._outbox.post(
                        letters.Answer(reply, error=OrderRefused(f"{tp} was not paused: it is {state}"))
                    )
