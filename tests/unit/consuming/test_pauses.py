"""Pauses and resumes of Kafka's client, which may lose an order."""

import pytest
from confluent_kafka import TopicPartition as KafkaPartition

from .bench import P0, P1, SOURCES, Bench


@pytest.fixture(params=SOURCES)
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


def test_a_partition_is_paused_before_the_client_starts_it(bench: Bench) -> None:
    bench.turns.rebalances.on_assign([KafkaPartition("t", 0), KafkaPartition("t", 1)])
    assert bench.consumer.paused == {0, 1}, "inside the callback: the binding assigns the partitions after it"
    assert bench.fetching.paused == {P0, P1}
    assert bench.consumer.moves == []


def test_it_is_resumed_when_its_lambda_runs(bench: Bench) -> None:
    bench.turns.rebalances.on_assign([KafkaPartition("t", 0), KafkaPartition("t", 1)])
    for tp in (P0, P1):
        bench.table.resolved(tp, 0, bench.now, committed=True)
    bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == {0, 1}
    bench.run()
    bench.client.back_pressure.adjust(bench.now)
    assert len(bench.consumer.paused) == 1
    bench.run()
    bench.client.back_pressure.adjust(bench.now)
    assert bench.consumer.paused == set()


def test_one_lost_resume_does_no_harm(bench: Bench) -> None:
    bench.client.pauses.pause([P0, P1])
    bench.consumer.loses_resumes = 1
    bench.client.pauses.resume([P0])
    assert (bench.consumer.paused, bench.fetching.paused) == ({1}, {P1})


def test_a_lost_pause_is_noticed_by_the_records_that_arrive(bench: Bench) -> None:
    bench.assign(P0)
    bench.client.pauses.pause([P0])
    assert bench.fetching.paused == {P0}
    bench.consumer.paused.clear()  # as if the client had never got the order
    bench.fetch(0, 1)
    assert bench.fetching.paused == set(), "so that it can be paused again"


def test_nothing_is_asked_of_the_client_for_no_partition(bench: Bench) -> None:
    def refuse() -> None:
        raise AssertionError("a call")

    bench.consumer.before_each = refuse
    bench.client.pauses.pause([])
    bench.client.pauses.resume([])
