"""Critical errors, records that cannot be delivered, and the operator who lets a partition go on."""

import pytest

from sidecar.partitions.partition import WELL_AFTER_S
from sidecar.partitions.vocabulary import (
    CheckpointOutcome,
    ClosedReason,
    EndReason,
    ErrorAction,
    ErrorOutcome,
    Lane,
    OrderRefused,
    Report,
    RevokeReason,
    State,
)

from .lab import LANE0, P0, P1, P2, Lab

CRITICAL = ErrorAction.CRITICAL


def halted(*, offset: int | None = 4, checkpoint: int = 1) -> Lab:
    """Ten records sent, a checkpoint, and a critical error at ``offset``; a spare stream 2 waits."""
    lab = Lab()
    lease = lab.run()
    lab.offer(2)
    lab.send(0, 9)
    lab.checkpoint(lease, checkpoint)
    assert lab.fail(lease, CRITICAL, offset=offset, text="no such key") == (ErrorOutcome.HALTED, 0.0)
    return lab


# --- critical ---------------------------------------------------------------------------------------------------


def test_a_critical_error_halts_this_partition_and_no_other() -> None:
    lab = halted()
    assert lab.state() is State.HALTED
    partition = lab.partition()
    assert (partition.trouble.reason, partition.trouble.failing_offset) == ("db: no such key", 4)
    lab.own(P1)
    assert lab.state(P1) is State.STARTING
    lab.wait(10_000.0)
    assert lab.state() is State.HALTED


def test_a_critical_error_kills_the_lease_and_fetches_again_from_the_checkpoint() -> None:
    lab = halted()
    assert lab.seen() == [("rewind", P0, 2)]
    assert lab.checkpoint("L1", 5)[0] is CheckpointOutcome.STALE_LEASE
    lab.close(1, ClosedReason.ERROR, last=9)
    assert (lab.state(), lab.partition().offsets.resume_at) == (State.HALTED, 2)


def test_a_critical_error_is_reported_with_all_its_fields() -> None:
    lab = halted()
    errors = [report for report in lab.commands(Report) if report.level == "error"]
    assert len(errors) == 1
    assert errors[0].lease == "L1"
    assert errors[0].fields["offset"] == 4
    assert errors[0].fields["error"] == "no such key"


def test_a_report_stops_nothing() -> None:
    lab = Lab()
    lease = lab.run()
    lab.send(0, 1)
    assert lab.fail(lease, ErrorAction.REPORT, offset=0) == (ErrorOutcome.REPORTED, 0.0)
    assert len(lab.commands(Report)) == 1
    assert lab.state() is State.RUNNING
    assert lab.checkpoint(lease, 1)[0] is CheckpointOutcome.ACCEPTED


def test_an_error_while_draining_ends_the_drain_only() -> None:
    for action in (ErrorAction.RESTART, CRITICAL):
        lab = Lab()
        lease = lab.run()
        lab.send(0, 9)
        lab.table.revoke([P0], RevokeReason.REBALANCE, 2.0, lab.now)
        lab.fail(lease, action, offset=5, last=4)
        assert not lab.table.held()
        assert lab.partition().offsets.resume_at == 5
        assert lab.checkpoint(lease, 6)[0] is CheckpointOutcome.STALE_LEASE


# --- resume -----------------------------------------------------------------------------------------------------


def test_resume_goes_on_at_the_checkpoint_with_a_new_lease() -> None:
    lab = halted()
    lab.seen()
    assert lab.table.operator.resume(P0, lab.now, skip=False) == (2, None)
    assert lab.seen() == [("assign", 2, "L2", P0, 2, 1)]
    assert (lab.partition().trouble.reason, lab.partition().trouble.failing_offset) == ("", None)
    assert lab.partition().skip == set()


def test_resume_with_skip_skips_the_failing_offset_until_a_checkpoint_passes_it() -> None:
    lab = halted()
    assert lab.table.operator.resume(P0, lab.now, skip=True) == (2, 4)
    assert lab.partition().skip == {4}
    lab.ready(2, "L2")
    lab.table.records.sent(LANE0, 2, 6, 4, 40, [2, 3, 5, 6], lab.now)
    lab.checkpoint("L2", 3)
    assert lab.partition().skip == {4}
    lab.checkpoint("L2", 5)
    assert lab.partition().skip == set()


def test_a_skip_outlives_a_restart_before_it() -> None:
    lab = halted()
    lab.table.operator.resume(P0, lab.now, skip=True)
    lab.ready(2, "L2")
    lab.table.records.sent(LANE0, 2, 5, 3, 30, [2, 3, 5], lab.now)
    lab.fail("L2")
    assert lab.partition().skip == {4}
    assert ("rewind", P0, 2) in lab.seen()


def test_resume_forgets_the_failures() -> None:
    lab = Lab()
    lease = lab.run()
    first = lab.fail(lease)[1]
    lab.offer(2)
    lab.wait(first)
    lab.ready(2, "L2")
    lab.fail("L2", CRITICAL)
    lab.offer(3)
    lab.table.operator.resume(P0, lab.now, skip=False)
    assert lab.partition().trouble.attempt == 1
    lab.ready(3, "L3")
    assert lab.fail("L3")[1] == first


def refusal(lab: Lab, number: int = 0, *, skip: bool = False) -> OrderRefused:
    with pytest.raises(OrderRefused) as caught:
        lab.table.operator.resume((P0, P1, P2)[number], lab.now, skip=skip)
    return caught.value


def test_a_refused_resume_names_the_state() -> None:
    lab = Lab()
    nothing = refusal(lab)
    assert str(nothing) == "words/0 is not assigned to this sidecar now; it has: none"
    assert nothing.kind == "unknown"
    lab.run()
    lab.own(P1)
    assert str(refusal(lab)) == "words/0 is neither halted nor paused, it is running"
    assert refusal(lab).kind == "state"
    assert str(refusal(lab, 1)) == "words/1 is neither halted nor paused, it is waiting"
    assert str(refusal(lab, 2)) == "words/2 is not assigned to this sidecar now; it has: words/0, words/1"
    lab.fail("L1")
    assert str(refusal(lab)) == "words/0 is neither halted nor paused, it is backing off"


def test_resume_with_skip_is_refused_when_no_offset_is_known() -> None:
    lab = halted(offset=None)
    text = str(refusal(lab, skip=True))
    assert text.startswith("words/0 halted without naming a failing offset (db: no such key)")
    assert text.endswith("resume without --skip")
    assert lab.state() is State.HALTED
    assert lab.table.operator.resume(P0, lab.now, skip=False) == (2, None)


# --- undeliverable ----------------------------------------------------------------------------------------------


def undeliverable() -> Lab:
    """Records 0 to 4 are out; the one at 5 can never be sent."""
    lab = Lab()
    lab.run()
    lab.send(0, 4)
    lab.table.records.undeliverable(LANE0, 5, "too large", 2.0, lab.now)
    return lab


def test_a_record_that_cannot_be_delivered_lets_the_lambda_finish_then_halts() -> None:
    lab = undeliverable()
    assert lab.seen() == [("revoke", 1, RevokeReason.HALTED, 2.0)]
    assert lab.table.records.may_send(LANE0) == 0
    assert lab.checkpoint("L1", 3)[0] is CheckpointOutcome.ACCEPTED_DRAINING
    lab.close(1, ClosedReason.REVOKED, last=4)
    partition = lab.partition()
    assert lab.state() is State.HALTED
    assert (partition.offsets.resume_at, partition.trouble.failing_offset, partition.trouble.reason) == (
        5,
        5,
        "too large",
    )
    assert lab.seen() == [("rewind", P0, 5)]  # what was fetched and not sent has been dropped


def test_a_partition_halts_when_its_lambda_does_not_finish_in_time() -> None:
    lab = undeliverable()
    lab.seen()
    lab.wait(2.0)
    assert lab.state() is State.HALTED
    assert lab.seen() == [("end", 1, EndReason.TOO_LATE), ("rewind", P0, 0)]


def test_a_partition_about_to_halt_halts_when_the_stream_breaks_or_the_lambda_fails() -> None:
    lab = undeliverable()
    lab.lose(1)
    assert lab.state() is State.HALTED
    lab = undeliverable()
    lab.fail("L1")
    assert (lab.state(), lab.partition().trouble.failing_offset) == (State.HALTED, 5)


def test_an_undeliverable_record_can_be_skipped() -> None:
    lab = undeliverable()
    lab.close(1, ClosedReason.REVOKED, last=4)
    assert lab.table.operator.resume(P0, lab.now, skip=True) == (5, 5)
    assert lab.partition().skip == {5}


def test_a_rebalance_releases_a_partition_about_to_halt() -> None:
    lab = undeliverable()
    lab.table.revoke([P0], RevokeReason.REBALANCE, 1.0, lab.now)
    lab.wait(1.0)
    assert lab.state() is State.DRAINING
    assert not lab.table.held()


def test_failures_of_an_idle_partition_are_forgotten() -> None:
    """Nothing is checkpointed where nothing is written: its failures would count for ever."""
    lab = Lab()
    lab.run(process="one")
    for stream in range(1, 5):
        lab.wait(WELL_AFTER_S)
        lab.lose(stream)
        assert lab.partition().trouble.failures == 1
        lab.offer(stream + 1, f"process {stream}")
        lab.ready(stream + 1, lab.assigned().lease)
        assert lab.state() is State.RUNNING


def test_failures_with_something_outstanding_are_counted_however_long_each_took() -> None:
    lab = Lab()
    lab.run(process="one")
    for stream in range(1, 4):
        lab.send(0, 3)
        lab.wait(WELL_AFTER_S)
        lab.lose(stream)
        assert lab.partition().trouble.failures == stream
        lab.wait(60.0)
        lab.offer(stream + 1, f"process {stream}")
        lab.ready(stream + 1, lab.assigned().lease)
        lab.table.rewound(Lane(P0))
