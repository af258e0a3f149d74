"""Asynchronous questions to the broker.

The consumer thread asks and goes on. The answer is a letter in its mailbox, with the callback that the thread then
calls. So a slow broker, or a partition without a leader, delays only the partitions that the question concerns. An
AdminClient asks, and its own thread receives the answers; all lambdas share one client. Where that has a fault, a
thread of ours asks: for committed offsets (`committed.py`) and for a group's members (`group.py`).
"""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from itertools import count
from typing import Any, TypeVar

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition as KafkaPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # public, but not marked so

from sidecar.cluster.commit_metadata import shown_id
from sidecar.cluster.committed import CommittedOffsets
from sidecar.cluster.group import described
from sidecar.mail import letters
from sidecar.mail.boxes import Mailbox
from sidecar.mail.facts import NO_LEADER, Commit, Edges, GroupFacts, TopicFacts
from sidecar.partitions.vocabulary import TopicPartition

REQUEST_TIMEOUT_S = 3.0
"""Seconds that a question may take; the caller asks again afterwards."""

K = TypeVar("K")
V = TypeVar("V")

Answers = Mapping[K, V | KafkaError]


class Inquiries:
    """The questions of one lambda's consumer thread.

    Callbacks (``then``) are called in that thread, never inside a rebalance callback.
    """

    def __init__(self, admin: AdminClient, offsets: CommittedOffsets, isolation: str, mailbox: Mailbox) -> None:
        """``isolation``: the consumer's `isolation.level`, which decides where its log ends."""
        self._admin = admin
        self._offsets_of_group = offsets
        self._isolation = (
            IsolationLevel.READ_UNCOMMITTED if isolation == "read_uncommitted" else IsolationLevel.READ_COMMITTED
        )
        self._mailbox = mailbox

    def commits(
        self,
        tps: Collection[TopicPartition],
        then: Callable[[Mapping[TopicPartition, Commit] | KafkaError], None],
    ) -> None:
        """Ask for the group's committed offsets; partitions without one are left out of the answer."""
        self._offsets_of_group.ask(tps, then)

    def topics(self, names: Collection[str], then: Callable[[Mapping[str, TopicFacts]], None]) -> None:
        """Ask for the descriptions of these topics."""

        def told(answers: Answers[str, Any]) -> None:
            then({name: topic_facts(answer) for name, answer in answers.items()})

        self._ask(names, lambda: describe(self._admin, names), told)

    def edges(self, tps: Collection[TopicPartition], then: Callable[[Answers[TopicPartition, Edges]], None]) -> None:
        """Ask where these partitions' logs begin and end. All must have leaders: one without delays all answers."""

        def told(answers: Answers[tuple[TopicPartition, str], int]) -> None:
            edges: dict[TopicPartition, Edges | KafkaError] = {}
            for tp in tps:
                earliest, latest = answers[tp, "earliest"], answers[tp, "latest"]
                if isinstance(earliest, KafkaError):
                    edges[tp] = earliest
                elif isinstance(latest, KafkaError):
                    edges[tp] = latest
                else:
                    edges[tp] = Edges(earliest, latest)
            then(edges)

        self._offsets({(tp, which): _EDGES[which]() for tp in tps for which in _EDGES}, told)

    def ends(self, tps: Collection[TopicPartition], then: Callable[[Answers[TopicPartition, int]], None]) -> None:
        """Ask where these partitions' logs end. All must have leaders: one without delays all answers."""

        def told(answers: Answers[tuple[TopicPartition, str], int]) -> None:
            then({tp: answer for (tp, _), answer in answers.items()})

        self._offsets({(tp, "latest"): _EDGES["latest"]() for tp in tps}, told)

    def at_time(self, tp: TopicPartition, timestamp: int, then: Callable[[int | KafkaError], None]) -> None:
        """Ask for the offset of the first record with this timestamp (ms since the Unix epoch) or a later one; -1:
        there is none."""
        key = (tp, "timestamp")
        self._offsets({key: OffsetSpec.for_timestamp(timestamp)}, lambda answers: then(answers[key]))

    def group(self, name: str, then: Callable[[GroupFacts | KafkaError], None]) -> None:
        """Ask for the members of a group."""

        def ask() -> None:
            answer: GroupFacts | KafkaError
            try:
                answer = described(self._admin, name, REQUEST_TIMEOUT_S)
            except KafkaException as refusal:
                answer = refusal.args[0]
            except Exception as error:  # whatever it is, the question must be answered
                answer = KafkaError(KafkaError._FAIL, f"{type(error).__name__}: {error}")  # noqa: SLF001
            self._mailbox.put(letters.Told(lambda: then(answer)))

        # The call blocks, and is made a few times a minute.
        threading.Thread(target=ask, name="group", daemon=True).start()

    def _offsets(
        self,
        specs: Mapping[tuple[TopicPartition, str], OffsetSpec],
        told: Callable[[Answers[tuple[TopicPartition, str], int]], None],
    ) -> None:
        def ask() -> Mapping[tuple[TopicPartition, str], Future[Any]]:
            futures: dict[tuple[TopicPartition, str], Future[Any]] = {}
            for which in {which for _, which in specs}:  # a request may name a partition only once
                asked = {KafkaPartition(*tp): spec for (tp, w), spec in specs.items() if w == which}
                answers = self._admin.list_offsets(
                    asked, isolation_level=self._isolation, request_timeout=REQUEST_TIMEOUT_S
                )
                futures |= {(TopicPartition(p.topic, p.partition), which): f for p, f in answers.items()}
            return futures

        def plain(answers: Answers[tuple[TopicPartition, str], Any]) -> None:
            told({key: a if isinstance(a, KafkaError) else a.offset for key, a in answers.items()})

        self._ask(specs, ask, plain)

    def _ask(
        self, keys: Iterable[K], ask: Callable[[], Mapping[K, Future[Any]]], told: Callable[[Answers[K, Any]], None]
    ) -> None:
        """Ask, and have ``told`` called in the consumer thread with one answer for each of ``keys``."""
        try:
            futures = ask()
        except KafkaException as refusal:
            error = refusal.args[0]
            self._mailbox.put(letters.Told(lambda: told(dict.fromkeys(keys, error))))
            return
        if not futures:
            self._mailbox.put(letters.Told(lambda: told({})))
            return
        answered = count(1)

        def one(_: Future[Any]) -> None:
            # Each future calls this once, in the client's thread, or in this thread if it is answered already.
            # Whichever thread answers last gets the full count, since `next` is atomic, and so exactly one letter is
            # put.
            if next(answered) == len(futures):
                self._mailbox.put(letters.Told(lambda: told({key: result_of(f) for key, f in futures.items()})))

        for future in futures.values():
            future.add_done_callback(one)


_EDGES: Mapping[str, Callable[[], OffsetSpec]] = {"earliest": OffsetSpec.earliest, "latest": OffsetSpec.latest}


def describe(admin: AdminClient, names: Collection[str]) -> Mapping[str, Future[Any]]:
    """Ask for the descriptions of these topics. Raises ``KafkaException`` when the client refuses."""
    if not names:
        return {}
    answers: Mapping[str, Future[Any]] = admin.describe_topics(
        TopicCollection([*names]), request_timeout=REQUEST_TIMEOUT_S
    )
    return answers


def topic_facts(answer: Any) -> TopicFacts:
    """Convert an answer of `describe`: the binding's description, or the error."""
    if isinstance(answer, KafkaError):
        return TopicFacts(error=answer)
    leaders = {p.id: NO_LEADER if p.leader is None else p.leader.id for p in answer.partitions}
    return TopicFacts(
        "" if answer.topic_id is None else shown_id(str(answer.topic_id)),
        tuple(leaders.get(number, NO_LEADER) for number in range(max(leaders, default=-1) + 1)),
    )


def result_of(future: Future[Any]) -> Any:
    """The result of a future, or the ``KafkaError`` with which it failed."""
    failure = future.exception()
    if failure is None:
        return future.result()
    if isinstance(failure, KafkaException):
        return failure.args[0]
    return KafkaError(KafkaError._FAIL, str(failure))  # noqa: SLF001 - librdkafka's code for other failures
