"""Partitions that Kafka's client does not fetch although their logs have more records."""

import pytest
from confluent_kafka import KafkaError

from sidecar.consuming import fetch_watch
from sidecar.mail.facts import Edges

from .bench import P0, P1, SOURCES, Bench
from .played_inquiries import TIMED_OUT, topic

WAIT_S = 0.5
"""`fetch.wait.max.ms` of librdkafka, in seconds."""
PATIENCE_S = fetch_watch.PATIENCE_S + WAIT_S


class Watched:
    """A lambda with one running partition; the client has read it up to offset 2."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        bench.subscription.learn({"t": topic("id", 1, 1)}, {})
        bench.assign(P0)
        bench.run()
        bench.fetch(0, 1)
        bench.send()
        bench.consumer.ends[0] = 2

    def written(self, end: int | KafkaError) -> None:
        """Records are written, or the broker does not say where the log ends."""
        self.bench.broker.edges_are[P0] = end if isinstance(end, KafkaError) else Edges(0, end)

    def look(self, after: float = fetch_watch.INTERVAL_S, *, reads: bool = True) -> list[dict[int, int]]:
        """Look after so many seconds. Returns the assignments that were made."""
        bench = self.bench
        bench.now += after
        bench.consumer.moves.clear()
        bench.client.fetch_watch.work(bench.now, reads=reads)
        return [*bench.consumer.moves]

    def until_assigned_again(self) -> float:
        """Look again and again. Returns after how many seconds the partition was assigned again."""
        began = self.bench.now
        while not self.look():
            assert self.bench.now < began + 10_000, "never"
        return self.bench.now - began


@pytest.fixture(params=SOURCES)
def watched(request: pytest.FixtureRequest) -> Watched:
    return Watched(Bench(request.param))


def test_a_partition_that_is_not_fetched_is_assigned_again_from_where_it_stands(watched: Watched) -> None:
    watched.written(5)
    assert 2 * fetch_watch.INTERVAL_S <= watched.until_assigned_again() <= PATIENCE_S + 3 * fetch_watch.INTERVAL_S
    assert watched.bench.consumer.moves == [{0: 2}]
    assert watched.bench.consumer.paused == set(), "the lambda runs"
    assert watched.bench.state.measure.now.fetch_errors == {"not_fetched": 1}
    assert watched.bench.recorder.told() == [
        ("warning", "Kafka's client does not fetch the partition: it is assigned again")
    ]


def test_a_partition_without_new_records_is_left_alone(watched: Watched) -> None:
    watched.written(2)
    assert [watched.look() for _ in range(20)] == [[]] * 20


def test_the_end_that_a_fetch_told_is_enough_also_without_records(watched: Watched) -> None:
    """As when a transaction's marker comes last."""
    watched.written(3)
    watched.bench.consumer.ends[0] = 3
    assert [watched.look() for _ in range(20)] == [[]] * 20


def test_a_partition_that_goes_on_is_left_alone(watched: Watched) -> None:
    for end in range(3, 23):
        watched.written(end)
        assert watched.look() == []
        watched.bench.fetch(end - 1)
        watched.bench.send()
        watched.bench.consumer.ends[0] = end


def test_the_patience_doubles_until_it_goes_on(watched: Watched) -> None:
    watched.written(5)
    took = [watched.until_assigned_again() for _ in range(10)]
    assert took[1] < took[2] < took[3] < took[4], "the first one has to be noticed first"
    assert took[-1] == took[-2] <= PATIENCE_S * 2**fetch_watch.MAX_DOUBLED + 3 * fetch_watch.INTERVAL_S
    watched.bench.fetch(2, 3)
    watched.bench.send()
    assert watched.until_assigned_again() <= took[0] + fetch_watch.INTERVAL_S
    assert watched.bench.consumer.moves == [{0: 4}]


@pytest.mark.parametrize("why", ["paused", "no lambda", "records wait", "not read", "unknown", "no leader", "gone"])
def test_what_is_not_to_be_fetched_is_not_watched(watched: Watched, why: str) -> None:
    bench = watched.bench
    watched.written(5)
    match why:
        case "paused":
            bench.client.pauses.pause([P0])
        case "no lambda":
            bench.table.streams.lost(bench.stream_of[P0], bench.now)
            bench.table.take_commands()
        case "records wait":
            bench.fetch(2)
        case "unknown":
            watched.written(TIMED_OUT)
        case "no leader":
            bench.subscription.learn({"t": topic("id", -1, -1)}, {})
        case "gone":
            bench.turns.rebalances.forget([P0])
            bench.table.forget([P0])
    assert [watched.look(reads=why != "not read") for _ in range(20)] == [[]] * 20


def test_it_asks_only_when_a_partition_was_quiet_since_the_last_look(watched: Watched) -> None:
    bench = watched.bench
    watched.written(2)
    bench.broker.ends_of.clear()
    watched.look()
    assert bench.broker.ends_of == []
    watched.look()
    assert bench.broker.ends_of == [P0]
    watched.look(after=fetch_watch.INTERVAL_S / 2)
    assert bench.broker.ends_of == [P0]


def test_an_answer_about_a_partition_that_went_on_or_left_is_ignored(watched: Watched) -> None:
    bench = watched.bench
    bench.broker.holds = True
    watched.written(5)
    for _ in range(3):
        watched.look()
    bench.turns.rebalances.forget([P0])
    bench.table.forget([P0])
    bench.broker.answer()
    bench.broker.holds = False
    assert [watched.look() for _ in range(20)] == [[]] * 20
    assert P1 not in bench.fetching.next_offset
