"""What a consumer thread counts for the metrics: commits with their answers, and errors in place of records."""

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from sidecar.consuming import commits
from sidecar.consuming.lost_offsets import LostOffsets
from sidecar.mail.facts import Edges

from .bench import P0, P1, Bench, record
from .test_commits import INTERVAL, answer, bench, checkpoint, deliver, work

__all__ = ["bench"]


@pytest.fixture
def timed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Both partitions have something to commit."""
    bench.clock(monkeypatch, commits)
    for tp, lease in ((P0, "L1"), (P1, "L2")):
        deliver(bench, 0, 9, tp)
        checkpoint(bench, 5, lease)
    return bench


def test_a_commit_takes_from_its_request_to_the_answer_and_counts_once(timed: Bench) -> None:
    assert work(timed, INTERVAL) == {P0: 6, P1: 6}
    timed.now += 0.2
    answer(timed, {P0: 6, P1: 6})
    measured = timed.state.measure.now
    assert sum(measured.commits.counts) == 1
    assert measured.commits.total == pytest.approx(0.2)
    assert measured.commit_failures == {}


def test_refused_commits_count_by_kind_and_have_no_time(timed: Bench) -> None:
    work(timed, INTERVAL)
    answer(timed, {P0: 6, P1: 6}, KafkaError(KafkaError.REBALANCE_IN_PROGRESS))
    timed.consumer.refuses_commits = KafkaError(KafkaError._TRANSPORT)
    work(timed, INTERVAL)
    timed.consumer.refuses_commits = None
    work(timed, INTERVAL)
    gone = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    deleted: Any = SimpleNamespace(topic=P0.topic, partition=P0.partition, offset=6, error=gone)
    timed.client.on_commit(None, [deleted])
    measured = timed.state.measure.now
    assert measured.commit_failures == {"rebalance": 1, "no_answer": 1, "no_topic": 1}
    assert sum(measured.commits.counts) == 1, "the request itself was answered"


def test_a_commit_that_was_given_up_has_no_time(timed: Bench) -> None:
    work(timed, INTERVAL)
    timed.commits.abandon()
    answer(timed, {P0: 6, P1: 6})
    assert sum(timed.state.measure.now.commits.counts) == 0


def test_a_commit_of_a_revoke_counts_too(timed: Bench) -> None:
    timed.commits.now(timed.consumer.as_consumer, [P0])
    timed.consumer.refuses_commits = KafkaError(KafkaError.UNKNOWN_MEMBER_ID)
    timed.commits.now(timed.consumer.as_consumer, [P1])
    measured = timed.state.measure.now
    assert sum(measured.commits.counts) == 1
    assert measured.commit_failures == {"rebalance": 1}


def test_errors_in_place_of_records_count_by_kind(timed: Bench) -> None:
    bad = KafkaError(KafkaError._BAD_MSG, "wrong checksum")
    timed.consumer.batches = [[record(11), record(12, bad)]]
    timed.turns.fetch()
    assert timed.state.measure.now.fetch_errors == {"unreadable": 1}


def test_a_group_without_offsets_is_no_error_and_a_lost_offset_is(timed: Bench) -> None:
    none = KafkaError(KafkaError._AUTO_OFFSET_RESET, "no offset stored")
    timed.consumer.batches = [[record(11, none)]]
    timed.turns.fetch()
    assert timed.state.measure.now.fetch_errors == {}
    losses = LostOffsets(timed.table, "earliest", timed.state.log, timed.state.measure)
    _, lose = losses.lost(P0, 3, 3, Edges(10, 20), "out of range")
    lose()
    assert timed.state.measure.now.fetch_errors == {"offset_lost": 1}
