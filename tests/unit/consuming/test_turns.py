"""What must hold whatever librdkafka does inside one call: driven turn by turn, without a thread."""

import asyncio
from time import monotonic

import pytest
from confluent_kafka import KafkaError, TopicPartition as KafkaPartition

from sidecar.consuming import connection, letter_reader, rebalances, turns
from sidecar.mail import letters
from sidecar.mail.facts import Edges
from sidecar.partitions.vocabulary import Lane, OrderRefused, Progress, State, TopicPartition

from .bench import LANE0, P0, SOURCES, Bench, SourceKind, record
from .played_inquiries import topic


@pytest.fixture(params=SOURCES)
def bench(request: pytest.FixtureRequest) -> Bench:
    """One partition runs, caught up at offset 1."""
    kind: SourceKind = request.param
    made = Bench(kind, now=monotonic())
    made.broker.facts = {"t": topic("id", 1, 1)}
    made.broker.edges_are = {P0: Edges(1, 2)}
    made.assign(P0, at=1)
    made.run()
    assert made.table.lanes[Lane(P0)].state is State.RUNNING
    return made


def test_a_record_in_hand_is_not_committed_by_a_revoke_inside_the_next_call(bench: Bench) -> None:
    bench.consumer.polled = [record(1)]
    bench.consumer.inside = bench.revoked
    bench.turns.fetch()
    bench.turns.fetch()  # where one fetch makes one call
    assert P0 not in bench.table.partitions
    assert bench.consumer.committed == []


def test_a_record_that_waits_is_not_committed_by_a_revoke_inside_a_later_call(bench: Bench) -> None:
    bench.consumer.batches = [[record(1)]]
    bench.turns.fetch()
    bench.consumer.inside = bench.revoked
    bench.turns.fetch()
    assert P0 not in bench.table.partitions
    assert bench.consumer.committed == []


def test_whenever_the_client_is_called_all_that_it_gave_is_known(bench: Bench) -> None:
    """A revoke may run in any of its calls, and commits the client's position where nothing waits."""
    checkpointed = 0
    calls = 0

    def look() -> None:
        nonlocal calls
        calls += 1
        partition = bench.table.partitions.get(P0)
        if partition is not None and partition.caught_up and bench.buffer.idle(LANE0):
            assert bench.consumer.positions.get(P0, 0) <= checkpointed + 1

    bench.consumer.before_each = look
    bad = KafkaError(KafkaError._BAD_MSG, "wrong checksum")
    bench.consumer.batches = [[record(1), record(2)], [record(3)], [], [record(4), record(5, bad), record(6)]]
    bench.consumer.batches += [[]] * 4
    while bench.consumer.batches:
        bench.turns.turn_or_fail()
        delivered = bench.table.lanes[Lane(P0)].window.delivered
        if delivered is not None and delivered != checkpointed:
            checkpointed = delivered
            bench.table.streams.checkpoint("L1", Progress(checkpointed), monotonic())
            bench.written(P0)
    assert checkpointed == 4
    bench.consumer.inside = bench.revoked
    bench.turns.fetch()
    assert bench.consumer.committed == [5], "not after the one that cannot be read"
    assert calls >= 10


def test_a_revoke_commits_past_offsets_without_records(bench: Bench) -> None:
    bench.consumer.positions[P0] = 2  # a transaction's marker at 1
    bench.consumer.inside = bench.revoked
    bench.turns.fetch()
    assert bench.consumer.committed == [2]


def test_a_record_that_comes_during_the_last_commit_is_not_committed(bench: Bench) -> None:
    partition = bench.table.lanes[Lane(P0)]
    partition.offsets.uncommitted, partition.offsets.committed = True, None
    bench.consumer.polled = [record(1)]
    bench.commits.finish(bench.client.consumer, [P0], 0.01, lambda: None)
    bench.revoked()
    assert bench.consumer.positions[P0] == 2
    assert {*bench.consumer.committed} == {1}


def test_a_turn_that_is_to_check_soon_waits_for_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition whose lambda is ready is resumed by that check."""
    waits: list[float] = []
    monkeypatch.setattr(bench.client.source, "wait", waits.append)
    bench.turns.turn_or_fail()
    bench.turns.housekeeping.soon()
    bench.turns.turn_or_fail()
    bench.turns.turn_or_fail()
    assert [wait > 0 for wait in waits[1:]] == [False, True]


def test_records_of_a_partition_that_went_inside_the_call_are_dropped(bench: Bench) -> None:
    bench.consumer.batches = [[record(1), record(2)]]
    bench.consumer.inside = bench.revoked
    bench.turns.fetch()
    assert bench.buffer.idle(LANE0)
    assert bench.sender.changed == set()
    assert bench.consumer.committed == []


def test_a_record_that_the_client_cannot_read_halts_its_partition_after_the_records_before_it(bench: Bench) -> None:
    bad = KafkaError(KafkaError._BAD_MSG, "wrong checksum")
    bench.consumer.batches = [[record(1), record(2, bad), record(3)]]
    bench.turns.fetch()
    bench.sender.work(monotonic())
    partition = bench.table.lanes[Lane(P0)]
    assert partition.window.delivered == 1
    assert partition.trouble.failing_offset == 2
    assert partition.state is State.DRAINING
    assert "wrong checksum" in partition.trouble.reason
    assert not partition.caught_up


def test_an_unreadable_record_that_is_skipped_is_not_reported_again(bench: Bench) -> None:
    bench.table.lanes[Lane(P0)].skip = {2}
    bad = KafkaError(KafkaError._BAD_MSG, "wrong checksum")
    bench.consumer.batches = [[record(1), record(2, bad), record(3)]]
    bench.turns.fetch()
    bench.sender.work(monotonic())
    assert bench.table.lanes[Lane(P0)].window.delivered == 3
    assert bench.table.lanes[Lane(P0)].state is State.RUNNING


def test_partitions_that_stay_in_a_rebalance_are_fetched_at_once(bench: Bench) -> None:
    bench.consumer.inside = lambda: bench.turns.rebalances.on_assign([KafkaPartition("t", 1)])
    bench.turns.fetch()
    bench.turns.rebalances.wake_kept()
    assert bench.consumer.asked == [0]
    bench.turns.rebalances.wake_kept()
    assert bench.consumer.asked == [0], "once is enough"


def test_partitions_that_are_moved_are_fetched_at_once(bench: Bench) -> None:
    """Kafka's client reports late that the log does not have an offset: the running partition is moved."""
    bench.client.resolving.offset_gone(P0)
    bench.turns.start_partitions()
    assert bench.consumer.moves == [{0: 1}]
    assert bench.consumer.asked == [0]
    bench.turns.start_partitions()
    assert bench.consumer.asked == [0], "once is enough"
    assert bench.consumer.paused == set()


@pytest.mark.parametrize("runs", [True, False])
def test_partitions_that_a_rewind_assigns_are_fetched_at_once_if_a_lambda_runs(bench: Bench, runs: bool) -> None:
    bench.consumer.seekable = False
    if not runs:
        bench.table.streams.lost(1, monotonic())
    bench.client.positions.rewind(P0, {LANE0: 1})
    assert bench.consumer.moves == [{0: 1}]
    bench.turns.start_partitions()
    assert (bench.consumer.asked, bench.consumer.paused) == (([0], set()) if runs else ([], {0}))


def test_when_all_partitions_are_revoked_none_is_woken(bench: Bench) -> None:
    bench.consumer.inside = bench.revoked
    bench.turns.fetch()
    bench.turns.rebalances.wake_kept()
    assert bench.consumer.asked == []


def test_a_misrouted_record_is_fetched_again_together_with_buffered_ones(bench: Bench) -> None:
    bench.consumer.batches = [[record(1), record(2)]]
    bench.turns.fetch()
    bench.client.intake.misrouted(P0, 3)
    bench.sender.work(monotonic())
    assert bench.table.lanes[Lane(P0)].window.delivered is None, "nothing goes before it is fetched again"
    bench.client.intake.misrouted(P0, 4)
    bench.turns.letters.carry_out()
    assert bench.consumer.sought == [1]
    assert bench.buffer.idle(LANE0)
    assert not bench.table.lanes[Lane(P0)].offsets.rewind_pending


def test_a_misrouted_record_does_not_hide_an_unreadable_one_before_it(bench: Bench) -> None:
    bad = KafkaError(KafkaError._BAD_MSG, "wrong checksum")
    bench.consumer.batches = [[record(1, bad)]]
    bench.turns.fetch()
    bench.client.intake.misrouted(P0, 2)
    bench.turns.letters.carry_out()
    assert bench.consumer.sought == [1]


def test_a_misrouted_record_of_a_partition_that_is_not_assigned_is_ignored(bench: Bench) -> None:
    bench.client.intake.misrouted(TopicPartition("t", 9), 3)
    bench.turns.letters.carry_out()
    assert bench.consumer.sought == []


def test_what_would_move_a_partition_inside_a_rebalance_waits_until_after_it(bench: Bench) -> None:
    lease = bench.table.lanes[Lane(P0)].lease
    assert lease is not None

    async def orders() -> list[letters.Letter]:
        return [letters.Pause(P0, "upgrade", letters.Reply()), letters.Told(lambda: told.append(P0))]

    told: list[TopicPartition] = []
    for order in asyncio.run(orders()):
        bench.state.mailbox.put(order)
    bench.consumer.inside = bench.revoked
    bench.turns.fetch()
    assert P0 not in bench.table.partitions
    assert not told
    assert len(bench.letters.postponed) == 2
    bench.letters.read_all()
    assert told == [P0]
    [answer] = [item for item in bench.outbox.posted if isinstance(item, letters.Answer)]
    assert isinstance(answer.error, OrderRefused), "the partition is gone"


def test_the_group_is_joined_with_the_first_process_and_left_some_time_after_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(leave_group_after=60.0)
    bench.clock(monkeypatch, turns, rebalances, letter_reader, connection)
    bench.connection.reached({})
    bench.turns.turn_or_fail()
    assert bench.consumer.subscribed == []
    bench.state.mailbox.put(letters.Available(1, "process", 1 << 20))
    bench.turns.turn_or_fail()
    assert bench.consumer.subscribed == ["t"]
    bench.assign(P0)
    bench.state.mailbox.put(letters.StreamLost(1))
    bench.turns.turn_or_fail()
    assert bench.consumer.subscribed == ["t"]
    bench.now += 61.0
    bench.turns.turn_or_fail()
    assert bench.consumer.subscribed == []
    assert bench.table.partitions == {}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize(
    ("lanes", "sizes", "left"),
    [
        (1, [2, 2], 1),
        (2, [2, 2, 2, 2], 1),
        (4, [2, 2, 2, 2, 2, 2, 2, 2], 1),
        (4, [2, 1, 2], 1),
        (4, [1, 2], 1),
        (100, [2] * (turns.MAX_READS + 1), 1),
    ],
)
def test_with_lanes_a_turn_reads_several_times_while_reads_are_full(
    monkeypatch: pytest.MonkeyPatch, kind: SourceKind, lanes: int, sizes: list[int], left: int
) -> None:
    monkeypatch.setattr(turns, "MAX_RECORDS_PER_FETCH", 2)
    bench = Bench(kind, now=monotonic(), lanes=lanes)
    bench.assign(P0)
    offsets = iter(range(sum(sizes)))
    bench.consumer.batches = [[record(next(offsets)) for _ in range(size)] for size in sizes]
    bench.turns.fetch()
    assert len(bench.consumer.batches) == left
    assert bench.buffer.fetched == sum(sizes) - sum(map(len, bench.consumer.batches))


@pytest.mark.parametrize("kind", SOURCES)
def test_a_turn_reads_no_more_when_enough_bytes_wait_to_be_sent(
    monkeypatch: pytest.MonkeyPatch, kind: SourceKind
) -> None:
    monkeypatch.setattr(turns, "MAX_RECORDS_PER_FETCH", 2)
    bench = Bench(kind, now=monotonic(), lanes=4)
    bench.assign(P0)
    half = b"v" * (turns.MAX_READ_BYTES // 4)
    bench.consumer.batches = [[record(offset, value=half), record(offset + 1, value=half)] for offset in (0, 2, 4)]
    bench.turns.fetch()
    assert len(bench.consumer.batches) == 1
