"""The end of a lambda's work, and of one of its clients: what is committed, who is answered, what comes after."""

import asyncio
from time import monotonic
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition as KafkaPartition

from sidecar.consuming import rebalances, rebuild, turns
from sidecar.consuming.turns import Turns
from sidecar.mail import letters
from sidecar.partitions.vocabulary import ClosedReason, Committed, Progress

from .bench import LANE0, P0, SOURCES, Bench, record

PATIENCE = 10.0
FENCED = KafkaError(KafkaError._FATAL, "fenced", fatal=True)


@pytest.fixture(params=SOURCES)
def bench(request: pytest.FixtureRequest) -> Bench:
    """One partition runs, from offset 1, and Kafka takes every commit."""
    made = Bench(request.param, now=monotonic())
    made.assign(P0, at=1)
    made.run()
    made.consumer.on_commit = made.client.on_commit
    return made


def test_the_end_commits_what_was_checkpointed_and_nothing_that_waits(bench: Bench) -> None:
    stopped: list[bool] = []
    bench.come(record(1), record(2), record(3))
    bench.sender.work(monotonic())
    bench.consumer.batches = [[record(4)]]
    bench.state.mailbox.put(letters.Checkpoints([("L1", Progress(1))], reply()))
    bench.state.mailbox.put(letters.Closed(bench.stream_of[P0], ClosedReason.REVOKED, Progress(2)))
    bench.turns.shut_down(lambda: stopped.append(bench.consumer.closed.is_set()))
    assert bench.consumer.commits == [({P0: 3}, True)]
    assert stopped == [True], "who asks and writes for it ends after it has left the group"
    assert bench.table.partitions == {}
    assert bench.recorder.told()[-1] == ("info", "left the group")


def test_a_drain_waits_for_letters_and_does_not_spin(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    def fetch() -> None:
        waited.append(bench.turns._patience())
        bench.state.mailbox.put(letters.Closed(bench.stream_of[P0], ClosedReason.REVOKED, None))

    bench.sender.changed.add(LANE0)  # a frame was written before the drain began
    monkeypatch.setattr(bench.turns, "fetch", fetch)
    bench.turns.shut_down(lambda: None)
    assert waited
    assert min(waited) > 0


class Waiting:
    """A lambda that has checkpointed and closes when it hears that Kafka has it; put in the place of the outbox."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.heard: list[Committed] = []
        self._bench = bench
        bench.come(record(1), record(2), record(3))
        bench.sender.work(monotonic())
        bench.state.mailbox.put(letters.Checkpoints([("L1", Progress(2))], reply()))
        monkeypatch.setattr(bench.outbox, "post", self.post)

    def post(self, item: letters.Delivery) -> None:
        if isinstance(item, Committed):
            self.heard.append(item)
            stream = self._bench.stream_of[P0]
            self._bench.state.mailbox.put(letters.Closed(stream, ClosedReason.REVOKED, None))


def test_a_lambda_may_wait_for_its_commit_before_it_closes_at_the_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    lambda_ = Waiting(bench, monkeypatch)
    bench.commits._due = monotonic() + 3600.0  # the last commit was just now, and the interval is long
    bench.commits._interval = 3600.0
    bench.turns.shut_down(lambda: None)
    assert lambda_.heard == [Committed(bench.stream_of[P0], 2)]
    assert bench.consumer.commits == [({P0: 3}, True)]


def test_inside_a_rebalance_callback_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    lambda_ = Waiting(bench, monkeypatch)
    bench.turns.rebalances.on_revoke([KafkaPartition(*P0)])
    assert lambda_.heard == [Committed(bench.stream_of[P0], 2)]
    assert bench.consumer.commits == [({P0: 3}, False)]
    assert bench.table.partitions == {}


def test_a_refused_commit_is_tried_again_only_at_the_end_of_the_drain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may take long, and the drain's time is the lambda's."""
    monkeypatch.setattr(rebalances, "DRAIN_COMMIT_INTERVAL_S", 0.001)
    bench = Bench(now=monotonic(), rebalance_drain=0.1)
    bench.assign(P0, at=1)
    bench.run()
    lambda_ = Waiting(bench, monkeypatch)
    bench.consumer.refuses_commits = KafkaError(KafkaError.ILLEGAL_GENERATION, "too late")
    bench.turns.rebalances.on_revoke([KafkaPartition(*P0)])
    assert lambda_.heard == []
    assert bench.consumer.commits == [({P0: 3}, False)] * 2


def test_a_revoke_inside_the_close_finds_nothing_to_commit(bench: Bench) -> None:
    bench.come(record(1))
    bench.state.mailbox.put(letters.Closed(bench.stream_of[P0], ClosedReason.REVOKED, None))
    bench.consumer.inside_close = lambda: bench.turns.rebalances.on_revoke([KafkaPartition(*P0)])
    bench.turns.shut_down(lambda: None)
    assert bench.consumer.closed.is_set()
    assert bench.consumer.commits == []


def test_records_in_hand_when_the_thread_broke_are_not_committed(bench: Bench) -> None:
    bench.consumer.batches = [[record(1)]]
    bench.turns.fetch()
    bench.buffer.drop(LANE0)  # it broke where it had them in hand
    bench.turns.leave_broken(lambda: None)
    assert bench.consumer.closed.is_set()
    assert bench.consumer.commits == []


def test_who_broke_before_there_was_a_client_leaves_too() -> None:
    bench = Bench()
    bench.refuses_clients = FENCED
    mine = Turns(bench.state, bench.make_client)
    stopped: list[bool] = []
    with pytest.raises(KafkaException):
        mine.begin()
    mine.leave_broken(lambda: stopped.append(True))
    assert stopped == [True]


@pytest.mark.parametrize("flagged", [True, False])
def test_a_client_that_failed_for_good_is_given_up_with_all_that_it_held(bench: Bench, flagged: bool) -> None:
    """The binding makes an error of this code that does not call itself fatal."""
    fatal = KafkaError(KafkaError._FATAL, "fenced", fatal=flagged)
    bench.consumer.batches = [[record(1), record(2, fatal)]]
    bench.turns.turn_or_fail()
    assert not bench.table.partitions
    assert bench.buffer.idle(LANE0)
    assert bench.consumer.committed == []
    assert bench.consumer.closed.wait(PATIENCE)
    (problem,) = bench.problems.now
    assert (problem.kind, problem.blocks) == ("client", True)
    assert "fenced" in problem.text
    assert bench.turns.clients.rebuild.waits


def test_without_a_client_letters_are_read_and_another_is_made_after_a_while(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.consumer.batches = [[record(1, FENCED)]]
    bench.turns.turn_or_fail()
    bench.clock(monkeypatch, turns, rebuild)
    clients = bench.turns.clients
    bench.now = clients.rebuild.due - 0.001
    bench.state.mailbox.put(letters.Available(7, "process", 1 << 20))
    bench.turns.rest()
    assert bench.table.processes.get(7) is not None
    assert clients.now is bench.client
    bench.now = clients.rebuild.due
    bench.refuses_clients = KafkaError(KafkaError._INVALID_ARG, "no such file")
    bench.turns.rest()
    assert clients.now is bench.client
    assert "no such file" in bench.problems.texts[-1]
    bench.now = clients.rebuild.due
    bench.refuses_clients = None
    bench.turns.rest()
    assert clients.now is not bench.client
    assert not clients.rebuild.waits


def test_who_is_told_to_stop_without_a_client_stops(bench: Bench) -> None:
    bench.consumer.batches = [[record(1, FENCED)]]
    bench.turns.turn_or_fail()
    bench.state.mailbox.put(letters.Stop())
    bench.turns.run()
    bench.turns.shut_down(lambda: None)
    assert bench.consumer.closed.wait(PATIENCE)
    assert bench.consumer.commits == []


def reply() -> letters.Reply[Any]:
    async def made() -> letters.Reply[Any]:
        return letters.Reply()

    return asyncio.run(made())
