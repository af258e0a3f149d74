"""Where each partition starts, and how its reading position is moved.

Owned by the consumer thread. Positions are never moved inside a rebalance callback: there the binding itself does the
right kind of assign for range, cooperative-sticky and KIP-848, and calling one ourselves breaks at least one of them.
What needs another offset is assigned after the callback.

`auto.offset.reset` is `error`, so librdkafka never jumps by itself: a group without a committed offset starts where
the config says, and a committed offset that no longer exists is said with its numbers before anything moves.

Each partition is resolved by itself. In three steps, of which the first two are questions for which nobody waits:
what the group has committed and which topics there are; where the logs of those begin and end that have no usable
offset; then the partition is placed. A new place is committed before the first record is handed out
(`PartitionTable.resolved`): were it lost with the process, the next start would begin somewhere else.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from time import monotonic, time

from confluent_kafka import OFFSET_STORED, Consumer, KafkaError, KafkaException, TopicPartition as KafkaPartition
from structlog.typing import FilteringBoundLogger

from sidecar.cluster.inquiries import Inquiries
from sidecar.cluster.origins import Origins
from sidecar.config.lambdas import LambdaConfig
from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.consuming.starts import Begin, Known, Lost, NotYet, Start, start_of
from sidecar.consuming.subscription import Subscription
from sidecar.mail.facts import Commit, Edges, Origin, TopicFacts
from sidecar.partitions.partition import Partition
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import State, TopicPartition, short

RETRY_AFTER = 0.5
"""Seconds until a question is asked again that was not answered, or whose answer did not help."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The log does not have the offset that the client asked for."""


Reason = Begin | Lost | Gone
"""Why a partition's log is asked where it begins and ends."""


class Positions:
    """The reading positions of one lambda's partitions."""

    def __init__(
        self,
        consumer: Consumer,
        table: PartitionTable,
        buffer: FetchBuffer,
        config: LambdaConfig,
        subscription: Subscription,
        inquiries: Inquiries,
        origins: Origins,
        log: FilteringBoundLogger,
        stopped: Callable[[Collection[TopicPartition]], None],
        *,
        cooperative: bool,
    ) -> None:
        """``stopped`` is told of partitions that were unassigned by us, and are about to be assigned again."""
        self._consumer = consumer
        self._table = table
        self._buffer = buffer
        self._config = config
        self._subscription = subscription
        self._inquiries = inquiries
        self._origins = origins
        self._cooperative = cooperative
        self._log = log
        self._stopped = stopped
        self._unresolved: set[TopicPartition] = set()
        self._gone: set[TopicPartition] = set()
        self._moved: set[TopicPartition] = set()
        self._left: dict[TopicPartition, Commit] = {}
        self._retry_at = 0.0
        self._asking: object = None
        """Of the questions that are under way; what answers older ones is not looked at."""
        self._said = ""

    def assigned(self, tps: Iterable[TopicPartition]) -> None:
        """Kafka gave these partitions."""
        self._unresolved.update(tps)
        self._asking = None  # what was asked before does not speak of these
        self._retry_at = 0.0

    def forget(self, tps: Iterable[TopicPartition]) -> None:
        """These are not ours any more."""
        for tp in tps:
            partition = self._table.partitions.get(tp)
            if partition is not None and partition.position.committed is not None:
                self._left[tp] = Commit(partition.position.committed, self._origins.get(tp))
            self._origins.forget(tp)
            self._unresolved.discard(tp)
            self._gone.discard(tp)
            self._moved.discard(tp)

    def stop(self) -> None:
        """Nothing is placed any more: everything is being taken back. Answers that still come are not looked at."""
        self._asking = None
        self._unresolved.clear()
        self._gone.clear()

    def offset_gone(self, tp: TopicPartition) -> None:
        """The broker does not have the offset that was asked for. It says so once, so it must not be forgotten."""
        self._gone.add(tp)

    def learned(self) -> None:
        """What is known of the topics is new: `Subscription`. A topic made anew has another id."""
        for tp, partition in self._table.partitions.items():
            origin, facts = self._origins.get(tp), self._subscription.facts(tp.topic)
            if tp in self._unresolved or origin is None or facts is None or not facts.id:
                continue
            if origin.topic_id and origin.topic_id != facts.id and not partition.leaves:
                # The client may have read on in the new topic from the old offset, and its lambda handles that now.
                self._unresolved.add(tp)
                self._asking, self._retry_at = None, 0.0

    def work(self) -> list[TopicPartition]:
        """Resolve what is unresolved. Called each turn; does nothing when there is nothing to do.

        Returns the partitions that the client begins to read anew: those that were placed or moved, here or by a
        rewind.
        """
        if (self._unresolved or self._gone) and self._asking is None and monotonic() >= self._retry_at:
            self._ask()
        moved, self._moved = self._moved, set()
        return [*moved]

    # --- first question: what the group has committed, and which topics there are ------------------------------

    def _ask(self) -> None:
        asking = self._asking = object()
        partitions = {tp: self._table.partitions[tp] for tp in self._unresolved | self._gone}

        def topics_told(facts: Mapping[str, TopicFacts]) -> None:
            if self._asking is asking:
                self._inquiries.commits(self._concerned(facts), partial(commits_told, facts))

        def commits_told(
            facts: Mapping[str, TopicFacts], commits: Mapping[TopicPartition, Commit] | KafkaError
        ) -> None:
            # Asked after the topics: an offset that is read now was committed in the topic that is described, or in
            # a predecessor, never in a successor that nobody has seen.
            if self._asking is asking:
                self._asking = None
                self._judge(partitions, facts, commits)

        self._inquiries.topics(sorted({tp.topic for tp in partitions}), topics_told)

    def _concerned(self, facts: Mapping[str, TopicFacts]) -> list[TopicPartition]:
        """The partitions whose commits say something about how the group began with these topics."""
        alike = {name for topic in facts for name in self._subscription.alike(topic)}
        known = {name: self._subscription.facts(name) for name in alike | facts.keys()} | {
            name: fact for name, fact in facts.items() if fact.error is None
        }
        return [
            TopicPartition(name, number)
            for name, fact in known.items()
            if fact is not None
            for number in range(len(fact.leaders))
        ]

    def _judge(
        self,
        partitions: Mapping[TopicPartition, Partition],
        facts: Mapping[str, TopicFacts],
        commits: Mapping[TopicPartition, Commit] | KafkaError,
    ) -> None:
        self._retry_at = monotonic() + RETRY_AFTER
        if isinstance(commits, KafkaError):
            self._wait(partitions, f"cannot ask Kafka for the group's offsets: {commits.str()}")
            return
        reasons: dict[TopicPartition, Reason] = {}
        now = monotonic()
        for tp, partition in partitions.items():
            if self._table.partitions.get(tp) is not partition:
                continue  # gone, and perhaps here again
            if tp not in self._unresolved:
                reasons[tp] = Gone()
                continue
            fact = facts.get(tp.topic)
            if fact is None or (fact.error is not None and fact.error.code() < 0):
                fact = self._subscription.facts(tp.topic)  # not answered; the last look at the topics was
            start = self._start(partition, commits, fact)
            match start:
                case Known(offset, origin):
                    # The client reads from it already, and some of its records may be here.
                    self._origins[tp] = origin
                    self._unresolved.discard(tp)
                    self._left.pop(tp, None)
                    if partition.state is State.RESOLVING:
                        self._table.resolved(tp, offset, now, committed=True)
                        # Read anew as well: of an earlier assignment it may be paused in the client still, which
                        # nobody would know of.
                        self._moved.add(tp)
                case NotYet(why):
                    self._wait([tp], why)
                case _ if fact is not None and not fact.has_leader(tp.partition):
                    self._wait([tp], "no broker leads the partition")
                case _:
                    reasons[tp] = start
        if reasons:
            asking = self._asking = object()
            self._inquiries.edges([*reasons], partial(self._place, asking, partitions, reasons))
        elif not self._unresolved:
            self._said = ""

    def _start(
        self, partition: Partition, commits: Mapping[TopicPartition, Commit], facts: TopicFacts | None
    ) -> Start:
        tp = partition.tp
        if facts is not None and self._subscription.is_former(tp.topic, facts.id):
            return NotYet("the brokers do not agree yet which topic has this name")
        held = self._origins.get(tp)
        if partition.state is State.RESOLVING or held is None:
            return start_of(
                tp,
                commits,
                facts,
                self._left.get(tp),
                self._config.start,
                round(time() * 1000),
                appeared=tp.topic in self._subscription.appeared,
                alike=self._subscription.alike(tp.topic),
            )
        # The topic was made anew while the partition was ours: whatever was committed is the old topic's.
        if facts is None or facts.error is not None:
            return NotYet("the topic was made anew, and is not there")
        if facts.id == held.topic_id:
            return Known(partition.position.resume_at, held)
        place = partition.position.resume_at if partition.position.committed is None else partition.position.committed
        why = f"the topic was deleted and made anew: its id was {held.topic_id} and is {facts.id} now"
        return Lost(max(place, 0), Origin(facts.id, 0, round(time() * 1000)), why)

    def _wait(self, tps: Iterable[TopicPartition], why: str) -> None:
        """Where these start cannot be said yet; they are asked for again."""
        if why != self._said:
            self._log.warning("a partition cannot start yet; asking again", reason=why, partitions=short(tps))
        self._said = why
        for tp in tps:
            if tp in self._table.partitions:
                self._table.not_resolved(tp, why)

    # --- second question: where the logs begin and end ----------------------------------------------------------

    def _place(
        self,
        asking: object,
        partitions: Mapping[TopicPartition, Partition],
        reasons: Mapping[TopicPartition, Reason],
        answers: Mapping[TopicPartition, Edges | KafkaError],
    ) -> None:
        if self._asking is not asking:
            return
        self._asking = None
        moves: dict[TopicPartition, int] = {}
        placed: list[Callable[[], None]] = []
        said: dict[str, list[TopicPartition]] = {}
        for tp, reason in reasons.items():
            edges = answers[tp]
            if self._table.partitions.get(tp) is not partitions[tp]:
                continue
            if isinstance(edges, KafkaError):
                self._wait([tp], f"cannot ask Kafka where the log begins and ends: {edges.str()}")
                continue
            match reason:
                case Begin(at, origin, why):
                    moves[tp] = getattr(edges, at)
                    self._origins[tp] = origin
                    said.setdefault(why, []).append(tp)
                    placed.append(partial(self._table.resolved, tp, moves[tp], monotonic(), committed=False))
                case Lost(offset, origin, why):
                    text = f"{why}; the group's offset was {offset}, the log has {edges.earliest} to {edges.latest}"
                    moves[tp] = self._after_loss(edges)
                    self._origins[tp] = origin
                    placed.append(partial(self._lose, tp, offset, offset, edges, text))
                case Gone():
                    wanted = self._buffer.next_offset.get(tp, partitions[tp].position.resume_at)
                    if edges.earliest <= wanted <= edges.latest:
                        # Heard of an older question: the place is there after all. Read from it again.
                        moves[tp] = wanted
                    else:
                        text = f"offset {wanted} is not in the log, which has {edges.earliest} to {edges.latest}"
                        moves[tp] = self._after_loss(edges)
                        place = max(partitions[tp].position.resume_at, 0)
                        placed.append(partial(self._lose, tp, wanted, place, edges, text))
            self._left.pop(tp, None)
            self._unresolved.discard(tp)
            self._gone.discard(tp)  # of a partition without a committed offset it is no news
        for why, tps in said.items():
            self._log.info(why, partitions=short(tps))
        self._move(moves)
        for placing in placed:
            placing()

    def _after_loss(self, edges: Edges) -> int:
        return edges.latest if self._config.on_offset_lost == "latest" else edges.earliest

    def _lose(self, tp: TopicPartition, offset: int, place: int, edges: Edges, text: str) -> None:
        """The place is gone: say so, and do what the config says."""
        policy = self._config.on_offset_lost
        self._log.error(
            "offset lost: " + ("halting" if policy == "halt" else f"going on at the {policy}"),
            topic=tp.topic,
            partition=tp.partition,
            offset=offset,
            place=place,
            earliest=edges.earliest,
            latest=edges.latest,
            reason=text,
        )
        self._table.offset_lost(tp, self._after_loss(edges), monotonic(), text, halt=policy == "halt")

    # --- positions ----------------------------------------------------------------------------------------------

    def rewind(self, tp: TopicPartition, offset: int) -> None:
        """Fetch again from ``offset``."""
        self._buffer.drop(tp)
        try:
            # Ends when librdkafka has thrown away what it had fetched, so nothing older can come after it.
            self._consumer.seek(KafkaPartition(tp.topic, tp.partition, offset))
            self._buffer.next_offset[tp] = offset
        except KafkaException as error:
            # Not fetched from yet: there is nothing to seek in. An assignment with an offset does the same.
            reason = str(error.args[0])
            self._log.debug("seek refused, assigning", topic=tp.topic, partition=tp.partition, error=reason)
            self._move({tp: offset})

    def _move(self, offsets: dict[TopicPartition, int]) -> None:
        """Read these partitions from these offsets."""
        if not offsets:
            return
        for tp in offsets:
            self._buffer.drop(tp)  # what waits was read from the old position
        moved = [KafkaPartition(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]
        if self._cooperative:
            self._consumer.incremental_unassign([KafkaPartition(p.topic, p.partition) for p in moved])
            self._stopped(offsets)
            self._consumer.incremental_assign(moved)
        else:
            # The eager protocol knows only the whole assignment: the others are told where they are.
            everything = {tp: self._place_of(p) for tp, p in self._table.partitions.items()} | offsets
            self._consumer.unassign()
            self._stopped(everything)
            self._consumer.assign([KafkaPartition(tp.topic, tp.partition, o) for tp, o in everything.items()])
            self._moved.update(everything)
        self._moved.update(offsets)
        self._buffer.next_offset.update(offsets)
        # Whether a moved partition is still paused differs between the protocols; not paused is what is meant.
        stopped = self._buffer.paused.intersection(offsets)
        if stopped:
            self._consumer.resume([KafkaPartition(tp.topic, tp.partition) for tp in stopped])
            self._buffer.paused.difference_update(stopped)

    def _place_of(self, partition: Partition) -> int:
        offset = self._buffer.next_offset.get(partition.tp, partition.position.resume_at)
        return offset if offset >= 0 else OFFSET_STORED
