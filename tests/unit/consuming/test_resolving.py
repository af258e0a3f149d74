"""How partitions are placed: one by one, by answers that come later, and never after they have gone."""

from typing import Any

import pytest

from sidecar.consuming import lost_offsets, resolving
from sidecar.mail.facts import Commit, Edges, Origin
from sidecar.partitions.vocabulary import Lane, RevokeReason, State, TopicPartition

from .bench import P0, P1, SOURCES, Bench
from .played_inquiries import MISSING, TIMED_OUT, topic

ID = "AAAAAAAAAAAAAAAAAAAAAQ"
OTHER = "AAAAAAAAAAAAAAAAAAAAAg"


def placing(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Bench:
    """One topic, whose log has 5 to 50, of which nothing is assigned yet; a broker that answers at once."""
    bench = Bench(**options)
    bench.clock(monkeypatch, resolving, lost_offsets)
    bench.broker.facts = {"t": topic(ID, 1, 1)}
    bench.broker.edges_are = {P0: Edges(5, 50), P1: Edges(5, 50)}
    bench.subscription.learn(bench.broker.facts, [])
    bench.recorder.take()
    return bench


@pytest.fixture(params=SOURCES)
def bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return placing(monkeypatch, source=request.param)


def assigned(bench: Bench, *tps: TopicPartition) -> None:
    """Kafka gives these."""
    bench.client.source.lead(tps)
    bench.table.assigned(tps, bench.now)
    bench.client.resolving.assigned(tps)


def work(bench: Bench, seconds: float = resolving.RETRY_AFTER_S) -> set[TopicPartition]:
    """Time passes; which are read anew."""
    bench.now += seconds
    bench.client.resolving.work()
    return {*bench.client.positions.take_begun()}


def states(bench: Bench) -> list[State]:
    return [bench.table.lanes[Lane(tp)].state for tp in (P0, P1) if tp in bench.table.partitions]


def made_anew(bench: Bench) -> None:
    """The topic has another id now, and that was seen."""
    bench.broker.facts["t"] = topic(OTHER, 1, 1)
    bench.subscription.learn(bench.broker.facts, bench.table.partitions)
    bench.client.resolving.learned()


def belongs_to(bench: Bench) -> tuple[str, int] | None:
    """Of the first partition: the topic's id, and its partitions when the group began."""
    origin = bench.origins.get(P0)
    return None if origin is None else (origin.topic_id, origin.partitions_at_start)


def test_a_committed_offset_is_where_it_starts_and_the_client_is_there_already(bench: Bench) -> None:
    bench.broker.commits_are = {P0: Commit(7, Origin(ID, 2))}
    assigned(bench, P0)
    assert work(bench) == {P0}, "it begins to be read, and may be paused in the client from before"
    assert bench.table.lanes[Lane(P0)].offsets.resume_at == 7
    assert states(bench) == [State.WAITING]
    assert bench.consumer.moves == []
    assert bench.origins.get(P0) == Origin(ID, 2)


def test_a_new_groups_resume_offset_is_committed_before_a_lambda_gets_the_partition(bench: Bench) -> None:
    assigned(bench, P0, P1)
    assert work(bench, 0) == {P0, P1}
    assert bench.consumer.moves == [{0: 5, 1: 5}]
    assert states(bench) == [State.RESOLVING, State.RESOLVING]
    assert [bench.table.lanes[Lane(tp)].offsets.to_commit() for tp in (P0, P1)] == [5, 5]
    bench.table.committed(P0, bench.table.partitions[P0].commitments, bench.now)
    assert states(bench) == [State.WAITING, State.RESOLVING]
    assert bench.recorder.told()[-1] == ("info", "no committed offset: starting at the earliest")


def test_one_without_a_leader_does_not_keep_the_other_from_starting(bench: Bench) -> None:
    bench.broker.facts["t"] = topic(ID, 1, -1)
    assigned(bench, P0, P1)
    work(bench)
    bench.table.committed(P0, bench.table.partitions[P0].commitments, bench.now)
    assert states(bench) == [State.WAITING, State.RESOLVING]
    assert bench.table.lanes[Lane(P1)].trouble.reason == "no broker leads the partition"
    bench.broker.facts["t"] = topic(ID, 1, 1)
    work(bench)
    assert bench.table.lanes[Lane(P1)].offsets.resume_at == 5


def test_one_that_is_refused_does_not_keep_the_other_from_starting(bench: Bench) -> None:
    bench.broker.edges_are[P1] = TIMED_OUT
    assigned(bench, P0, P1)
    work(bench)
    assert [bench.table.lanes[Lane(tp)].offsets.resume_at for tp in (P0, P1)] == [5, -1]
    assert "timed out" in bench.table.lanes[Lane(P1)].trouble.reason
    work(bench, 0.01)
    assert bench.broker.asked.count("edges") == 1, "not at once again"
    bench.broker.edges_are[P1] = Edges(5, 50)
    work(bench)
    assert bench.table.lanes[Lane(P1)].offsets.resume_at == 5


def test_a_committed_offset_needs_no_leader(bench: Bench) -> None:
    bench.broker.facts["t"] = topic(ID, -1, -1)
    bench.broker.commits_are = {P0: Commit(7, Origin(ID, 2))}
    assigned(bench, P0)
    work(bench)
    assert states(bench) == [State.WAITING]


def test_a_group_whose_offsets_cannot_be_asked_for_is_said_once(bench: Bench) -> None:
    bench.broker.commits_are = TIMED_OUT
    assigned(bench, P0)
    for _ in range(3):
        work(bench)
    assert bench.recorder.told() == [("warning", "a partition cannot start yet; asking again")]
    assert "cannot ask Kafka for the group's offsets" in bench.table.lanes[Lane(P0)].trouble.reason


def test_an_answer_for_a_partition_that_went_and_came_again_is_not_taken(bench: Bench) -> None:
    bench.broker.holds = True
    bench.broker.commits_are = {P0: Commit(7, Origin(ID, 2))}
    assigned(bench, P0)
    work(bench)
    bench.client.resolving.forget([P0])
    bench.table.forget([P0])
    bench.broker.commits_are = {P0: Commit(9, Origin(ID, 2))}
    assigned(bench, P0)
    bench.broker.answer()
    assert states(bench) == [State.RESOLVING]
    work(bench)
    bench.broker.answer()
    assert bench.table.lanes[Lane(P0)].offsets.resume_at == 9


def test_an_answer_during_the_shutdown_changes_nothing(bench: Bench) -> None:
    bench.broker.holds = True
    assigned(bench, P0)
    work(bench)
    bench.table.revoke_all(RevokeReason.SHUTDOWN, 1.0, bench.now)
    bench.client.resolving.stop()
    bench.broker.answer()
    assert states(bench) == [State.DRAINING]
    assert bench.consumer.moves == []


@pytest.mark.parametrize(("policy", "place"), [("earliest", 5), ("latest", 50)])
def test_an_offset_of_the_topic_before_is_lost(monkeypatch: pytest.MonkeyPatch, policy: str, place: int) -> None:
    bench = placing(monkeypatch, on_offset_lost=policy)
    bench.broker.commits_are = {P0: Commit(20, Origin(OTHER, 1))}
    assigned(bench, P0)
    work(bench)
    assert bench.consumer.moves == [{0: place}]
    assert states(bench) == [State.RESOLVING], "first its place is committed"
    assert bench.table.lanes[Lane(P0)].offsets.to_commit() == place
    assert belongs_to(bench) == (ID, 0)
    assert bench.recorder.told() == [("error", f"offset lost: going on at the {policy}")]
    fields = bench.recorder.fields[-1]
    assert (fields["offset"], fields["earliest"], fields["latest"]) == (20, 5, 50)


def test_a_topic_made_anew_while_its_lambda_runs_is_read_from_its_beginning(bench: Bench) -> None:
    bench.broker.commits_are = {P0: Commit(20, Origin(ID, 1))}
    assigned(bench, P0)
    work(bench)
    bench.table.streams.available(1, "process", 1 << 20, bench.now)
    bench.table.streams.ready(1, "L1", bench.now)
    assert states(bench) == [State.RUNNING]
    made_anew(bench)
    work(bench, 0)
    assert bench.consumer.moves == [{0: 5}]
    assert states(bench) == [State.RESOLVING]
    assert bench.table.lanes[Lane(P0)].lease is None
    assert belongs_to(bench) == (OTHER, 0)
    made_anew(bench)
    work(bench)
    assert len(bench.consumer.moves) == 1, "it is said once"


def test_a_topic_made_anew_halts_where_the_config_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = placing(monkeypatch, on_offset_lost="halt")
    bench.broker.commits_are = {P0: Commit(20, Origin(ID, 1))}
    assigned(bench, P0)
    work(bench)
    made_anew(bench)
    work(bench, 0)
    assert states(bench) == [State.HALTED]
    assert bench.table.lanes[Lane(P0)].offsets.to_commit() is None, "the next start must see the loss again"


def test_a_topic_that_is_gone_is_waited_for(bench: Bench) -> None:
    bench.broker.facts["t"] = MISSING
    assigned(bench, P0)
    work(bench)
    assert states(bench) == [State.RESOLVING]
    bench.broker.facts["t"] = topic(ID, 1, 1)
    work(bench)
    assert bench.table.lanes[Lane(P0)].offsets.resume_at == 5


def test_an_offset_that_the_log_has_after_all_is_read_again(bench: Bench) -> None:
    bench.broker.commits_are = {P0: Commit(20, Origin(ID, 1))}
    assigned(bench, P0)
    work(bench)
    bench.client.resolving.offset_gone(P0)
    work(bench)
    assert bench.consumer.moves == [{0: 20}]
    assert bench.recorder.told() == []


def test_an_offset_that_the_log_does_not_have_is_lost(bench: Bench) -> None:
    bench.broker.commits_are = {P0: Commit(3, Origin(ID, 1))}
    assigned(bench, P0)
    work(bench)
    bench.client.resolving.offset_gone(P0)
    work(bench)
    assert bench.consumer.moves == [{0: 5}]
    assert bench.recorder.told() == [("error", "offset lost: going on at the earliest")]
