"""What the consumer thread tells of its lambda."""

import pytest
from confluent_kafka import TopicPartition as KafkaPartition

from sidecar.consuming import letter_reader, rebalances
from sidecar.consuming.status import lambda_status
from sidecar.mail import letters
from sidecar.partitions.vocabulary import Progress, RebalanceKind, State, WaitsFor
from sidecar.status import LambdaStatus, RebalanceStatus

from .bench import P0, P1, Bench


def told(bench: Bench) -> LambdaStatus:
    return lambda_status(bench.state, bench.client.ends, bench.now, joined=True)


def test_what_was_sent_and_waits() -> None:
    bench = Bench()
    bench.assign(P0, P1)
    assert [one.waits_for for one in told(bench).partitions] == [WaitsFor.PROCESS] * 2
    bench.run()
    bench.fetch(0, 1, 2)
    bench.fetch(0, partition=1)
    bench.send()
    bench.now += 1
    first, second = told(bench).partitions
    assert (first.tp, first.state, first.outstanding, first.waiting) == (P0, State.RUNNING, 3, 0)
    assert (first.sent_per_second, first.done_per_second) == (3.0, 0.0)
    assert first.outstanding_bytes == told(bench).bytes_sent > 0
    assert (first.oldest_outstanding, first.lease_since, first.waits_for) == (
        bench.now - 1,
        bench.now - 1,
        WaitsFor.LAMBDA,
    )
    assert (second.outstanding, second.waiting, second.lease_since) == (0, 1, None)
    assert second.waiting_bytes > 0
    assert told(bench).group == bench.state.config.group


def test_progress_state_and_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(deadline=60.0)
    bench.assign(P0)
    lease = bench.run()
    bench.fetch(0, 1, 2)
    bench.send()
    bench.table.streams.checkpoint(lease, Progress(0, state=b"zero"), bench.now)
    (before,) = told(bench).partitions
    assert (before.progress, before.overdue_at, before.state_bytes) == ("", bench.now + 60.0, 4)
    bench.now += 5
    bench.clock(monkeypatch, letter_reader)
    bench.letters.read(letters.LeaseProgress(bench.stream_of[P0], "43 %"))
    bench.letters.read(letters.LeaseProgress(4711, "nobody's"))
    (after,) = told(bench).partitions
    assert (after.progress, after.overdue_at, after.progress_at) == ("43 %", bench.now + 60.0, bench.now)
    bench.table.streams.lost(bench.stream_of[P0], bench.now)
    (none,) = told(bench).partitions
    assert (none.progress, none.overdue_at, none.state_bytes) == ("", None, 4)


def test_rebalances(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.clock(monkeypatch, rebalances)
    assert (told(bench).last_rebalance, told(bench).rebalances) == (None, {})
    bench.turns.rebalances.on_assign([KafkaPartition(*P0), KafkaPartition(*P1)])
    assert told(bench).last_rebalance == RebalanceStatus(RebalanceKind.ASSIGNED, 2, bench.now, "")
    bench.now += 5
    bench.turns.rebalances.on_revoke([KafkaPartition(*P0)])
    assert told(bench).last_rebalance == RebalanceStatus(RebalanceKind.REVOKED, 1, bench.now, "")
    bench.turns.rebalances.on_lost([KafkaPartition(*P1)])
    last = told(bench).last_rebalance
    assert last is not None
    assert (last.kind, last.partitions) == (RebalanceKind.LOST, 1)
    assert told(bench).rebalances == {
        RebalanceKind.ASSIGNED: 1,
        RebalanceKind.REVOKED: 1,
        RebalanceKind.LOST: 1,
    }


def test_leaving_for_want_of_a_process_is_a_rebalance_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.clock(monkeypatch, rebalances)
    bench.assign(P0)
    bench.client.membership.assigned()
    bench.turns.rebalances._leave("no lambda process: leaving the group")
    last = told(bench).last_rebalance
    assert last == RebalanceStatus(RebalanceKind.LEFT, 1, bench.now, "no lambda process: leaving the group")
