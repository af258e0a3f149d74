"""Each invariant is broken by the events that break it, and by those next to them it is not."""

from __future__ import annotations

import pytest

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.events import Kind
from sidecar.conformance.invariants import GRACE_S, HALF_CLOSE_S, LATE_S
from tests.unit.conformance.play import Play


@pytest.fixture
def play() -> Play:
    return Play()


@pytest.mark.parametrize(
    ("accepted", "delivered", "then", "broken"),
    [(None, 0, 0, []), (None, None, 0, []), (1, 2, 2, []), (1, 2, 1, [16]), (2, None, 1, [16])],
)
def test_after_a_checkpoint_beyond_what_was_delivered_a_lower_one_may_come(
    play: Play, accepted: int | None, delivered: int | None, then: int, broken: list[int]
) -> None:
    lease = play.running()
    if accepted is not None:
        play.checkpoint(1, lease, accepted)
        play.accepted(1)
    play.checkpoint(2, lease, 4)
    outcome = pb.CHECKPOINT_OUTCOME_BEYOND_DELIVERED
    play.answered(2, pb.CheckpointResponse(results=[pb.CheckpointResult(outcome=outcome, delivered=delivered)]))
    play.checkpoint(3, lease, then)
    assert play.broken == broken


def test_a_life_in_order(play: Play) -> None:
    lease = play.running()
    play.opened(2)
    play.checkpoint(1, lease, 3)
    play.accepted(1)
    play.revoked(1)
    play.closed(1, pb.CLOSED_REASON_REVOKED, 4)
    play.add(Kind.HALF_CLOSED, stream=1)
    play.add(Kind.ENDED, stream=1)
    play.add(Kind.SIGNALLED)
    play.add(Kind.BROKE, stream=2)
    assert play.later(HALF_CLOSE_S) == []


def test_process_id_differs(play: Play) -> None:
    play.running()
    play.opened(2, process="q")
    assert play.broken == [1]


def test_process_id_of_another_start(play: Play) -> None:
    play.opened(1)
    play.add(Kind.CUT, connection=1)
    play.add(Kind.STARTED)
    play.opened(2, process="q", connection=3)
    assert play.later(GRACE_S) == []


def test_another_lambda(play: Play) -> None:
    play.add(Kind.OPENED, stream=1, connection=1)
    play.frame(1, offer=pb.Offer(lambda_name="other", process_id="p"))
    assert play.broken == [2]


def test_no_offer(play: Play) -> None:
    play.add(Kind.OPENED, stream=1, connection=1)
    play.frame(1, available=pb.Available())
    assert play.broken == [7]


def test_two_offers(play: Play) -> None:
    play.opened(1)
    play.frame(1, offer=pb.Offer(lambda_name="graded", process_id="p"))
    assert play.broken == [2]


def test_two_spares(play: Play) -> None:
    play.opened(1)
    play.opened(2)
    assert play.broken == []
    assert play.later(GRACE_S) == [4]


def test_a_spare_that_was_cancelled_a_moment_before(play: Play) -> None:
    play.opened(1)
    play.opened(2)
    play.add(Kind.BROKE, stream=1)
    assert play.later(GRACE_S) == []


def test_65_streams_on_a_connection(play: Play) -> None:
    for stream in range(1, 65):
        play.running(stream, stream)
    assert play.broken == []
    play.opened(65)
    assert play.broken == [43]


def test_a_call_beside_streams(play: Play) -> None:
    lease = play.running()
    play.checkpoint(1, lease, 0, connection=1)
    assert play.broken == [43]


def test_a_stream_beside_calls(play: Play) -> None:
    lease = play.running()
    play.checkpoint(1, lease, 0, connection=2)
    play.opened(2, connection=2)
    assert play.broken == [43]


def test_ready_with_another_lease(play: Play) -> None:
    play.opened(1)
    play.sent(1, assigned=pb.Assigned(lease="a", topic="t"))
    play.frame(1, ready=pb.Ready(lease="b"))
    assert play.broken == [7]


def test_ready_before_the_old_one_has_closed(play: Play) -> None:
    play.running(1)
    play.revoked(1)
    play.running(2)
    assert play.broken == [6]


def test_ready_after_the_old_one_broke(play: Play) -> None:
    play.running(1)
    play.add(Kind.BROKE, stream=1)
    play.running(2)
    assert play.broken == []


def test_a_frame_after_closed(play: Play) -> None:
    play.running()
    play.revoked(1)
    play.closed(1, pb.CLOSED_REASON_REVOKED)
    play.frame(1, resume=pb.Resume())
    assert play.broken == [7]


def test_no_half_close(play: Play) -> None:
    play.running()
    play.revoked(1)
    play.closed(1, pb.CLOSED_REASON_REVOKED)
    assert play.later(HALF_CLOSE_S) == [7]


@pytest.mark.parametrize(
    "reason",
    [pb.CLOSED_REASON_UNSPECIFIED, pb.CLOSED_REASON_REVOKED, pb.CLOSED_REASON_STOPPED, pb.CLOSED_REASON_ERROR],
)
def test_a_reason_that_nothing_has_given(play: Play, reason: pb.ClosedReason) -> None:
    play.running()
    play.closed(1, reason)
    assert play.broken == [7]


def test_declined(play: Play) -> None:
    play.opened(1)
    play.sent(1, assigned=pb.Assigned(lease="a", topic="t"))
    play.closed(1, pb.CLOSED_REASON_DECLINED)
    assert play.broken == []


def test_two_checkpoint_calls(play: Play) -> None:
    lease = play.running()
    play.checkpoint(1, lease, 0)
    play.checkpoint(2, lease, 1)
    assert play.later(GRACE_S) == [17]


def test_a_checkpoint_call_that_was_given_up(play: Play) -> None:
    lease = play.running()
    play.checkpoint(1, lease, 0)
    play.checkpoint(2, lease, 1)
    play.add(Kind.GONE, call=1)
    assert play.later(GRACE_S) == []


def test_two_produce_calls(play: Play) -> None:
    first, second = play.running(1), play.running(2, 1)
    play.called(1, pb.ProduceRequest(lease=first, topics=["t"], values=[b""]))
    play.called(2, pb.ProduceRequest(lease=second, topics=["t"], values=[b""]))
    play.answered(2)
    assert play.later(GRACE_S) == []
    play.called(3, pb.ProduceRequest(lease=first, topics=["t"], values=[b""]))
    assert play.later(GRACE_S) == [28]


def test_a_checkpoint_of_what_was_not_delivered(play: Play) -> None:
    play.checkpoint(1, play.running(), 5)
    assert play.broken == [16]


def test_a_checkpoint_ahead() -> None:
    play = Play(ahead=True)
    play.checkpoint(1, play.running(), 5)
    assert play.broken == []


def test_a_checkpoint_of_what_is_void(play: Play) -> None:
    lease = play.running()
    play.frame(1, pause=pb.Pause(number=1, offset=2))
    play.sent(1, resumed=pb.Resumed(number=1, from_offset=2))
    play.checkpoint(1, lease, 3)
    assert play.broken == [16]


def test_a_lower_checkpoint(play: Play) -> None:
    lease = play.running()
    play.checkpoint(1, lease, 3)
    play.accepted(1)
    play.checkpoint(2, lease, 2)
    assert play.broken == [16]


def test_an_unknown_lease(play: Play) -> None:
    play.running()
    play.checkpoint(1, "other", 0)
    assert play.broken == [10]


def test_a_stale_lease(play: Play) -> None:
    lease = play.running()
    play.checkpoint(1, lease, 0)
    result = pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_STALE_LEASE)
    play.answered(1, pb.CheckpointResponse(results=[result]))
    play.checkpoint(2, lease, 1)
    assert play.broken == [], "it was under way"
    play.accepted(2)
    play.later(LATE_S)
    play.checkpoint(3, lease, 2)
    assert play.broken == [10]


def test_a_lost_lease(play: Play) -> None:
    lease = play.running()
    play.revoked(1, pb.REVOKE_REASON_LOST, 0)
    play.later(LATE_S)
    play.checkpoint(1, lease, 1)
    assert play.broken == [10]


def test_a_checkpoint_after_error(play: Play) -> None:
    lease = play.running()
    play.error(1, lease)
    play.answered(1, pb.ErrorResponse(outcome=pb.ERROR_OUTCOME_RESTARTING))
    play.later(LATE_S)
    play.checkpoint(2, lease, 1)
    assert play.broken == [24]


def test_last_checkpoint_below_the_failing_offset(play: Play) -> None:
    play.error(1, play.running(), offset=2, last=1)
    assert play.broken == []


def test_last_checkpoint_at_the_failing_offset(play: Play) -> None:
    play.error(1, play.running(), offset=2, last=2)
    assert play.broken == [23]


def test_closed_after_error(play: Play) -> None:
    play.error(1, play.running(), offset=2)
    play.answered(1, pb.ErrorResponse(outcome=pb.ERROR_OUTCOME_RESTARTING))
    play.closed(1, pb.CLOSED_REASON_ERROR)
    assert play.broken == []


def test_closed_before_the_response(play: Play) -> None:
    play.error(1, play.running(), offset=2)
    play.closed(1, pb.CLOSED_REASON_ERROR)
    assert play.broken == [25]


def test_closed_without_a_response(play: Play) -> None:
    play.error(1, play.running(), offset=2)
    play.answered(1)
    play.closed(1, pb.CLOSED_REASON_ERROR)
    assert play.broken == [26]


def test_closed_with_a_checkpoint_after_error(play: Play) -> None:
    play.error(1, play.running(), offset=2)
    play.answered(1, pb.ErrorResponse(outcome=pb.ERROR_OUTCOME_RESTARTING))
    play.closed(1, pb.CLOSED_REASON_ERROR, last=1)
    assert play.broken == [24]


def test_pauses_count_up(play: Play) -> None:
    play.running()
    play.frame(1, pause=pb.Pause(number=1))
    play.frame(1, pause=pb.Pause(number=2))
    assert play.broken == []
    play.frame(1, pause=pb.Pause(number=2))
    assert play.broken == [37]


def test_the_first_pause_is_1(play: Play) -> None:
    play.running()
    play.frame(1, pause=pb.Pause(number=2))
    assert play.broken == [37]


def test_a_stream_after_sigterm(play: Play) -> None:
    play.add(Kind.SIGNALLED)
    play.opened(1)
    assert play.broken == [], "it was under way"
    play.add(Kind.BROKE, stream=1)
    play.later(LATE_S)
    play.opened(2)
    assert play.broken == [42]


def test_too_many_pings(play: Play) -> None:
    play.add(Kind.CALMED, connection=1)
    assert play.broken == [44]


def test_what_is_refused(play: Play) -> None:
    play.add(Kind.INVALID, rule=31)
    assert play.broken == [31]


def test_two_lanes_of_a_partition(play: Play) -> None:
    play.running(1, lane=0)
    play.running(2, lane=1)
    assert play.broken == []
    play.running(3, lane=1)
    assert play.broken == [6]


@pytest.mark.parametrize(
    ("entry", "rules"),
    [
        (pb.CheckpointEntry(offset=1, state=b"1234"), []),
        (pb.CheckpointEntry(offset=1, state=b"12345"), [54]),
        (pb.CheckpointEntry(handled=1, state=b""), [53]),
    ],
    ids=str,
)
def test_states(play: Play, entry: pb.CheckpointEntry, rules: list[int]) -> None:
    entry.lease = play.running()
    play.welcomed(1, max_state_bytes=4)
    play.called(1, pb.CheckpointRequest(entries=[entry]))
    assert play.broken == rules


def test_a_state_in_closed(play: Play) -> None:
    play.running()
    play.revoked(1)
    entry = pb.CheckpointEntry(offset=1, state=b"x")
    play.frame(1, closed=pb.Closed(reason=pb.CLOSED_REASON_REVOKED, last_checkpoint=entry))
    assert play.broken == [54], "a sidecar that tells no limit keeps no state"


def test_progress(play: Play) -> None:
    play.running()
    play.frame(1, progress=pb.Progress(text="1"))
    play.later(1)
    play.frame(1, progress=pb.Progress(text="2"))
    assert play.broken == []
    play.frame(1, progress=pb.Progress(text="3"))
    assert play.broken == [56]


def test_progress_before_ready(play: Play) -> None:
    play.opened(1)
    play.sent(1, assigned=pb.Assigned(lease="a", topic="t"))
    play.frame(1, progress=pb.Progress())
    assert play.broken == [7]


@pytest.fixture
def exact() -> tuple[Play, str]:
    """A lease with exactly-once, of which a call of Produce is unanswered."""
    play = Play()
    lease = play.running()
    play.welcomed(1, guarantee=pb.GUARANTEE_EXACTLY_ONCE)
    play.produced(1, lease, b"a", sources=[1])
    assert play.broken == []
    return play, lease


def test_a_checkpoint_while_records_are_unanswered(exact: tuple[Play, str]) -> None:
    play, lease = exact
    play.called(2, pb.CheckpointRequest(entries=[pb.CheckpointEntry(lease=lease, handled=1)]))
    play.answered(2)
    assert play.broken == [], "it commits nothing"
    play.checkpoint(3, lease, 1)
    assert play.broken == [59]


def test_closed_while_records_are_unanswered(exact: tuple[Play, str]) -> None:
    play, _ = exact
    play.revoked(1)
    play.closed(1, pb.CLOSED_REASON_REVOKED, 1)
    assert play.broken == [59]


def test_error_while_records_are_unanswered(exact: tuple[Play, str]) -> None:
    play, lease = exact
    play.error(2, lease, 3, 1)
    assert play.broken == [59]


def test_commits_are_checkpoints(exact: tuple[Play, str]) -> None:
    play, lease = exact
    play.answered(1)
    play.produced(2, lease, b"b", commit=3)
    play.answered(2)
    assert play.broken == []
    play.produced(3, lease, b"b", commit=2)
    play.answered(3)
    assert play.broken == [16], "it is lower than the one before"
    play.produced(4, lease, b"b", commit=7)
    assert play.broken == [16, 16], "it was not delivered"
