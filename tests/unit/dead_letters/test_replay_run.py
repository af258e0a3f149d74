"""One replay, with a played Kafka: what it takes over, what it leaves alone, and what it does when it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, cast

import pytest

from sidecar.dead_letters import plan, replay_run
from sidecar.dead_letters.choice import Choice
from sidecar.dead_letters.clients import Cluster, DeadLettersError
from sidecar.dead_letters.contents import Contents, Partition
from sidecar.dead_letters.exported import Content
from sidecar.dead_letters.history import HEADER, history_of
from sidecar.dead_letters.letter import Letter, Place, Stored
from sidecar.dead_letters.marks import MarkRecord
from sidecar.dead_letters.plan import replay_plan
from sidecar.dead_letters.reading import Reader
from sidecar.dead_letters.replay_run import Manner, ReplayRun
from sidecar.dead_letters.replaying import BatchRefusedError, Outgoing
from tests.unit.dead_letters.letters import DEAD, contents, mark, stored


class PlayedKafka:
    """One partition of dead letters, and what was written. It is the cluster, the reader and the producer."""

    def __init__(self, *records: Stored) -> None:
        self.embedded = False
        self.log = [*records]
        self.hidden = 0
        """Records at the end that an open transaction hides."""
        self.written: list[Outgoing] = []
        self.producers: list[bool] = []
        """Whether each producer sends records singly."""
        self.on_takeover: Callable[[], None] = lambda: None
        self.refuses: Callable[[Sequence[Outgoing], bool], bool] = lambda _records, _singly: False

    def read_on(self, into: Contents, starts: Mapping[Partition, int], _: Any = None) -> None:
        end = len(self.log)
        for one in self.log[starts[DEAD, 0] : end]:
            into.add(one)
        into.ends[DEAD, 0] = end

    def ends(self, _: Collection[Partition]) -> dict[Partition, tuple[int, int]]:
        return {(DEAD, 0): (0, len(self.log) + self.hidden)}

    def fetch(self, letters: Collection[Letter]) -> dict[Place, Stored]:
        return {letter.place: self.log[letter.place.offset] for letter in letters}

    def producer(self, _cluster: object, _topic: str, *, singly: bool) -> PlayedReplay:
        self.producers.append(singly)
        return PlayedReplay(self, singly)


class PlayedReplay:
    """A producer that writes into the played Kafka."""

    def __init__(self, kafka: PlayedKafka, singly: bool) -> None:
        self._kafka = kafka
        self._singly = singly

    def __enter__(self) -> Self:
        self._kafka.on_takeover()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        pass

    def write(self, records: Sequence[Outgoing], marks: Sequence[MarkRecord]) -> None:
        if self._kafka.refuses(records, self._singly):
            raise BatchRefusedError("too large")
        self._kafka.written += records
        for topic, partition, value, headers in marks:
            self._kafka.log.append(Stored(Place(topic, partition, len(self._kafka.log)), 0, None, value, headers))


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ReplayRun]:
    """A function that replays all that is open in a played Kafka."""

    def run(
        kafka: PlayedKafka, manner: Manner | None = None, advance: Callable[[int], None] = lambda _: None
    ) -> ReplayRun:
        monkeypatch.setattr(replay_run, "Replay", kafka.producer)
        found = contents(*kafka.log)
        made = ReplayRun(cast("Cluster", kafka), cast("Reader", kafka), {"orders": 1}, manner or Manner())
        made.run(DEAD, replay_plan(found, Choice()), found, advance)
        return made

    return run


def numbers(kafka: PlayedKafka) -> list[int]:
    """The offsets of the letters whose records were written."""
    return [one.letter.offset for one in kafka.written]


def test_records_go_to_their_source_without_the_headers_of_their_failure(replayed: Callable[..., ReplayRun]) -> None:
    kafka = PlayedKafka(stored(0, 42, headers=(("trace", None),)))
    assert replayed(kafka).replayed == 1
    [one] = kafka.written
    assert (one.topic, one.partition, one.timestamp_ms) == ("orders", 0, 0)
    assert (one.content.key, one.content.value) == (b"k", b"v")
    (trace, (name, value)) = one.content.headers
    assert (trace, name) == (("trace", None), HEADER)
    said = json.loads(value or b"")
    assert (said["letter"], said["edited"]) == (f"{DEAD}/0/0", False)
    assert [failure["source"] for failure in said["failures"]] == ["orders/0/42"]
    assert replayed(kafka).replayed == 0, "its mark is there"


def test_how_records_are_written(replayed: Callable[..., ReplayRun]) -> None:
    kafka = PlayedKafka(stored(0), stored(1))
    mended = Content(b"new", None, ())
    changed = {Place(DEAD, 0, 1): mended}
    replayed(kafka, Manner(keep_timestamps=True, changed=changed.get))
    assert [one.timestamp_ms for one in kafka.written] == [1_600_000_000_000] * 2
    assert (kafka.written[1].content.key, kafka.written[1].content.value) == (b"new", None)
    assert [history_of(one.content.headers).edited for one in kafka.written] == [False, True]
    other = PlayedKafka(stored(0))
    replayed(other, Manner(history=False))
    assert [one.content.headers for one in other.written] == [()]


def test_what_another_replay_has_done_meanwhile_is_left_alone(replayed: Callable[..., ReplayRun]) -> None:
    """We read the topic; the other commits letters 0 and 2; we take over, and read its marks."""
    kafka = PlayedKafka(*(stored(n) for n in range(4)))
    kafka.on_takeover = lambda: kafka.log.append(mark(4, Place(DEAD, 0, 0), Place(DEAD, 0, 2)))
    moved: list[int] = []
    run = replayed(kafka, advance=moved.append)
    assert numbers(kafka) == [1, 3]
    assert (run.replayed, run.done_by_others, sum(moved)) == (2, 2, 4)


def test_letters_that_arrive_meanwhile_are_not_replayed(replayed: Callable[..., ReplayRun]) -> None:
    """Nobody has confirmed them."""
    kafka = PlayedKafka(stored(0))
    kafka.on_takeover = lambda: kafka.log.append(stored(1))
    replayed(kafka)
    assert numbers(kafka) == [0]


def test_a_hidden_end_is_an_error_and_nothing_is_written(replayed: Callable[..., ReplayRun]) -> None:
    kafka = PlayedKafka(stored(0))
    kafka.hidden = 1
    with pytest.raises(DeadLettersError, match="open transaction of another program"):
        replayed(kafka)
    assert kafka.written == []


def test_after_a_refused_batch_the_rest_goes_singly(
    replayed: Callable[..., ReplayRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second producer takes over anew: in between, another replay may have done letter 4."""
    monkeypatch.setattr(plan, "MAX_BATCH_LETTERS", 2)
    kafka = PlayedKafka(*(stored(n) for n in range(6)))
    kafka.refuses = lambda records, singly: not singly and records[0].letter.offset == 2

    def takeover() -> None:
        if len(kafka.producers) == 2:
            kafka.log.append(mark(len(kafka.log), Place(DEAD, 0, 4)))

    kafka.on_takeover = takeover
    moved: list[int] = []
    run = replayed(kafka, advance=moved.append)
    assert numbers(kafka) == [0, 1, 2, 3, 5]
    assert kafka.producers == [False, True]
    assert (run.replayed, run.done_by_others, sum(moved)) == (5, 1, 6)


def test_a_record_that_is_refused_alone_ends_the_replay(replayed: Callable[..., ReplayRun]) -> None:
    kafka = PlayedKafka(stored(0))
    kafka.refuses = lambda _records, _singly: True
    with pytest.raises(BatchRefusedError):
        replayed(kafka)
    assert kafka.producers == [False, True]


def test_without_transactions_records_are_never_sent_together(replayed: Callable[..., ReplayRun]) -> None:
    kafka = PlayedKafka(stored(0))
    kafka.embedded = True
    replayed(kafka)
    assert kafka.producers == [True]


def test_duplicates_are_marked_with_their_record(replayed: Callable[..., ReplayRun]) -> None:
    kafka = PlayedKafka(stored(0, 7), stored(1, 7))
    assert replayed(kafka).replayed == 1
    assert [*contents(*kafka.log).open()] == []


def test_the_rate_is_kept(replayed: Callable[..., ReplayRun], monkeypatch: pytest.MonkeyPatch) -> None:
    now, slept = [100.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(replay_run, "monotonic", lambda: now[0])
    monkeypatch.setattr(replay_run, "sleep", sleep)
    kafka = PlayedKafka(*(stored(n) for n in range(10)))
    replayed(kafka, Manner(per_second=4))
    assert slept == [0.0, 1.0, 1.0], "4, 4 and 2 records"
    replayed(PlayedKafka(*(stored(n) for n in range(3))), Manner(per_second=0.5))
    assert slept[3:] == [0.0, 2.0, 2.0]
