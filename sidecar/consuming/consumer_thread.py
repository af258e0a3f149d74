"""The thread of one lambda: it owns the Consumer and the partitions' state, and every record passes through it.

A turn of the thread: read the letters of the event loop, fetch records, encode frames, hand them to the loop, then
check pauses and deadlines and commit. All calls on the Consumer are made in this thread; rebalance callbacks run
inside poll and consume, so in this thread too. When there is nothing to do, the `Source` waits for records, events
and letters. Without the extension it waits inside librdkafka, where a letter cannot wake it, so those waits are
short.
"""

import random
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from confluent_kafka import KafkaException, TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from sidecar.cluster.client_log import ClientLog
from sidecar.cluster.committed import CommittedOffsets
from sidecar.cluster.inquiries import Inquiries
from sidecar.cluster.origins import Origins
from sidecar.config.kafka_properties import Property, offsets_properties, rebalance_protocol
from sidecar.config.lambdas import LambdaConfig
from sidecar.consuming.client import Consuming, Kept, begin
from sidecar.consuming.commit_refusals import CommitRefusals
from sidecar.consuming.commits import Commits
from sidecar.consuming.connection import Connection
from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.consuming.in_flight import InFlight
from sidecar.consuming.problems import Problems
from sidecar.consuming.rebuild import Rebuild
from sidecar.consuming.sender import Sender
from sidecar.consuming.status import lambda_status
from sidecar.consuming.subscription import Subscription
from sidecar.logs import get_logger
from sidecar.mail import letters
from sidecar.mail.boxes import Mailbox, Outbox
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import (
    Exit,
    Limits,
    Policy,
    Report,
    Resumed,
    RevokeReason,
    Rewind,
    State,
    TopicPartition,
    short,
)
from sidecar.producing.dead_letters import DeadLetters
from sidecar.status import LambdaStatus

WAIT_IDLE_S = 0.05
"""Longest wait for records or a letter when no records are buffered."""

HOUSEKEEPING_INTERVAL_S = 0.01
"""Seconds between checks of pauses, deadlines and full windows."""

CLOSE_TIMEOUT_S = 2.0
"""Seconds at the end to wait for failed clients to be closed."""

FINISH_TIMEOUT_S = 5.0
"""Seconds that the last commit may take. While the broker is away it would take a whole session timeout."""


class ConsumerThread(threading.Thread):
    """Consumes one lambda's topics and serves its partitions.

    Only ``mailbox`` may be used by other threads.
    """

    def __init__(
        self,
        name: str,
        config: LambdaConfig,
        properties: dict[str, Property],
        producer: dict[str, Property],
        admin: AdminClient,
        look: Callable[[], None],
        outbox: Outbox,
        ended: Callable[[str, BaseException | None], None],
    ) -> None:
        """``properties`` are the consumer's, ``producer`` the properties of a producer for the same broker.

        ``admin`` asks the broker; ``look`` asks for the topics now (`TopicWatch.look`). ``ended`` is called in this
        thread when it ends, with the lambda's name and the error that ended it; None: it was stopped.
        """
        super().__init__(name=f"consumer-{name}", daemon=True)
        self.mailbox = Mailbox()
        self._lambda = name
        self._config = config
        self._properties = properties
        self._outbox = outbox
        self._ended = ended
        self._log = get_logger(__name__).bind(lambda_=name)
        limits = Limits(
            window_messages=config.window.messages,
            window_bytes=config.window.bytes,
            window_span=config.window.span,
            leave_group_after=config.leave_group_after,
            stall_after=config.stall_after,
            policy=Policy(config.on_critical),
            max_restarts=config.max_restarts,
            hand_over_drain=config.shutdown_drain,
        )
        self._table = PartitionTable(limits, lambda: secrets.token_urlsafe(18), random.random)
        self._buffer = FetchBuffer()
        self._origins = Origins()
        self._problems = Problems(self._log)
        self._refusals = CommitRefusals(self._table, self._problems, self._log)
        self._commits = Commits(
            self._table, self._buffer, self._origins, config.checkpoint.interval, self._refusals, self._log
        )
        client_log = ClientLog(get_logger("librdkafka").bind(lambda_=name))
        self._offsets = CommittedOffsets(name, offsets_properties(properties), self.mailbox, client_log)
        isolation = str(properties.get("isolation.level", ""))
        self._inquiries = Inquiries(admin, self._offsets, isolation, self.mailbox)
        self._dead_letters: DeadLetters | None = None
        if limits.policy is Policy.DEAD_LETTER:
            self._dead_letters = DeadLetters(name, config.group, config.dead_letter_topic, producer, self.mailbox)
        self._postponed: list[letters.Pause | letters.Seek | letters.Told | letters.Topics] = []
        self._subscription = Subscription(config, self._problems, self._log)
        self._connection = Connection(self._problems, self._log, look, self._inquiries.ends, client_log)
        self._subscribed: list[str] = []
        self._in_flight = InFlight(self._table)
        self._sender = Sender(self._table, self._buffer, self._in_flight, config, outbox, self._dead_letters)
        self._kept = Kept(
            config=config,
            properties=properties,
            table=self._table,
            buffer=self._buffer,
            origins=self._origins,
            inquiries=self._inquiries,
            subscription=self._subscription,
            connection=self._connection,
            client_log=client_log,
            commits=self._commits,
            refusals=self._refusals,
            in_flight=self._in_flight,
            sender=self._sender,
            problems=self._problems,
            mailbox=self.mailbox,
            outbox=outbox,
            log=self._log,
        )
        self._rebuild = Rebuild(self._problems, random.random)
        self._reported_ready = False
        self._stopping = False
        self._in_callback = False
        self._stood_still: list[TopicPartition] = []
        self._enough = False
        self._next_look = 0.0
        self._fetched = 0  # records fetched until the last check

    def run(self) -> None:
        """Run turns until Stop. An unexpected error ends the thread, and ``ended`` gets it."""
        try:
            self._client: Consuming = begin(self._kept)
            self._offsets.start()
            if self._dead_letters is not None:
                self._dead_letters.start()
            while not self._stopping:
                if self._rebuild.waits:
                    self._rest()
                else:
                    self._turn_or_fail()
            self._shut_down()
        except BaseException as error:  # whatever it is, the process must be told
            self._log.exception("the consumer thread broke")
            self._outbox.flush()
            self._leave_broken()
            self._ended(self._lambda, error)
        else:
            self._ended(self._lambda, None)

    # --- a turn -----------------------------------------------------------------------------------------------

    def _turn_or_fail(self) -> None:
        """One turn; afterwards, give up a client that has failed for good."""
        faults = self._client.faults
        try:
            self._turn()
        except KafkaException as error:
            if not faults.note(error.args[0]):
                raise
        if faults.fatal is not None:
            self._give_up_client()

    def _turn(self) -> None:
        self._read_mail()
        now = monotonic()
        self._connection.work(now)
        self._tell_readiness()
        self._keep_membership(now)
        self._start_partitions()
        self._fetch()
        self._wake_kept()
        # A rebalance callback inside the fetch may have left rewinds. They are carried out before anything is sent:
        # records that the fetch brought for such a partition are from its old position, and the rewind drops them.
        self._carry_out()
        now = monotonic()
        self._sender.work(now)
        self._outbox.flush()  # records must not wait for the housekeeping
        if now >= self._next_look or (self._client.back_pressure.tight and self._buffer.fetched != self._fetched):
            self._next_look = now + HOUSEKEEPING_INTERVAL_S
            self._look_around(now)
        self._commits.work(self._client.consumer, now)
        self._carry_out()
        self._outbox.flush()

    def _start_partitions(self) -> None:
        """Resolve partitions, and start those that the client begins to read from a new position.

        They are paused until their lambda runs: otherwise most of the records that are fetched for many partitions
        would be dropped again. A partition whose lambda runs already is not paused: in a group without committed
        offsets, Kafka's client reports that after the partitions were resolved, and they are resolved once more.
        """
        begun = self._client.positions.work()
        if any(self._table.partitions[tp].state is State.RESOLVING for tp in begun):
            self._commits.hurry()  # their resume offsets must be committed before a lambda gets them
        self._client.back_pressure.pause(
            [tp for tp in begun if self._table.partitions[tp].state is not State.RUNNING]
        )
        self._client.back_pressure.wake(begun)

    def _tell_readiness(self) -> None:
        if self._problems.ready != self._reported_ready:
            self._reported_ready = self._problems.ready
            self._outbox.post(letters.Readiness(self._lambda, self._reported_ready))

    def _fetch(self) -> None:
        """Read the records that Kafka's client has; if it has none, wait for one."""
        if self._enough:
            self._client.source.serve()  # rebalances go on while nothing is fetched
            self._outbox.flush()
            self.mailbox.wait(max(0.0, self._next_look - monotonic()))
            return
        if not self._client.source.read() and self.mailbox.empty():
            self._outbox.flush()  # answers must not wait with us
            self._client.source.wait(self._patience())

    def _patience(self) -> float:
        if self._sender.changed:
            return 0.0
        return HOUSEKEEPING_INTERVAL_S if len(self._buffer) else WAIT_IDLE_S

    # --- letters ----------------------------------------------------------------------------------------------

    def _read_mail(self) -> None:
        while self._postponed:
            self._read(self._postponed.pop(0))
        while (letter := self.mailbox.take()) is not None:
            self._read(letter)
        self._carry_out()

    def _read(self, letter: letters.Letter) -> None:  # noqa: C901, PLR0912, PLR0915 - one arm a letter
        now = monotonic()
        table = self._table
        match letter:
            case letters.Written(stream):
                tp = table.written(stream)
                if tp is not None:
                    self._in_flight.written(tp, now)
                    self._sender.changed.add(tp)
            case letters.Checkpoints(entries, reply):
                results = []
                for lease, progress in entries:
                    results.append(table.checkpoint(lease, progress, now))
                    held = table.partition_of_lease(lease)
                    if held is not None:
                        self._sender.changed.add(held)
                self._outbox.post(letters.Answer(reply, results))
            case letters.Available(stream, process_id, max_message_bytes):
                table.available(stream, process_id, max_message_bytes, now)
            case letters.Ready(stream, lease):
                table.ready(stream, lease, now)
                held = table.partition_of_lease(lease)
                if held is not None:
                    self._sender.changed.add(held)
                    self._next_look = 0.0  # the partition may be paused in Kafka's client
            case letters.Closed(stream, reason, last):
                table.closed(stream, reason, last, now)
            case letters.StreamLost(stream):
                table.stream_lost(stream, now)
            case letters.Failed(lease, failure, last, error_reply):
                self._outbox.post(letters.Answer(error_reply, table.error(lease, failure, last, now)))
                held = table.partition_of_lease(lease)
                if held is not None:  # after a report the lease lives on, and its checkpoint may have made room
                    self._sender.changed.add(held)
            case letters.PauseLease(stream, pausing):
                table.pause_lease(stream, pausing, now)
            case letters.ResumeLease(stream):
                table.resume_lease(stream, now)
            case letters.DeadLettered():
                self._sender.dead_letter_answered(letter, now)
            case letters.Told() | letters.Topics() if self._in_callback:
                self._postponed.append(letter)  # it may move positions
            case letters.Told(then):
                then()
            case letters.Topics(facts):
                self._connection.reached(facts)
                self._subscription.learn(facts, table.partitions)
                self._client.positions.learned()
            case letters.TopicsUnknown(unknown):
                self._connection.away(unknown)
            case letters.Resume():
                self._client.operator.resume(letter)
            case letters.Pause() | letters.Seek() if self._in_callback:
                self._postponed.append(letter)  # positions and holdings must not change now
            case letters.Pause():
                self._client.operator.pause(letter)
            case letters.Seek():
                self._client.operator.seek(letter)
            case letters.Inspect(inspect_reply):
                self._outbox.post(letters.Answer(inspect_reply, self._status()))
            case letters.Stop():
                self._stopping = True

    def _carry_out(self) -> None:
        """Carry out the table's commands. Rewinds wait until after a rebalance callback, in which positions cannot be
        moved."""
        commands = self._table.take_commands()
        for index, command in enumerate(commands):
            match command:
                case Rewind() if self._in_callback:
                    self._table.not_rewound(command, commands[index + 1 :])
                case Rewind(tp, offset):
                    try:
                        self._client.positions.rewind(tp, offset)
                        self._table.rewound(tp)
                    except KafkaException as error:
                        self._log.warning(
                            "rewind refused; trying again", partition=str(tp), error=error.args[0].str()
                        )
                        self._table.not_rewound(command, commands[index + 1 :])
                case Report(level, event, about, lease, fields):
                    where: dict[str, object] = (
                        {} if about is None else {"topic": about.topic, "partition": about.partition}
                    )
                    if lease is not None:
                        where["lease"] = lease
                    getattr(self._log, level)(event, **where, **fields)
                case Exit(reason):
                    self._outbox.post(letters.Exit(self._lambda, reason))
                case Resumed(stream):
                    known = self._table.processes.get(stream)
                    if known is not None and known.partition is not None:
                        self._sender.changed.add(known.partition)
                        self._next_look = 0.0  # the partition may be paused in Kafka's client
                    self._outbox.post(command)
                case _:
                    self._outbox.post(command)

    # --- the group --------------------------------------------------------------------------------------------

    def _keep_membership(self, now: float) -> None:
        """Join with the first lambda process, leave some time after the last one; subscribe to new topics."""
        client = self._client
        topics = self._subscription.topics
        client.membership.work(now, waits=self._connection.connected and self._subscription.something_there)
        if not self._table.wants_group(now):
            if client.membership.subscribed:
                self._leave("no lambda process: leaving the group")
            elif self._connection.connected:
                self._rebuild.works()  # without lambda processes it has nothing else to do
            return
        if not self._connection.connected or topics == self._subscribed:
            return
        if not topics:
            self._leave("no topic matches: leaving the group")
            return
        self._subscribed = topics
        client.subscribe(topics, assigned=self._on_assign, revoked=self._on_revoke, lost=self._on_lost)

    def _leave(self, event: str) -> None:
        self._subscribed = []
        self._client.membership.leave()
        self._log.info(event, group=self._config.group)
        self._release([*self._table.partitions], RevokeReason.SHUTDOWN, 0.0)
        self._client.consumer.unsubscribe()

    def _on_assign(self, partitions: list[KafkaPartition]) -> None:
        tps = [TopicPartition(p.topic, p.partition) for p in partitions]
        self._log.info("partitions assigned", partitions=short(tps))
        self._stood_still = [*self._table.partitions]
        self._client.source.lead(tps)
        self._table.assigned(tps)
        self._client.positions.assigned(tps)
        self._subscription.assigned(tps)

    def _on_revoke(self, partitions: list[KafkaPartition]) -> None:
        tps = [TopicPartition(p.topic, p.partition) for p in partitions]
        if any(tp in self._table.partitions for tp in tps):
            self._log.info("partitions revoked", partitions=short(tps))
            self._release(tps, RevokeReason.REBALANCE, self._config.rebalance_drain)
            self._stood_still = [*self._table.partitions]

    def _wake_kept(self) -> None:
        """After a rebalance, wake the partitions that stay: the client had paused them too."""
        if self._stood_still:
            kept, self._stood_still = self._stood_still, []
            self._client.back_pressure.wake(kept)

    def _on_lost(self, partitions: list[KafkaPartition]) -> None:
        tps = [TopicPartition(p.topic, p.partition) for p in partitions]
        self._log.warning("partitions lost", partitions=short(tps))
        self._lose(tps)

    def _lose(self, tps: list[TopicPartition]) -> None:
        """These partitions are lost: tell the lambdas that hold them, without a drain or a commit."""
        self._forget(tps)
        self._table.lost(tps, monotonic())
        self._stood_still = []
        self._in_callback = True
        self._carry_out()
        self._in_callback = False
        self._outbox.flush()

    def _release(self, tps: list[TopicPartition], reason: RevokeReason, seconds: float) -> None:
        """Drain these partitions, commit them, forget them.

        Runs inside a rebalance callback, in which records cannot be fetched: only letters are read.
        """
        eager = rebalance_protocol(self._properties) == "eager"
        may_return = reason is RevokeReason.REBALANCE and eager
        self._table.revoke(tps, reason, seconds, monotonic(), may_return=may_return)
        self._in_callback = True
        self._drain(tps)
        self._in_callback = False
        self._commits.now(self._client.consumer, tps)
        self._forget(tps)
        self._table.forget(tps)

    def _drain(self, tps: list[TopicPartition]) -> None:
        """Wait until no lambda holds any of these partitions; the table's deadlines bound the wait."""
        while True:
            self._carry_out()
            self._outbox.flush()
            if not self._table.held(tps):
                return
            due = self._table.next_due(monotonic())
            letter = self.mailbox.take(max(0.0, due - monotonic()) if due is not None else WAIT_IDLE_S)
            if letter is not None:
                self._read(letter)
            self._table.tick(monotonic())

    def _forget(self, tps: list[TopicPartition]) -> None:
        self._client.positions.forget(tps)
        self._refusals.forget(tps)
        for tp in tps:
            self._buffer.forget(tp)
            self._client.ends.forget(tp)
            self._sender.forget(tp)
            self._in_flight.forget(tp)

    # --- a failed client --------------------------------------------------------------------------------------

    def _give_up_client(self) -> None:
        """The client has failed for good: close it and lose its partitions. Another is made after a while."""
        error = self._client.faults.fatal
        assert error is not None
        self._rebuild.failed(error.str(), self._client.began_at)
        # First of all, so that none of its callbacks runs during the steps below.
        self._rebuild.closing(self._client.abandon())
        self._in_callback = False
        self._commits.abandon()
        if self._table.partitions:
            self._lose([*self._table.partitions])
        self._client.positions.stop()
        self._client.operator.give_up()
        self._client.membership.leave()
        self._subscribed = []
        self._enough = False
        self._outbox.flush()

    def _rest(self) -> None:
        """A turn without a client: read letters; lambda processes that join have to wait."""
        self._read_mail()
        now = monotonic()
        self._connection.work(now)
        self._tell_readiness()
        self._table.tick(now)
        self._carry_out()
        self._outbox.flush()
        if now >= self._rebuild.due:
            try:
                self._client = begin(self._kept)
            except KafkaException as error:  # for instance, a file named in the properties is gone
                self._rebuild.failed(error.args[0].str(), now)
            else:
                self._rebuild.done()
        else:
            self.mailbox.wait(min(WAIT_IDLE_S, self._rebuild.due - now))

    # --- housekeeping -----------------------------------------------------------------------------------------

    def _look_around(self, now: float) -> None:
        self._fetched = self._buffer.fetched
        self._table.tick(now)
        self._enough = self._client.back_pressure.adjust(now)
        self._client.operator.work()
        self._client.ends.work(now)

    def _status(self) -> LambdaStatus:
        return lambda_status(
            self._client.ends,
            self._subscription,
            self._table,
            self._buffer,
            connected=self._connection.connected,
            joined=self._client.membership.joined,
            problems=self._problems.now,
            sent=self._sender.sent,
        )

    # --- the end ----------------------------------------------------------------------------------------------

    def _leave_broken(self) -> None:
        """Commit the resume offsets and leave the group, if that still works."""
        # Records that were in local variables when the thread broke are lost: no position may be committed.
        self._table.dropped([*self._table.partitions])
        with suppress(Exception):
            self._commits.now(self._client.consumer, [*self._table.partitions])
        with suppress(Exception):
            self._client.close()
        for order in self._postponed:
            self.mailbox.put(order)  # it is answered with the other letters when the mailbox is closed
        self._table.forget([*self._table.partitions])
        self._offsets.stop()
        if self._dead_letters is not None:
            self._dead_letters.stop()
        with suppress(Exception):  # the thread may have broken before there was a client
            self._client.operator.work()
        self._outbox.flush()

    def _shut_down(self) -> None:
        """1. Drain all partitions, while polling. 2. Commit. 3. Leave the group."""
        seconds = self._config.shutdown_drain
        tps = [*self._table.partitions]
        self._log.info("draining", partitions=len(tps), seconds=seconds)
        self._client.positions.stop()
        self._table.revoke_all(RevokeReason.SHUTDOWN, seconds, monotonic())
        self._client.back_pressure.pause(tps)
        self._enough = False  # `adjust` is not called any more
        while self._table.held():
            self._read_mail()
            self._table.tick(monotonic())
            self._carry_out()
            self._outbox.flush()
            # Polling keeps the membership alive (`max.poll.interval.ms`). Records that still arrive are buffered, so
            # that no position after them is committed.
            self._fetch()
        tps = [*self._table.partitions]
        self._commits.finish(self._client.consumer, tps, FINISH_TIMEOUT_S)
        self._forget(tps)
        self._table.forget(tps)
        self._client.close()
        self._rebuild.wait_for_closed(CLOSE_TIMEOUT_S)
        self._offsets.stop()
        if self._dead_letters is not None:
            self._dead_letters.stop()
        self._client.operator.work()
        self._read_mail()  # later calls of lambdas are answered: stale lease
        self._outbox.flush()
        self._log.info("left the group", group=self._config.group)
