"""Offset and state of a commit belong together, from the checkpoint to the metadata and back."""

from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition as KafkaPartition

from sidecar.cluster.commit_metadata import decode
from sidecar.mail.facts import Commit, Origin
from sidecar.partitions.vocabulary import Lane, Place, Progress, State

from .bench import LANE0, P0, Bench
from .played_inquiries import TIMED_OUT, topic

ID = "AAAAAAAAAAAAAAAAAAAAAQ"
ORIGIN = Origin(ID, 1)
KEPT_NOT = "the broker does not keep the metadata"


@pytest.fixture
def bench() -> Bench:
    """A partition from offset 0 with ten records, in the hands of the lease `L1`."""
    made = Bench(now=0.0, checkpoint={"interval": 1.0})
    made.origins[P0] = ORIGIN
    made.assign(P0)
    made.run()
    made.fetch(*range(10))
    made.buffer.taken(LANE0, 10)
    made.table.records.sent(LANE0, 0, 9, 10, 10, None, made.now)
    return made


def give(bench: Bench, offset: int, state: bytes | None) -> None:
    bench.table.streams.checkpoint("L1", Progress(offset, state=state), bench.now)


def work(bench: Bench) -> Commit:
    """An interval passes; what is in Kafka then."""
    bench.now += 1.0
    bench.commits.work(bench.consumer.as_consumer, bench.now)
    return decode(bench.consumer.commits[-1][0][P0], bench.consumer.metadata[P0])


def answer(bench: Bench, offset: int, error: KafkaError | None = None) -> None:
    bench.client.on_commit(error, [KafkaPartition(*P0, offset)])


def test_a_commit_has_the_state_of_its_offset(bench: Bench) -> None:
    give(bench, 3, b"three")
    assert work(bench) == Commit(4, ORIGIN, (Place(4, b"three"),))
    give(bench, 5, b"five")  # while the commit is under way
    answer(bench, 4)
    assert work(bench) == Commit(6, ORIGIN, (Place(6, b"five"),))


def test_a_commit_that_is_tried_again_has_what_holds_by_then(bench: Bench) -> None:
    give(bench, 3, b"three")
    work(bench)
    give(bench, 5, b"five")
    answer(bench, 4, KafkaError(KafkaError.REQUEST_TIMED_OUT))
    assert work(bench) == Commit(6, ORIGIN, (Place(6, b"five"),))


def test_the_clients_position_has_the_state_of_the_last_checkpoint(bench: Bench) -> None:
    give(bench, 9, b"nine")
    bench.consumer.positions[P0] = 11
    assert work(bench) == Commit(11, ORIGIN, (Place(11, b"nine"),))


# --- back from Kafka ------------------------------------------------------------------------------------------------


def resolved(commit: Commit, **options: Any) -> tuple[Bench, Place]:
    """The place of a partition that was committed so, before a lambda has it."""
    bench = Bench(**options)
    bench.broker.facts["t"] = topic(ID, 1)
    bench.broker.commits_are = {P0: commit}
    bench.client.source.lead([P0])
    bench.table.assigned([P0], bench.now)
    bench.client.resolving.assigned([P0])
    bench.client.resolving.work()
    assert bench.table.lanes[Lane(P0)].state is State.WAITING
    return bench, bench.table.lanes[Lane(P0)].offsets.place


def test_what_was_committed_is_what_the_next_lambda_gets() -> None:
    assert resolved(Commit(7, ORIGIN, (Place(7, b"seven"),)))[1] == (7, b"seven")


def test_a_commit_of_several_lanes_gives_the_lowest_place_and_no_state() -> None:
    bench, place = resolved(Commit(7, ORIGIN, (Place(9, b"nine"), Place(7, b"seven"))))
    assert place == (7, b"")
    assert [level for level, event in bench.recorder.take() if "another number of lanes" in event] == ["warning"]


def test_a_partition_that_comes_back_has_its_state_though_the_broker_keeps_no_metadata(bench: Bench) -> None:
    give(bench, 3, b"three")
    bench.revoked()
    bench.broker.facts["t"] = topic(ID, 1)
    bench.broker.commits_are = {P0: Commit(4, None)}
    bench.turns.rebalances.on_assign([KafkaPartition(*P0)])
    bench.client.resolving.work()
    assert bench.table.lanes[Lane(P0)].offsets.place == (4, b"three")


# --- a broker that keeps no metadata --------------------------------------------------------------------------------


def test_a_state_that_the_broker_does_not_keep_is_a_warning_once(bench: Bench) -> None:
    bench.broker.commits_are = {P0: Commit(4, None)}
    for offset in (3, 5):
        give(bench, offset, b"state")
        work(bench)
        answer(bench, offset + 1)
    warnings = [event for level, event in bench.recorder.take() if level == "warning"]
    assert [KEPT_NOT in event for event in warnings] == [True]


def test_a_state_that_is_kept_is_none_and_no_answer_is_asked_again(bench: Bench) -> None:
    bench.broker.commits_are = TIMED_OUT
    give(bench, 3, b"state")
    work(bench)
    answer(bench, 4)
    bench.broker.commits_are = {P0: Commit(6, ORIGIN, (Place(6, b"state"),))}
    for offset in (5, 7):
        give(bench, offset, b"state")
        work(bench)
        answer(bench, offset + 1)
    assert bench.broker.asked.count("commits") == 2
    assert not [event for level, event in bench.recorder.take() if level == "warning"]


def test_without_a_state_nothing_is_asked(bench: Bench) -> None:
    give(bench, 3, None)
    work(bench)
    answer(bench, 4)
    assert "commits" not in bench.broker.asked
