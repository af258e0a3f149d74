"""The resume offset of each partition, and the moves of its position in Kafka's client.

Owned by the consumer thread. Positions are never moved inside a rebalance callback: there the binding itself makes
the right assign call for range, cooperative-sticky and KIP-848, and a call of ours would break at least one of them.
A partition that needs another position is assigned again after the callback.

`auto.offset.reset` is `error`, so librdkafka never resets an offset by itself: a group without a committed offset
starts where the config says, and the loss of a committed offset is logged with its numbers before anything moves.

Each partition is resolved by itself, in three steps; the thread does not wait for the answers of the first two:

1. Ask for the topics and then for the group's committed offsets.
2. Ask where the logs begin and end, of the partitions without a usable committed offset.
3. Move these partitions to their resume offsets.

A new resume offset is committed before the first record is sent (`PartitionTable.resolved`). Otherwise, if the
process died, the next start could choose another one.
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
from sidecar.consuming.fetching import Fetching
from sidecar.consuming.starts import Begin, Known, Lost, NotYet, Start, start_of
from sidecar.consuming.subscription import Subscription
from sidecar.mail.facts import Commit, Edges, Origin, TopicFacts
from sidecar.partitions.partition import Partition
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import State, TopicPartition, short

RETRY_AFTER_S = 0.5
"""Seconds until a question is asked again, if the answer is missing or not sufficient."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The log does not have the offset that the client asked for."""


Reason = Begin | Lost | Gone
"""Why we ask where a partition's log begins and ends."""


class Positions:
    """The positions of one lambda's partitions in Kafka's client."""

    def __init__(
        self,
        consumer: Consumer,
        table: PartitionTable,
        buffer: FetchBuffer,
        fetching: Fetching,
        config: LambdaConfig,
        subscription: Subscription,
        inquiries: Inquiries,
        origins: Origins,
        log: FilteringBoundLogger,
        stopped: Callable[[Collection[TopicPartition]], None],
        *,
        cooperative: bool,
    ) -> None:
        """``stopped`` gets the partitions that we have unassigned and are about to assign again."""
        self._consumer = consumer
        self._table = table
        self._buffer = buffer
        self._fetching = fetching
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
        """Identifies the questions that are under way; answers to older ones are ignored."""
        self._last_logged = ""

    def assigned(self, tps: Iterable[TopicPartition]) -> None:
        """Kafka assigned these partitions."""
        self._unresolved.update(tps)
        self._asking = None  # the questions that are under way do not include these partitions
        self._retry_at = 0.0

    def forget(self, tps: Iterable[TopicPartition]) -> None:
        """These partitions are no longer assigned to us."""
        for tp in tps:
            partition = self._table.partitions.get(tp)
            if partition is not None and partition.offsets.committed is not None:
                self._left[tp] = Commit(partition.offsets.committed, self._origins.get(tp))
            self._origins.forget(tp)
            self._unresolved.discard(tp)
            self._gone.discard(tp)
            self._moved.discard(tp)

    def stop(self) -> None:
        """All partitions are being released: resolve none any more, and ignore answers that still arrive."""
        self._asking = None
        self._unresolved.clear()
        self._gone.clear()

    def offset_gone(self, tp: TopicPartition) -> None:
        """The log does not have the offset that was fetched. The client reports it only once, so note it."""
        self._gone.add(tp)

    def learned(self) -> None:
        """The `Subscription` has news of the topics: resolve the partitions of a topic that was made anew."""
        for tp, partition in self._table.partitions.items():
            origin, facts = self._origins.get(tp), self._subscription.facts(tp.topic)
            if tp in self._unresolved or origin is None or facts is None or not facts.id:
                continue
            if origin.topic_id and origin.topic_id != facts.id and not partition.leaves:
                # The client may have gone on from the old offset in the new topic, and the lambda handles its
                # records.
                self._unresolved.add(tp)
                self._asking, self._retry_at = None, 0.0

    def work(self) -> list[TopicPartition]:
        """Resolve partitions that are not resolved. Called in each turn.

        Returns the partitions that the client reads from a new position since the last call, after they were resolved
        or moved, here or by a rewind.
        """
        if (self._unresolved or self._gone) and self._asking is None and monotonic() >= self._retry_at:
            self._ask()
        moved, self._moved = self._moved, set()
        return [*moved]

    # --- first step: the topics, and the group's committed offsets ---------------------------------------------

    def _ask(self) -> None:
        asking = self._asking = object()
        partitions = {tp: self._table.partitions[tp] for tp in self._unresolved | self._gone}

        def topics_told(facts: Mapping[str, TopicFacts]) -> None:
            if self._asking is asking:
                self._inquiries.commits(self._concerned(facts), partial(commits_told, facts))

        def commits_told(
            facts: Mapping[str, TopicFacts], commits: Mapping[TopicPartition, Commit] | KafkaError
        ) -> None:
            # Commits are asked for after the topics. So a committed offset belongs to the topic that was described,
            # or to an earlier one with its name, never to a later one that we have not seen.
            if self._asking is asking:
                self._asking = None
                self._decide(partitions, facts, commits)

        self._inquiries.topics(sorted({tp.topic for tp in partitions}), topics_told)

    def _concerned(self, facts: Mapping[str, TopicFacts]) -> list[TopicPartition]:
        """The partitions whose commits tell how the group began to consume these topics."""
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

    def _decide(
        self,
        partitions: Mapping[TopicPartition, Partition],
        facts: Mapping[str, TopicFacts],
        commits: Mapping[TopicPartition, Commit] | KafkaError,
    ) -> None:
        self._retry_at = monotonic() + RETRY_AFTER_S
        if isinstance(commits, KafkaError):
            self._wait(partitions, f"cannot ask Kafka for the group's offsets: {commits.str()}")
            return
        reasons: dict[TopicPartition, Reason] = {}
        now = monotonic()
        for tp, partition in partitions.items():
            if self._table.partitions.get(tp) is not partition:
                continue  # it was revoked, and may have been assigned again
            if tp not in self._unresolved:
                reasons[tp] = Gone()
                continue
            fact = facts.get(tp.topic)
            if fact is None or (fact.error is not None and fact.error.code() < 0):
                fact = self._subscription.facts(tp.topic)  # not answered: take the last answer about the topics
            start = self._start(partition, commits, fact)
            match start:
                case Known(offset, origin):
                    # The client reads from this offset already, and some records may be buffered.
                    self._origins[tp] = origin
                    self._unresolved.discard(tp)
                    self._left.pop(tp, None)
                    if partition.state is State.RESOLVING:
                        self._table.resolved(tp, offset, now, committed=True)
                        # The partition may still be paused in the client, from an earlier assignment that our own
                        # state has forgotten. So treat it like one that was moved.
                        self._moved.add(tp)
                case NotYet(why):
                    self._wait([tp], why)
                case _ if fact is not None and not fact.has_leader(tp.partition):
                    self._wait([tp], "no broker leads the partition")
                case _:
                    reasons[tp] = start
        if reasons:
            asking = self._asking = object()
            self._inquiries.edges([*reasons], partial(self._apply_edges, asking, partitions, reasons))
        elif not self._unresolved:
            self._last_logged = ""

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
        # The topic was made anew while the partition was assigned to us: the committed offset is the old topic's.
        if facts is None or facts.error is not None:
            return NotYet("the topic was made anew, and is not there")
        if facts.id == held.topic_id:
            return Known(partition.offsets.resume_at, held)
        offset = partition.offsets.resume_at if partition.offsets.committed is None else partition.offsets.committed
        why = f"the topic was deleted and made anew: its id was {held.topic_id} and is {facts.id} now"
        return Lost(max(offset, 0), Origin(facts.id, 0, round(time() * 1000)), why)

    def _wait(self, tps: Iterable[TopicPartition], why: str) -> None:
        """These partitions cannot be resolved yet; the questions are asked again later."""
        if why != self._last_logged:
            self._log.warning("a partition cannot start yet; asking again", reason=why, partitions=short(tps))
        self._last_logged = why
        for tp in tps:
            if tp in self._table.partitions:
                self._table.not_resolved(tp, why)

    # --- second step: where the logs begin and end ---------------------------------------------------------------

    def _apply_edges(
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
        resolutions: list[Callable[[], None]] = []
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
                    resolutions.append(partial(self._table.resolved, tp, moves[tp], monotonic(), committed=False))
                case Lost(offset, origin, why):
                    text = f"{why}; the group's offset was {offset}, the log has {edges.earliest} to {edges.latest}"
                    moves[tp] = self._after_loss(edges)
                    self._origins[tp] = origin
                    resolutions.append(partial(self._lose, tp, offset, offset, edges, text))
                case Gone():
                    wanted = self._fetching.next_offset.get(tp, partitions[tp].offsets.resume_at)
                    if edges.earliest <= wanted <= edges.latest:
                        # The error was an answer to an older request: the log has the offset. Read from it again.
                        moves[tp] = wanted
                    else:
                        text = f"offset {wanted} is not in the log, which has {edges.earliest} to {edges.latest}"
                        moves[tp] = self._after_loss(edges)
                        resume_at = max(partitions[tp].offsets.resume_at, 0)
                        resolutions.append(partial(self._lose, tp, wanted, resume_at, edges, text))
            self._left.pop(tp, None)
            self._unresolved.discard(tp)
            self._gone.discard(tp)  # without a committed offset this error is expected
        for why, tps in said.items():
            self._log.info(why, partitions=short(tps))
        self._move(moves)
        for resolve in resolutions:
            resolve()

    def _after_loss(self, edges: Edges) -> int:
        return edges.latest if self._config.on_offset_lost == "latest" else edges.earliest

    def _lose(self, tp: TopicPartition, offset: int, resume_at: int, edges: Edges, text: str) -> None:
        """The log does not have ``offset``: log that, and do what the config says."""
        policy = self._config.on_offset_lost
        self._log.error(
            "offset lost: " + ("halting" if policy == "halt" else f"going on at the {policy}"),
            topic=tp.topic,
            partition=tp.partition,
            offset=offset,
            place=resume_at,
            earliest=edges.earliest,
            latest=edges.latest,
            reason=text,
        )
        self._table.offset_lost(tp, self._after_loss(edges), monotonic(), text, halt=policy == "halt")

    # --- positions ----------------------------------------------------------------------------------------------

    def rewind(self, tp: TopicPartition, offset: int) -> None:
        """Fetch again from ``offset``."""
        self._drop(tp)
        try:
            # It returns after librdkafka has discarded its fetched records, so no older record can follow.
            self._consumer.seek(KafkaPartition(tp.topic, tp.partition, offset))
            self._fetching.next_offset[tp] = offset
        except KafkaException as error:
            # The client does not fetch the partition yet, so it cannot seek. An assignment with an offset does the
            # same.
            reason = str(error.args[0])
            self._log.debug("seek refused, assigning", topic=tp.topic, partition=tp.partition, error=reason)
            self._move({tp: offset})

    def _move(self, offsets: dict[TopicPartition, int]) -> None:
        """Read these partitions from these offsets."""
        if not offsets:
            return
        for tp in offsets:
            self._drop(tp)  # buffered records are from the old position
        moved = [KafkaPartition(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]
        if self._cooperative:
            self._consumer.incremental_unassign([KafkaPartition(p.topic, p.partition) for p in moved])
            self._stopped(offsets)
            self._consumer.incremental_assign(moved)
        else:
            # The eager protocol knows only whole assignments, so the other partitions are assigned with their
            # positions.
            everything = {tp: self._position_of(p) for tp, p in self._table.partitions.items()} | offsets
            self._consumer.unassign()
            self._stopped(everything)
            self._consumer.assign([KafkaPartition(tp.topic, tp.partition, o) for tp, o in everything.items()])
            self._moved.update(everything)
        self._moved.update(offsets)
        self._fetching.next_offset.update(offsets)
        # The protocols differ in whether a moved partition is still paused. We want it not to be.
        stopped = self._fetching.paused.intersection(offsets)
        if stopped:
            self._consumer.resume([KafkaPartition(tp.topic, tp.partition) for tp in stopped])
            self._fetching.paused.difference_update(stopped)

    def _drop(self, tp: TopicPartition) -> None:
        for lane in self._table.lanes_of(tp):
            self._buffer.drop(lane)
        self._fetching.next_offset.pop(tp, None)

    def _position_of(self, partition: Partition) -> int:
        offset = self._fetching.next_offset.get(partition.tp, partition.offsets.resume_at)
        return offset if offset >= 0 else OFFSET_STORED
