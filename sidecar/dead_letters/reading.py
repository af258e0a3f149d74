"""Reads dead-letter topics. It assigns partitions to itself, joins no group and commits nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not marked so
    AdminClient,
    ClusterMetadata,
    OffsetSpec,
)

from sidecar.dead_letters.clients import ANSWER_TIMEOUT_S, TANSU, ClientErrors, Cluster, DeadLettersError, quiet
from sidecar.dead_letters.contents import Contents, Partition
from sidecar.dead_letters.letter import Letter, Place, Stored, letter_of

_MAY_READ = "allow the user Describe and Read on the topic"
_FIRST_ANSWER_S = (1.0, 3.0, 10.0)
"""Seconds that Kafka may take for its first answer, in three tries. A wrong password is known after the first."""
_AT_ONCE = 500
"""Records that are taken from the client at once."""
_POLL_S = 0.05
"""Taking waits so long for more records, so it also bounds how late the end of a topic is noticed."""
_FAR = 1_000
"""Offsets from one wanted record to the next, from which on it is quicker to begin anew than to read what is
between."""

_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # the binding's
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the binding's

Advance = Callable[[int], None]
"""Is told by how many offsets the reading has come further."""


class Reader:
    """Reads the topics of a cluster; a context manager. Its calls raise ``DeadLettersError``."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._errors = ClientErrors(cluster.servers)
        self._consumer = Consumer(quiet(cluster.reader(), self._errors), logger=self._errors)
        self._admin = AdminClient(quiet(cluster.admin(), self._errors), logger=self._errors)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._consumer.close()

    def topics(self) -> dict[str, int]:
        """All topics that the user may see, with their number of partitions.

        To be called first, since it also looks whether this is the embedded broker.
        """
        known = self._metadata()
        self._cluster.embedded = self._cluster.embedded or known.cluster_id == TANSU
        return {name: len(topic.partitions) for name, topic in known.topics.items()}

    def ends(self, partitions: Collection[Partition]) -> dict[Partition, tuple[int, int]]:
        """The oldest offset and the one after the newest of each partition, open transactions included."""
        first = self._offsets(partitions, _EARLIEST)
        last = self._offsets(partitions, _LATEST)
        return {one: (first[one], last[one]) for one in partitions}

    def read(self, partitions: Collection[Partition], advance: Advance = lambda _: None) -> Contents:
        """The contents of these partitions, from their beginnings to their present ends."""
        contents = Contents()
        self.read_on(contents, dict.fromkeys(partitions, OFFSET_BEGINNING), advance)
        return contents

    def read_on(self, contents: Contents, starts: Mapping[Partition, int], advance: Advance = lambda _: None) -> None:
        """Add what these partitions hold from these offsets on."""
        for stored in self._records(starts, contents.ends, advance):
            contents.add(stored)

    def fetch(self, letters: Collection[Letter]) -> dict[Place, Stored]:
        """The records of these letters. Raises ``DeadLettersError`` if one of them is gone."""
        found: dict[Place, Stored] = {}
        for run in _runs(letter.place for letter in letters):
            topic, partition, first = run[0]
            wanted = set(run)
            for stored in self._records({(topic, partition): first}, {}, lambda _: None):
                if stored.place in wanted:
                    found[stored.place] = stored
                if stored.place >= run[-1]:
                    break
        for letter in letters:
            # In a topic that was made anew, another letter may be at the same place.
            if letter.place not in found or letter_of(found[letter.place]) != letter:
                raise DeadLettersError(
                    f"the letter {letter.place} is no longer in its topic: somebody deleted it, or its retention was "
                    "over; start the command again"
                )
        return found

    def _metadata(self) -> ClusterMetadata:
        error = KafkaError(KafkaError._TIMED_OUT)  # noqa: SLF001 - the binding's name
        for timeout in _FIRST_ANSWER_S:
            try:
                known: ClusterMetadata = self._consumer.list_topics(timeout=timeout)
            except KafkaException as refusal:
                error = refusal.args[0]
            else:
                return known
            self._consumer.poll(0)  # the client tells the reason of a failed connection only in here
            if self._errors.has_reason:
                break
        raise self._errors.explained(error, "looking for topics")

    def _records(
        self, starts: Mapping[Partition, int], ends: dict[Partition, int], advance: Advance
    ) -> Iterator[Stored]:
        """The records from ``starts`` to the ends of the partitions, which are put into ``ends``."""
        unread = dict(starts)
        self._consumer.assign([TopicPartition(*where, offset) for where, offset in starts.items()])
        for message in self._messages(unread):
            place = _place(message)
            where = (place.topic, place.partition)
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the binding's name
                ends[where] = place.offset
                unread.pop(where, None)
            elif error is not None:
                doing = f"reading {place.topic}/{place.partition}" if place.topic else "reading dead letters"
                raise self._errors.explained(error, doing, _MAY_READ)
            else:
                before = unread.get(where, 0)
                advance(place.offset + 1 - before if before > 0 else 1)
                unread[where] = place.offset + 1
                yield _stored(message, place)

    def _messages(self, unread: Collection[Partition]) -> Iterator[Message]:
        """What the client has, until nothing is ``unread``."""
        silent = 0.0
        while unread:
            try:
                messages = self._consumer.consume(_AT_ONCE, _POLL_S)
            except KafkaException as refusal:
                raise self._errors.explained(refusal.args[0], "reading dead letters", _MAY_READ) from None
            # The client looks for the coordinator of its group, which it does not need here.
            messages = [one for one in messages if not _is_about_the_group(one)]
            silent = 0.0 if messages else silent + _POLL_S
            if silent > ANSWER_TIMEOUT_S:
                topic, partition = min(unread)
                nothing = KafkaError(KafkaError._TIMED_OUT)  # noqa: SLF001 - the binding's name
                raise self._errors.explained(nothing, f"reading {topic}/{partition}")
            yield from messages

    def _offsets(self, partitions: Collection[Partition], spec: OffsetSpec) -> dict[Partition, int]:
        asked = {TopicPartition(*where): spec for where in partitions}
        if not asked:
            return {}
        answers = self._admin.list_offsets(
            asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=ANSWER_TIMEOUT_S
        )
        found: dict[Partition, int] = {}
        for tp, future in answers.items():
            try:
                found[tp.topic, tp.partition] = future.result().offset
            except KafkaException as refusal:
                doing = f"asking for the end of {tp.topic}/{tp.partition}"
                raise self._errors.explained(refusal.args[0], doing, _MAY_READ) from None
        return found


def partitions_of(topics: Iterable[str], known: Mapping[str, int]) -> list[Partition]:
    """All partitions of these topics."""
    return [(topic, number) for topic in topics for number in range(known[topic])]


def _runs(places: Iterable[Place]) -> Iterator[list[Place]]:
    """The places in stretches of one partition, without a gap that is worth a new beginning."""
    run: list[Place] = []
    for place in sorted(places):
        if run and (place[:2] != run[-1][:2] or place.offset - run[-1].offset > _FAR):
            yield run
            run = []
        run.append(place)
    if run:
        yield run


def _is_about_the_group(message: Message) -> bool:
    error = message.error()
    return error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED


def _place(message: Message) -> Place:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    return Place(topic or "", -1 if partition is None else partition, -1 if offset is None else offset)


def _stored(message: Message, place: Place) -> Stored:
    try:
        # Through `map`, and only once: otherwise a header whose name is not UTF-8 crashes the process.
        [headers] = map(Message.headers, [message])
    except (SystemError, UnicodeError):
        headers = None  # no letter of a sidecar has such a name: without headers it counts as another record
    pairs = cast("list[tuple[str, bytes | None]]", headers or [])
    return Stored(place, message.timestamp()[1], message.key(), message.value(), (*pairs,))
