"""The thread of one lambda: it owns the Consumer and the partitions' state, and runs the path of every record.

A turn: take the letters of the loop, fetch what Kafka has, encode what may be sent, look after commits and pauses,
hand everything to the loop at once. All calls on the Consumer are made here, rebalance callbacks included (they run
inside poll and consume). librdkafka does the waiting when there is nothing to do; it has no wake-up call, so how long
it may wait is bounded by what the loop could be saying meanwhile.
"""

import random
import secrets
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition as KafkaPartition

from sidecar import mail
from sidecar.config.lambdas import LambdaConfig
from sidecar.kafka.commits import Commits
from sidecar.kafka.connection import ClientLog, Connection
from sidecar.kafka.encode import Undeliverable, encode
from sidecar.kafka.flow import Flow
from sidecar.kafka.inflow import Inflow
from sidecar.kafka.places import Places
from sidecar.kafka.properties import Property, rebalance_protocol
from sidecar.kafka.status import lambda_status
from sidecar.logs import get_logger
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import (
    Limits,
    Report,
    ResumeRefused,
    RevokeReason,
    Rewind,
    State,
    TopicPartition,
    short,
)

MOST_PER_FETCH = 4_000
"""Records of one `consume()`: a quarter more throughput than 1,000, because frames grow with it."""

WAIT_WRITTEN = 0.001
WAIT_BUSY = 0.005
WAIT_IDLE = 0.05
"""Seconds that a poll may wait: when a writer's note is due, when lambdas hold partitions, when nobody does."""

HOUSEKEEPING = 0.01
"""Seconds between looks at pauses, deadlines and full windows."""

FINISH_TIMEOUT = 5.0
"""Seconds that the last commit may take; with the broker away it would take as long as a session timeout."""

UNREADABLE = frozenset(
    {
        KafkaError._BAD_MSG,  # noqa: SLF001 - the binding names librdkafka's codes with an underscore
        KafkaError._BAD_COMPRESSION,  # noqa: SLF001
        KafkaError._NOT_IMPLEMENTED,  # noqa: SLF001
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.MSG_SIZE_TOO_LARGE,
    }
)
"""Errors about one record, which librdkafka reports and then goes on behind."""


class ConsumerThread(threading.Thread):
    """Consumes one lambda's topics and serves its partitions.

    Everything but ``mailbox`` belongs to the thread itself.
    """

    def __init__(
        self,
        name: str,
        config: LambdaConfig,
        properties: dict[str, Property],
        outbox: mail.Outbox,
        ended: Callable[[str, BaseException | None], None],
    ) -> None:
        """``ended`` is called in this thread when it ends: with the lambda's name and what broke it, if anything."""
        super().__init__(name=f"consumer-{name}", daemon=True)
        self.mailbox = mail.Mailbox()
        self._lambda = name
        self._config = config
        self._properties = properties
        self._outbox = outbox
        self._ended = ended
        self._log = get_logger(__name__).bind(lambda_=name)
        limits = Limits(
            window_messages=config.window.messages,
            window_bytes=config.window.bytes,
            window_span=max(1_000_000, 100 * config.window.messages),
            leave_group_after=config.leave_group_after,
        )
        self._table = PartitionTable(limits, lambda: secrets.token_urlsafe(18), random.random)
        self._inflow = Inflow(config.topics)
        self._commits = Commits(self._table, self._inflow, config.checkpoint.interval, self._log)
        self._sendable: set[TopicPartition] = set()
        self._told_connected = False
        self._joined = False
        self._stopping = False
        self._throttled = False
        self._sent = 0
        self._next_look = 0.0

    def run(self) -> None:
        """The thread's life. What it does not expect ends it, and ``ended`` says so."""
        try:
            self._consumer = Consumer(
                {**self._properties, "on_commit": self._commits.on_commit, "error_cb": self._on_error},
                logger=ClientLog(get_logger("librdkafka").bind(lambda_=self._lambda)),
            )
            self._connection = Connection(self._consumer, self._config.topics, self._log)
            self._flow = Flow(self._consumer, self._table, self._inflow, self._log)
            self._places = Places(
                self._consumer,
                self._table,
                self._inflow,
                self._config,
                self._log,
                cooperative=rebalance_protocol(self._properties) == "cooperative",
            )
            while not self._stopping:
                self._turn()
            self._shut_down()
        except BaseException as error:  # whatever it is, the process must hear of it
            self._log.exception("the consumer thread broke")
            self._outbox.flush()
            self._leave_broken()
            self._ended(self._lambda, error)
        else:
            self._ended(self._lambda, None)

    # --- a turn -----------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._read_mail()
        self._watch_connection()
        now = monotonic()
        self._keep_membership(now)
        # Nothing is fetched for a partition before its lambda runs for the first time: with many partitions most of
        # it would be thrown away again. Later, records may wait for the next lambda.
        new = self._places.work()
        self._flow.pause([tp for tp in new if self._table.partitions[tp].state is not State.RUNNING])
        self._fetch()
        # A rebalance callback inside may have left rewinds; they come before anything is sent. What the fetch brought
        # for such a partition is from before, and is dropped with the rest that waits.
        self._carry_out()
        now = monotonic()
        self._send(now)
        self._outbox.flush()  # before the housekeeping: records do not wait for it
        if now >= self._next_look:
            self._next_look = now + HOUSEKEEPING
            self._look_around(now)
        self._commits.work(self._consumer, now)
        self._carry_out()
        self._outbox.flush()

    def _watch_connection(self) -> None:
        self._connection.work()
        if self._connection.connected != self._told_connected:
            self._told_connected = self._connection.connected
            self._outbox.post(mail.Connected(self._lambda, self._told_connected))

    def _fetch(self) -> None:
        """Take what Kafka's client has; when that is nothing, wait for a first record.

        `consume(n, timeout)` would wait for n records: a lone one would be late by the whole timeout.
        """
        if self._throttled:
            # More waits than may: librdkafka is left alone until the writers have caught up a little.
            letter = self.mailbox.take(WAIT_BUSY)
            if letter is not None:
                self._read(letter)
            self._throttled = False
            self._next_look = 0.0
            return
        batch = self._consumer.consume(MOST_PER_FETCH, 0)
        if not batch and self.mailbox.empty():
            self._outbox.flush()  # what was answered so far must not wait with us
            first = self._consumer.poll(self._patience())
            if first is None:
                return
            # Kept before the client is called again: a revoke inside that call commits the client's position where
            # nothing waits, and a record that is only in a local variable here would be passed over.
            self._take([first])
            batch = self._consumer.consume(MOST_PER_FETCH - 1, 0)
        if batch:
            self._take(batch)

    def _take(self, batch: list[Message]) -> None:
        """Let what came wait for its partitions."""
        errors = [*filter(Message.error, batch)]
        spoilt: dict[TopicPartition, Undeliverable] = {}
        if errors:
            for message in errors:
                self._on_error_message(message, spoilt)
            batch = [m for m in batch if m.error() is None and not _comes_after(m, spoilt)]
        for tp in self._inflow.add(batch):
            if tp in self._table.partitions:
                self._sendable.add(tp)
            else:
                # Taken away inside this very call, after librdkafka had put the record into its answer.
                self._inflow.forget(tp)
        for tp, bad in spoilt.items():
            self._inflow.spoil(tp, bad)
            self._sendable.add(tp)

    def _patience(self) -> float:
        if self._sendable:
            return 0.0
        if self._flow.writing or (self._table.someone_waits and len(self._table.processes)):
            return WAIT_WRITTEN
        return WAIT_BUSY if self._table.held() else WAIT_IDLE

    def _send(self, now: float) -> None:
        """Encode and hand over what may go; what may not comes again when something has changed."""
        candidates, self._sendable = self._sendable, set()
        for tp in candidates:
            most = self._table.may_send(tp)
            while most and self._inflow.count(tp):
                self._send_frame(tp, most, now)
                most = self._table.may_send(tp)
            bad = self._inflow.bad(tp)
            if most and bad is not None:
                self._table.undeliverable(tp, bad.offset, bad.reason, self._config.rebalance_drain, now)

    def _send_frame(self, tp: TopicPartition, most: int, now: float) -> None:
        """One frame of at most ``most`` of the records that wait."""
        partition = self._table.partitions[tp]
        if partition.skip:
            self._inflow.leave_out(tp, partition.skip)
            if not self._inflow.count(tp):
                return
        assert partition.stream is not None
        stream = self._table.processes.get(partition.stream)
        assert stream is not None
        limits = self._config.frame
        records = self._inflow.peek(tp, min(most, limits.records))
        frame, bad = encode(records, limits.bytes, stream.max_message_bytes)
        if bad is not None:
            self._inflow.cut(tp, bad)
        if frame is not None:
            self._inflow.taken(tp, frame.count)
            self._table.sent(tp, frame.first, frame.last, frame.count, len(frame.data), frame.offsets)
            self._flow.sent(tp, now)
            self._sent += frame.count
            self._outbox.post(mail.Send(stream.id, frame.data))

    # --- letters ----------------------------------------------------------------------------------------------

    def _read_mail(self) -> None:
        while (letter := self.mailbox.take()) is not None:
            self._read(letter)
        self._carry_out()

    def _read(self, letter: mail.Letter) -> None:  # noqa: C901, PLR0912 - one arm a letter
        now = monotonic()
        table = self._table
        match letter:
            case mail.Written(stream):
                tp = table.written(stream)
                if tp is not None:
                    self._flow.written(tp, now)
                    self._sendable.add(tp)
            case mail.Checkpoints(entries, reply):
                results = []
                for lease, progress in entries:
                    results.append(table.checkpoint(lease, progress))
                    held = table.partition_of_lease(lease)
                    if held is not None:
                        self._sendable.add(held)
                self._outbox.post(mail.Answer(reply, results))
            case mail.Available(stream, process_id, max_message_bytes):
                table.available(stream, process_id, max_message_bytes, now)
            case mail.Ready(stream, lease):
                table.ready(stream, lease)
                held = table.partition_of_lease(lease)
                if held is not None:
                    self._sendable.add(held)
                    self._next_look = 0.0  # it may be paused
            case mail.Closed(stream, reason, last):
                table.closed(stream, reason, last, now)
            case mail.StreamLost(stream):
                table.stream_lost(stream, now)
            case mail.Failed(lease, failure, last, error_reply):
                self._outbox.post(mail.Answer(error_reply, table.error(lease, failure, last, now)))
                held = table.partition_of_lease(lease)
                if held is not None:  # it lives on after a report, whose checkpoint may have made room
                    self._sendable.add(held)
            case mail.Resume(tp, skip, resume_reply):
                try:
                    self._outbox.post(mail.Answer(resume_reply, table.resume(tp, now, skip=skip)))
                except ResumeRefused as refusal:
                    self._outbox.post(mail.Answer(resume_reply, error=refusal))
            case mail.Inspect(inspect_reply):
                self._outbox.post(mail.Answer(inspect_reply, self._status()))
            case mail.Stop():
                self._stopping = True

    def _carry_out(self, *, in_callback: bool = False) -> None:
        """Do what the partitions ask for. Inside a rebalance callback positions cannot be moved: rewinds wait."""
        commands, self._table.commands = self._table.commands, []
        for command in commands:
            match command:
                case Rewind() if in_callback:
                    self._table.commands.append(command)
                case Rewind(tp, offset):
                    try:
                        self._places.rewind(tp, offset)
                        self._table.rewound(tp)
                    except KafkaException as error:
                        self._log.warning(
                            "rewind refused; trying again", partition=str(tp), error=error.args[0].str()
                        )
                        self._table.commands.append(command)
                case Report(level, event, about, lease, fields):
                    where: dict[str, object] = (
                        {} if about is None else {"topic": about.topic, "partition": about.partition}
                    )
                    if lease is not None:
                        where["lease"] = lease
                    getattr(self._log, level)(event, **where, **fields)
                case _:
                    self._outbox.post(command)

    # --- the group --------------------------------------------------------------------------------------------

    def _keep_membership(self, now: float) -> None:
        """Join with the first lambda process, leave some time after the last."""
        wanted = self._connection.connected and self._table.wants_group(now)
        if wanted and not self._joined:
            self._joined = True
            self._table.accept_again()
            self._log.info("joining the group", group=self._config.group, topics=[*self._config.topics])
            self._consumer.subscribe(
                [*self._config.topics], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
        elif self._joined and not self._table.wants_group(now):
            self._joined = False
            self._log.info("no lambda process: leaving the group", group=self._config.group)
            self._release([*self._table.partitions], RevokeReason.SHUTDOWN, 0.0)
            self._consumer.unsubscribe()

    def _on_assign(self, _: Consumer, partitions: list[KafkaPartition]) -> None:
        tps = [TopicPartition(p.topic, p.partition) for p in partitions]
        self._log.info("partitions assigned", partitions=short(tps))
        self._table.assigned(tps)
        self._places.assigned(tps)

    def _on_revoke(self, _: Consumer, partitions: list[KafkaPartition]) -> None:
        tps = [TopicPartition(p.topic, p.partition) for p in partitions]
        if any(tp in self._table.partitions for tp in tps):
            self._log.info("partitions revoked", partitions=short(tps))
            self._release(tps, RevokeReason.REBALANCE, self._config.rebalance_drain)

    def _on_lost(self, _: Consumer, partitions: list[KafkaPartition]) -> None:
        tps = [TopicPartition(p.topic, p.partition) for p in partitions]
        self._log.warning("partitions lost", partitions=short(tps))
        self._table.lost(tps, monotonic())
        self._forget(tps)
        self._carry_out(in_callback=True)
        self._outbox.flush()

    def _release(self, tps: list[TopicPartition], reason: RevokeReason, seconds: float) -> None:
        """Drain these partitions, commit them, forget them.

        Runs inside a rebalance callback, where `consume` would bring nothing: only letters are read.
        """
        self._table.revoke(tps, reason, seconds, monotonic())
        self._drain(tps)
        self._commits.now(self._consumer, tps)
        self._forget(tps)
        self._table.forget(tps)

    def _drain(self, tps: list[TopicPartition]) -> None:
        """Wait until no lambda holds any of these; the table's own deadlines bound it."""
        while True:
            self._carry_out(in_callback=True)
            self._outbox.flush()
            if not self._table.held(tps):
                return
            due = self._table.next_due(monotonic())
            letter = self.mailbox.take(max(0.0, due - monotonic()) if due is not None else WAIT_IDLE)
            if letter is not None:
                self._read(letter)
            self._table.tick(monotonic())

    def _forget(self, tps: Iterable[TopicPartition]) -> None:
        self._places.forget(tps)
        for tp in tps:
            self._inflow.forget(tp)
            self._sendable.discard(tp)
            self._flow.forget(tp)

    # --- what goes wrong --------------------------------------------------------------------------------------

    def _on_error_message(self, message: Message, spoilt: dict[TopicPartition, Undeliverable]) -> None:
        """An error that came in the place of a record. Decided by its code, never by its text.

        A record that the client cannot read goes into ``spoilt``, the first of each partition.
        """
        error = message.error()
        assert error is not None
        topic, partition = message.topic(), message.partition()
        if error.fatal():
            raise KafkaException(error)
        if error.code() == KafkaError._AUTO_OFFSET_RESET and topic is not None and partition is not None:  # noqa: SLF001
            tp = TopicPartition(topic, partition)
            if tp in self._table.partitions:
                self._places.offset_gone(tp)
            return
        if error.code() in UNREADABLE and topic is not None and partition is not None:
            held = self._table.partitions.get(TopicPartition(topic, partition))
            offset = message.offset()
            if held is not None and offset is not None and offset >= 0:
                if offset not in held.skip:
                    reason = f"the Kafka client cannot read the record: {error.str()}"
                    spoilt.setdefault(held.tp, Undeliverable(0, offset, reason))
                return
        self._connection.complain(error, topic)

    def _on_error(self, error: KafkaError) -> None:
        """librdkafka's own callback: about connections, not about one partition."""
        if error.fatal():
            self._log.error("fatal error of the Kafka client", error=error.str())
        self._connection.complain(error, None)

    # --- now and then -----------------------------------------------------------------------------------------

    def _look_around(self, now: float) -> None:
        self._table.tick(now)
        self._throttled = self._flow.adjust(now)

    def _status(self) -> mail.LambdaStatus:
        return lambda_status(
            self._consumer,
            self._table,
            self._inflow,
            connected=self._connection.connected,
            joined=self._joined,
            problem=self._connection.problem,
            sent=self._sent,
        )

    # --- the end ----------------------------------------------------------------------------------------------

    def _leave_broken(self) -> None:
        """Commit what is known to be done and leave the group, if that still works."""
        for partition in self._table.partitions.values():
            partition.refetch = True  # what was in hand when it broke is lost here: no position may be committed
        with suppress(Exception):
            self._commits.now(self._consumer, [*self._table.partitions])
        with suppress(Exception):
            self._consumer.close()

    def _shut_down(self) -> None:
        """1. give nothing out, take everything back, still polling; 2. commit; 3. leave the group."""
        seconds = self._config.shutdown_drain
        tps = [*self._table.partitions]
        self._log.info("draining", partitions=len(tps), seconds=seconds)
        self._table.revoke_all(RevokeReason.SHUTDOWN, seconds, monotonic())
        self._flow.pause(tps)
        while self._table.held():
            self._read_mail()
            self._table.tick(monotonic())
            self._carry_out()
            self._outbox.flush()
            # Keeps the membership alive (`max.poll.interval.ms`). What still comes waits like any other record, so
            # that no position beyond it is committed.
            self._fetch()
        tps = [*self._table.partitions]
        self._commits.finish(self._consumer, tps, FINISH_TIMEOUT)
        self._forget(tps)
        self._table.forget(tps)
        self._consumer.close()
        self._read_mail()  # whoever still asks gets an answer: stale lease
        self._outbox.flush()
        self._log.info("left the group", group=self._config.group)


def _comes_after(message: Message, spoilt: dict[TopicPartition, Undeliverable]) -> bool:
    """Whether an undeliverable record of the same partition comes before this one."""
    bad = spoilt.get(TopicPartition(message.topic() or "", message.partition() or 0))
    return bad is not None and (message.offset() or 0) >= bad.offset
