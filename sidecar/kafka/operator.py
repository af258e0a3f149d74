"""What operators order of one lambda's partitions, as far as Kafka's client has to do with it.

Owned by the consumer thread.
"""

from dataclasses import dataclass
from time import monotonic

from confluent_kafka import Consumer, KafkaException

from sidecar import mail
from sidecar.kafka.commits import Commits
from sidecar.kafka.places import Places
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
    reply: mail.Reply[tuple[int, int, State]]
    answer: tuple[int, int, State]
    until: float
    next_try: float = 0.0


class Operator:
    """Resume, pause and seek."""

    def __init__(
        self,
        consumer: Consumer,
        table: PartitionTable,
        places: Places,
        commits: Commits,
        outbox: mail.Outbox,
        drain: float,
    ) -> None:
        """``drain``: seconds that a lambda may take to finish before its partition is paused."""
        self._consumer = consumer
        self._table = table
        self._places = places
        self._commits = commits
        self._outbox = outbox
        self._drain = drain
        self._pausing: dict[TopicPartition, list[mail.Reply[int]]] = {}
        self._sought: list[_Sought] = []

    def resume(self, order: mail.Resume) -> None:
        """Let a partition go on."""
        try:
            answer = self._table.resume(order.partition, monotonic(), skip=order.skip)
        except OrderRefused as refusal:
            self._outbox.post(mail.Answer(order.reply, error=refusal))
        else:
            self._outbox.post(mail.Answer(order.reply, answer))

    def pause(self, order: mail.Pause) -> None:
        """Begin to pause a partition; ``work`` answers when it stands still."""
        try:
            self._table.pause(order.partition, order.reason, self._drain, monotonic())
        except OrderRefused as refusal:
            self._outbox.post(mail.Answer(order.reply, error=refusal))
        else:
            self._pausing.setdefault(order.partition, []).append(order.reply)

    def seek(self, order: mail.Seek) -> None:
        """Move a partition. The new place is in Kafka before the answer: ``work`` tries on while it is not."""
        tp = order.partition
        try:
            self._table.check_seek(tp)
            offset = self._places.find(tp, order.to)
            before, state = self._table.seek(tp, offset, monotonic())
        except OrderRefused as refusal:
            self._outbox.post(mail.Answer(order.reply, error=refusal))
        except KafkaException as error:
            text = f"Kafka does not say where that is ({error.args[0].str()}); nothing was moved"
            self._outbox.post(mail.Answer(order.reply, error=OrderRefused(text, "kafka")))
        else:
            partition, now = self._table.partitions[tp], monotonic()
            sought = _Sought(partition, order.reply, (offset, before, state), now + COMMIT_TIMEOUT)
            if not self._answered(sought, now):
                self._sought.append(sought)

    def _answered(self, sought: "_Sought", now: float) -> bool:
        """Commit a new place. A rebalance refuses that for a moment, as it refuses any commit."""
        sought.next_try = now + RETRY_AFTER
        partition, (offset, _, _) = sought.partition, sought.answer
        ours = self._table.partitions.get(partition.tp) is partition
        if ours:
            self._commits.now(self._consumer, [partition.tp])
        if partition.to_commit() is None:
            self._outbox.post(mail.Answer(sought.reply, sought.answer))
            return True
        if ours and now < sought.until:
            return False
        why = "that is not committed yet, and tried again at each interval"
        if not ours:
            why = "it is not this sidecar's any more, and its next owner does not know of it"
        text = f"{partition.tp} was moved to {offset}, but {why}"
        self._outbox.post(mail.Answer(sought.reply, error=OrderRefused(text, "kafka")))
        return True

    def work(self) -> None:
        """Answer the pauses whose partitions stand still or are gone, and the seeks that are committed."""
        now = monotonic()
        self._sought = [sought for sought in self._sought if now < sought.next_try or not self._answered(sought, now)]
        for tp in [*self._pausing]:
            partition = self._table.partitions.get(tp)
            if partition is not None and partition.state is State.DRAINING and partition.stands_still:
                continue
            answer: int | None = None
            if partition is not None and partition.stands_still:
                answer = partition.resume_at
            for reply in self._pausing.pop(tp):
                if answer is not None:
                    self._outbox.post(mail.Answer(reply, answer))
                else:
                    state = "not this sidecar's any more" if partition is None else partition.state.name.lower()
                    self._outbox.post(mail.Answer(reply, error=OrderRefused(f"{tp} was not paused: it is {state}")))
