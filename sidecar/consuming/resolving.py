"""Finds the resume offset of each partition that Kafka assigned.

Owned by the consumer thread, which does not wait for answers. `auto.offset.reset` is `error`, so librdkafka never
resets an offset by itself: a group without a committed offset starts where the config says, and the loss of a
committed offset is logged with its numbers before anything moves.

Each partition is resolved by itself, in three steps:

1. Ask for the topics and then for the group's committed offsets.
2. Ask where the logs begin and end, of the partitions without a usable committed offset.
3. Move these partitions to their resume offsets (`Positions`).

A new resume offset is committed before the first record is sent (`PartitionTable.resolved`). Otherwise, if the
process died, the next start could choose another one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic

from confluent_kafka import KafkaError
from structlog.typing import FilteringBoundLogger

from sidecar.cluster.commit_metadata import places_of
from sidecar.cluster.inquiries import Inquiries
from sidecar.consuming.fetching import Fetching
from sidecar.consuming.history import History
from sidecar.consuming.lost_offsets import LostOffsets
from sidecar.consuming.positions import Positions
from sidecar.consuming.starts import Begin, Known, Lost, NotYet
from sidecar.consuming.subscription import Subscription
from sidecar.mail.facts import Commit, Edges, TopicFacts
from sidecar.partitions.assignment import Assignment
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import Place, TopicPartition, short

RETRY_AFTER_S = 0.5
"""Seconds until a question is asked again, if the answer is missing or not sufficient."""

SHORT_LOG_S = 60.0
"""Seconds for which a log may end before what lanes have processed, until that is believed. A broker shows records up
to the high watermark. One that has just begun to lead a partition knows an old one, until its followers have fetched;
those that do not are out of the in-sync replicas after `replica.lag.time.max.ms`, 30 s by default."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The log does not have the offset that the client asked for."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """Lanes are further than the committed offset. After an unclean leader election the log may end before that."""

    known: Known


Reason = Begin | Lost | Gone | Ahead
"""Why we ask where a partition's log begins and ends."""


class Resolving:
    """Resolves one lambda's partitions."""

    def __init__(
        self,
        table: PartitionTable,
        positions: Positions,
        fetching: Fetching,
        history: History,
        subscription: Subscription,
        inquiries: Inquiries,
        losses: LostOffsets,
        log: FilteringBoundLogger,
    ) -> None:
        self._table = table
        self._positions = positions
        self._fetching = fetching
        self._history = history
        self._subscription = subscription
        self._inquiries = inquiries
        self._losses = losses
        self._log = log
        self._unresolved: set[TopicPartition] = set()
        self._gone: set[TopicPartition] = set()
        self._retry_at = 0.0
        self._asking: object = None
        """Identifies the questions that are under way; answers to older ones are ignored."""
        self._last_logged = ""
        self._short: dict[TopicPartition, float] = {}
        """Partitions whose log ends before what lanes have processed, and since when it does."""

    def assigned(self, tps: Iterable[TopicPartition]) -> None:
        """Kafka assigned these partitions."""
        self._unresolved.update(tps)
        self._asking = None  # the questions that are under way do not include these partitions
        self._retry_at = 0.0

    def forget(self, tps: Iterable[TopicPartition]) -> None:
        """These partitions are no longer assigned to us."""
        for tp in tps:
            partition = self._table.partitions.get(tp)
            self._history.forget(tp, partition)
            self._unresolved.discard(tp)
            self._gone.discard(tp)
            self._short.pop(tp, None)
            self._positions.forget(tp)

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
            if tp not in self._unresolved and not partition.leaves and self._history.is_anew(tp):
                # The client may have gone on from the old offset in the new topic, and the lambda handles its
                # records.
                self._unresolved.add(tp)
                self._asking, self._retry_at = None, 0.0

    def work(self) -> None:
        """Ask about partitions that are not resolved. Called in each turn."""
        if (self._unresolved or self._gone) and self._asking is None and monotonic() >= self._retry_at:
            self._ask()

    # --- first step: the topics, and the group's committed offsets ---------------------------------------------

    def _ask(self) -> None:
        asking = self._asking = object()
        partitions = {tp: self._table.partitions[tp] for tp in self._unresolved | self._gone}

        def topics_told(facts: Mapping[str, TopicFacts]) -> None:
            if self._asking is asking:
                self._inquiries.commits(self._history.concerned(facts), partial(commits_told, facts))

        def commits_told(
            facts: Mapping[str, TopicFacts], commits: Mapping[TopicPartition, Commit] | KafkaError
        ) -> None:
            # Commits are asked for after the topics. So a committed offset belongs to the topic that was described,
            # or to an earlier one with its name, never to a later one that we have not seen.
            if self._asking is asking:
                self._asking = None
                self._decide(partitions, facts, commits)

        self._inquiries.topics(sorted({tp.topic for tp in partitions}), topics_told)

    def _decide(
        self,
        partitions: Mapping[TopicPartition, Assignment],
        facts: Mapping[str, TopicFacts],
        commits: Mapping[TopicPartition, Commit] | KafkaError,
    ) -> None:
        self._retry_at = monotonic() + RETRY_AFTER_S
        if isinstance(commits, KafkaError):
            self._wait(partitions, f"cannot ask Kafka for the group's offsets: {commits.str()}")
            return
        reasons: dict[TopicPartition, Reason] = {}
        for tp, partition in partitions.items():
            if self._table.partitions.get(tp) is not partition:
                continue  # it was revoked, and may have been assigned again
            if tp not in self._unresolved:
                reasons[tp] = Gone()
                continue
            fact = facts.get(tp.topic)
            if fact is None or (fact.error is not None and fact.error.code() < 0):
                fact = self._subscription.facts(tp.topic)  # not answered: take the last answer about the topics
            start = self._history.start(partition, commits, fact)
            match start:
                case Known(offset) if not self._lanes_are_ahead(partition, start):
                    self._resolve(partition, start, self._places(partition, offset, start.places))
                case NotYet(why):
                    self._wait([tp], why)
                case _ if fact is not None and not fact.has_leader(tp.partition):
                    self._wait([tp], "no broker leads the partition")
                case Known():
                    reasons[tp] = Ahead(start)
                case _:
                    reasons[tp] = start
        if reasons:
            asking = self._asking = object()
            self._inquiries.edges([*reasons], partial(self._apply_edges, asking, partitions, reasons))
        elif not self._unresolved:
            self._last_logged = ""

    def _resolve(self, partition: Assignment, known: Known, places: Sequence[Place]) -> None:
        """The client reads from the committed offset already, and some records may be buffered."""
        tp = partition.tp
        self._history.resolved(tp, known.origin)
        self._unresolved.discard(tp)
        if partition.resolving:
            self._table.resolved(tp, known.offset, monotonic(), committed=True, places=places)
            # The partition may still be paused in the client, from an earlier assignment that our own state has
            # forgotten. So treat it like one that was moved.
            self._positions.begin(tp)

    @staticmethod
    def _lanes_are_ahead(partition: Assignment, known: Known) -> bool:
        """Whether a lane drops records from the committed offset on: then the log's end has to be asked for."""
        alike = len(known.places) == len(partition.lanes)
        return partition.resolving and alike and any(place.offset > known.offset for place in known.places)

    def _end(self, partition: Assignment, known: Known, edges: Edges) -> int:
        """Where the log ends, as far as we know."""
        return max(known.offset, edges.latest, self._fetching.next_offset.get(partition.tp, 0))

    def _not_yet(self, partition: Assignment, known: Known, edges: Edges) -> str:
        """Why the partition waits for its log: records that lanes have processed may come to light again."""
        tp, end, farthest = partition.tp, self._end(partition, known, edges), max(p.offset for p in known.places)
        now = monotonic()
        if farthest <= end or now - self._short.setdefault(tp, now) >= SHORT_LOG_S:
            self._short.pop(tp, None)
            return ""
        return (
            f"its leader shows records up to {end}, and lanes have processed some up to {farthest}; a broker that has"
            f" begun to lead shows the rest soon, and after {SHORT_LOG_S:.0f} s it is lost"
        )

    def _within(self, partition: Assignment, known: Known, edges: Edges) -> tuple[Place, ...]:
        """The places of the lanes, those beyond the log's end at the end: what is written there is new."""
        end = self._end(partition, known, edges)
        beyond = [place.offset for place in known.places if place.offset > end]
        if beyond:
            self._log.error(
                "the log ends before what some lanes had processed: they go on from its end",
                topic=partition.tp.topic,
                partition=partition.tp.partition,
                end=end,
                lanes=len(beyond),
                farthest=max(beyond),
            )
        return tuple(place if place.offset <= end else Place(end) for place in known.places)

    def _places(self, partition: Assignment, offset: int, places: Sequence[Place]) -> tuple[Place, ...]:
        """Where the lanes go on; say so if that is not where the last commit had them."""
        tp, lanes = partition.tp, len(partition.lanes)
        where = {"topic": tp.topic, "partition": tp.partition, "offset": offset, "lanes": lanes}
        if places and len(places) != lanes:
            self._log.warning(
                "the partition was committed with another number of lanes: all go on from the lowest, without states",
                **where,
                committed_lanes=len(places),
            )
        elif lanes > 1 and not places:
            self._log.warning(
                "the commit does not say where each lane is: all go on from the committed offset", **where
            )
        return places_of(offset, places, lanes)

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
        partitions: Mapping[TopicPartition, Assignment],
        reasons: Mapping[TopicPartition, Reason],
        answers: Mapping[TopicPartition, Edges | KafkaError],
    ) -> None:
        if self._asking is not asking:
            return
        self._asking = None
        moves: dict[TopicPartition, int] = {}
        again: dict[TopicPartition, int] = {}
        resolutions: list[Callable[[], None]] = []
        begun: dict[str, list[TopicPartition]] = {}
        for tp, reason in reasons.items():
            partition, edges = partitions[tp], answers[tp]
            if self._table.partitions.get(tp) is not partition:
                continue
            if isinstance(edges, KafkaError):
                self._wait([tp], f"cannot ask Kafka where the log begins and ends: {edges.str()}")
                continue
            if isinstance(reason, Ahead):
                if why := self._not_yet(partition, reason.known, edges):
                    self._wait([tp], why)
                    continue
                self._resolve(partition, reason.known, self._within(partition, reason.known, edges))
                continue
            if isinstance(reason, Begin):
                begun.setdefault(reason.why, []).append(tp)
            at = self._there_still(partition, edges) if isinstance(reason, Gone) else None
            if at is not None:
                again[tp] = at
            else:
                moves[tp], resolve = self._resolution(partition, reason, edges)
                resolutions.append(resolve)
            self._unresolved.discard(tp)
            self._gone.discard(tp)  # without a committed offset this error is expected
        for why, tps in begun.items():
            self._log.info(why, partitions=short(tps))
        self._positions.move(moves)
        self._positions.read_on(again)
        for resolve in resolutions:
            resolve()
        for tp in moves:
            self._positions.begin_lanes(tp)

    def _there_still(self, partition: Assignment, edges: Edges) -> int | None:
        """The offset that the client is to read next, if the log has it; otherwise None.

        Then the error was an answer to an older request. The client reads from the offset again.
        """
        wanted = self._fetching.next_offset.get(partition.tp, partition.resume_at)
        return wanted if edges.earliest <= wanted <= edges.latest else None

    def _resolution(
        self, partition: Assignment, reason: Begin | Lost | Gone, edges: Edges
    ) -> tuple[int, Callable[[], None]]:
        """The offset to which the client is moved, and what is to be done after that."""
        tp, resume_at = partition.tp, partition.resume_at
        match reason:
            case Begin(at, origin):
                self._history.resolved(tp, origin)
                begin = edges.earliest if at == "earliest" else edges.latest
                return begin, partial(self._table.resolved, tp, begin, monotonic(), committed=False)
            case Lost(offset, origin, why, state_bytes):
                self._history.resolved(tp, origin)
                text = f"{why}; the group's offset was {offset}, the log has {edges.earliest} to {edges.latest}"
                text += f"; the lambda's state of {state_bytes} bytes is dropped" if state_bytes else ""
                return self._losses.lost(tp, offset, offset, edges, text)
            case Gone():
                wanted = self._fetching.next_offset.get(tp, resume_at)
                text = f"offset {wanted} is not in the log, which has {edges.earliest} to {edges.latest}"
                return self._losses.lost(tp, wanted, max(resume_at, 0), edges, text, same_topic=True)
