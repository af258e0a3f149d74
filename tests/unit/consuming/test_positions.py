"""How Kafka's client is moved, and what is known of its position meanwhile."""

import pytest
from confluent_kafka import OFFSET_STORED, KafkaException

from .bench import LANE0, P0, P1, SOURCES, Bench, SourceKind


@pytest.fixture(params=SOURCES)
def bench(request: pytest.FixtureRequest) -> Bench:
    """Two partitions, each with two records that are buffered."""
    return made(request.param, cooperative=True)


def made(source: SourceKind, *, cooperative: bool) -> Bench:
    bench = Bench(source, cooperative=cooperative)
    bench.assign(P0, P1)
    for partition in (0, 1):
        bench.fetch(5, 6, partition=partition)
    return bench


def test_a_rewind_is_a_seek_and_drops_what_is_buffered(bench: Bench) -> None:
    bench.client.positions.rewind(P0, {LANE0: 3})
    assert (bench.consumer.sought, bench.consumer.moves) == ([3], [])
    assert bench.buffer.count(LANE0) == 0
    assert bench.fetching.next_offset == {P0: 3, P1: 7}
    assert bench.client.positions.take_begun() == [], "it was read before"


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("paused", [True, False])
def test_where_the_client_cannot_seek_a_rewind_assigns(bench: Bench, runs: bool, paused: bool) -> None:
    bench.consumer.seekable = False
    if runs:
        bench.run()
    if paused:
        bench.client.pauses.pause([P0])
    bench.client.positions.rewind(P0, {LANE0: 3})
    assert bench.consumer.moves == [{0: 3}]
    assert bench.fetching.next_offset == {P0: 3, P1: 7}
    expected: set[int] = set() if runs else {0}
    assert {tp.partition for tp in bench.fetching.paused} == bench.consumer.paused == expected
    assert bench.client.positions.take_begun() == [P0]
    assert bench.client.positions.take_begun() == []


def test_nothing_is_known_of_a_position_to_which_the_client_could_not_be_moved(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.consumer.seekable = False

    def refuse(_: object) -> None:
        raise KafkaException("the client fails")

    monkeypatch.setattr(bench.consumer, "incremental_unassign", refuse)
    with pytest.raises(KafkaException):
        bench.client.positions.rewind(P0, {LANE0: 3})
    assert bench.buffer.count(LANE0) == 0, "these records may not be sent: others are to come before them"
    assert bench.fetching.next_offset == {P1: 7}


@pytest.mark.parametrize("source", SOURCES)
def test_the_eager_protocol_assigns_all_and_keeps_the_others_where_they_are(source: SourceKind) -> None:
    bench = made(source, cooperative=False)
    bench.consumer.seekable = False
    bench.client.positions.rewind(P0, {LANE0: 3})
    assert bench.consumer.moves == [{0: 3, 1: 7}]
    assert {*bench.client.positions.take_begun()} == {P0, P1}


@pytest.mark.parametrize("source", SOURCES)
def test_the_eager_protocol_leaves_paused_what_was_paused(source: SourceKind) -> None:
    bench = made(source, cooperative=False)
    bench.consumer.seekable = False
    bench.run()
    bench.run()
    bench.client.pauses.pause([P1])
    bench.client.positions.rewind(P0, {LANE0: 3})
    assert {tp.partition for tp in bench.fetching.paused} == bench.consumer.paused == {1}


@pytest.mark.parametrize("cooperative", [True, False])
@pytest.mark.parametrize("source", SOURCES)
def test_no_order_to_pause_or_resume_comes_after_the_assignment(
    source: SourceKind, cooperative: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka's client may drop the order to start the partition when it overtakes it."""
    bench = made(source, cooperative=cooperative)
    bench.consumer.seekable = False
    bench.run()
    orders: list[str] = []

    def watch(name: str) -> None:
        call = getattr(bench.consumer, name)

        def order(*partitions: object) -> None:
            orders.append(name.removeprefix("incremental_"))
            call(*partitions)

        monkeypatch.setattr(bench.consumer, name, order)

    kind = "incremental_" if cooperative else ""
    for name in (f"{kind}unassign", "pause", "resume", f"{kind}assign"):
        watch(name)
    bench.client.positions.rewind(P0, {LANE0: 3})
    bench.turns.start_partitions()
    assert [*dict.fromkeys(orders)] == ["unassign", "pause", "resume", "assign"]
    assert orders[-1] == "assign"


@pytest.mark.parametrize("source", SOURCES)
def test_the_eager_protocol_leaves_a_position_that_is_not_known_to_the_client(source: SourceKind) -> None:
    bench = made(source, cooperative=False)
    bench.turns.rebalances.forget([P1])
    bench.table.forget([P1])
    bench.table.assigned([P1], bench.now)
    bench.consumer.seekable = False
    bench.client.positions.rewind(P0, {LANE0: 3})
    assert bench.consumer.moves == [{0: 3, 1: OFFSET_STORED}]


def test_a_partition_that_left_has_not_begun(bench: Bench) -> None:
    bench.client.positions.begin(P0)
    bench.client.positions.begin(P1)
    bench.turns.rebalances.forget([P0])
    assert bench.client.positions.take_begun() == [P1]
